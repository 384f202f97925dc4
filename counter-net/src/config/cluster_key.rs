//! The cluster's pre-shared key, read from text or a file.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use libp2p::pnet::PreSharedKey;
use sha2::{Digest, Sha256};

use crate::error::ClusterKeyError;

const KEY_BYTES: usize = 32;
const PASSPHRASE_CHARACTERS_MIN: usize = 16;
/// The longest key file. A passphrase has no other bound.
const KEY_FILE_BYTES_MAX: u64 = 4_096;
const SWARM_KEY_HEADER: &str = "/key/swarm/psk/1.0.0/";
/// Separates several keys.
const SEPARATOR: char = ',';
/// Text of this many hexadecimal digits is meant to be 64 of them, and is no passphrase.
const HEX_LIKE: RangeInclusive<usize> = 60..=70;
/// Domain of the hash that makes a key from a passphrase.
const PASSPHRASE_DOMAIN: &[u8] = b"replicated-counter cluster key 1\0";

/// The secret that every node of a cluster shares. Nodes without it cannot connect.
///
/// [`NodeBuilder::also_accept_key`](crate::NodeBuilder::also_accept_key) says how a cluster changes
/// its key. A key parses from one of four forms, ignoring white space around it:
/// - 64 hexadecimal digits: the 32 bytes themselves (`openssl rand -hex 32`);
/// - 43 or 44 characters of base64, standard or URL-safe, that are 32 bytes (`openssl rand -base64
///   32`);
/// - a libp2p swarm key file (`/key/swarm/psk/1.0.0/`, `/base16/`, 64 digits, on three lines);
/// - any other text of 16 characters or more, except 60 to 70 hexadecimal digits: a passphrase,
///   whose SHA-256 is the key. An attacker who records traffic can try passphrases offline, so use
///   random text.
///
/// `Debug` and `Display` print the fingerprint, never the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey {
    bytes: [u8; KEY_BYTES],
}

impl ClusterKey {
    /// Makes a key from its 32 bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes }
    }

    /// Reads the key from a text file, in any of the four forms. Blocks for the time of the read.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not text or is longer than 4,096 bytes, or its text is not a
    /// key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ClusterKeyError> {
        let path = path.as_ref();
        read_bounded(path)
            .map_err(|source| ClusterKeyError::Read { path: path.display().to_string(), source })?
            .parse()
    }

    /// Parses one key, or several separated by commas. A node that changes its key has two.
    ///
    /// Each of several keys is 64 hexadecimal digits or base64 of 32 bytes. Other text with commas
    /// is one passphrase.
    ///
    /// # Errors
    ///
    /// If the text is not a key. [`ClusterKeyError::InList`] if some parts are keys or look like
    /// hexadecimal ones, and others do not.
    pub fn list(text: &str) -> Result<Vec<Self>, ClusterKeyError> {
        match text.parse() {
            Ok(key) => Ok(vec![key]),
            Err(ClusterKeyError::InList { parts, keys }) if parts == keys => {
                Ok(parts_of(text).filter_map(plain_key).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns 32 hexadecimal digits that identify the key without revealing it, as go-libp2p does.
    pub fn fingerprint(&self) -> String {
        PreSharedKey::new(self.bytes).fingerprint().to_string()
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        let too_long = format!("it is longer than {KEY_FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, too_long));
    }
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not text"))
}

impl FromStr for ClusterKey {
    type Err = ClusterKeyError;

    fn from_str(text: &str) -> Result<Self, ClusterKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ClusterKeyError::Empty);
        }
        if text.starts_with(SWARM_KEY_HEADER) {
            return from_key_file(text).map(Self::from_bytes).ok_or(ClusterKeyError::KeyFile);
        }
        if let Some(key) = plain_key(text) {
            return Ok(key);
        }
        if is_like_hex(text) {
            return Err(ClusterKeyError::HexDigits { digits: text.len() });
        }
        let keys = parts_of(text).filter_map(plain_key).count();
        if keys > 0 || parts_of(text).any(is_like_hex) {
            return Err(ClusterKeyError::InList { parts: parts_of(text).count(), keys });
        }
        match text.chars().count() {
            characters if characters < PASSPHRASE_CHARACTERS_MIN => {
                Err(ClusterKeyError::TooShort { characters })
            }
            _ => Ok(Self::from_bytes(
                Sha256::new().chain_update(PASSPHRASE_DOMAIN).chain_update(text).finalize().into(),
            )),
        }
    }
}

fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATOR).map(str::trim)
}

/// Parses hexadecimal digits or base64, but no passphrase.
fn plain_key(digits: &str) -> Option<ClusterKey> {
    from_hex(digits).or_else(|| from_base64(digits)).map(ClusterKey::from_bytes)
}

/// Returns true if the text looks like a hexadecimal key.
fn is_like_hex(text: &str) -> bool {
    HEX_LIKE.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
}

fn from_key_file(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut lines = text.lines().map(str::trim_end);
    let is_known = lines.next() == Some(SWARM_KEY_HEADER) && lines.next() == Some("/base16/");
    if is_known { from_hex(lines.next()?) } else { None }
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (digits.len() == 2 * KEY_BYTES).then(|| bytes.try_into().ok())?
}

/// Parses base64. 32 bytes are 43 digits, and the last two bits must be zero.
fn from_base64(text: &str) -> Option<[u8; KEY_BYTES]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return None;
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes() {
        bits = bits << 6 | base64_digit(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if bits == 0 { bytes.try_into().ok() } else { None }
}

fn base64_digit(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey(fingerprint {})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key(text: &str) -> ClusterKey {
        text.parse().expect("a key")
    }

    #[test]
    fn equal_bytes_in_any_form_are_one_key() {
        let bytes = ClusterKey::from_bytes(std::array::from_fn(|n| n as u8));
        assert_eq!(key(HEX), bytes);
        assert_eq!(key(&HEX.to_uppercase()), bytes);
        assert_eq!(key(&format!(" {BASE64}\n")), bytes);
        assert_eq!(key(BASE64.trim_end_matches('=')), bytes);
        assert_eq!(key(&format!("/key/swarm/psk/1.0.0/\n/base16/\n{HEX}\n")), bytes);
    }

    #[test]
    fn a_passphrase_is_a_key_of_its_own() {
        assert_eq!(key("correct horse battery"), key("  correct horse battery\n"));
        assert_ne!(key("correct horse battery"), key("correct horse batterz"));
    }

    #[test]
    fn bad_keys_are_refused_with_a_reason() {
        assert!(matches!("  ".parse::<ClusterKey>(), Err(ClusterKeyError::Empty)));
        assert!(matches!(
            "hunter2".parse::<ClusterKey>(),
            Err(ClusterKeyError::TooShort { characters: 7 })
        ));
        assert!(matches!(
            "/key/swarm/psk/1.0.0/\n/base16/\nxyz".parse::<ClusterKey>(),
            Err(ClusterKeyError::KeyFile)
        ));
        assert!(matches!(
            ClusterKey::from_file("/nonexistent/key"),
            Err(ClusterKeyError::Read { .. })
        ));
    }

    #[test]
    fn long_key_file_is_refused_and_not_cut() {
        let path = std::env::temp_dir().join(format!("counter-net-key-{:016x}", fastrand::u64(..)));
        let passphrase = "x".repeat(KEY_FILE_BYTES_MAX as usize);
        std::fs::write(&path, &passphrase).expect("writable");
        assert_eq!(ClusterKey::from_file(&path).expect("a key"), key(&passphrase));
        std::fs::write(&path, format!("{passphrase}y")).expect("writable");
        let error = ClusterKey::from_file(&path).expect_err("refused");
        assert!(error.to_string().contains("longer than 4096 bytes"), "{error}");
        std::fs::write(&path, b"\xff\xfe a passphrase of 16").expect("writable");
        let error = ClusterKey::from_file(&path).expect_err("refused");
        assert!(error.to_string().contains("it is not text"), "{error}");
        std::fs::remove_file(path).expect("removable");
    }

    #[test]
    fn hex_of_wrong_length_is_no_passphrase() {
        for digits in [60, 63, 65, 70] {
            let text: String = HEX.chars().cycle().take(digits).collect();
            for text in [text.to_uppercase(), format!("{text}\n")] {
                let error = text.parse::<ClusterKey>().expect_err("refused");
                assert!(
                    matches!(error, ClusterKeyError::HexDigits { digits: seen } if seen == digits),
                    "{error}"
                );
                assert!(
                    error.to_string().contains(&format!("has {digits} digits; a key has 64")),
                    "{error}"
                );
            }
        }
        for digits in [59, 71] {
            let text: String = HEX.chars().cycle().take(digits).collect();
            assert!(text.parse::<ClusterKey>().is_ok(), "{digits} digits may be a passphrase");
        }
        assert!(format!("{}-", &HEX[1..]).parse::<ClusterKey>().is_ok());
        let path = std::env::temp_dir().join(format!("counter-net-key-{:016x}", fastrand::u64(..)));
        std::fs::write(&path, format!("{}\n", &HEX[1..])).expect("writable");
        assert!(matches!(
            ClusterKey::from_file(&path),
            Err(ClusterKeyError::HexDigits { digits: 63 })
        ));
        std::fs::remove_file(path).expect("removable");
    }

    #[test]
    fn keys_between_commas_are_a_list() {
        let second = HEX.replace("00", "ff");
        let list = |text: &str| ClusterKey::list(text).expect("keys");
        assert_eq!(list(&format!("{HEX},{second}")), [key(HEX), key(&second)]);
        assert_eq!(list(&format!(" {BASE64} ,\n{second}\n")), [key(HEX), key(&second)]);
        assert_eq!(list(HEX), [key(HEX)]);
        let words = "correct, horse, battery";
        assert_eq!(list(words), [key(words)], "a passphrase");
        let file = format!("/key/swarm/psk/1.0.0/\n/base16/\n{HEX}\n");
        assert_eq!(list(&file), [key(HEX)]);
        assert!(matches!(
            format!("{HEX},{second}").parse::<ClusterKey>(),
            Err(ClusterKeyError::InList { parts: 2, keys: 2 })
        ));
    }

    #[test]
    fn refused_list_is_not_repeated_in_the_error() {
        let short = &HEX[1..];
        for (text, found) in [
            (format!("{HEX},correct horse battery"), (2, 1)),
            (format!("{BASE64},{short}"), (2, 1)),
            (format!("{short},{short}"), (2, 0)),
            (format!("correct horse battery,{short}"), (2, 0)),
            (format!("{HEX},"), (2, 1)),
            (format!(",{HEX},{HEX}"), (3, 2)),
        ] {
            let error = ClusterKey::list(&text).expect_err("refused");
            assert!(
                matches!(error, ClusterKeyError::InList { parts, keys } if (parts, keys) == found),
                "{error:?}"
            );
            let said = format!("{error} {error:?}");
            assert!(
                !said.contains("0f1011") && !said.contains("horse") && !said.contains("Dg8Q"),
                "{said}"
            );
        }
        assert!(matches!(ClusterKey::list(",,"), Err(ClusterKeyError::TooShort { .. })));
        assert!(matches!(ClusterKey::list(" "), Err(ClusterKeyError::Empty)));
    }

    #[test]
    fn printing_a_key_prints_its_fingerprint() {
        assert_eq!(
            format!("{:?}", key(HEX)),
            format!("ClusterKey(fingerprint {})", key(HEX).fingerprint())
        );
        assert!(!format!("{} {:?}", key(HEX), key(HEX)).contains("0f1011"));
    }
}
