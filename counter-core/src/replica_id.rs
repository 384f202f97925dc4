//! The id of one writer, which is one incarnation of one node.

use std::fmt;
use std::str::FromStr;

/// The id of one writer of cells. A node that starts again is a new writer: same `node`, greater
/// `incarnation`.
///
/// Written as `0123456789abcdef-0123456789abcdef`.
///
/// # Examples
/// ```
/// use counter_core::ReplicaId;
/// let id: ReplicaId = "00000000000000aa-0000000100000007".parse()?;
/// assert_eq!(id, ReplicaId::new(0xaa, (1 << 32) + 7));
/// assert!(id.next_incarnation() > id);
/// # Ok::<(), counter_core::ParseReplicaIdError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The node; in a network, a hash of its public key.
    pub node: u64,
    /// The incarnation of that node; grows with every start.
    pub incarnation: u64,
}

impl ReplicaId {
    /// Bytes of an id on the wire: both numbers, big-endian, so that bytes sort as ids do.
    pub const BYTES: usize = 16;

    /// The id of one incarnation of a node.
    pub const fn new(node: u64, incarnation: u64) -> Self {
        Self { node, incarnation }
    }

    /// The earliest incarnation that may follow this one of the same node: the next in the upper
    /// half of the number. Earlier releases keep only that half of a folded incarnation.
    pub fn next_incarnation(self) -> Self {
        Self { incarnation: ((self.incarnation >> 32) + 1) << 32, ..self }
    }

    /// The wire form.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.node.to_be_bytes());
        bytes[8..].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes
    }

    /// Reads the wire form.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { node: (number >> 64) as u64, incarnation: number as u64 }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.node, self.incarnation)
    }
}

impl FromStr for ReplicaId {
    type Err = ParseReplicaIdError;

    fn from_str(text: &str) -> Result<Self, ParseReplicaIdError> {
        const SHAPE: ParseReplicaIdError = ParseReplicaIdError(());
        let hex = |part: &str| match part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit())
        {
            true => u64::from_str_radix(part, 16).map_err(|_| SHAPE),
            false => Err(SHAPE),
        };
        let (node, incarnation) = text.split_once('-').ok_or(SHAPE)?;
        Ok(Self { node: hex(node)?, incarnation: hex(incarnation)? })
    }
}

/// The text is not a [`ReplicaId`], which has 16 hexadecimal digits, a hyphen, and 16 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseReplicaIdError(());

impl fmt::Display for ParseReplicaIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a replica id is 16 hexadecimal digits, a hyphen, 16 more")
    }
}

impl std::error::Error for ParseReplicaIdError {}

impl From<ReplicaId> for String {
    fn from(id: ReplicaId) -> Self {
        format!("{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_read_back() {
        let id = ReplicaId::new(0x0123_4567_89ab_cdef, 7);
        assert_eq!(id.to_string(), "0123456789abcdef-0000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ReplicaId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn a_sign_or_a_short_half_is_refused() {
        for text in [
            "",
            "-",
            "+123456789abcdef-0000000000000007",
            "0123456789abcdef-7",
            "0123456789abcdef0000000000000007",
        ] {
            assert!(text.parse::<ReplicaId>().is_err(), "{text}");
        }
    }
}
