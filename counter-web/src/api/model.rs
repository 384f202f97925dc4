//! The shapes of the JSON that goes in and out: numbers that JavaScript can hold, counters,
//! messages, amounts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use counter_net::{CounterView, RegionView};
use serde::{Deserialize, Serialize, Serializer};

use crate::api::bounds::{AMOUNT_MAX, ID_BYTES_MAX};
use crate::api::code::Code;
use crate::api::error::ApiError;

/// The greatest integer that a JSON number is sent as; beyond it goes a decimal string.
const PLAIN_INTEGER_MAX: i128 = (1 << 53) - 1;

/// The longest counter name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// An integer that is a JSON number within ±(2^53 - 1) and a decimal string beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i128);

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(plain) if self.0.abs() <= PLAIN_INTEGER_MAX => serializer.serialize_i64(plain),
            _ => serializer.collect_str(&self.0),
        }
    }
}

/// One region of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RegionJson {
    pub(crate) value: Integer,
    pub(crate) connected: u64,
    pub(crate) nodes: u64,
}

impl From<&RegionView> for RegionJson {
    fn from(region: &RegionView) -> Self {
        Self { value: Integer(region.value), connected: region.connected, nodes: region.nodes }
    }
}

/// Regions by code; borrowed, since it incarnations only while it is written out.
pub(crate) type RegionsJson<'a> = BTreeMap<&'a str, RegionJson>;

/// All regions of `view`.
pub(crate) fn regions_json(view: &CounterView) -> RegionsJson<'_> {
    view.regions.iter().map(|(code, region)| (code.as_str(), region.into())).collect()
}

/// The answer to `GET /api/counters/{name}`.
#[derive(Serialize)]
pub(crate) struct CounterJson<'a> {
    pub(crate) name: &'a str,
    pub(crate) total: Integer,
    pub(crate) regions: RegionsJson<'a>,
    pub(crate) state_hash: String,
    pub(crate) synced: bool,
}

impl<'a> From<&'a CounterView> for CounterJson<'a> {
    fn from(view: &'a CounterView) -> Self {
        Self {
            name: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        }
    }
}

/// The answer to an add by HTTP.
#[derive(Serialize)]
pub(crate) struct AddedJson<'a> {
    pub(crate) total: Integer,
    pub(crate) region: &'a str,
    pub(crate) value: Integer,
    pub(crate) id: &'a str,
}

/// What the server says on a socket, and, of these, `state` and `change` as server-sent events.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ServerMessage<'a> {
    /// First on every socket: everything.
    State {
        counter: &'a str,
        total: Integer,
        regions: RegionsJson<'a>,
        region: &'a str,
        replica: &'a str,
        state_hash: String,
        synced: bool,
    },
    /// The regions that changed, whole and absolute.
    Change { total: Integer, regions: RegionsJson<'a>, state_hash: String, synced: bool },
    /// The add with this id is applied and not yet on the disk. Precedes every state and change
    /// that contains it.
    Applied { id: &'a str, repeated: bool },
    /// The add with this id is applied, and on the disk where a data directory is set. `repeated`:
    /// by an earlier message, so this one added nothing. Without a data directory it precedes every
    /// state and change that contains the add.
    Ack { id: &'a str, repeated: bool },
    /// Something the client sent was refused; with an id, that add was not applied.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        error: Code,
        message: &'a str,
    },
    /// The answer to a ping, with its own `t`.
    Pong { t: &'a serde_json::Number },
}

impl ServerMessage<'_> {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a client says on a socket. `amount` and `id` are read loosely here and judged by
/// [`Amount::read`] and [`add_id`], for clear answers.
pub(crate) enum ClientMessage {
    /// Add this amount, once for this id.
    Add { amount: Option<serde_json::Value>, id: Option<String> },
    /// Asks for a pong.
    Ping { t: serde_json::Number },
}

/// All fields of all messages: read in one pass, where a tagged enum would first copy the whole
/// message to find its tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    amount: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
    t: Option<serde_json::Value>,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// A message of no known form, or with a field that is not known: nothing of it is done.
    pub(crate) fn read(text: &str) -> Result<Self, BadMessage> {
        if !is_object(text.as_bytes()) {
            return Err(BadMessage { id: None, why: FORMS.to_owned() });
        }
        let said: Said<'_> =
            serde_json::from_str(text).map_err(|error| BadMessage::of(text, &error))?;
        match (&*said.kind, said.id, said.t) {
            ("add", None, _) => Ok(Self::Add { amount: said.amount, id: None }),
            ("add", Some(serde_json::Value::String(id)), _) => {
                Ok(Self::Add { amount: said.amount, id: Some(id) })
            }
            ("ping", _, Some(serde_json::Value::Number(t))) => Ok(Self::Ping { t }),
            _ => Err(BadMessage { id: None, why: FORMS.to_owned() }),
        }
    }
}

const FORMS: &str =
    "send {\"type\":\"add\",\"amount\":1,\"id\":\"…\"} or {\"type\":\"ping\",\"t\":1}";

/// A message that was not understood.
#[derive(Debug)]
pub(crate) struct BadMessage {
    /// The id in it, so that its sender knows which add was not applied.
    pub(crate) id: Option<String>,
    pub(crate) why: String,
}

impl BadMessage {
    fn of(text: &str, error: &serde_json::Error) -> Self {
        // It may be valid JSON all the same, with an id.
        let id = serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .and_then(|message| Some(message.get("id")?.as_str()?.to_owned()));
        let id = id.filter(|id| add_id(id).is_ok());
        let why = if error.is_data() {
            format!("{}: {FORMS}", shortened(error))
        } else {
            FORMS.to_owned()
        };
        Self { id, why }
    }
}

/// True where JSON text is an object, if it is anything. An array would be read as fields in their
/// order.
pub(crate) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

/// What a JSON reader complains of. It repeats names from the input, which may be long.
pub(crate) fn shortened(error: &serde_json::Error) -> String {
    error.to_string().chars().take(200).collect()
}

/// A checked amount: an integer, not 0, within ±[`AMOUNT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount(i64);

impl Amount {
    /// Judges the `amount` of a JSON body or message.
    pub(crate) fn read(value: Option<&serde_json::Value>) -> Result<Self, ApiError> {
        match value {
            None | Some(serde_json::Value::Null) => {
                Err(ApiError::bad_amount("the amount is missing"))
            }
            Some(serde_json::Value::Number(number)) => match number.as_i64() {
                Some(amount) => Self::new(amount),
                // -0 is no integer of JSON's reader.
                None if number.as_f64() == Some(0.0) => Self::new(0),
                None => Err(ApiError::bad_amount("the amount is not an integer of this size")),
            },
            Some(_) => Err(ApiError::bad_amount("the amount is not a JSON number")),
        }
    }

    /// Judges the `amount` of a form.
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

    /// The signed number of clicks.
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

/// Decodes the `%XX` of a path segment or of a query's value, and checks it as a counter's name.
pub(crate) fn read_name(encoded: &str) -> Result<String, ApiError> {
    let name = percent_decode(encoded).ok_or_else(ApiError::bad_name)?;
    check_name(&name).map(|()| name)
}

/// `None` where a `%` is not followed by two hexadecimal digits or the result is no UTF-8.
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

/// The value of `key` in a query or a form (`application/x-www-form-urlencoded`); `Some(Err(()))`
/// where it is not well encoded.
pub(crate) fn form_value(form: &str, key: &str) -> Option<Result<String, ()>> {
    let pairs = form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == key)?;
    Some(percent_decode(&value.replace('+', " ")).ok_or(()))
}

/// Begins the ids in the answers to adds that came without one.
const ANSWERED: &str = "answered-";

/// Names an add whose sender gave no id, in the answer alone; never given twice.
pub(crate) fn fresh_id() -> String {
    static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{ANSWERED}{:016x}-{}", *START, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether an id is from such an answer, of any node: what it names is applied, so that sending it
/// again is a repeat.
pub(crate) fn is_answered(id: &str) -> bool {
    let parts = id.strip_prefix(ANSWERED).and_then(|rest| rest.split_once('-'));
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    parts.is_some_and(|(start, number)| {
        start.len() == 16 && start.bytes().all(hex) && number.parse::<u64>().is_ok()
    })
}

/// Checks the id of an add: 1-64 bytes without control characters.
pub(crate) fn add_id(id: &str) -> Result<(), ApiError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(ApiError::bad_id());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_beyond_two_to_the_53_are_strings() {
        let text = |value| serde_json::to_string(&Integer(value)).unwrap();
        assert_eq!(text(PLAIN_INTEGER_MAX), "9007199254740991");
        assert_eq!(text(PLAIN_INTEGER_MAX + 1), "\"9007199254740992\"");
        assert_eq!(text(-PLAIN_INTEGER_MAX - 1), "\"-9007199254740992\"");
        assert_eq!(text(i128::MAX), format!("\"{}\"", i128::MAX));
    }

    #[test]
    fn only_whole_amounts_within_bounds_are_taken() {
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
    fn messages_are_read_in_any_order() {
        let add = |text| match ClientMessage::read(text) {
            Ok(ClientMessage::Add { amount, id }) => (amount, id),
            _ => panic!("{text} is an add"),
        };
        assert_eq!(
            add(r#"{"id":"a:1","amount":-2,"type":"add","t":"x"}"#),
            (Some(json!(-2)), Some("a:1".into()))
        );
        assert_eq!(add(r#"{"type":"\u0061dd","amount":null}"#), (None, None));
        let ping = ClientMessage::read(r#"{"t":12.5,"type":"ping","id":5}"#);
        assert!(matches!(ping, Ok(ClientMessage::Ping { t }) if t.as_f64() == Some(12.5)));
        for unknown in [
            r#"{"type":"add","id":5}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"ping","t":"1"}"#,
            r#"{"type":"Add"}"#,
            "{}",
            "[]",
            r#"["add",3,"a:1",null]"#,
            "1",
            "",
        ] {
            assert!(ClientMessage::read(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn unknown_fields_are_named_and_the_id_is_kept() {
        let bad = |text| ClientMessage::read(text).err().unwrap();
        let misspelt = bad(r#"{"type":"add","amuont":1,"id":"a:1"}"#);
        assert!(
            misspelt.id.as_deref() == Some("a:1")
                && misspelt.why.contains("unknown field `amuont`"),
            "{misspelt:?}"
        );
        assert!(bad(r#"{"type":"add","id":5,"x":1}"#).id.is_none());
        assert!(bad(&format!(r#"{{"{}":1}}"#, "x".repeat(2_000))).why.len() < 500);
    }

    #[test]
    fn names_are_decoded_and_judged() {
        assert_eq!(read_name("caf%C3%A9%2Fa").unwrap(), "café/a");
        for bad in ["", "%", "%4", "%zz", "%FF", "a%00b", "%0A"] {
            assert!(read_name(bad).is_err(), "{bad}");
        }
        assert!(read_name(&"x".repeat(128)).is_ok() && read_name(&"x".repeat(129)).is_err());
    }

    #[test]
    fn forms_give_their_values() {
        assert_eq!(form_value("a=1&amount=%2B5&b", "amount"), Some(Ok("+5".into())));
        assert_eq!(form_value("a=1", "amount"), None);
        assert_eq!(form_value("amount=%F", "amount"), Some(Err(())));
    }
}
