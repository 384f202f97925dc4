//! The private network: each end sends a nonce, and then encrypts with a cluster key.
//!
//! The bytes are those of libp2p's private network: XSalsa20 under the key and the sender's nonce
//! of 24 bytes. libp2p's own code needs to know the one key before it sends its nonce. A node
//! whose key is being changed has several, and the two ends find a common one as follows.
//!
//! - Each end tags its nonce: the last 8 bytes are a hash of the rest and its first key. A dialler
//!   that has the key of the tag uses it. Otherwise it uses its own first key.
//! - The accepting end tries its keys on the first bytes that arrive, which are always the same.
//!
//! So two nodes connect when the first key of either is among the other's keys. A node with one key
//! uses it and ignores the tag. A libp2p node without tags takes a tagged nonce as any other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use sha2::{Digest, Sha256};

use crate::config::ClusterKey;

const NONCE_BYTES: usize = 24;
/// The random part of a nonce. Two of 2^48 connections under one key collide with a probability of
/// 2^-33.
const RANDOM_BYTES: usize = 16;
/// Domain of the hash that makes a tag from a key.
const TAG_DOMAIN: &[u8] = b"replicated-counter nonce tag 1\0";
/// The most bytes that are encrypted before the socket takes them.
const UNSENT_MAX: usize = 16 * 1024;

/// The nonces of both ends, which they exchange first.
pub(super) struct Nonces {
    ours: [u8; NONCE_BYTES],
    theirs: [u8; NONCE_BYTES],
}

impl Nonces {
    /// Sends a nonce with the tag of `first`, and reads the far end's.
    pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        socket: &mut S,
        first: &ClusterKey,
    ) -> io::Result<Self> {
        let mut nonces = Self { ours: tagged_nonce(first)?, theirs: [0; NONCE_BYTES] };
        socket.write_all(&nonces.ours).await?;
        socket.flush().await?;
        socket.read_exact(&mut nonces.theirs).await?;
        Ok(nonces)
    }

    /// The key whose tag is in the far end's nonce.
    pub(super) fn tagged<'a>(&self, keys: &'a [ClusterKey]) -> Option<&'a ClusterKey> {
        let (random, tag) = self.theirs.split_at(RANDOM_BYTES);
        keys.iter().find(|key| tag_of(key, random)[..] == *tag)
    }

    /// The key that decrypts the far end's first bytes to `plain`.
    pub(super) fn key_that_reads<'a>(
        &self,
        first: &[u8],
        plain: &[u8],
        keys: &'a [ClusterKey],
    ) -> Option<&'a ClusterKey> {
        keys.iter().find(|key| {
            let mut read = first.to_vec();
            cipher(key, &self.theirs).apply_keystream(&mut read);
            read == plain
        })
    }

    /// The stream encrypted with `key`. `taken` bytes were read from the socket already.
    pub(super) fn encrypt<S>(&self, key: &ClusterKey, socket: S, taken: usize) -> Encrypted<S> {
        let mut decrypting = cipher(key, &self.theirs);
        decrypting.seek(taken as u64);
        Encrypted { socket, decrypting, encrypting: cipher(key, &self.ours), unsent: Vec::new() }
    }
}

fn cipher(key: &ClusterKey, nonce: &[u8; NONCE_BYTES]) -> XSalsa20 {
    XSalsa20::new(key.bytes().into(), nonce.into())
}

fn tagged_nonce(key: &ClusterKey) -> io::Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    let (random, tag) = nonce.split_at_mut(RANDOM_BYTES);
    getrandom::fill(random).map_err(io::Error::other)?;
    tag.copy_from_slice(&tag_of(key, random));
    Ok(nonce)
}

fn tag_of(key: &ClusterKey, random: &[u8]) -> [u8; NONCE_BYTES - RANDOM_BYTES] {
    let hash = Sha256::new()
        .chain_update(TAG_DOMAIN)
        .chain_update(key.bytes())
        .chain_update(random)
        .finalize();
    std::array::from_fn(|at| hash[at])
}

/// A socket whose bytes are encrypted in both directions.
pub(super) struct Encrypted<S> {
    socket: S,
    decrypting: XSalsa20,
    encrypting: XSalsa20,
    /// Encrypted bytes that the socket has not taken yet. They cannot be encrypted again.
    unsent: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Encrypted<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.unsent.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.socket).poll_write(context, &self.unsent[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => sent += written,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.unsent.drain(..sent);
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        self.decrypting.apply_keystream(&mut buffer[..read]);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send(context))?;
        let taken = bytes.len().min(UNSENT_MAX);
        this.unsent.extend_from_slice(&bytes[..taken]);
        this.encrypting.apply_keystream(&mut this.unsent);
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest is sent by the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at every other call, and none at the others.
    #[derive(Default)]
    struct Reluctant {
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Reluctant {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = bytes.len().min(1 + self.calls % 700);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::from_bytes([byte; 32])
    }

    fn nonces() -> Nonces {
        Nonces { ours: tagged_nonce(&key(1)).unwrap(), theirs: tagged_nonce(&key(2)).unwrap() }
    }

    #[tokio::test]
    async fn reluctant_socket_gets_every_byte_once() {
        let nonces = nonces();
        let said: Vec<u8> = (0..3 * UNSENT_MAX + 7).map(|at| (at % 251) as u8).collect();
        let mut stream = nonces.encrypt(&key(1), Reluctant::default(), 0);
        for piece in said.chunks(UNSENT_MAX + 999) {
            stream.write_all(piece).await.unwrap();
        }
        stream.close().await.unwrap();
        let mut heard = stream.socket.taken;
        cipher(&key(1), &nonces.ours).apply_keystream(&mut heard);
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    }

    #[tokio::test]
    async fn reading_continues_after_taken_bytes() {
        let nonces = nonces();
        let mut sent: Vec<u8> = (0..200).collect();
        cipher(&key(2), &nonces.theirs).apply_keystream(&mut sent);
        assert_eq!(
            nonces.key_that_reads(&sent[..3], &[0, 1, 2], &[key(1), key(2), key(3)]),
            Some(&key(2))
        );
        assert_eq!(nonces.key_that_reads(&sent[..3], &[0, 1, 3], &[key(1), key(2), key(3)]), None);
        let mut heard = Vec::new();
        nonces.encrypt(&key(2), &sent[3..], 3).read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, (3..200).collect::<Vec<u8>>());
    }

    #[test]
    fn tag_names_one_key_and_nonces_differ() {
        let nonces = nonces();
        assert_eq!(nonces.tagged(&[key(1), key(2)]), Some(&key(2)));
        assert_eq!(nonces.tagged(&[key(1), key(3)]), None);
        assert_ne!(tagged_nonce(&key(1)).unwrap(), tagged_nonce(&key(1)).unwrap());
    }
}
