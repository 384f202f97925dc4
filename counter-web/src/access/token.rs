//! The service token and the operator token. A service may do more than a stranger, and an operator
//! more than a service. Tokens come from files or variables, because `ps` shows the command line.

use std::fmt;
use std::io::Read;
use std::path::Path;

use subtle::ConstantTimeEq;
use warp::http::header::{AUTHORIZATION, HeaderMap};

use crate::api::error::ApiError;

/// The shortest token, in bytes. A random one of this length cannot be guessed.
const BYTES_MIN: usize = 16;

/// The longest token, in bytes. It fits into a request's head.
const BYTES_MAX: usize = 1024;

/// A secret. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct SecretToken(String);

impl SecretToken {
    /// Reads a token from its file, or from its variable. White space around it is ignored.
    ///
    /// # Errors
    ///
    /// If there are two different tokens, the file cannot be read, or the text is not a token. An
    /// empty variable is an error too: the secret may have failed to arrive. The message never
    /// repeats the text.
    pub(crate) fn read(
        flag: &str,
        file: Option<&Path>,
        variable: &str,
    ) -> Result<Option<Self>, String> {
        let from_file = file.map(|file| {
            let named = file_name(file);
            let text = read_bounded(file).map_err(|error| format!("{flag}{named}: {error}"))?;
            Self::parse(&text).map_err(|why| format!("{flag}{named}: {why}"))
        });
        let from_variable = std::env::var_os(variable).map(|text| {
            let text =
                text.into_string().map_err(|_| format!("{variable}: the token is not UTF-8"))?;
            Self::parse(&text).map_err(|why| format!("{variable}: {why}"))
        });
        match (from_file.transpose()?, from_variable.transpose()?) {
            (Some(file), Some(variable_)) if !file.is(&variable_.0) => Err(format!(
                "{flag} and {variable} hold different tokens: keep one of them, and unset the other"
            )),
            (file, variable) => Ok(file.or(variable)),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                "the token is empty: write one, such as the output of `openssl rand -hex 32`"
                    .to_owned(),
            );
        }
        if !(BYTES_MIN..=BYTES_MAX).contains(&text.len()) {
            let bytes = text.len();
            return Err(format!(
                "the token has {bytes} bytes, and needs {BYTES_MIN} to {BYTES_MAX}: write for \
                 example the output of `openssl rand -hex 32`"
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token has only visible ASCII characters and no spaces, because it \
                        travels in a header"
                .to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Compares in constant time for equal lengths.
    fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

/// A file's name for an error. A name without a slash is left out, as it may be the secret itself.
pub(crate) fn file_name(file: &Path) -> String {
    let name = file.display().to_string();
    if name.contains('/') { format!(" {name}") } else { String::new() }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

fn read_bounded(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(4 * BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// The tokens of this node, if it has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    service: Option<SecretToken>,
    operator: Option<SecretToken>,
}

/// The credentials in the Authorization header of a request.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// No Bearer token, or this node has none to compare with.
    None,
    /// The service token.
    Service,
    /// The operator token.
    Operator,
    /// A Bearer token that is neither.
    Unknown,
}

impl Tokens {
    /// The tokens of this node.
    ///
    /// # Errors
    ///
    /// If both are the same: every service would be an operator.
    pub(crate) fn new(
        service: Option<SecretToken>,
        operator: Option<SecretToken>,
    ) -> Result<Self, String> {
        match (&service, &operator) {
            (Some(service), Some(operator)) if service.is(&operator.0) => {
                Err("the service token and the operator token are the same: make two, or every \
                     service is an operator"
                    .to_owned())
            }
            _ => Ok(Self { service, operator }),
        }
    }

    /// Reads the Authorization header. Schemes other than Bearer are ignored, because they may
    /// belong to a proxy that asks for a password.
    pub(crate) fn credentials(&self, headers: &HeaderMap) -> Credentials {
        if self.service.is_none() && self.operator.is_none() {
            return Credentials::None;
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '));
        let Some((_, token)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        else {
            return Credentials::None;
        };
        let is = |known: &Option<SecretToken>| {
            known.as_ref().is_some_and(|known| known.is(token.trim()))
        };
        // Always compare both.
        match (is(&self.operator), is(&self.service)) {
            (true, _) => Credentials::Operator,
            (false, true) => Credentials::Service,
            (false, false) => Credentials::Unknown,
        }
    }

    /// The error for a stranger who needs a service token: 401, or 403 if this node has no token
    /// that would do.
    pub(crate) fn refuse_stranger(&self) -> ApiError {
        match (&self.service, &self.operator) {
            (None, None) => ApiError::forbidden(
                "only a program on this node's own machine may do this: start the node with \
                 --service-token-file FILE, or with COUNTER_SERVICE_TOKEN set, and send that token",
            ),
            _ => ApiError::unauthorized("send the service token, as Authorization: Bearer TOKEN"),
        }
    }

    /// Accepts an operator.
    ///
    /// # Errors
    ///
    /// 401 for unknown or missing credentials, 403 for a service.
    pub(crate) fn check_operator(&self, credentials: &Credentials) -> Result<(), ApiError> {
        match credentials {
            Credentials::Operator => Ok(()),
            Credentials::Unknown => Err(ApiError::unknown_token()),
            _ if self.operator.is_none() => Err(ApiError::forbidden(
                "this node has no operator token: start it with --operator-token-file FILE, or \
                 with COUNTER_OPERATOR_TOKEN set",
            )),
            Credentials::Service => Err(ApiError::forbidden(
                "the service token may not do this: send the operator token",
            )),
            Credentials::None => Err(ApiError::unauthorized(
                "send the operator token, as Authorization: Bearer TOKEN",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let token = |text| Some(SecretToken::parse(text).unwrap());
        Tokens { service: token("service-service-1"), operator: token("operator-operator") }
    }

    fn judged(header: &str) -> Credentials {
        tokens().credentials(&HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]))
    }

    #[test]
    fn bearer_tokens_are_distinguished() {
        assert!(matches!(judged("Bearer service-service-1"), Credentials::Service));
        assert!(matches!(judged("bearer  operator-operator"), Credentials::Operator));
        for unknown in ["Bearer service-service-2", "Bearer ", "Bearer service-service-12"] {
            assert!(matches!(judged(unknown), Credentials::Unknown), "{unknown}");
        }
        for none in ["Basic dXNlcjpwYXNz", "service-service-1"] {
            assert!(matches!(judged(none), Credentials::None), "{none}");
        }
        let without = Tokens::default()
            .credentials(&HeaderMap::from_iter([(AUTHORIZATION, "Bearer x".parse().unwrap())]));
        assert!(
            matches!(without, Credentials::None),
            "a node without tokens leaves the header to others"
        );
    }

    #[test]
    fn errors_do_not_repeat_a_token() {
        for (text, why) in [
            ("", "empty"),
            ("short-secret", "12 bytes"),
            ("secret with spaces", "visible ASCII"),
            ("secret-secret-ä", "visible ASCII"),
        ] {
            let error = SecretToken::parse(text).expect_err(text);
            assert!(error.contains(why) && (text.is_empty() || !error.contains(text)), "{error}");
        }
        assert!(SecretToken::parse(&"x".repeat(1_025)).is_err());
        assert!(SecretToken::parse(" 16-bytes-at-least\n").is_ok());
    }

    #[test]
    fn tokens_do_not_print() {
        let printed = format!("{:?}", tokens());
        assert!(
            !printed.contains("service-service") && !printed.contains("operator-operator"),
            "{printed}"
        );
    }
}
