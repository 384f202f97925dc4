//! The files of the page, built into the binary: style, script, map, icon. Each has an entity tag, so that a browser asks and seldom loads.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use warp::http::{Response, StatusCode};

use crate::handlers::{Answer, typed};
use crate::rejection::ApiError;

/// Name, content type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../assets/app.js")),
    ("world.svg", "image/svg+xml", include_str!("../assets/world.svg")),
    // For regions that come up after the page was loaded.
    ("regions.csv", "text/csv; charset=utf-8", include_str!("../assets/regions.csv")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// `GET /assets/{name}`.
pub(crate) fn answer(name: &str, headers: &HeaderMap) -> Answer {
    let (_, content_type, content) = FILES.iter().find(|(file, ..)| *file == name).ok_or_else(ApiError::not_found)?;
    let tag = entity_tag(content);
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known { Response::new(Bytes::new()) } else { typed(content_type, Bytes::from_static(content.as_bytes())) };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn entity_tag(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_small() {
        assert!(FILES.iter().map(|(_, _, content)| content.len()).sum::<usize>() < 60_000);
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let first = answer("app.js", &HeaderMap::new()).unwrap();
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(answer("app.js", &known).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(answer("../Cargo.toml", &known).is_err());
    }
}
