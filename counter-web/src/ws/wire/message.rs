//! The messages of a socket, in both directions. `socket` handles a client's message and sends the
//! reply. `assets/openapi.json` documents every message.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::api::code::Code;
use crate::api::counters::batch::{Object, SentAdd, first_unreadable};
use crate::api::error::{ApiError, shortened};
use crate::api::fields::check_id;
use crate::api::json::{Integer, RegionsJson, is_object};

/// A message to the client. `state` and `change` go out as server-sent events too.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ServerMessage<'a> {
    /// The whole counter. The first message on every socket, and the first of each watched counter.
    State {
        counter: &'a str,
        total: Integer,
        regions: RegionsJson<'a>,
        region: &'a str,
        replica: &'a str,
        state_hash: String,
        synced: bool,
    },
    /// The regions that changed, with absolute values. Names its counter on sockets that watch.
    Change {
        #[serde(skip_serializing_if = "Option::is_none")]
        counter: Option<&'a str>,
        total: Integer,
        regions: RegionsJson<'a>,
        state_hash: String,
        synced: bool,
    },
    /// The add with this id is applied, but not on the disk yet. Comes before every state and
    /// change that contains it.
    Applied { id: &'a str, repeated: bool },
    /// The add with this id is applied, and on the disk if there is a data directory. `repeated` is
    /// true if an earlier message applied it, so that this one added nothing. Without a data
    /// directory, this comes before every state and change that contains the add.
    Ack { id: &'a str, repeated: bool },
    /// A message was refused. The add with this id was not applied. With an `index`, it is the
    /// first bad add of a batch, and none of the batch was applied.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<usize>,
        error: Code,
        message: &'a str,
    },
    /// The reply to a ping, with its `t`.
    Pong { t: &'a serde_json::Number },
}

impl<'a> ServerMessage<'a> {
    /// The refusal of a message, or of the add with this id.
    pub(crate) fn refusal(id: Option<&'a str>, error: &'a ApiError) -> Self {
        Self::Error { id, index: error.index, error: error.code, message: &error.message }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A message from the client. `amount` and `id` are checked later, by
/// [`Amount::read`](crate::api::fields::Amount::read) and [`check_id`], for clear errors.
pub(crate) enum ClientMessage<'a> {
    /// Add this amount, once for this id.
    Add { amount: Option<serde_json::Value>, id: Option<String> },
    /// Add all of these, each once for its id, or none.
    Adds { adds: Vec<Object<SentAdd<'a>>> },
    /// Follow these counters too, instead of those of an earlier watch. The names are checked
    /// later, by [`WatchedNames::read`](crate::ws::subscriptions::WatchedNames::read).
    Watch { counters: Vec<String> },
    /// Ask for a pong.
    Ping { t: serde_json::Number },
}

/// The fields of all messages, for reading in one pass. A tagged enum would copy the whole message
/// first to find its tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    amount: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
    #[serde(borrow)]
    adds: Option<Vec<Object<SentAdd<'a>>>>,
    counters: Option<Vec<String>>,
    t: Option<serde_json::Value>,
}

impl<'a> ClientMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// For an unknown form or an unknown field. Nothing was done.
    pub(crate) fn read(text: &'a str) -> Result<Self, BadMessage> {
        let unknown = || BadMessage { id: None, index: None, why: FORMS.to_owned() };
        if !is_object(text.as_bytes()) {
            return Err(unknown());
        }
        let fields: MessageFields<'_> =
            serde_json::from_str(text).map_err(|error| BadMessage::of(text, &error))?;
        if let ("adds", Some(adds)) = (&*fields.kind, fields.adds) {
            return Ok(Self::Adds { adds });
        }
        if let ("watch", Some(counters)) = (&*fields.kind, fields.counters) {
            return Ok(Self::Watch { counters });
        }
        match (&*fields.kind, fields.id, fields.t) {
            ("add", None, _) => Ok(Self::Add { amount: fields.amount, id: None }),
            ("add", Some(serde_json::Value::String(id)), _) => {
                Ok(Self::Add { amount: fields.amount, id: Some(id) })
            }
            ("ping", _, Some(serde_json::Value::Number(t))) => Ok(Self::Ping { t }),
            _ => Err(unknown()),
        }
    }
}

const FORMS: &str = "send {\"type\":\"add\",\"amount\":1,\"id\":\"…\"}, \
     {\"type\":\"adds\",\"adds\":[{\"counter\":\"…\",\"amount\":1,\"id\":\"…\"}]}, \
     {\"type\":\"watch\",\"counters\":[\"…\"]} or {\"type\":\"ping\",\"t\":1}";

/// Why a message could not be read.
#[derive(Debug)]
pub(crate) struct BadMessage {
    /// The id in the message, so that the client knows which add was not applied.
    pub(crate) id: Option<String>,
    /// The index of the first add of a batch that could not be read.
    pub(crate) index: Option<usize>,
    pub(crate) why: String,
}

impl BadMessage {
    fn of(text: &str, error: &serde_json::Error) -> Self {
        // The text may still be valid JSON with an id.
        let sent = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
        let id = sent.get("id").and_then(|id| id.as_str()).filter(|id| check_id(id).is_ok());
        let (index, id) = match first_unreadable(&sent) {
            Some((index, id)) => (Some(index), id),
            None => (None, id.map(str::to_owned)),
        };
        let why = if error.is_data() {
            format!("{}: {FORMS}", shortened(error))
        } else {
            FORMS.to_owned()
        };
        Self { id, index, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_come_in_any_order() {
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
    fn batch_borrows_its_adds() {
        let adds = |text| match ClientMessage::read(text) {
            Ok(ClientMessage::Adds { adds }) => adds,
            _ => panic!("{text} is a batch"),
        };
        let two = adds(r#"{"adds":[{"amount":1,"id":"a:1"},{"id":"a:2"}],"type":"adds"}"#);
        assert_eq!(
            two.iter().map(|Object(add)| add.id()).collect::<Vec<_>>(),
            [Some("a:1"), Some("a:2")]
        );
        assert!(adds(r#"{"type":"adds","adds":[]}"#).is_empty());
        for bad in [r#"{"type":"adds"}"#, r#"{"type":"add","adds":[],"id":5}"#] {
            assert!(ClientMessage::read(bad).is_err(), "{bad}");
        }
        let bad = r#"{"type":"adds","adds":[{"id":"a:1"},{"id":"a:2","amuont":1}]}"#;
        let bad = ClientMessage::read(bad).err().unwrap();
        assert_eq!((bad.id.as_deref(), bad.index), (Some("a:2"), Some(1)));
    }

    #[test]
    fn watch_has_a_list_of_names() {
        let watch = |text| match ClientMessage::read(text) {
            Ok(ClientMessage::Watch { counters }) => counters,
            _ => panic!("{text} is a watch"),
        };
        assert_eq!(watch(r#"{"counters":["a","b"],"type":"watch"}"#), ["a", "b"]);
        assert!(watch(r#"{"type":"watch","counters":[]}"#).is_empty());
        for bad in [
            r#"{"type":"watch"}"#,
            r#"{"type":"watch","counters":null}"#,
            r#"{"type":"watch","counters":"a"}"#,
            r#"{"type":"watch","counters":[1]}"#,
            r#"{"type":"watch","counters":["a"],"more":1}"#,
        ] {
            assert!(ClientMessage::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_field_is_named_and_id_kept() {
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
}
