//! The id of an add: how it is read, and which entry remembers it.

use smallvec::SmallVec;

use crate::dedup::chunk::ID_CHUNK;
use crate::dedup::entry::EntryKind;
use crate::error::WriteError;

/// The longest id of an add, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// What is known of an id: whether its add was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdStatus {
    New,
    Applied,
    /// The client's entries are forgotten up to this number or beyond, so nobody can tell.
    CannotTell,
}

/// The owned name of an entry. It has at most an id, plus 16 bytes before it or 8 after it.
pub(crate) type EntryName = SmallVec<[u8; 96]>;

/// The name of the entry for one chunk of a client's sequence.
pub(crate) fn chunk_name(client: &[u8], sequence: u64) -> EntryName {
    let mut name = EntryName::from_slice(client);
    name.extend_from_slice(&(sequence / ID_CHUNK).to_be_bytes());
    name
}

/// The client in the name of a chunk's entry.
pub(crate) fn client_of(name: &[u8]) -> &[u8] {
    &name[..name.len().saturating_sub(8)]
}

/// The parsed id of an add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddId<'a> {
    Numbered { client: &'a str, sequence: u64 },
    Single(&'a str),
}

impl<'a> AddId<'a> {
    /// `<client>:<sequence>` if a decimal number without leading zeros follows the last colon, else
    /// a single id.
    pub(crate) fn read(id: &'a str) -> Result<Self, WriteError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(WriteError::IdOutOfRange);
        }
        let parts = id.rsplit_once(':').filter(|(client, digits)| {
            let shortest = digits.len() == 1 || !digits.starts_with('0');
            !client.is_empty() && shortest && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let numbered = parts.and_then(|(client, digits)| {
            Some(Self::Numbered { client, sequence: digits.parse().ok()? })
        });
        Ok(numbered.unwrap_or(Self::Single(id)))
    }

    /// The kind and the name of its entry at any writer.
    pub(crate) fn place(&self) -> (EntryKind, EntryName) {
        match self {
            Self::Numbered { client, sequence } => {
                (EntryKind::Client, chunk_name(client.as_bytes(), *sequence))
            }
            Self::Single(id) => (EntryKind::Single, EntryName::from_slice(id.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ending_in_a_number_belong_to_clients() {
        assert_eq!(AddId::read("c:7"), Ok(AddId::Numbered { client: "c", sequence: 7 }));
        assert_eq!(AddId::read("a:b:0"), Ok(AddId::Numbered { client: "a:b", sequence: 0 }));
        for single in ["c", "c:", ":7", "c:07", "c:-7", "c:+7", "c:18446744073709551616"] {
            assert_eq!(AddId::read(single), Ok(AddId::Single(single)));
        }
        assert!(
            AddId::read("").is_err()
                && AddId::read(&"x".repeat(65)).is_err()
                && AddId::read(&"x".repeat(64)).is_ok()
        );
    }
}
