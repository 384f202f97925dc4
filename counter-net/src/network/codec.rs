//! Requests on the wire: one request and one answer per stream, as raw bytes to the stream's end,
//! within a bound.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

/// The error kind of a message that is too long. No other error here has this kind.
pub(crate) const TOO_LONG: io::ErrorKind = io::ErrorKind::FileTooLarge;

/// The codec of `/counter/<cluster>/pull/1` and `/counter/<cluster>/peers/1`. It does not interpret
/// the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundedCodec {
    pub(crate) bytes_max: usize,
}

impl Codec for BoundedCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Vec<u8>> {
        // libp2p does not report a failed read of a request. So a request that is too long is cut
        // off and handed over, and its length shows it.
        read_cut_off(stream, self.bytes_max).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Vec<u8>> {
        let answer = read_bounded(stream, self.bytes_max).await?;
        // A peer that stops or is too busy ends the stream without an answer. That is no offence.
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
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

/// Reads at most one byte more than the bound. Memory grows with the bytes that have arrived.
async fn read_cut_off<T: AsyncRead + Unpin + Send>(
    stream: &mut T,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn read_bounded<T: AsyncRead + Unpin + Send>(
    stream: &mut T,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let bytes = read_cut_off(stream, bytes_max).await?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(TOO_LONG, "the message is longer than the protocol allows"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn message_beyond_the_bound_is_refused() {
        let bound = vec![7; 100];
        let read = read_bounded(&mut bound.as_slice(), 100)
            .now_or_never()
            .expect("memory is always ready");
        assert_eq!(read.expect("fits").len(), 100);
        let longer = vec![7; 101];
        let read = read_bounded(&mut longer.as_slice(), 100)
            .now_or_never()
            .expect("memory is always ready");
        assert_eq!(read.expect_err("refused").kind(), TOO_LONG);
    }
}
