//! CORS: the addresses that pages of other sites may use, and the headers for their browsers.

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName, HeaderValue,
    VARY,
};

use super::origin::{AllowedOrigins, Site};

pub(crate) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// How an address may be used from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Not at all.
    Private,
    /// By the sites that `--allow-origin` lists.
    Listed,
    /// A picture or script that any site may embed.
    Public,
}

impl Sharing {
    /// Returns how the address of a request is shared.
    pub(crate) fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["api", "counters", _] | ["api", "counters", _, "add" | "events"] | ["ws"] => {
                Self::Listed
            }
            ["badge", _] | ["counter-client.js" | "live-counter.js"] => Self::Public,
            _ => Self::Private,
        }
    }
}

/// Adds the headers with which a browser passes a response to the page of another site. Credentials
/// are never allowed.
pub(crate) fn share(
    sharing: Sharing,
    site: &Site,
    allowed: &AllowedOrigins,
    headers: &mut HeaderMap,
) {
    if sharing == Sharing::Listed && allowed.lists_some() {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    let origin = match (sharing, site) {
        (Sharing::Private, _) | (Sharing::Listed, Site::Own | Site::Other(_)) => return,
        (Sharing::Public, _) => HeaderValue::from_static("*"),
        (Sharing::Listed, Site::Allowed(_)) if allowed.is_all() => HeaderValue::from_static("*"),
        (Sharing::Listed, Site::Allowed(origin)) => origin.clone(),
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Counter-Token"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// Adds the response headers of a preflight.
pub(crate) fn allow(headers: &mut HeaderMap) {
    const ALLOWED_HEADERS: &str = "Content-Type, Idempotency-Key, Counter-Token";
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    // Seconds for which a browser may cache the response.
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_addresses_are_shared() {
        for path in [
            "/api/counters/clicks",
            "/api/counters/a%2Fb/add",
            "/api/counters/clicks/events",
            "/ws",
        ] {
            assert_eq!(Sharing::of(path), Sharing::Listed, "{path}");
        }
        for path in ["/badge/clicks.svg", "/counter-client.js", "/live-counter.js"] {
            assert_eq!(Sharing::of(path), Sharing::Public, "{path}");
        }
        for path in [
            "/",
            "/c/clicks",
            "/partition",
            "/api/status",
            "/api/counters",
            "/api/counters/clicks/reset",
            "/metrics",
            "/healthz",
        ] {
            assert_eq!(Sharing::of(path), Sharing::Private, "{path}");
        }
    }
}
