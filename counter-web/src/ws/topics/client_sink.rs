//! The outgoing side of one client's socket. The topics of its counters write each change into it.
//! Bytes that the socket does not take yet stay here, bounded, until it does.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ws::topics::snapshot_frame::{Naming, SnapshotFrame};

/// A client's socket, shared by its topics and its own task.
///
/// Only whole frames are written, in order, whichever side writes them. A client that reads slowly
/// costs at most the replies to one read and one frame. It skips to the latest version later.
///
/// A round of a topic touches thousands of sinks, and none is in the cache any more. So the fields
/// that it touches in one sink share a cache line.
#[repr(C, align(64))]
pub(crate) struct ClientSink {
    stream: TcpStream,
    output: Mutex<SinkOutput>,
    /// Notified when the socket is full. The client's own task then waits until it is writable.
    stuck: Notify,
}

/// The unsent bytes of one client, and the newest versions that it was sent.
struct SinkOutput {
    /// Bytes that the client's receive window had no room for. No change is accepted meanwhile.
    unsent: Option<Box<Unsent>>,
    /// The newest version of the socket's own counter, and whether changes name their counter.
    sent: SentVersion,
}

/// The changes of one counter on their way into a client sink. A socket has a feed for its own
/// counter, and one for each counter that it watches. They share the sink and its bound.
#[derive(Clone)]
pub(crate) struct Feed {
    sink: Arc<ClientSink>,
    /// The newest version of a watched counter, a [`SentVersion`] that is used only under the lock
    /// of the sink's output. That of the socket's own counter is in the output itself.
    watched: Option<Arc<AtomicU64>>,
}

/// The newest version that a client was sent or skips. One word, because a round reads it for every
/// sink.
#[derive(Clone, Copy)]
struct SentVersion(u64);

impl SentVersion {
    /// Set if the version was skipped. The next one then names all regions.
    const SKIPPED: u64 = 1 << 63;

    /// Set in the version of the socket's own counter if every change names its counter.
    const NAMED: u64 = 1 << 62;

    /// No version is newer, so no change may follow: a watched counter has sent no state yet or has
    /// ended, or the sink has ended.
    const NO_MORE: Self = Self(!(Self::SKIPPED | Self::NAMED));

    /// The next version of the same feed.
    fn followed_by(self, version: u64) -> Self {
        Self(version | self.0 & Self::NAMED)
    }

    fn skipping(self, version: u64) -> Self {
        Self(version | Self::SKIPPED | self.0 & Self::NAMED)
    }

    fn version(self) -> u64 {
        self.0 & Self::NO_MORE.0
    }

    fn is_no_more(self) -> bool {
        self.version() == Self::NO_MORE.0
    }

    fn naming(self) -> Naming {
        if self.0 & Self::NAMED == 0 { Naming::Plain } else { Naming::Named }
    }

    fn is_skipped(self) -> bool {
        self.0 & Self::SKIPPED != 0
    }
}

/// Bytes that wait for their socket, at least one.
struct Unsent {
    bytes: Bytes,
    /// When the socket last accepted bytes, or filled up.
    since: Instant,
}

impl Unsent {
    fn now(bytes: Bytes) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, since: Instant::now() }))
    }
}

impl Feed {
    /// A new sink, and the feed of its own counter. The client gets `first`, which contains version
    /// `sent`. Nothing is written yet.
    pub(crate) fn own(stream: TcpStream, sent: u64, first: Bytes) -> Self {
        Self { sink: Arc::new(ClientSink::new(stream, sent, first)), watched: None }
    }

    /// A feed into the same sink for a counter that the client watches. It sends nothing until
    /// [`begin`](Self::begin). From now on, every change in this sink names its counter.
    pub(crate) fn watched(&self) -> Self {
        self.name_counters();
        let watched = Some(Arc::new(AtomicU64::new(SentVersion::NO_MORE.0)));
        Self { sink: Arc::clone(&self.sink), watched }
    }

    /// From now on, every change in this sink names its counter.
    pub(crate) fn name_counters(&self) {
        self.sink.output().sent.0 |= SentVersion::NAMED;
    }

    pub(crate) fn is_own(&self) -> bool {
        self.watched.is_none()
    }

    pub(crate) fn sink(&self) -> &Arc<ClientSink> {
        &self.sink
    }

    /// True if changes follow: the client was sent the state, and the feed has not ended.
    pub(crate) fn is_begun(&self) -> bool {
        !self.sent(&self.sink.output()).is_no_more()
    }

    /// Sends the `state` of the counter, which contains version `sent`.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn begin(&self, sent: u64, state: &Bytes) -> io::Result<()> {
        let mut output = self.sink.output();
        let begun = self.sent(&output).followed_by(sent);
        self.set_sent(&mut output, begun);
        self.sink.send_with(&mut output, state)
    }

    /// Ends the feed of a watched counter, also for a round that still has a copy of it: no more of
    /// the counter is sent. Does nothing to the feed of the socket's own counter.
    pub(crate) fn end(&self) {
        if !self.is_own() {
            self.set_sent(&mut self.sink.output(), SentVersion::NO_MORE);
        }
    }

    /// Offers a version. Writes the change since the last version, or all regions if the client
    /// missed one. Skips a full socket, which catches up once it has room. Returns true if a frame
    /// was accepted.
    ///
    /// # Errors
    ///
    /// If the socket is broken. The client's own task notices that too.
    pub(crate) fn offer(&self, frame: &SnapshotFrame) -> io::Result<bool> {
        let mut output = self.sink.output();
        let (sent, naming) = (self.sent(&output), output.sent.naming());
        if output.unsent.is_some() || frame.version() <= sent.version() || output.sent.is_no_more()
        {
            return Ok(false);
        }
        let change = if sent.is_skipped() {
            frame.whole(naming)
        } else {
            frame.since(sent.version(), naming)
        };
        self.set_sent(&mut output, sent.followed_by(frame.version()));
        self.sink.write_first(&mut output, change.bytes())?;
        Ok(true)
    }

    /// Skips this version and older ones that are not sent yet. They lack an add that this client
    /// is about to get a reply for.
    pub(crate) fn skip(&self, version: u64) {
        let mut output = self.sink.output();
        let sent = self.sent(&output);
        if sent.version() < version {
            self.set_sent(&mut output, sent.skipping(version));
        }
    }

    fn sent(&self, output: &SinkOutput) -> SentVersion {
        match &self.watched {
            None => output.sent,
            Some(watched) => SentVersion(watched.load(Ordering::Relaxed)),
        }
    }

    fn set_sent(&self, output: &mut SinkOutput, sent: SentVersion) {
        match &self.watched {
            None => output.sent = sent,
            Some(watched) => watched.store(sent.0, Ordering::Relaxed),
        }
    }
}

impl ClientSink {
    fn new(stream: TcpStream, sent: u64, first: Bytes) -> Self {
        let output = SinkOutput { unsent: Unsent::now(first), sent: SentVersion(sent) };
        Self { stream, output: Mutex::new(output), stuck: Notify::new() }
    }

    fn output(&self) -> MutexGuard<'_, SinkOutput> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends frames for this client alone. Bytes that do not fit now wait.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn send(&self, frames: Bytes) -> io::Result<()> {
        self.send_with(&mut self.output(), &frames)
    }

    fn send_with(&self, output: &mut SinkOutput, frames: &Bytes) -> io::Result<()> {
        if let Some(unsent) = &mut output.unsent {
            unsent.bytes = [&unsent.bytes[..], frames].concat().into();
            return Ok(());
        }
        self.write_first(output, frames)
    }

    /// Writes the waiting bytes until the socket is full. Returns true if none are left.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut output = self.output();
        let Some(mut unsent) = output.unsent.take() else { return Ok(true) };
        let written = self.write(&unsent.bytes)?;
        if written == unsent.bytes.len() {
            return Ok(true);
        }
        if written > 0 {
            unsent.bytes = unsent.bytes.slice(written..);
            unsent.since = Instant::now();
        }
        output.unsent = Some(unsent);
        Ok(false)
    }

    /// Writes `bytes`, with nothing waiting before them, and keeps the rest.
    fn write_first(&self, output: &mut SinkOutput, bytes: &Bytes) -> io::Result<()> {
        let written = self.write(bytes)?;
        if written < bytes.len() {
            output.unsent = Unsent::now(bytes.slice(written..));
            self.stuck.notify_one();
        }
        Ok(())
    }

    /// Writes until the socket is full. Returns the number of bytes written.
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

    /// True while bytes wait for the socket.
    pub(crate) fn is_stuck(&self) -> bool {
        self.output().unsent.is_some()
    }

    /// Waits until the socket fills up. Cancel safe.
    pub(crate) async fn gets_stuck(&self) {
        self.stuck.notified().await;
    }

    /// The time when the socket last accepted bytes, or filled up. `None` if no bytes wait.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.output().unsent.as_ref().map(|unsent| unsent.since)
    }

    /// Waits until the socket can be read or written. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.stream.ready(interest).await.map(drop)
    }

    /// Reads the bytes that are here, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there are none. Any other error means that the socket is broken.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(buffer)
    }

    /// Ends the socket: sends the rest of the current frame, then `goodbye`. Then reads until the
    /// client closes, because closing with unread input would reset the connection.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) async fn close(&self, goodbye: Bytes) -> io::Result<()> {
        self.end_with(goodbye)?;
        while !self.flush()? {
            self.stream.writable().await?;
        }
        rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write)?;
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut [0; 1024]) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Sends `goodbye` after the waiting bytes, and no change after it.
    fn end_with(&self, goodbye: Bytes) -> io::Result<()> {
        let mut output = self.output();
        output.sent = SentVersion::NO_MORE;
        self.send_with(&mut output, &goodbye)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use counter_net::{CounterView, Discovery, Node};

    use super::*;

    /// The feed of a new sink, and the far end of its socket, which nobody reads yet.
    async fn feed() -> (Feed, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (Feed::own(listener.accept().await.unwrap().0, 0, Bytes::new()), client)
    }

    fn codes(view: &CounterView) -> Vec<String> {
        view.regions.keys().cloned().collect()
    }

    fn waiting(feed: &Feed) -> usize {
        feed.sink.output().unsent.as_ref().map_or(0, |unsent| unsent.bytes.len())
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn round_touches_one_cache_line_of_a_sink() {
        let end = std::mem::offset_of!(ClientSink, stuck);
        assert!(end <= 64, "{end}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slow_reader_costs_one_frame() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let view = node.view("clicks");
        let (feed, mut client) = feed().await;
        let mut frame = SnapshotFrame::first(view.clone());
        while !feed.sink.is_stuck() {
            frame = frame.next(&view, codes(&view));
            assert!(feed.offer(&frame).unwrap(), "a socket with room takes every version");
        }
        let kept = waiting(&feed);
        for _ in 0..1_000 {
            frame = frame.next(&view, codes(&view));
            assert!(!feed.offer(&frame).unwrap(), "a full socket is skipped");
        }
        assert_eq!(waiting(&feed), kept, "missed versions are not kept");
        assert!(
            kept <= frame.since(0, Naming::Plain).bytes().len(),
            "at most one frame is kept: {kept}"
        );
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        });
        while !feed.sink.flush().unwrap() {
            feed.sink.stream.writable().await.unwrap();
        }
        assert!(feed.offer(&frame).unwrap());
        assert!(!feed.offer(&frame).unwrap(), "a version is sent once");
        let latest = frame.since(0, Naming::Plain).bytes().clone();
        while !feed.sink.flush().unwrap() {
            feed.sink.stream.writable().await.unwrap();
        }
        drop(feed);
        assert!(
            read.join().unwrap().unwrap().ends_with(&latest),
            "the client reads the latest version last, with all regions"
        );
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn change_after_a_skip_names_all_regions() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let view = node.view("clicks");
        let (feed, mut client) = feed().await;
        let first = SnapshotFrame::first(view.clone()).next(&view, Vec::new());
        let older = first.next(&view, Vec::new());
        let newer = older.next(&view, Vec::new());
        let newest = newer.next(&view, Vec::new());
        assert!(feed.offer(&first).unwrap());
        feed.skip(first.version());
        feed.skip(older.version());
        assert!(!feed.offer(&older).unwrap(), "it does not contain the add");
        assert!(feed.offer(&newer).unwrap());
        assert!(feed.offer(&newest).unwrap());
        drop(feed);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        let changes = [&first, &newest]
            .map(|frame| frame.since(frame.version() - 1, Naming::Plain).bytes().clone());
        let whole = newer.whole(Naming::Plain).bytes();
        assert_ne!(whole, newer.since(older.version(), Naming::Plain).bytes());
        assert_eq!(all, [&changes[0], whole, &changes[1]].map(|bytes| bytes.to_vec()).concat());
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_follows_a_close_frame() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let (feed, mut client) = feed().await;
        let view = node.view("clicks");
        let first = SnapshotFrame::first(view.clone());
        let watched = feed.watched();
        watched.begin(0, &Bytes::new()).unwrap();
        feed.sink.end_with(Bytes::from_static(b"bye")).unwrap();
        assert!(!watched.offer(&first.next(&view, codes(&view))).unwrap());
        assert!(!feed.offer(&first.next(&view, codes(&view))).unwrap());
        drop((feed, watched));
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn watched_counter_starts_with_its_state_and_ends_for_good() {
        let node = Node::builder().region("ord").discover(Discovery::None).start().await.unwrap();
        let view = node.view("clicks");
        let (own, mut client) = feed().await;
        let first = SnapshotFrame::first(view.clone()).next(&view, Vec::new());
        let second = first.next(&view, Vec::new());
        assert!(own.offer(&first).unwrap());
        let watched = own.watched();
        assert!(!watched.offer(&second).unwrap(), "its state comes first");
        watched.begin(first.version(), &Bytes::from_static(b"state")).unwrap();
        assert!(watched.offer(&second).unwrap());
        assert!(own.offer(&second).unwrap(), "each counter has its own version");
        let late = watched.clone();
        watched.end();
        own.watched().begin(0, &Bytes::from_static(b"again")).unwrap();
        let third = second.next(&view, Vec::new());
        assert!(!late.offer(&third).unwrap(), "a round may still have the old feed");
        drop((own, watched, late));
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        let change = |frame: &SnapshotFrame, naming| {
            frame.since(frame.version() - 1, naming).bytes().to_vec()
        };
        let named = change(&second, Naming::Named);
        assert!(String::from_utf8_lossy(&named).contains(r#""counter":"clicks""#));
        let expected =
            [change(&first, Naming::Plain), b"state".into(), named.clone(), named, b"again".into()];
        assert_eq!(all, expected.concat());
        node.shutdown().await;
    }
}
