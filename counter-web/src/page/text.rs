//! Text for HTML, SVG and addresses: escaping, and numbers in groups of three digits.

/// Groups digits in threes, from five digits on. A negative number has a real minus sign.
pub(crate) fn grouped(number: impl ToString) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("−", digits));
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len() > 4 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A name as one segment of a path. Percent-encodes all but the unreserved bytes (RFC 3986, 2.3).
pub(crate) fn path_segment(name: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encoded).collect()
}

/// Removes the characters that set a direction. Where no element isolates a name, they would
/// reorder the words after it.
pub(crate) fn without_bidi_controls(text: &str) -> String {
    const MARKS: [char; 3] = ['\u{61c}', '\u{200e}', '\u{200f}'];
    let sets_direction = |c: char| {
        MARKS.contains(&c) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(sets_direction, "")
}

/// Escapes text for HTML and XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }

    #[test]
    fn long_numbers_are_grouped() {
        let cases = [
            (0, "0"),
            (-999, "−999"),
            (9_999, "9999"),
            (10_000, "10,000"),
            (-123_456, "−123,456"),
            (1_234_567, "1,234,567"),
        ];
        for (number, written) in cases {
            assert_eq!(grouped(number), written);
        }
        assert_eq!(grouped(i128::MAX), "170,141,183,460,469,231,731,687,303,715,884,105,727");
    }
}
