//! The Origin header. A request comes from this node's own page, from a site that `--allow-origin`
//! lists, or from another site.

use std::fmt::Write;
use std::net::Ipv6Addr;
use std::sync::OnceLock;

use warp::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use crate::api::error::ApiError;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The longest quotation of a header value in an error, in characters.
const QUOTED_MAX: usize = 120;

/// The site that a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Site {
    /// The page itself, or a request without an Origin.
    Own,
    /// Another site that may read, listen and add, by its Origin.
    Allowed(HeaderValue),
    /// Any other site.
    Other(ApiError),
}

/// The sites that `--allow-origin` lists, and the pages of the same demo.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedOrigins {
    all: bool,
    listed: Vec<WebOrigin>,
    /// Set once the demo has started all its nodes.
    pages: OnceLock<Vec<WebOrigin>>,
}

impl AllowedOrigins {
    /// Reads the values of `--allow-origin`.
    ///
    /// # Errors
    ///
    /// If a value is neither `*` nor an origin.
    pub(crate) fn read<'a>(values: impl Iterator<Item = &'a String>) -> Result<Self, String> {
        let mut allowed = Self::default();
        for value in values {
            match value.as_str() {
                "*" => allowed.all = true,
                value => allowed.listed.push(WebOrigin::parse(value).ok_or_else(|| {
                    format!(
                        "--allow-origin {value:?} is not an origin: write scheme and host, and the \
                         port if it is not the default, such as https://example.com, or * for all \
                         sites"
                    )
                })?),
            }
        }
        Ok(allowed)
    }

    /// Allows the demo's pages at these addresses, also by the name `localhost`.
    pub(crate) fn allow_pages<'a>(&self, addresses: impl Iterator<Item = &'a String>) {
        let origins = addresses.flat_map(|address| {
            let origin = WebOrigin::parse(address.trim_end_matches('/'));
            let by_name = |origin: WebOrigin| WebOrigin { host: "localhost".to_owned(), ..origin };
            origin.clone().into_iter().chain(origin.map(by_name))
        });
        // The demo sends its pages once. A second list changes nothing.
        let _set = self.pages.set(origins.collect());
    }

    /// True if every site is allowed, so that responses need not name one.
    pub(crate) fn is_all(&self) -> bool {
        self.all
    }

    /// True if the response to a request depends on its Origin.
    pub(crate) fn lists_some(&self) -> bool {
        !self.all && (!self.listed.is_empty() || self.pages.get().is_some())
    }

    fn contains(&self, origin: Option<&WebOrigin>) -> bool {
        let mut known = self.listed.iter().chain(self.pages.get().into_iter().flatten());
        self.all || origin.is_some_and(|origin| known.any(|known| known == origin))
    }
}

/// Scheme, host and port. Two are equal if browsers treat them as the same origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WebOrigin {
    scheme: String,
    host: String,
    port: u16,
}

impl WebOrigin {
    /// Reads an origin, such as `https://example.com`.
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, site) = origin.split_once("://")?;
        Self::of_host(&scheme.to_ascii_lowercase(), site)
    }

    /// Reads the value of a Host header. The scheme gives the default port.
    fn of_host(scheme: &str, host: &str) -> Option<Self> {
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        // A port contains no colon, and an IPv6 address ends with a bracket.
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host, None),
        };
        let is_number = |port: &&str| port.bytes().all(|digit| digit.is_ascii_digit());
        let port =
            port.map_or(Some(default_port), |port| Some(port).filter(is_number)?.parse().ok())?;
        is_host(host).then(|| Self {
            scheme: scheme.to_owned(),
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// True for an IPv6 address in brackets, an IPv4 address, or a DNS name.
fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    // A name may end with the dot of the root.
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty()
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label)
}

/// Returns the site of a request. Its Origin must be listed or equal the Host. Behind a trusted
/// proxy it may also equal an entry of X-Forwarded-Host.
pub(crate) fn site_of(headers: &HeaderMap, trust_proxy: bool, allowed: &AllowedOrigins) -> Site {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Site::Own };
    let is_single = origins.next().is_none();
    let parsed = origin.to_str().ok().filter(|_| is_single).and_then(WebOrigin::parse);
    if parsed
        .as_ref()
        .is_some_and(|origin| own_hosts(headers, trust_proxy).any(|host| is_same(origin, host)))
    {
        return Site::Own;
    }
    if is_single && allowed.contains(parsed.as_ref()) {
        return Site::Allowed(origin.clone());
    }
    Site::Other(ApiError::wrong_origin(refusal(origin, headers, trust_proxy, parsed.is_some())))
}

fn is_same(origin: &WebOrigin, host: &str) -> bool {
    WebOrigin::of_host(&origin.scheme, host).is_some_and(|host| host == *origin)
}

fn own_hosts(headers: &HeaderMap, trust_proxy: bool) -> impl Iterator<Item = &str> {
    let host = headers.get_all(HOST).iter();
    let forwarded = headers.get_all(FORWARDED_HOST).iter().filter(move |_| trust_proxy);
    host.chain(forwarded)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

/// The text of a refusal: both values, and the settings that let the page itself in.
fn refusal(origin: &HeaderValue, headers: &HeaderMap, trust_proxy: bool, is_site: bool) -> String {
    let quoted = |value: &HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).chars().take(QUOTED_MAX).collect::<String>()
    };
    let values_of =
        |name: HeaderName| headers.get_all(name).iter().map(quoted).collect::<Vec<_>>().join(", ");
    let (origin, host, forwarded) = (quoted(origin), values_of(HOST), values_of(FORWARDED_HOST));
    let mut said =
        format!("refused: the Origin header says {origin:?}, and the Host header says {host:?}");
    // Writing to a String cannot fail.
    let _written = match (trust_proxy, forwarded.is_empty()) {
        (_, true) => Ok(()),
        (true, false) => write!(said, ", X-Forwarded-Host {forwarded:?}"),
        (false, false) => {
            write!(said, " (X-Forwarded-Host {forwarded:?} is not believed without --trust-proxy)")
        }
    };
    if is_site {
        let _written = write!(
            said,
            ". If that Origin is this page's own address, a proxy has changed the Host header. Let \
             it pass the header on (nginx: proxy_set_header Host $http_host), or send \
             X-Forwarded-Host and start this node with --trust-proxy, or start this node with \
             --allow-origin {origin}"
        );
    } else {
        said += ". That Origin names no site, such as https://a.example. Send it so, or leave it \
                 out; only a node with --allow-origin '*' takes any";
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn allowed(origins: &[&str]) -> AllowedOrigins {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        AllowedOrigins::read(origins.iter()).unwrap()
    }

    fn is_own(pairs: &[(&'static str, &'static str)], trust_proxy: bool) -> bool {
        matches!(site_of(&headers(pairs), trust_proxy, &AllowedOrigins::default()), Site::Own)
    }

    #[test]
    fn own_origin_is_recognised() {
        for (origin, host) in [
            ("http://a.example:4000", "a.example:4000"),
            ("https://A.example:4000", "a.EXAMPLE:4000"),
            ("https://a.example", "a.example:443"),
            ("https://a.example:443", "a.example"),
            ("http://a.example", "a.example:80"),
            ("http://[::1]:4000", "[::1]:4000"),
        ] {
            assert!(is_own(&[("origin", origin), ("host", host)], false), "{origin} {host}");
        }
        assert!(is_own(&[("host", "a.example")], false), "no Origin");
    }

    #[test]
    fn other_origins_are_refused() {
        for (origin, host) in [
            ("https://a.example", "a.example:4000"),
            ("https://a.example", "a.example:80"),
            ("http://a.example", "a.example:443"),
            ("null", "a.example"),
            ("ftp://a.example", "a.example"),
            ("https://a.example:", "a.example"),
            ("https://b@a.example", "a.example"),
            ("https://a.example/x", "a.example"),
            ("https://a.example:99999", "a.example"),
            ("https://a.example:+443", "a.example"),
            ("https://a.example", "a.example:99999"),
            ("https:// a.example", "a.example"),
            ("https://", "a.example"),
            ("https://b.example", "a.example"),
        ] {
            assert!(!is_own(&[("origin", origin), ("host", host)], false), "{origin} {host}");
        }
        assert!(!is_own(&[("origin", "http://a.example")], false), "no Host");
        let mut two = headers(&[("host", "a.example"), ("origin", "http://a.example")]);
        two.append("origin", "http://b.example".parse().unwrap());
        assert!(matches!(site_of(&two, false, &allowed(&["*"])), Site::Other(_)));
    }

    #[test]
    fn forwarded_host_needs_a_trusted_proxy() {
        let pairs = [
            ("origin", "https://a.example"),
            ("host", "127.0.0.1:4000"),
            ("x-forwarded-host", "a.example"),
        ];
        assert!(is_own(&pairs, true) && !is_own(&pairs, false));
        let chain = [
            ("origin", "https://a.example"),
            ("host", "app"),
            ("x-forwarded-host", "a.example, inner.example:443"),
        ];
        assert!(is_own(&chain, true));
    }

    #[test]
    fn listed_origins_are_allowed() {
        let asked = |origin| headers(&[("origin", origin), ("host", "a.example")]);
        let listed = allowed(&["https://b.example", "http://c.example:8080"]);
        for origin in ["https://b.example", "https://B.example:443", "http://c.example:8080"] {
            assert!(
                matches!(site_of(&asked(origin), false, &listed), Site::Allowed(_)),
                "{origin}"
            );
        }
        for origin in ["http://b.example", "https://c.example", "null"] {
            assert!(matches!(site_of(&asked(origin), false, &listed), Site::Other(_)), "{origin}");
        }
        for origin in ["https://anything.example", "null"] {
            assert!(
                matches!(site_of(&asked(origin), false, &allowed(&["*"])), Site::Allowed(_)),
                "{origin}"
            );
        }
    }

    #[test]
    fn pages_of_a_demo_are_allowed() {
        let listed = AllowedOrigins::default();
        let asked = |origin| headers(&[("origin", origin), ("host", "127.0.0.1:4000")]);
        let is_allowed =
            |origin| matches!(site_of(&asked(origin), false, &listed), Site::Allowed(_));
        assert!(!listed.lists_some() && !is_allowed("http://127.0.0.1:4001"));
        listed.allow_pages(["http://127.0.0.1:4001/".to_owned()].iter());
        assert!(listed.lists_some());
        assert!(is_allowed("http://127.0.0.1:4001") && is_allowed("http://localhost:4001"));
        assert!(!is_allowed("http://127.0.0.1:4002") && !is_allowed("https://localhost:4001"));
    }

    #[test]
    fn bad_lists_are_refused_with_an_example() {
        for value in [
            "example.com",
            "https://*.example.com",
            "https://example.com:99999",
            "https://a..b",
            "https://-.-",
            "https:// a.b",
            "https://example.com/",
            "ftp://example.com",
            "https://",
            "null",
            "",
        ] {
            let error = AllowedOrigins::read([value.to_owned()].iter()).expect_err(value);
            assert!(error.contains("such as https://example.com"), "{error}");
        }
    }

    #[test]
    fn refusals_name_both_values_and_what_to_set() {
        let said = |trust_proxy| match site_of(
            &headers(&[
                ("origin", "https://a.example"),
                ("host", "127.0.0.1:4000"),
                ("x-forwarded-host", "b.example"),
            ]),
            trust_proxy,
            &AllowedOrigins::default(),
        ) {
            Site::Other(error) => error.message,
            other => panic!("{other:?}"),
        };
        for part in [
            "https://a.example",
            "127.0.0.1:4000",
            "--allow-origin https://a.example",
            "not believed without --trust-proxy",
        ] {
            assert!(said(false).contains(part), "{part}: {}", said(false));
        }
        assert!(said(true).contains(", X-Forwarded-Host \"b.example\""), "{}", said(true));
    }
}
