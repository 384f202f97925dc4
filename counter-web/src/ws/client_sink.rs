//! One socket's seat in a room: the room itself writes each change to it, and what its socket does
//! not take stays here, bounded, until it does.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ws::snapshot_frame::Shown;

/// A client's socket as the room and the client's own task share it. What is written is whole
/// frames in their order, whoever writes them.
///
/// A round touches each of thousands of seats, which by then are in no cache: what it touches of
/// one lies together in one line.
#[repr(C, align(64))]
pub(crate) struct Seat {
    pub(crate) stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Told when the socket takes no more: then the client's own task waits until it does.
    stuck: Notify,
}

/// What one client was sent. Its memory: what is left of one read's answers and of one frame.
struct Outbox {
    /// What the client's receive window did not take yet. While there is something, no change is
    /// taken.
    unsent: Option<Box<Unsent>>,
    seen: Seen,
}

/// The newest version that a client was sent or that it skips. One word, since a round reads it of
/// every seat.
#[derive(Clone, Copy)]
struct Seen(u64);

impl Seen {
    /// Set where the version was skipped: then the next one names all regions.
    const SKIPPED: u64 = 1 << 63;

    /// No version is newer: nothing but a Close frame may follow.
    const NO_MORE: Self = Self(!Self::SKIPPED);

    fn version(self) -> u64 {
        self.0 & !Self::SKIPPED
    }

    fn is_skipped(self) -> bool {
        self.0 & Self::SKIPPED != 0
    }
}

/// Bytes that wait for their socket, at least one.
struct Unsent {
    bytes: Bytes,
    /// When the socket last took something, or filled up.
    since: Instant,
}

impl Unsent {
    fn now(bytes: Bytes) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, since: Instant::now() }))
    }
}

impl Seat {
    /// A seat that was shown version `seen` by `first`, which is not written yet.
    pub(crate) fn new(stream: TcpStream, seen: u64, first: Bytes) -> Self {
        let outbox = Outbox { unsent: Unsent::now(first), seen: Seen(seen) };
        Self { stream, outbox: Mutex::new(outbox), stuck: Notify::new() }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is new to this client: the change since what it saw last, or, where it missed
    /// some, all regions. A client whose socket is full is passed by: it is shown the latest once
    /// its socket takes it. Whether a frame was handed over.
    ///
    /// # Errors
    ///
    /// Where the socket is broken; the client's own task finds out by itself.
    pub(crate) fn show(&self, shown: &Shown) -> io::Result<bool> {
        let mut outbox = self.outbox();
        let seen = outbox.seen;
        if outbox.unsent.is_some() || shown.version <= seen.version() {
            return Ok(false);
        }
        let frame = if seen.is_skipped() { shown.whole() } else { shown.since(seen.version()) };
        outbox.seen = Seen(shown.version);
        self.write_first(&mut outbox, &frame.bytes)?;
        Ok(true)
    }

    /// Skips this version and older ones that are not sent yet: they do not contain an add that
    /// this client is about to be told of.
    pub(crate) fn skip(&self, version: u64) {
        let mut outbox = self.outbox();
        if outbox.seen.version() < version {
            outbox.seen = Seen(version | Seen::SKIPPED);
        }
    }

    /// Sends frames of this client alone; what does not fit now waits.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn send(&self, frames: Bytes) -> io::Result<()> {
        let mut outbox = self.outbox();
        if let Some(unsent) = &mut outbox.unsent {
            unsent.bytes = [&unsent.bytes[..], &frames].concat().into();
            return Ok(());
        }
        self.write_first(&mut outbox, &frames)
    }

    /// Writes what waits, as far as the socket takes it. Whether all of it is gone.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut outbox = self.outbox();
        let Some(mut unsent) = outbox.unsent.take() else { return Ok(true) };
        let written = self.write(&unsent.bytes)?;
        if written == unsent.bytes.len() {
            return Ok(true);
        }
        if written > 0 {
            unsent.bytes = unsent.bytes.slice(written..);
            unsent.since = Instant::now();
        }
        outbox.unsent = Some(unsent);
        Ok(false)
    }

    /// Writes `bytes`, before which nothing waits, and keeps what the socket does not take.
    fn write_first(&self, outbox: &mut Outbox, bytes: &Bytes) -> io::Result<()> {
        let written = self.write(bytes)?;
        if written < bytes.len() {
            outbox.unsent = Unsent::now(bytes.slice(written..));
            self.stuck.notify_one();
        }
        Ok(())
    }

    /// Writes as much as the socket takes; how much that was.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.try_write(&bytes[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => written += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.outbox().unsent.is_some()
    }

    /// Ends when the socket has taken no more since the last time this ended. Cancel safe.
    pub(crate) async fn gets_stuck(&self) {
        self.stuck.notified().await;
    }

    /// Where something waits: when the socket last took something, or filled up.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.outbox().unsent.as_ref().map(|unsent| unsent.since)
    }

    /// From now on only `goodbye` follows what waits, and no change any more.
    pub(crate) fn close_with(&self, goodbye: Bytes) -> io::Result<()> {
        self.outbox().seen = Seen::NO_MORE;
        self.send(goodbye)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use counter_net::{Discovery, Node};

    use super::*;
    use crate::api::model::{RegionsJson, regions_json};

    /// A seat, and the far end of its socket, of which nobody reads yet.
    async fn seat() -> (Seat, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (Seat::new(listener.accept().await.unwrap().0, 0, Bytes::new()), client)
    }

    fn waiting(seat: &Seat) -> usize {
        seat.outbox().unsent.as_ref().map_or(0, |unsent| unsent.bytes.len())
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn what_a_round_touches_of_a_seat_is_one_cache_line() {
        assert!(std::mem::offset_of!(Seat, stuck) <= 64, "{}", std::mem::offset_of!(Seat, stuck));
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
        let kept = waiting(&seat);
        for _ in 0..1_000 {
            shown = shown.then(&view, regions_json(&view));
            assert!(!seat.show(&shown).unwrap(), "a full socket is passed by");
        }
        assert_eq!(waiting(&seat), kept, "nothing is kept of what it missed");
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
        assert!(
            read.join().unwrap().unwrap().ends_with(&latest),
            "the last it reads is the latest, with all regions"
        );
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn versions_older_than_a_clients_add_are_skipped_and_the_next_names_all_regions() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let view = node.view("clicks");
        let (seat, mut client) = seat().await;
        let first = Shown::first(view.clone()).then(&view, RegionsJson::new());
        let older = first.then(&view, RegionsJson::new());
        let newer = older.then(&view, RegionsJson::new());
        let newest = newer.then(&view, RegionsJson::new());
        assert!(seat.show(&first).unwrap());
        seat.skip(first.version);
        seat.skip(older.version);
        assert!(!seat.show(&older).unwrap(), "it does not contain the add");
        assert!(seat.show(&newer).unwrap());
        assert!(seat.show(&newest).unwrap());
        drop(seat);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        let changes = [&first, &newest].map(|shown| shown.since(shown.version - 1).bytes.clone());
        assert_ne!(newer.whole().bytes, newer.since(older.version).bytes);
        assert_eq!(
            all,
            [&changes[0], &newer.whole().bytes, &changes[1]].map(|bytes| bytes.to_vec()).concat()
        );
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_follows_a_close_frame() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let (seat, mut client) = seat().await;
        let first = Shown::first(node.view("clicks"));
        seat.close_with(Bytes::from_static(b"bye")).unwrap();
        assert!(
            !seat
                .show(&first.then(&node.view("clicks"), regions_json(&node.view("clicks"))))
                .unwrap()
        );
        drop(seat);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
        node.shutdown().await;
    }
}
