//! The bytes of an add's id or of a client: six bits per character for base64url text, 16 bytes for
//! a UUID, else the text as it is.
//!
//! Every id is decoded exactly, so no id can be mistaken for another. A hash of the same length
//! could collide.

use crate::codec::varint::Reader;
use crate::dedup::id::ID_BYTES_MAX;
use crate::error::DecodeError;

/// Bit in the head of an id whose characters take six bits each. The rest of the head is the
/// length.
const PACKED: u8 = 0x80;

/// The head of a UUID.
const UUID: u8 = 0xff;

/// Shorter ids take as many bytes either way and are written as they are.
const PACKED_FROM: usize = 4;

/// Characters of a UUID: 8-4-4-4-12 hexadecimal digits.
const UUID_CHARACTERS: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The alphabet, in the order of base64url.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const FORM: DecodeError = DecodeError::Invalid("an id must be in its shortest form");

/// `head bytes` in the shortest of the three forms. An id has 1 to 64 bytes.
pub(super) fn write(out: &mut Vec<u8>, id: &[u8]) {
    if let Some(bytes) = uuid(id) {
        out.push(UUID);
        out.extend_from_slice(&bytes);
    } else if is_packed(id) {
        out.push(PACKED | id.len() as u8);
        id.chunks(4).for_each(|characters| pack(out, characters));
    } else {
        out.push(id.len() as u8);
        out.extend_from_slice(id);
    }
}

/// Appends an id of 1 to 64 bytes of UTF-8.
pub(super) fn read(reader: &mut Reader<'_>, id: &mut Vec<u8>) -> Result<(), DecodeError> {
    let start = id.len();
    let head = reader.byte()?;
    match head {
        UUID => write_uuid(id, reader.take(16)?),
        PACKED.. => unpack(reader, usize::from(head & !PACKED), id)?,
        _ => id.extend_from_slice(reader.take(usize::from(head))?),
    }
    let id = &id[start..];
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(DecodeError::Invalid("an id must have 1 to 64 bytes"));
    }
    match head {
        UUID => Ok(()),
        PACKED.. if !is_packed(id) || uuid(id).is_some() => Err(FORM),
        PACKED.. => Ok(()),
        _ if is_packed(id) => Err(FORM),
        _ => {
            std::str::from_utf8(id).map(drop).map_err(|_| DecodeError::Invalid("ids must be UTF-8"))
        }
    }
}

fn is_packed(id: &[u8]) -> bool {
    id.len() >= PACKED_FROM && id.iter().all(|&character| six_bits(character).is_some())
}

/// Packs up to four characters into up to three bytes, the first character highest. Bits left over
/// are 0.
fn pack(out: &mut Vec<u8>, characters: &[u8]) {
    let bits = characters
        .iter()
        .fold(0, |bits, &character| bits << 6 | u32::from(six_bits(character).unwrap_or(0)));
    let aligned = bits << (32 - 6 * characters.len());
    out.extend_from_slice(&aligned.to_be_bytes()[..packed_bytes(characters.len())]);
}

fn unpack(reader: &mut Reader<'_>, length: usize, id: &mut Vec<u8>) -> Result<(), DecodeError> {
    let packed = reader.take(packed_bytes(length))?;
    for (at, bytes) in packed.chunks(3).enumerate() {
        let characters = (length - 4 * at).min(4);
        let bits = bytes
            .iter()
            .enumerate()
            .fold(0, |bits, (at, &byte)| bits | u32::from(byte) << (24 - 8 * at));
        if bits << (6 * characters) != 0 {
            return Err(FORM);
        }
        id.extend((0..characters).map(|at| ALPHABET[(bits >> (26 - 6 * at) & 63) as usize]));
    }
    Ok(())
}

const fn packed_bytes(characters: usize) -> usize {
    (characters * 6).div_ceil(8)
}

fn six_bits(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

/// The 16 bytes of a UUID in lower case.
fn uuid(id: &[u8]) -> Option<[u8; 16]> {
    if id.len() != UUID_CHARACTERS || DASHES.iter().any(|&at| id[at] != b'-') {
        return None;
    }
    let mut digits = id.iter().enumerate().filter(|(at, _)| !DASHES.contains(at)).map(
        |(_, &digit)| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        },
    );
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(bytes)
}

fn write_uuid(id: &mut Vec<u8>, bytes: &[u8]) {
    let start = id.len();
    for byte in bytes {
        if DASHES.contains(&(id.len() - start)) {
            id.push(b'-');
        }
        id.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let (mut reader, mut id) = (Reader::new(bytes), Vec::new());
        read(&mut reader, &mut id)?;
        reader.finish()?;
        Ok(id)
    }

    #[test]
    fn ids_come_back_and_take_these_bytes() {
        let long = "x".repeat(64);
        for (id, bytes) in [
            ("a", 2),
            ("abc", 4),
            ("abcd", 4),
            ("k3j9x0qz", 7),
            ("0f3a9x0qzk3j", 10),
            ("a b c d", 8),
            ("füßchen", 10),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8", 17),
            ("67E55044-10B1-426F-9247-BB680E5FE0C8", 28),
            ("67e55044x10b1-426f-9247-bb680e5fe0c8", 28),
            (&long, 49),
        ] {
            let mut out = Vec::new();
            write(&mut out, id.as_bytes());
            assert_eq!(out.len(), bytes, "{id}");
            assert_eq!(read_back(&out).as_deref(), Ok(id.as_bytes()));
        }
    }

    #[test]
    fn random_ids_have_one_encoding() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = random.usize(1..=64);
            let from: &[u8] = if random.bool() { ALPHABET } else { b"ab .:0-" };
            let id: Vec<u8> = (0..length).map(|_| from[random.usize(..from.len())]).collect();
            let mut out = Vec::new();
            write(&mut out, &id);
            assert_eq!(read_back(&out).as_ref(), Ok(&id));
            // Any other bytes that are read as an id are written as they were read.
            let at = random.usize(..out.len());
            out[at] ^= 1 << random.u8(..8);
            if let Ok(other) = read_back(&out) {
                let mut again = Vec::new();
                write(&mut again, &other);
                assert_eq!((&again, other != id), (&out, true));
            }
        }
    }

    #[test]
    fn longer_forms_and_stray_bits_are_refused() {
        assert_eq!(read_back(b"\x04abcd"), Err(FORM));
        assert_eq!(read_back(b"\x81a"), Err(FORM));
        assert_eq!(read_back(&[0x85, 0, 0, 0, 0]), Ok(b"AAAAA".to_vec()));
        assert_eq!(read_back(&[0x85, 0, 0, 0, 1]), Err(FORM));
        let mut packed = vec![PACKED | 36];
        b"67e55044-10b1-426f-9247-bb680e5fe0c8"
            .chunks(4)
            .for_each(|characters| pack(&mut packed, characters));
        assert_eq!(read_back(&packed), Err(FORM));
        for length in [0x00, 0x80, 0x41, 0xc1] {
            assert!(read_back(&[vec![length], vec![b' '; 65]].concat()).is_err());
        }
    }
}
