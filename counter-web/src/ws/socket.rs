//! One WebSocket client: reads its adds, watches and pings, and sends the replies.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use counter_net::{AddOutcome, Counter, Durable, NotDurable};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::counters::adds::apply_add;
use crate::api::counters::batch::{Added, Object, SentAdd, apply_batch};
use crate::api::error::ApiError;
use crate::api::fields::{Amount, check_id};
use crate::app::App;
use crate::ws::subscriptions::{AddBatch, Subscriptions, WatchedNames};
use crate::ws::topics::client_sink::ClientSink;
use crate::ws::viewers::ViewerGuard;
use crate::ws::wire::frames::{self, CloseCode, Exchange, SocketProtocol, close_frame};
use crate::ws::wire::message::{ClientMessage, ServerMessage};

/// A client is gone after this many ping intervals of silence. Pongs count as a sign of life.
const SILENT_INTERVALS_MAX: u32 = 3;

/// How long the client has to read a Close frame.
const LINGER: Duration = Duration::from_secs(1);

/// The most bytes read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

/// Once this many adds of one client wait for the disk, nothing more is read from it. The last
/// message may exceed this by a whole batch.
const UNACKED_MAX: usize = 1_024;

/// The most malformed messages of one client before it is cut off.
const MALFORMED_MAX: u32 = 64;

/// Why a socket ends.
enum End {
    /// The server ends it with this Close frame.
    Close(Bytes),
    /// The client closed it or is gone.
    Gone,
}

impl End {
    /// The server ends it for this reason.
    fn because(code: CloseCode, reason: &'static str) -> Self {
        Self::Close(close_frame(code, reason))
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Serves one client until the client or the node ends. `early` is input that came with the
/// handshake.
pub(crate) async fn serve(
    app: Arc<App>,
    caller: Caller,
    viewer: ViewerGuard,
    counter: String,
    stream: TcpStream,
    early: Bytes,
) {
    let _counted = app.stop.stream();
    app.counts.sockets_opened.increment();
    let mut subscriptions = Subscriptions::new(app.topics.subscribe(&counter, stream));
    let sink = Arc::clone(subscriptions.sink());
    let mut client = Client::new(&app, &caller, counter, &sink);
    let opened =
        client.flush(&mut subscriptions).and_then(|()| client.receive(&mut subscriptions, &early));
    let end = match opened {
        Ok(()) => client.run(&mut subscriptions).await,
        Err(end) => end,
    };
    // A client that has read our Close frame may open the next socket at once, so this one must not
    // count any more.
    drop((viewer, caller, subscriptions));
    if let End::Close(goodbye) = end {
        app.counts.sockets_closed.increment();
        // The socket ends here even if the client does not read the frame.
        let _sent = tokio::time::timeout(LINGER, sink.close(goodbye)).await;
    }
}

/// The adds of one message, which are applied and wait for the disk.
struct Unacked {
    stored: Durable,
    adds: Vec<AnsweredAdd>,
}

/// An add that is applied. `repeated` is true if its id was applied before.
struct AnsweredAdd {
    id: String,
    repeated: bool,
}

/// The state of one client. Its memory is bounded by the client sink, one partial message of input
/// and [`UNACKED_MAX`].
struct Client<'a> {
    app: &'a App,
    caller: &'a Caller,
    name: String,
    /// Opened with the first add.
    counter: Option<Counter>,
    /// Shared with the topics, which write the changes. While the sink is stuck, nothing is read.
    sink: &'a ClientSink,
    protocol: SocketProtocol,
    /// Adds that are not on the disk yet, in order. Empty without a data directory.
    unacked: VecDeque<Unacked>,
    /// The number of adds in `unacked`.
    unacked_adds: usize,
    last_read: Instant,
    /// The last valid watch in the current read.
    watch: Option<WatchedNames>,
    malformed: u32,
}

impl<'a> Client<'a> {
    fn new(app: &'a App, caller: &'a Caller, name: String, sink: &'a ClientSink) -> Self {
        Self {
            app,
            caller,
            name,
            counter: None,
            sink,
            protocol: SocketProtocol::new(),
            unacked: VecDeque::new(),
            unacked_adds: 0,
            last_read: Instant::now(),
            watch: None,
            malformed: 0,
        }
    }

    async fn run(&mut self, subscriptions: &mut Subscriptions) -> End {
        let mut stop = std::pin::pin!(self.app.stop.wait());
        let sink = self.sink;
        let interval = self.app.ping_interval;
        let mut tick = tokio::time::interval_at(Instant::now() + interval, interval);
        loop {
            let stuck = sink.is_stuck();
            let full = self.unacked_adds >= UNACKED_MAX;
            let interest = if stuck { Interest::WRITABLE } else { Interest::READABLE };
            let step = tokio::select! {
                ready = sink.ready(interest), if stuck || !full => match ready {
                    Ok(()) if stuck => self.flush(subscriptions),
                    Ok(()) => self.read(subscriptions),
                    Err(error) => Err(error.into()),
                },
                () = sink.gets_stuck(), if !stuck => Ok(()),
                (stored, unacked) = first_stored(&mut self.unacked), if !stuck => {
                    self.acknowledge(&stored, &unacked)
                }
                () = &mut stop => {
                    Err(End::because(CloseCode::Away, "this node is stopping"))
                }
                _ = tick.tick() => self.check_alive(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Tells the client whether its adds are on the disk.
    fn acknowledge(
        &mut self,
        stored: &Result<(), NotDurable>,
        unacked: &Unacked,
    ) -> Result<(), End> {
        self.unacked_adds -= unacked.adds.len();
        let refusal = stored.as_ref().err().map(ApiError::not_durable);
        let mut replies = BytesMut::new();
        for AnsweredAdd { id, repeated } in &unacked.adds {
            let message = match &refusal {
                None => ServerMessage::Ack { id, repeated: *repeated },
                Some(error) => ServerMessage::refusal(Some(id), error),
            };
            frames::put_text(&mut replies, message.to_json());
        }
        self.send(replies.freeze())
    }

    /// Pings a quiet client. Gives up on one that is silent or reads nothing.
    fn check_alive(&mut self) -> Result<(), End> {
        let stuck_since = self.sink.stuck_since();
        let (interval, quiet) = (self.app.ping_interval, self.last_read.elapsed());
        if quiet > interval * SILENT_INTERVALS_MAX
            || stuck_since.is_some_and(|since| since.elapsed() > interval)
        {
            let reason = "nothing was heard from you for too long";
            return Err(End::because(CloseCode::Policy, reason));
        }
        if stuck_since.is_none() && quiet >= interval / 2 {
            return self.send(frames::ping());
        }
        Ok(())
    }

    fn read(&mut self, subscriptions: &mut Subscriptions) -> Result<(), End> {
        let mut buffer = [0; READ_BYTES];
        match self.sink.try_read(&mut buffer) {
            Ok(0) => Err(End::Gone),
            Ok(bytes) => {
                self.last_read = Instant::now();
                self.receive(subscriptions, &buffer[..bytes])
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replies to every message in `bytes`, with one write for all of them. Then applies the last
    /// watch alone, so that one read opens no more topics than one watch does.
    fn receive(&mut self, subscriptions: &mut Subscriptions, bytes: &[u8]) -> Result<(), End> {
        let mut exchange = Exchange::of(bytes);
        let mut batch = subscriptions.batch();
        let used = loop {
            match self.protocol.next_text(&mut exchange) {
                Ok(Some(text)) => self.reply(&text, &mut batch, &mut exchange.output),
                Ok(None) => break Ok(()),
                Err(goodbye) => break Err(End::Close(goodbye)),
            }
        };
        batch.reply(exchange.output.freeze())?;
        used?;
        if self.malformed > MALFORMED_MAX {
            let reason = "too many messages of no known form";
            return Err(End::because(CloseCode::Policy, reason));
        }
        if let Some(names) = self.watch.take() {
            subscriptions.watch(&self.app.topics, names);
            subscriptions.catch_up(&self.app.topics)?;
        }
        Ok(())
    }

    fn reply(&mut self, text: &str, batch: &mut AddBatch<'_>, replies: &mut BytesMut) {
        let mut put = |message: ServerMessage<'_>| frames::put_text(replies, message.to_json());
        match ClientMessage::read(text) {
            Ok(ClientMessage::Add { amount, id }) => {
                match self.add(amount.as_ref(), id.as_deref(), batch) {
                    Ok((repeated, stored)) => {
                        let id = id.unwrap_or_default();
                        self.answer(vec![AnsweredAdd { id, repeated }], stored, put);
                    }
                    Err(error) => put(ServerMessage::refusal(id.as_deref(), &error)),
                }
            }
            Ok(ClientMessage::Adds { adds }) => match self.add_batch(&adds, batch) {
                Ok(added) => {
                    let (mut answered, cannot_tell) = (Vec::new(), ApiError::cannot_tell());
                    for (Object(add), outcome) in adds.iter().zip(added.outcomes()) {
                        let id = add.id().unwrap_or_default();
                        match outcome {
                            AddOutcome::CannotTell => {
                                put(ServerMessage::refusal(Some(id), &cannot_tell))
                            }
                            outcome => answered.push(AnsweredAdd {
                                id: id.to_owned(),
                                repeated: outcome == AddOutcome::Repeated,
                            }),
                        }
                    }
                    let stored = self.app.node.is_durable().then(|| added.durable());
                    self.answer(answered, stored, put);
                }
                Err(error) => {
                    let bad = error.index.and_then(|index| adds.get(index));
                    put(ServerMessage::refusal(bad.and_then(|Object(add)| add.id()), &error));
                }
            },
            Ok(ClientMessage::Watch { counters }) => match WatchedNames::read(counters) {
                Ok(names) => self.watch = Some(names),
                Err(error) => put(ServerMessage::refusal(None, &error)),
            },
            Ok(ClientMessage::Ping { t }) => put(ServerMessage::Pong { t: &t }),
            Err(bad) => {
                self.malformed += 1;
                put(ServerMessage::Error {
                    id: bad.id.as_deref(),
                    index: bad.index,
                    error: Code::BadMessage,
                    message: &bad.why,
                });
            }
        }
    }

    /// Replies to applied adds. Those that wait for the disk get another reply once they are there.
    fn answer(
        &mut self,
        adds: Vec<AnsweredAdd>,
        stored: Option<Durable>,
        mut put: impl FnMut(ServerMessage<'_>),
    ) {
        for AnsweredAdd { id, repeated } in &adds {
            match (&stored, repeated) {
                (None, _) => put(ServerMessage::Ack { id, repeated: *repeated }),
                (Some(_), false) => put(ServerMessage::Applied { id, repeated: false }),
                (Some(_), true) => {}
            }
        }
        if let Some(stored) = stored
            && !adds.is_empty()
        {
            self.unacked_adds += adds.len();
            self.unacked.push_back(Unacked { stored, adds });
        }
    }

    /// Applies a batch: all of it, or nothing.
    fn add_batch(
        &mut self,
        adds: &[Object<SentAdd<'_>>],
        batch: &mut AddBatch<'_>,
    ) -> Result<Added, ApiError> {
        if let Some(index) = adds.iter().position(|Object(add)| add.id().is_none()) {
            return Err(ApiError::bad_id().at(index));
        }
        let added = apply_batch(self.app, self.caller, adds, Some(&self.name))?;
        for (Object(add), outcome) in adds.iter().zip(added.outcomes()) {
            if outcome == AddOutcome::Applied {
                batch.note_add(add.counter().unwrap_or(&self.name));
            }
        }
        Ok(added)
    }

    /// Applies an add. Returns true if its id was applied before, and, with a data directory, the
    /// write that its ack waits for.
    fn add(
        &mut self,
        amount: Option<&serde_json::Value>,
        id: Option<&str>,
        batch: &mut AddBatch<'_>,
    ) -> Result<(bool, Option<Durable>), ApiError> {
        let amount = Amount::read(amount)?;
        let id = id.ok_or_else(ApiError::bad_id)?;
        check_id(id)?;
        self.caller
            .take_add(&self.app.limits)
            .inspect_err(|_| self.app.counts.adds_refused.increment())?;
        let counter = match &mut self.counter {
            Some(counter) => counter,
            none => none.insert(self.app.open(&self.name, self.caller)?),
        };
        let repeated = apply_add(self.app, counter, id, amount)? == AddOutcome::Repeated;
        if !repeated {
            batch.note_add(&self.name);
        }
        Ok((repeated, self.app.node.is_durable().then(|| counter.durable())))
    }

    fn send(&self, frames: Bytes) -> Result<(), End> {
        Ok(self.sink.send(frames)?)
    }

    /// Writes the waiting bytes, then the changes that the client missed meanwhile.
    fn flush(&self, subscriptions: &mut Subscriptions) -> Result<(), End> {
        if self.sink.flush()? {
            subscriptions.catch_up(&self.app.topics)?;
        }
        Ok(())
    }
}

/// Waits until the oldest unacknowledged add is on the disk, or for ever if there is none. Cancel
/// safe.
async fn first_stored(unacked: &mut VecDeque<Unacked>) -> (Result<(), NotDurable>, Unacked) {
    if let Some(first) = unacked.front_mut() {
        let outcome = (&mut first.stored).await;
        if let Some(first) = unacked.pop_front() {
            return (outcome, first);
        }
    }
    std::future::pending().await
}
