//! The last step of every answer. It adds the headers that protect the page and those that let
//! other sites in, and turns a refusal into a page for people who would otherwise see JSON.

use bytes::Bytes;
use warp::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, Request, StatusCode};
use warp::reply::Response;

use crate::access::Access;
use crate::access::cors::{self, Sharing};
use crate::access::origin::Site;
use crate::api::error::ApiError;
use crate::page;

const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a request says of the answer that it wants.
pub(crate) struct Wish {
    pub(crate) sharing: Sharing,
    reads_pages: bool,
    /// The way from the request's path to that of the page, which a proxy may have moved.
    root: String,
}

impl Wish {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let accepts = |kind: &str| accepts(request.headers(), kind);
        let is_form = request.method() == Method::POST
            && (path == "/" || path == "/partition" || path.starts_with("/c/"));
        Self {
            sharing: Sharing::of(path),
            reads_pages: accepts("text/html") || (is_form && !accepts("application/json")),
            root: "../".repeat(path.matches('/').count().saturating_sub(1)),
        }
    }

    /// Makes an answer to a request from this site ready to be sent.
    pub(crate) fn finish(&self, mut response: Response, site: &Site, access: &Access) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        if self.reads_pages
            && let Some(refusal) = response.extensions_mut().remove::<ApiError>()
        {
            *response.body_mut() = Bytes::from(page::refusal(&refusal.message, &self.root)).into();
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        protect(response.headers_mut());
        cors::share(self.sharing, site, &access.allowed, response.headers_mut());
        response
    }
}

/// True where the Accept header names this type itself; `*/*` does not count.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let listed = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut names = listed.filter_map(|item| item.split(';').next());
    names.any(|name| name.trim().eq_ignore_ascii_case(kind))
}

/// Headers of every answer. Nothing is cached unless it says otherwise itself.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        ("content-security-policy", CONTENT_POLICY),
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

    fn wish(method: Method, path: &str, accept: &str) -> Wish {
        Wish::of(
            &Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).unwrap(),
        )
    }

    #[test]
    fn people_get_pages_and_programs_json() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        assert!(wish(Method::GET, "/nothing", browser).reads_pages);
        assert!(wish(Method::POST, "/", "*/*").reads_pages, "a form");
        assert!(wish(Method::POST, "/c/likes", "*/*").reads_pages);
        assert!(
            !wish(Method::POST, "/partition", "application/json").reads_pages,
            "the page's script"
        );
        assert!(!wish(Method::POST, "/api/counters/clicks/add", "*/*").reads_pages);
        assert!(!wish(Method::GET, "/", "*/*").reads_pages);
    }

    #[test]
    fn the_way_to_the_page_is_relative() {
        for (path, root) in [
            ("/", ""),
            ("/partition", ""),
            ("/c/likes", "../"),
            ("/a/b/c", "../../"),
            ("/c/a%2Fb", "../"),
        ] {
            assert_eq!(wish(Method::GET, path, "*/*").root, root, "{path}");
        }
    }
}
