//! The files of the page, built into the binary: style, scripts, map, icon. Their addresses contain
//! a version, so that a browser loads each file once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use warp::http::{Response, StatusCode};

use crate::api::error::ApiError;
use crate::api::response::{ApiResult, typed};

/// Name, content type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("app.js", SCRIPT, include_str!("../../assets/scripts/app.js")),
    ("city.js", SCRIPT, include_str!("../../assets/scripts/city.js")),
    ("counter-client.js", SCRIPT, include_str!("../../assets/scripts/counter-client.js")),
    ("link.js", SCRIPT, include_str!("../../assets/scripts/link.js")),
    ("model.js", SCRIPT, include_str!("../../assets/scripts/model.js")),
    ("partition.js", SCRIPT, include_str!("../../assets/scripts/partition.js")),
    ("spark.js", SCRIPT, include_str!("../../assets/scripts/spark.js")),
    ("table.js", SCRIPT, include_str!("../../assets/scripts/table.js")),
    ("words.js", SCRIPT, include_str!("../../assets/scripts/words.js")),
    ("world.js", SCRIPT, include_str!("../../assets/scripts/world.js")),
    ("world.svg", "image/svg+xml", include_str!("../../assets/world.svg")),
    // For regions that appear after the page was loaded.
    ("regions.csv", "text/csv; charset=utf-8", include_str!("../../assets/regions.csv")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

/// The client library: a module that needs no DOM, and the element that is built on it.
const LIBRARY: &[(&str, &str, &str)] = &[
    ("counter-client.js", SCRIPT, include_str!("../../assets/scripts/counter-client.js")),
    ("live-counter.js", SCRIPT, include_str!("../../assets/scripts/live-counter.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The first script. It imports the others.
const ENTRY: &str = "app.js";

/// A hash of all files. Part of their addresses, so that scripts of two releases never mix.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

/// The base address of the files. `root` leads from the page to the root of this deployment.
pub(crate) fn base(root: &str) -> String {
    format!("{root}assets/{}", *VERSION)
}

/// The elements of the page's head that load the scripts. A browser loads all of them at once, not
/// one import after the other.
pub(crate) fn script_elements(root: &str) -> String {
    let base = base(root);
    let scripts =
        FILES.iter().filter(|(name, content_type, _)| *content_type == SCRIPT && *name != ENTRY);
    let ahead =
        scripts.map(|(name, ..)| format!("<link rel=\"modulepreload\" href=\"{base}/{name}\">\n"));
    let entry = format!("<script type=\"module\" src=\"{base}/{ENTRY}\"></script>");
    ahead.chain([entry]).collect()
}

/// `GET /assets/{version}/{name}`. A browser may cache a file of this release forever. A page of
/// another release gets the current file, and asks again next time.
pub(crate) fn show_asset(version: &str, name: &str, headers: &HeaderMap) -> ApiResult {
    let keep = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    show(FILES, name, keep, headers)
}

/// `GET /{name}`: a module of the client library, for pages of any site. Its address has no
/// version, so a browser asks each time whether the module changed.
pub(crate) fn show_library(name: &str, headers: &HeaderMap) -> ApiResult {
    show(LIBRARY, name, "no-cache", headers)
}

fn show(
    files: &'static [(&str, &str, &str)],
    name: &str,
    keep: &'static str,
    headers: &HeaderMap,
) -> ApiResult {
    let (_, content_type, content) =
        files.iter().find(|(file, ..)| *file == name).ok_or_else(ApiError::not_found)?;
    let tag = entity_tag(content);
    let known = knows(headers, &tag);
    let mut response = if known {
        Response::new(Bytes::new())
    } else {
        typed(content_type, Bytes::from_static(content.as_bytes()))
    };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// True if the client has this version. The comparison is weak, as RFC 9110 asks: a proxy that
/// compresses marks the tag so.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = listed.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn entity_tag(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes of all files together. They include both transports of the client library.
    const BYTES_MAX: usize = 80_000;

    #[test]
    fn files_are_small() {
        let bytes = FILES.iter().map(|(_, _, content)| content.len()).sum::<usize>();
        assert!(bytes < BYTES_MAX, "{bytes}");
    }

    #[test]
    fn every_imported_script_exists() {
        let mut imports = 0;
        for (file, _, content) in
            FILES.iter().filter(|(_, content_type, _)| *content_type == SCRIPT)
        {
            for rest in content.split(" from \"./").skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(FILES.iter().any(|(known, ..)| *known == name), "{file} imports {name}");
                imports += 1;
            }
        }
        assert!(imports > 10, "{imports}");
    }

    #[test]
    fn only_files_of_this_release_are_cached() {
        let cached = |version: &str| {
            show_asset(version, ENTRY, &HeaderMap::new()).unwrap().headers()[CACHE_CONTROL].clone()
        };
        assert!(cached(&VERSION).to_str().unwrap().contains("immutable"));
        assert_eq!(cached("of-yesterday"), "no-cache");
    }

    #[test]
    fn known_tag_is_not_modified() {
        let first = show_asset("x", ENTRY, &HeaderMap::new()).unwrap();
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(show_asset("x", ENTRY, &known).unwrap().status(), StatusCode::NOT_MODIFIED);
        let tag = first.headers()[ETAG].to_str().unwrap();
        let status = |known: String| {
            let known = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().unwrap())]);
            show_asset("x", ENTRY, &known).unwrap().status()
        };
        for known in [format!("W/{tag}"), format!("\"other\", W/{tag}"), "*".to_owned()] {
            assert_eq!(status(known), StatusCode::NOT_MODIFIED);
        }
        assert_eq!(status("\"other\"".to_owned()), StatusCode::OK);
        assert!(show_asset("x", "../Cargo.toml", &known).is_err());
    }
}
