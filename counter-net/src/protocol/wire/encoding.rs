//! How messages become bytes and back. The envelope is CBOR; hashes, ids and version vectors are
//! packed byte strings.

use counter_core::{DecodeError, Delta, ReplicaId, VersionVector};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;

use crate::protocol::interface::{MESSAGE_BYTES_MAX, Refusal};

/// The version of requests, answers and gossip that this release speaks.
pub(crate) const VERSION: u64 = 1;

/// A hash of 128 bits, as 16 bytes, big-endian.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hash(pub u128);

/// A replica id, as 16 bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Id(pub ReplicaId);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_be_bytes())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(u128::from_be_bytes(sixteen(deserializer)?)))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(ReplicaId::from_bytes(sixteen(deserializer)?)))
    }
}

fn sixteen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let bytes = ByteBuf::deserialize(deserializer)?;
    bytes.as_slice().try_into().map_err(|_| D::Error::custom("expected 16 bytes"))
}

/// The bytes of a message.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Writing these structs into a Vec cannot fail, because no map has a key that CBOR lacks. The
    // far end refuses an empty message.
    serde_cbor::to_vec(message).unwrap_or_default()
}

/// Reads a message of at most `bytes_max`. Tells a malformed one from one of another version.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, Refusal> {
    check_length(bytes, bytes_max)?;
    // The version is read first, because a later one may have changed the meaning of every other
    // field.
    match serde_cbor::from_slice::<Versioned>(bytes) {
        Ok(Versioned { version: VERSION }) => {
            serde_cbor::from_slice(bytes).map_err(|_| Refusal::Malformed)
        }
        Ok(_) => Err(Refusal::UnknownVersion),
        Err(_) => Err(Refusal::Malformed),
    }
}

/// Checks that a message is not longer than `bytes_max`, nor than [`MESSAGE_BYTES_MAX`].
pub(crate) fn check_length(bytes: &[u8], bytes_max: usize) -> Result<(), Refusal> {
    if bytes.len() > bytes_max.min(MESSAGE_BYTES_MAX) { Err(Refusal::TooLarge) } else { Ok(()) }
}

/// Reads a delta. Tells a malformed one from one of a later format.
pub(crate) fn decode_delta(bytes: &[u8]) -> Result<Delta, Refusal> {
    Delta::decode(bytes).map_err(|error| match error {
        DecodeError::UnknownFormat(_) => Refusal::UnknownVersion,
        _ => Refusal::Malformed,
    })
}

#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "v")]
    version: u64,
}

/// A version vector as bytes, ascending by writer: the writer's 16 bytes, then its version as a
/// LEB128 number.
pub(crate) fn pack_vector(vector: &VersionVector) -> ByteBuf {
    let mut bytes = Vec::with_capacity(vector.len() * (ReplicaId::BYTES + 3));
    for (replica, version) in vector.iter() {
        bytes.extend_from_slice(&replica.to_bytes());
        push_varint(&mut bytes, version);
    }
    ByteBuf::from(bytes)
}

/// Reads [`pack_vector`], of at most `replicas_max` writers.
pub(crate) fn unpack_vector(
    mut bytes: &[u8],
    replicas_max: usize,
) -> Result<VersionVector, Refusal> {
    let mut vector = VersionVector::new();
    let mut last = None;
    while !bytes.is_empty() {
        let (id, rest) =
            bytes.split_first_chunk::<{ ReplicaId::BYTES }>().ok_or(Refusal::Malformed)?;
        let (version, rest) = take_varint(rest).ok_or(Refusal::Malformed)?;
        let replica = ReplicaId::from_bytes(*id);
        if version == 0 || last.is_some_and(|last| last >= replica) {
            return Err(Refusal::Malformed);
        }
        if vector.len() == replicas_max {
            return Err(Refusal::DigestTooLong);
        }
        vector.raise(replica, version);
        last = Some(replica);
        bytes = rest;
    }
    Ok(vector)
}

/// Replica ids as bytes, 16 each.
pub(crate) fn pack_ids(ids: &[ReplicaId]) -> ByteBuf {
    ByteBuf::from(ids.iter().flat_map(|id| id.to_bytes()).collect::<Vec<u8>>())
}

/// Reads [`pack_ids`].
pub(crate) fn unpack_ids(bytes: &[u8]) -> Result<Vec<ReplicaId>, Refusal> {
    let (ids, rest) = bytes.as_chunks::<{ ReplicaId::BYTES }>();
    if rest.is_empty() {
        Ok(ids.iter().map(|id| ReplicaId::from_bytes(*id)).collect())
    } else {
        Err(Refusal::Malformed)
    }
}

pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(crate) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(len: u64) -> VersionVector {
        (1..=len)
            .map(|node| (ReplicaId::new(node, 7), if node == 3 { u64::MAX } else { node * 100 }))
            .collect()
    }

    #[test]
    fn version_vectors_read_back() {
        assert_eq!(unpack_vector(&pack_vector(&vector(5)), 5), Ok(vector(5)));
        assert_eq!(unpack_vector(&[], 5), Ok(VersionVector::new()));
    }

    #[test]
    fn a_vector_over_the_bound_is_refused() {
        assert_eq!(unpack_vector(&pack_vector(&vector(6)), 5), Err(Refusal::DigestTooLong));
    }

    #[test]
    fn disorder_zeros_and_cut_ends_are_refused() {
        let bytes = pack_vector(&vector(2));
        assert_eq!(unpack_vector(&bytes[..bytes.len() - 1], 5), Err(Refusal::Malformed));
        let twice: Vec<u8> = bytes.iter().chain(bytes.iter()).copied().collect();
        assert_eq!(unpack_vector(&twice, 5), Err(Refusal::Malformed));
        let mut zero = ReplicaId::new(1, 1).to_bytes().to_vec();
        zero.push(0);
        assert_eq!(unpack_vector(&zero, 5), Err(Refusal::Malformed));
        let mut endless = ReplicaId::new(1, 1).to_bytes().to_vec();
        endless.extend([0xff; 12]);
        assert_eq!(unpack_vector(&endless, 5), Err(Refusal::Malformed));
    }
}
