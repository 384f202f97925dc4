//! The badge: a picture of a counter's total for READMEs and other sites.

use bytes::Bytes;
use warp::http::Response;
use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use crate::api::error::ApiError;
use crate::api::fields::read_name;
use crate::api::response::{ApiResult, typed};
use crate::app::App;
use crate::page::text::{escape, grouped, without_bidi_controls};

/// The longest name before it is cut, in characters.
const NAME_CHARACTERS_MAX: usize = 40;

/// The approximate width of a character, and the space at each end of a field, in pixels.
const CHARACTER_WIDTH: usize = 7;
const FIELD_PADDING: usize = 5;

/// `GET /badge/{name}.svg`. A counter that does not exist shows 0.
///
/// # Errors
///
/// 404 for any other file, 400 for a bad name.
pub(crate) fn show_badge(app: &App, file: &str) -> ApiResult {
    let name = file.strip_suffix(".svg").ok_or_else(ApiError::not_found)?;
    let view = app.node.view(&read_name(name)?);
    let mut response: Response<Bytes> =
        typed("image/svg+xml", draw(&view.name, &grouped(view.total)));
    let headers = response.headers_mut();
    // Opened directly, the picture is a document, and strangers choose the names in it.
    headers
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn draw(name: &str, total: &str) -> String {
    let shown: String = if name.chars().count() > NAME_CHARACTERS_MAX {
        name.chars().take(NAME_CHARACTERS_MAX - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    let width = |text: &str| text.chars().count() * CHARACTER_WIDTH + 2 * FIELD_PADDING;
    let (left, right) = (width(&shown), width(total));
    let (label, shown) = (xml(name), xml(&shown));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"20\" role=\"img\" \
         aria-label=\"{label}: {total}\">\
         <title>{label}: {total}</title>\
         <rect width=\"{whole}\" height=\"20\" rx=\"3\" fill=\"#444d56\"/>\
         <path d=\"M{left} 0h{inner}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z\" fill=\"#1a7f4b\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-size=\"11\" \
         font-family=\"Verdana,DejaVu Sans,sans-serif\">\
         <text x=\"{left_middle}\" y=\"14\">{shown}</text>\
         <text x=\"{right_middle}\" y=\"14\">{total}</text></g></svg>",
        whole = left + right,
        inner = right - 3,
        left_middle = left / 2,
        right_middle = left + right / 2,
    )
}

/// Escapes a name. Replaces the two characters that XML 1.0 forbids, and removes those that would
/// reorder the total after it.
fn xml(text: &str) -> String {
    escape(&without_bidi_controls(text)).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let svg = draw("\"><svg onload=alert(1)>", "12,345");
        assert!(
            svg.contains("&quot;&gt;&lt;svg onload=alert(1)&gt;") && !svg.contains("<svg onload"),
            "{svg}"
        );
        assert!(svg.contains(">12,345</text>"), "{svg}");
    }

    #[test]
    fn odd_names_are_drawn() {
        let svg = draw(&"é".repeat(64), "0");
        assert!(svg.contains(&format!(">{}…</text>", "é".repeat(39))), "{svg}");
        assert!(!draw("a\u{202e}b", "12").contains('\u{202e}'));
        assert!(!draw("a\u{fffe}\u{ffff}", "0").contains(['\u{fffe}', '\u{ffff}']));
    }
}
