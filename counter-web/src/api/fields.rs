//! The fields of requests and messages, checked: amounts, ids and names, and the encodings of paths
//! and forms.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::bounds::{AMOUNT_MAX, ID_BYTES_MAX, NAME_BYTES_MAX};
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::json::is_object;

/// A checked amount: an integer, not 0, within ±[`AMOUNT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount(i64);

impl Amount {
    /// Reads the `amount` of a JSON body or message.
    pub(crate) fn read(value: Option<&serde_json::Value>) -> Result<Self, ApiError> {
        match value {
            None | Some(serde_json::Value::Null) => {
                Err(ApiError::bad_amount("the amount is missing"))
            }
            Some(serde_json::Value::Number(number)) => match number.as_i64() {
                Some(amount) => Self::new(amount),
                // serde_json reads -0 as a float.
                None if number.as_f64() == Some(0.0) => Self::new(0),
                None => Err(ApiError::bad_amount("the amount is not an integer of this size")),
            },
            Some(_) => Err(ApiError::bad_amount("the amount is not a JSON number")),
        }
    }

    /// Reads the `amount` of a form.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        text.trim()
            .parse()
            .map_err(|_| ApiError::bad_amount("the amount is not an integer of this size"))
            .and_then(Self::new)
    }

    fn new(amount: i64) -> Result<Self, ApiError> {
        match amount {
            0 => Err(ApiError::bad_amount("the amount is 0")),
            within if within.unsigned_abs() <= AMOUNT_MAX.unsigned_abs() => Ok(Self(within)),
            _ => Err(ApiError::bad_amount("the amount is too large")),
        }
    }

    /// The amount, negative for a subtraction.
    pub(crate) fn get(self) -> i64 {
        self.0
    }
}

/// Checks a counter's name: 1-128 bytes of UTF-8 without control characters.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(ApiError::bad_name());
    }
    Ok(())
}

/// Percent-decodes a path segment, and checks it as a counter's name.
pub(crate) fn read_name(encoded: &str) -> Result<String, ApiError> {
    let name = percent_decode(encoded).ok_or_else(ApiError::bad_name)?;
    check_name(&name).map(|()| name)
}

/// `None` if a `%` lacks its two hexadecimal digits, or the result is not UTF-8.
pub(crate) fn percent_decode(encoded: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The value of `key` in a query or a form (`application/x-www-form-urlencoded`). `Some(Err(()))`
/// if its encoding is wrong.
pub(crate) fn form_value(form: &str, key: &str) -> Option<Result<String, ()>> {
    let pairs = form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == key)?;
    Some(percent_decode(&value.replace('+', " ")).ok_or(()))
}

/// The prefix of ids in the responses to adds that came without one.
const GENERATED_PREFIX: &str = "answered-";

/// A new id for the response to an add that came without one. The add itself was applied without an
/// id.
pub(crate) fn fresh_id() -> String {
    static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{GENERATED_PREFIX}{:016x}-{}", *START, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// True for an id that some node made with [`fresh_id`]. Its add was applied, so an add with this
/// id is a repeat.
pub(crate) fn is_generated(id: &str) -> bool {
    let parts = id.strip_prefix(GENERATED_PREFIX).and_then(|rest| rest.split_once('-'));
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    parts.is_some_and(|(start, number)| {
        start.len() == 16 && start.bytes().all(hex) && number.parse::<u64>().is_ok()
    })
}

/// Checks the id of an add or a page: 1-64 bytes without control characters.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(ApiError::bad_id());
    }
    Ok(())
}

/// Reads a body that is a JSON object. `example` is one, for the error.
///
/// # Errors
///
/// 400 if it is something else, or has a field that is not known.
pub(crate) fn read_object<'a, T: serde::Deserialize<'a>>(
    body: &'a [u8],
    example: &str,
) -> Result<T, ApiError> {
    if !is_object(body) {
        return Err(ApiError::bad_request(
            Code::BadJson,
            format!("the body is not a JSON object: write {example}"),
        ));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad_json(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_bounded_integers() {
        for good in [json!(1), json!(-1), json!(1_000_000), json!(-1_000_000)] {
            assert!(Amount::read(Some(&good)).is_ok(), "{good}");
        }
        let huge: serde_json::Value =
            serde_json::from_str("1000000000000000000000000000000").unwrap();
        for bad in [
            json!(0),
            json!(1.5),
            json!(1.0),
            json!("1"),
            json!(null),
            json!([1]),
            json!(1_000_001),
            json!(-1_000_001),
            json!(u64::MAX),
            huge,
        ] {
            assert!(Amount::read(Some(&bad)).is_err(), "{bad}");
        }
        assert!(Amount::read(None).is_err());
    }

    #[test]
    fn names_are_decoded_and_checked() {
        assert_eq!(read_name("caf%C3%A9%2Fa").unwrap(), "café/a");
        for bad in ["", "%", "%4", "%zz", "%FF", "a%00b", "%0A"] {
            assert!(read_name(bad).is_err(), "{bad}");
        }
        assert!(read_name(&"x".repeat(128)).is_ok() && read_name(&"x".repeat(129)).is_err());
    }

    #[test]
    fn form_values_are_decoded() {
        assert_eq!(form_value("a=1&amount=%2B5&b", "amount"), Some(Ok("+5".into())));
        assert_eq!(form_value("a=1", "amount"), None);
        assert_eq!(form_value("amount=%F", "amount"), Some(Err(())));
    }
}
