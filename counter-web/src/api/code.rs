//! The error codes for programs, in one list. The OpenAPI document repeats it, and a test compares
//! the two.

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($name:ident = $text:literal,)*) => {
        /// The reason for a refusal, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name,)*
        }

        impl Code {
            /// Every code.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    BadAmount = "bad_amount",
    BadBody = "bad_body",
    BadForm = "bad_form",
    BadHost = "bad_host",
    BadId = "bad_id",
    BadJson = "bad_json",
    BadMessage = "bad_message",
    BadName = "bad_name",
    BadRequest = "bad_request",
    BadToken = "bad_token",
    Behind = "behind",
    CannotTell = "cannot_tell",
    CounterExpired = "counter_expired",
    CounterFull = "counter_full",
    Forbidden = "forbidden",
    MethodNotAllowed = "method_not_allowed",
    NameNotAllowed = "name_not_allowed",
    NoSwitch = "no_switch",
    NotAWebSocket = "not_a_websocket",
    NotDurable = "not_durable",
    NotFound = "not_found",
    NotReady = "not_ready",
    RateLimited = "rate_limited",
    Stopping = "stopping",
    TooLarge = "too_large",
    TooManyConnections = "too_many_connections",
    Unauthorized = "unauthorized",
    UnsupportedMediaType = "unsupported_media_type",
    WrongOrigin = "wrong_origin",
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_document_lists_every_code() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../assets/openapi.json")).unwrap();
        let named = document.pointer("/components/schemas/Error/properties/error/enum").unwrap();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(named, &serde_json::json!(codes));
    }
}
