//! Read tokens: the state that a session has seen, as an opaque string that any node can check.

use std::fmt;
use std::str::FromStr;

use counter_core::{ReplicaId, Version, VersionVector};
use data_encoding::BASE64URL_NOPAD;

use crate::protocol::{pack_vector, unpack_vector};

/// The first byte of a token: its format.
const FORMAT: u8 = 1;
/// The most writers that a token may name, which is more than a state holds.
const WRITERS_MAX: usize = 131_072;
/// The longest token that is parsed, in characters: that many writers with five-byte versions.
const CHARACTERS_MAX: usize = WRITERS_MAX * 28;

/// The state that a session has written or read. A node that holds a token shows no less.
///
/// It prints as opaque text of letters, digits, `-` and `_` ([`Display`](fmt::Display) and
/// [`FromStr`]), about 26 characters per writer that it names. A client may keep it in a cookie or
/// send it in a header. A forged token can make a read wait, and nothing else.
///
/// # Examples
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use counter_net::{Discovery, Node, Token};
///
/// # let node = Node::builder().cluster("docs-token").discover(Discovery::None).start().await?;
/// let likes = node.counter("likes")?;
/// likes.add(1)?;
/// let header = likes.token().to_string();
///
/// // Later, perhaps at another node:
/// let token: Token = header.parse()?;
/// assert_eq!(likes.total_at(&token, Duration::from_millis(200)).await?, 1);
/// # node.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(VersionVector);

impl Token {
    pub(super) fn new(versions: VersionVector) -> Self {
        Self(versions)
    }

    pub(super) fn versions(&self) -> &VersionVector {
        &self.0
    }

    /// Adds everything that `other` has seen. O(writers).
    pub fn join(&mut self, other: &Self) {
        self.0.join(&other.0);
    }

    /// Returns true if this token has seen everything that `other` has. O(writers).
    pub fn contains(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Returns true if the token has seen nothing. Every node holds such a token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the writers, each with the latest version seen.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, Version)> + '_ {
        self.0.iter()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&pack_vector(&self.0));
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

/// The text is not a token: it is malformed, too long, or from a later release.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TokenError;

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a read token, or from a later release. Read without it and keep the token you get",
        )
    }
}

impl std::error::Error for TokenError {}

impl FromStr for Token {
    type Err = TokenError;

    /// # Errors
    ///
    /// If [`Display`](fmt::Display) did not write the text.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > CHARACTERS_MAX {
            return Err(TokenError);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError)?;
        let packed = bytes.strip_prefix(&[FORMAT]).ok_or(TokenError)?;
        unpack_vector(packed, WRITERS_MAX).map(Self).map_err(|_| TokenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(writers: u64) -> Token {
        Token((1..=writers).map(|node| (ReplicaId::new(node, 3), node * 1000)).collect())
    }

    #[test]
    fn tokens_read_back() {
        for writers in [0, 1, 5, WRITERS_MAX as u64] {
            assert_eq!(token(writers).to_string().parse(), Ok(token(writers)));
        }
        assert!(token(1).to_string().len() <= 26, "{}", token(1));
    }

    #[test]
    fn malformed_token_is_refused() {
        let sound = token(2).to_string();
        for hostile in [
            "",
            "x",
            "====",
            "AQ==",
            &sound[1..],
            &sound[..sound.len() - 1],
            &format!("{sound}AA"),
            "ZZZZ",
            "\u{0}",
        ] {
            assert_eq!(hostile.parse::<Token>(), Err(TokenError), "{hostile}");
        }
        assert_eq!("A".repeat(CHARACTERS_MAX + 1).parse::<Token>(), Err(TokenError));
        assert_eq!(token(WRITERS_MAX as u64 + 1).to_string().parse::<Token>(), Err(TokenError));
    }

    #[test]
    fn changed_token_is_read_or_refused() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = token(4).to_string().into_bytes();
            for _ in 0..dice.usize(1..4) {
                let at = dice.usize(..bytes.len());
                bytes[at] = dice.u8(..);
            }
            let _read_or_refused = String::from_utf8_lossy(&bytes).parse::<Token>();
        }
    }
}
