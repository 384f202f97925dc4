//! One socket's seat in a room: the room itself writes each change to it, and what its socket does not take stays here, bounded, until it does.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::shown::Shown;

/// A client's socket as the room and the client's own task share it. What is written is whole frames in their order, whoever writes them.
pub(crate) struct Seat {
    pub(crate) stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Told when the socket takes no more: then the client's own task waits until it does.
    stuck: Notify,
}

/// What one client was sent. Its memory: what is left of one read's answers and of one frame.
struct Outbox {
    /// What the client's receive window did not take yet. While it holds something, no change is taken.
    unsent: Bytes,
    /// The version of the counter that was handed over last.
    seen: u64,
    /// When the socket last took something, or filled up.
    sent_at: Instant,
    /// Nothing but a Close frame may follow.
    closing: bool,
}

impl Seat {
    /// A seat that was shown version `seen` by `first`, which is not written yet.
    pub(crate) fn new(stream: TcpStream, seen: u64, first: Bytes) -> Self {
        let outbox = Outbox { unsent: first, seen, sent_at: Instant::now(), closing: false };
        Self { stream, outbox: Mutex::new(outbox), stuck: Notify::new() }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is new to this client: the change since what it saw last, or, where it missed some, all regions. A client whose socket is full is
    /// passed by: it is shown the latest once its socket takes it. Whether a frame was handed over.
    ///
    /// # Errors
    ///
    /// Where the socket is broken; the client's own task finds out by itself.
    pub(crate) fn show(&self, shown: &Shown) -> io::Result<bool> {
        let mut outbox = self.outbox();
        if outbox.closing || !outbox.unsent.is_empty() || shown.version <= outbox.seen {
            return Ok(false);
        }
        let frame = shown.since(outbox.seen);
        outbox.seen = shown.version;
        self.write_first(&mut outbox, &frame.bytes, false)?;
        Ok(true)
    }

    /// Sends frames of this client alone; what does not fit now waits.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn send(&self, frames: Bytes) -> io::Result<()> {
        let mut outbox = self.outbox();
        if outbox.unsent.is_empty() {
            return self.write_first(&mut outbox, &frames, false);
        }
        let unsent = std::mem::take(&mut outbox.unsent);
        outbox.unsent = [unsent, frames].concat().into();
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it. Whether all of it is gone.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut outbox = self.outbox();
        let waiting = std::mem::take(&mut outbox.unsent);
        self.write_first(&mut outbox, &waiting, true)?;
        Ok(outbox.unsent.is_empty())
    }

    /// Writes `bytes`, before which nothing waits, and keeps what the socket does not take. `again` says that they waited already.
    fn write_first(&self, outbox: &mut Outbox, bytes: &Bytes, again: bool) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.try_write(&bytes[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => written += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if written < bytes.len() {
            outbox.unsent = bytes.slice(written..);
            self.stuck.notify_one();
            if written > 0 || !again {
                outbox.sent_at = Instant::now();
            }
        }
        Ok(())
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.outbox().unsent.is_empty()
    }

    /// Ends when the socket has taken no more since the last time this ended. Cancel safe.
    pub(crate) async fn gets_stuck(&self) {
        self.stuck.notified().await;
    }

    /// When the socket last took something, or filled up.
    pub(crate) fn sent_at(&self) -> Instant {
        self.outbox().sent_at
    }

    /// From now on only `goodbye` follows what waits, and no change any more.
    pub(crate) fn close_with(&self, goodbye: Bytes) -> io::Result<()> {
        self.outbox().closing = true;
        self.send(goodbye)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use counter_net::{Discovery, Node};

    use super::*;
    use crate::model::regions_json;

    /// A seat, and the far end of its socket, of which nobody reads yet.
    async fn seat() -> (Seat, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (Seat::new(listener.accept().await.unwrap().0, 0, Bytes::new()), client)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_reads_nothing_costs_one_frame_and_is_shown_the_latest_when_it_reads() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let view = node.view("clicks");
        let (seat, mut client) = seat().await;
        let mut shown = Shown::first(view.clone());
        while !seat.is_stuck() {
            shown = shown.then(&view, regions_json(&view));
            assert!(seat.show(&shown).unwrap(), "a socket that takes it is shown every version");
        }
        let kept = seat.outbox().unsent.len();
        for _ in 0..1_000 {
            shown = shown.then(&view, regions_json(&view));
            assert!(!seat.show(&shown).unwrap(), "a full socket is passed by");
        }
        assert_eq!(seat.outbox().unsent.len(), kept, "nothing is kept of what it missed");
        assert!(kept <= shown.since(0).bytes.len(), "at most one frame is kept: {kept}");
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        });
        while !seat.flush().unwrap() {
            seat.stream.writable().await.unwrap();
        }
        assert!(seat.show(&shown).unwrap());
        assert!(!seat.show(&shown).unwrap(), "a version is shown once");
        let latest = shown.since(0).bytes.clone();
        while !seat.flush().unwrap() {
            seat.stream.writable().await.unwrap();
        }
        drop(seat);
        assert!(read.join().unwrap().unwrap().ends_with(&latest), "the last it reads is the latest, with all regions");
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_follows_a_close_frame() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let (seat, mut client) = seat().await;
        let first = Shown::first(node.view("clicks"));
        seat.close_with(Bytes::from_static(b"bye")).unwrap();
        assert!(!seat.show(&first.then(&node.view("clicks"), regions_json(&node.view("clicks")))).unwrap());
        drop(seat);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
        node.shutdown().await;
    }
}
