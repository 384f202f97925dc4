//! One WebSocket: reads adds and pings, writes acks and the latest change, and never holds more
//! than one thing that does not fit.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use counter_net::{Counter, Durable, NotDurable, Once};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::handlers::apply_add;
use crate::api::model::{Amount, ClientMessage, ServerMessage, add_id};
use crate::app::App;
use crate::ws::client_sink::Seat;
use crate::ws::frames::{self, Broken, FrameReader, Heard, close_echo, close_frame};
use crate::ws::topic::Seated;
use crate::ws::viewers::Watching;

/// A client of which nothing was heard for so many times the interval of pings, answers to them
/// included, is gone.
const SILENT_INTERVALS_MAX: u32 = 3;

/// How long after a Close frame the client may take to read it.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes taken from a socket at once.
const READ_BYTES: usize = 16 * 1024;

/// Adds that may wait for the disk at a time; further ones wait to be read.
const UNACKED_MAX: usize = 1_024;

/// Messages of no known form that a client may send before it is cut off.
const MALFORMED_MAX: u32 = 64;

/// Why a socket ends.
enum End {
    /// We send this Close frame, and end it.
    Close(Bytes),
    /// The client closed it or is gone.
    Gone,
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Close(close_frame(broken.code, broken.reason))
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Serves one client until it, or the node, goes.
pub(crate) async fn serve(
    app: Arc<App>,
    caller: Caller,
    watching: Watching,
    counter: String,
    stream: TcpStream,
    early: Bytes,
) {
    let _counted = app.stop.stream();
    app.counts.sockets_opened.one();
    let seated = app.hub.seat(&counter, stream);
    let mut client = Client::new(&app, &caller, counter, &seated);
    let opened = client.flush().and_then(|()| client.hear(&early));
    let end = match opened {
        Ok(()) => client.run().await,
        Err(end) => end,
    };
    // Who has read our Close frame may open the next socket at once: this one no longer counts.
    drop((watching, caller));
    if let End::Close(goodbye) = end {
        app.counts.sockets_closed.one();
        let seat = seated.leave();
        // Whether or not the client reads it, the socket ends here.
        let _sent = tokio::time::timeout(LINGER, close(&seat, goodbye)).await;
    }
}

/// Finishes the frame that was begun, sends the Close frame, and reads what is still under way, so
/// that it is not lost to a reset.
async fn close(seat: &Seat, goodbye: Bytes) -> io::Result<()> {
    seat.close_with(goodbye)?;
    while !seat.flush()? {
        seat.stream.writable().await?;
    }
    rustix::net::shutdown(&seat.stream, rustix::net::Shutdown::Write)?;
    loop {
        seat.stream.readable().await?;
        match seat.stream.try_read(&mut [0; 1024]) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

/// An add that is applied and waits for the disk.
struct Unacked {
    stored: Durable,
    id: String,
    repeated: bool,
}

/// What is known of one client. Its memory: what its seat has not sent, and one unfinished message
/// of input.
struct Client<'a> {
    app: &'a App,
    caller: &'a Caller,
    name: String,
    counter: Option<Counter>,
    /// Shared with the room, which writes the changes. While it is stuck, nothing is read.
    seated: &'a Seated,
    reader: FrameReader,
    /// Adds applied and not yet on the disk, in their order; empty without a data directory.
    unacked: VecDeque<Unacked>,
    heard_at: Instant,
    /// What is being read added to the counter.
    added: bool,
    malformed: u32,
}

impl<'a> Client<'a> {
    fn new(app: &'a App, caller: &'a Caller, name: String, seated: &'a Seated) -> Self {
        Self {
            app,
            caller,
            name,
            counter: None,
            seated,
            reader: FrameReader::default(),
            unacked: VecDeque::new(),
            heard_at: Instant::now(),
            added: false,
            malformed: 0,
        }
    }

    async fn run(&mut self) -> End {
        let mut stop = std::pin::pin!(self.app.stop.wait());
        let seat = self.seated.seat();
        let interval = self.app.ping_interval;
        let mut tick = tokio::time::interval_at(Instant::now() + interval, interval);
        loop {
            let stuck = seat.is_stuck();
            let full = self.unacked.len() >= UNACKED_MAX;
            let interest = if stuck { Interest::WRITABLE } else { Interest::READABLE };
            let step = tokio::select! {
                ready = seat.stream.ready(interest), if stuck || !full => match ready {
                    Ok(_) if stuck => self.flush(),
                    Ok(_) => self.read(),
                    Err(error) => Err(error.into()),
                },
                () = seat.gets_stuck(), if !stuck => Ok(()),
                (stored, Unacked { id, repeated, .. }) = first_stored(&mut self.unacked), if !stuck => {
                    let said = match &stored {
                        Ok(()) => ServerMessage::Ack { id: &id, repeated }.to_json(),
                        Err(error) => ServerMessage::Error { id: Some(&id), error: Code::NotDurable, message: &error.to_string() }.to_json(),
                    };
                    let mut reply = BytesMut::new();
                    frames::put_text(&mut reply, &said);
                    self.send(reply.freeze())
                }
                () = &mut stop => Err(STOPPING.into()),
                _ = tick.tick() => self.look_after(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Pings a quiet client; gives up one that is silent, or that reads nothing.
    fn look_after(&mut self) -> Result<(), End> {
        let seat = self.seated.seat();
        let (stuck_since, interval, quiet) =
            (seat.stuck_since(), self.app.ping_interval, self.heard_at.elapsed());
        if quiet > interval * SILENT_INTERVALS_MAX
            || stuck_since.is_some_and(|since| since.elapsed() > interval)
        {
            return Err(
                Broken { code: 1008, reason: "nothing was heard from you for too long" }.into()
            );
        }
        if stuck_since.is_none() && quiet >= interval / 2 {
            return self.send(Bytes::from_static(frames::PING));
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        let mut buffer = [0; READ_BYTES];
        match self.seated.seat().stream.try_read(&mut buffer) {
            Ok(0) => Err(End::Gone),
            Ok(bytes) => {
                self.heard_at = Instant::now();
                self.hear(&buffer[..bytes])
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers every message in `bytes`, with one write for all of them.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut reader = std::mem::take(&mut self.reader);
        let (mut replies, mut closed) = (BytesMut::new(), None);
        let adding = self.seated.adding();
        let fed = reader.feed(bytes, &mut |heard| match heard {
            Heard::Text(text) => self.answer(&text, &mut replies),
            Heard::Ping(payload) => frames::put_pong(&mut replies, &payload),
            Heard::Pong => {}
            Heard::Close(code) => closed = Some(code),
        });
        self.reader = reader;
        adding.answer(std::mem::take(&mut self.added), replies.freeze())?;
        fed?;
        if let Some(code) = closed {
            return Err(End::Close(close_echo(code)));
        }
        if self.malformed > MALFORMED_MAX {
            return Err(Broken { code: 1008, reason: "too many messages of no known form" }.into());
        }
        Ok(())
    }

    fn answer(&mut self, text: &str, replies: &mut BytesMut) {
        let mut say = |message: ServerMessage<'_>| frames::put_text(replies, &message.to_json());
        match ClientMessage::read(text) {
            Ok(ClientMessage::Add { amount, id }) => match self.add(amount.as_ref(), id.as_deref())
            {
                Ok((repeated, Some(stored))) => {
                    let id = id.unwrap_or_default();
                    if !repeated {
                        say(ServerMessage::Applied { id: &id, repeated });
                    }
                    self.unacked.push_back(Unacked { stored, id, repeated });
                }
                Ok((repeated, None)) => {
                    say(ServerMessage::Ack { id: id.as_deref().unwrap_or_default(), repeated })
                }
                Err(error) => say(ServerMessage::Error {
                    id: id.as_deref(),
                    error: error.code,
                    message: &error.message,
                }),
            },
            Ok(ClientMessage::Ping { t }) => say(ServerMessage::Pong { t: &t }),
            Err(bad) => {
                self.malformed += 1;
                say(ServerMessage::Error {
                    id: bad.id.as_deref(),
                    error: Code::BadMessage,
                    message: &bad.why,
                });
            }
        }
    }

    /// Applies an add. Returns whether it was applied before, and, with a data directory, what its
    /// ack waits for.
    fn add(
        &mut self,
        amount: Option<&serde_json::Value>,
        id: Option<&str>,
    ) -> Result<(bool, Option<Durable>), ApiError> {
        let amount = Amount::read(amount)?;
        let id = id.ok_or_else(ApiError::bad_id)?;
        add_id(id)?;
        self.caller
            .take_add(&self.app.limits)
            .inspect_err(|_| self.app.counts.adds_refused.one())?;
        let counter = match &mut self.counter {
            Some(counter) => counter,
            none => none.insert(self.app.open(&self.name, self.caller)?),
        };
        let repeated = apply_add(self.app, counter, id, amount)? == Once::Repeated;
        self.added |= !repeated;
        Ok((repeated, self.app.node.is_durable().then(|| counter.durable())))
    }

    fn send(&self, frames: Bytes) -> Result<(), End> {
        Ok(self.seated.seat().send(frames)?)
    }

    /// Writes what waits, and then the changes that the client missed meanwhile.
    fn flush(&self) -> Result<(), End> {
        if self.seated.seat().flush()? {
            self.seated.catch_up()?;
        }
        Ok(())
    }
}

/// Waits until the first add that waits is on the disk; for ever where none does. Cancel safe.
async fn first_stored(unacked: &mut VecDeque<Unacked>) -> (Result<(), NotDurable>, Unacked) {
    if let Some(first) = unacked.front_mut() {
        let outcome = (&mut first.stored).await;
        if let Some(first) = unacked.pop_front() {
            return (outcome, first);
        }
    }
    std::future::pending().await
}

const STOPPING: Broken = Broken { code: 1001, reason: "this node is stopping" };
