//! Pulls on the wire: one request and one answer a stream, raw bytes to the stream's end, never more than the protocol's bound.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use crate::protocol::MESSAGE_BYTES_MAX;

/// The codec of `/counter/<cluster>/pull/1`. What the bytes mean is the replicator's affair.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PullCodec;

impl Codec for PullCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        read_bounded(stream).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        read_bounded(stream).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        stream.write_all(&request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        answer: Vec<u8>,
    ) -> io::Result<()> {
        stream.write_all(&answer).await
    }
}

/// Memory grows with what has arrived, not with what was promised.
async fn read_bounded<T: AsyncRead + Unpin + Send>(stream: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is longer than the protocol allows"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_message_of_the_bound_is_read_and_a_longer_one_is_not() {
        let bound = vec![7; MESSAGE_BYTES_MAX];
        let read = read_bounded(&mut bound.as_slice()).now_or_never().expect("memory is always ready");
        assert_eq!(read.expect("fits").len(), MESSAGE_BYTES_MAX);
        let longer = vec![7; MESSAGE_BYTES_MAX + 1];
        let read = read_bounded(&mut longer.as_slice()).now_or_never().expect("memory is always ready");
        assert_eq!(read.expect_err("refused").kind(), io::ErrorKind::InvalidData);
    }
}
