//! Requests on the wire: one request and one answer a stream, raw bytes to the stream's end, never more than a bound.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

/// The codec of `/counter/<cluster>/pull/1` and `/counter/<cluster>/peers/1`. What the bytes mean is not its affair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundedCodec {
    pub(crate) bytes_max: usize,
}

impl Codec for BoundedCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        read_bounded(stream, self.bytes_max).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>> {
        read_bounded(stream, self.bytes_max).await
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
async fn read_bounded<T: AsyncRead + Unpin + Send>(stream: &mut T, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > bytes_max {
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
        let bound = vec![7; 100];
        let read = read_bounded(&mut bound.as_slice(), 100).now_or_never().expect("memory is always ready");
        assert_eq!(read.expect("fits").len(), 100);
        let longer = vec![7; 101];
        let read = read_bounded(&mut longer.as_slice(), 100).now_or_never().expect("memory is always ready");
        assert_eq!(read.expect_err("refused").kind(), io::ErrorKind::InvalidData);
    }
}
