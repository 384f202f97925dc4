//! The messages of a socket, in both directions. `socket` handles a client's message and sends the
//! reply. `assets/openapi.json` documents every message.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::api::code::Code;
use crate::api::error::shortened;
use crate::api::fields::add_id;
use crate::api::json::{Integer, RegionsJson, is_object};

/// A message to the client. `state` and `change` go out as server-sent events too.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ServerMessage<'a> {
    /// The whole counter. The first message on every socket.
    State {
        counter: &'a str,
        total: Integer,
        regions: RegionsJson<'a>,
        region: &'a str,
        replica: &'a str,
        state_hash: String,
        synced: bool,
    },
    /// The regions that changed, with absolute values.
    Change { total: Integer, regions: RegionsJson<'a>, state_hash: String, synced: bool },
    /// The add with this id is applied, and not on the disk yet. Comes before every state and
    /// change that contains it.
    Applied { id: &'a str, repeated: bool },
    /// The add with this id is applied, and on the disk if there is a data directory. `repeated` is
    /// true if an earlier message applied it, so that this one added nothing. Without a data
    /// directory, this comes before every state and change that contains the add.
    Ack { id: &'a str, repeated: bool },
    /// A message was refused. The add with this id was not applied.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        error: Code,
        message: &'a str,
    },
    /// The reply to a ping, with its `t`.
    Pong { t: &'a serde_json::Number },
}

impl ServerMessage<'_> {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A message from the client. `amount` and `id` are checked later, by
/// [`Amount::read`](crate::api::fields::Amount::read) and [`add_id`], for clear errors.
pub(crate) enum ClientMessage {
    /// Add this amount, once for this id.
    Add { amount: Option<serde_json::Value>, id: Option<String> },
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
    t: Option<serde_json::Value>,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// For an unknown form or an unknown field. Nothing was done.
    pub(crate) fn read(text: &str) -> Result<Self, BadMessage> {
        if !is_object(text.as_bytes()) {
            return Err(BadMessage { id: None, why: FORMS.to_owned() });
        }
        let fields: MessageFields<'_> =
            serde_json::from_str(text).map_err(|error| BadMessage::of(text, &error))?;
        match (&*fields.kind, fields.id, fields.t) {
            ("add", None, _) => Ok(Self::Add { amount: fields.amount, id: None }),
            ("add", Some(serde_json::Value::String(id)), _) => {
                Ok(Self::Add { amount: fields.amount, id: Some(id) })
            }
            ("ping", _, Some(serde_json::Value::Number(t))) => Ok(Self::Ping { t }),
            _ => Err(BadMessage { id: None, why: FORMS.to_owned() }),
        }
    }
}

const FORMS: &str =
    "send {\"type\":\"add\",\"amount\":1,\"id\":\"…\"} or {\"type\":\"ping\",\"t\":1}";

/// Why a message could not be read.
#[derive(Debug)]
pub(crate) struct BadMessage {
    /// The id in the message, so that the client knows which add was not applied.
    pub(crate) id: Option<String>,
    pub(crate) why: String,
}

impl BadMessage {
    fn of(text: &str, error: &serde_json::Error) -> Self {
        // The text may still be valid JSON with an id.
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
