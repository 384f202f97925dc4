//! The last step of every response. It adds the headers that protect the page and the headers for
//! other sites. For a browser it turns a JSON error into a page, unless the API was asked.

use bytes::Bytes;
use warp::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, Request, StatusCode};
use warp::reply::Response;

use crate::access::Access;
use crate::access::cors::Sharing;
use crate::access::origin::Site;
use crate::api::error::ApiError;
use crate::page;

/// The form of the response to a request.
pub(crate) struct ReplyFormat {
    pub(crate) sharing: Sharing,
    /// The client wants HTML for errors.
    wants_html: bool,
    /// The relative address of the page's root. A proxy may have moved it.
    root: String,
}

impl ReplyFormat {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let accepts = |kind: &str| accepts(request.headers(), kind);
        let is_form = request.method() == Method::POST
            && (path == "/" || path == "/partition" || path.starts_with("/c/"));
        let is_api =
            path.starts_with("/api/") || ["/ws", "/metrics", "/healthz", "/readyz"].contains(&path);
        Self {
            sharing: Sharing::of(path),
            wants_html: !is_api
                && (accepts("text/html") || (is_form && !accepts("application/json"))),
            root: "../".repeat(path.matches('/').count().saturating_sub(1)),
        }
    }

    /// Completes the response to a request from this site.
    pub(crate) fn finish(&self, mut response: Response, site: &Site, access: &Access) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        if self.wants_html
            && let Some(refusal) = response.extensions_mut().remove::<ApiError>()
        {
            *response.body_mut() = Bytes::from(page::refusal(&refusal.message, &self.root)).into();
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        protect(response.headers_mut());
        access.share(self.sharing, site, response.headers_mut());
        response
    }
}

/// True if the Accept header names this type. `*/*` does not count.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let listed = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut names = listed.filter_map(|item| item.split(';').next());
    names.any(|name| name.trim().eq_ignore_ascii_case(kind))
}

/// Adds the headers of every response. Responses are not cached unless they say otherwise.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        ("content-security-policy", page::CONTENT_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Not no-referrer: browsers would then send the page's own forms with `Origin: null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(method: Method, path: &str, accept: &str) -> ReplyFormat {
        ReplyFormat::of(
            &Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).unwrap(),
        )
    }

    #[test]
    fn people_get_pages_and_programs_json() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        assert!(format(Method::GET, "/nothing", browser).wants_html);
        assert!(format(Method::POST, "/", "*/*").wants_html, "a form");
        assert!(format(Method::POST, "/c/likes", "*/*").wants_html);
        assert!(
            !format(Method::POST, "/partition", "application/json").wants_html,
            "the page's script"
        );
        assert!(!format(Method::POST, "/api/counters/clicks/add", "*/*").wants_html);
        assert!(!format(Method::GET, "/api/counters/clicks", browser).wants_html, "the API");
        assert!(!format(Method::GET, "/ws", browser).wants_html);
        assert!(!format(Method::GET, "/", "*/*").wants_html);
    }

    #[test]
    fn root_is_relative() {
        for (path, root) in [
            ("/", ""),
            ("/partition", ""),
            ("/c/likes", "../"),
            ("/a/b/c", "../../"),
            ("/c/a%2Fb", "../"),
        ] {
            assert_eq!(format(Method::GET, path, "*/*").root, root, "{path}");
        }
    }
}
