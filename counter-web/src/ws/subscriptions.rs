//! The counters of one socket: its own, and those that it watches.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use counter_net::CounterView;

use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::check_name;
use crate::ws::topics::Topics;
use crate::ws::topics::client_sink::ClientSink;
use crate::ws::topics::topic::{Subscription, TopicBatch};

/// The most counters that one socket watches, besides its own. A node holds a topic for each
/// counter that somebody follows, so this bounds the topics that one socket can open.
const WATCHED_MAX: usize = 64;

/// The names of a `watch` message, checked.
pub(crate) struct WatchedNames(BTreeSet<String>);

impl WatchedNames {
    /// Checks the names. Any counter may be watched, also one that does not exist.
    ///
    /// # Errors
    ///
    /// For more than [`WATCHED_MAX`] names, a bad one, or one that comes twice.
    pub(crate) fn read(names: Vec<String>) -> Result<Self, ApiError> {
        if names.len() > WATCHED_MAX {
            return Err(ApiError::too_many_watched(WATCHED_MAX));
        }
        let mut checked = BTreeSet::new();
        for name in names {
            check_name(&name)?;
            if !checked.insert(name) {
                return Err(ApiError::bad_request(
                    Code::BadMessage,
                    "a watch names each counter once: this one repeats a name. Nothing changed",
                ));
            }
        }
        Ok(Self(checked))
    }
}

/// The subscriptions of one socket. They share its client sink, so a slow client costs no more with
/// many counters than with one: the replies to one read, and one frame.
pub(crate) struct Subscriptions {
    /// In the order of their names. The socket's own counter is always among them.
    all: Vec<Subscription>,
    /// The index at which [`catch_up`](Self::catch_up) resumes, so that a slow client gets every
    /// counter in turn.
    next: usize,
    /// The last watch names the socket's own counter.
    watches_own: bool,
    /// The state of the own counter is to be sent again, because a watch newly names it.
    own_state_due: bool,
}

impl Subscriptions {
    pub(crate) fn new(own: Subscription) -> Self {
        Self { all: vec![own], next: 0, watches_own: false, own_state_due: false }
    }

    pub(crate) fn sink(&self) -> &Arc<ClientSink> {
        self.all[0].feed().sink()
    }

    /// Watches these counters instead of the earlier ones. The next [`catch_up`](Self::catch_up)
    /// sends the states of the new ones.
    pub(crate) fn watch(&mut self, topics: &Topics, WatchedNames(names): WatchedNames) {
        self.all.retain(|one| one.feed().is_own() || names.contains(one.name()));
        let kept: BTreeSet<&str> = self.all.iter().map(Subscription::name).collect();
        let new: Vec<_> = names.iter().filter(|name| !kept.contains(name.as_str())).collect();
        let Some(own) = self.all.iter().find(|one| one.feed().is_own()) else { return };
        own.feed().name_counters();
        let watches_own = names.contains(own.name());
        self.own_state_due |= watches_own && !self.watches_own;
        self.watches_own = watches_own;
        let new: Vec<_> = new.into_iter().map(|name| topics.watch(name, own)).collect();
        self.all.extend(new);
        self.all.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        self.next = 0;
    }

    /// Sends what this client misses of each counter, until the socket is full.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn catch_up(&mut self, topics: &Topics) -> io::Result<()> {
        for _ in 0..self.all.len() {
            if self.sink().is_stuck() {
                return Ok(());
            }
            let one = &self.all[self.next];
            self.next = (self.next + 1) % self.all.len();
            let state = |view: &CounterView| topics.state(view).bytes().clone();
            if one.feed().is_own() && std::mem::take(&mut self.own_state_due) {
                one.send_state(state)?;
            } else {
                one.catch_up(state)?;
            }
        }
        Ok(())
    }

    /// Starts a batch of adds. Each topic reads the node either before the batch or after its
    /// replies. Do not hold it across an await.
    pub(crate) fn batch(&self) -> AddBatch<'_> {
        AddBatch { sink: self.sink(), topics: self.all.iter().map(Subscription::batch).collect() }
    }
}

/// Adds of one client that are applied and answered together; see [`Subscriptions::batch`].
pub(crate) struct AddBatch<'a> {
    sink: &'a ClientSink,
    /// In the order of their names.
    topics: Vec<TopicBatch<'a>>,
}

impl AddBatch<'_> {
    /// Notes that something was added to the counter `name`. If the socket has this counter, the
    /// first change of it after the replies contains the add, and comes at once.
    pub(crate) fn note_add(&mut self, name: &str) {
        if let Ok(at) = self.topics.binary_search_by(|topic| topic.name().cmp(name)) {
            self.topics[at].note_add();
        }
    }

    /// Sends the replies, and ends the batch.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn reply(self, replies: Bytes) -> io::Result<()> {
        self.topics.iter().for_each(TopicBatch::skip_older);
        let sent = if replies.is_empty() { Ok(()) } else { self.sink.send(replies) };
        for topic in self.topics.into_iter().filter_map(TopicBatch::end) {
            topic.added();
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_names_are_bounded_valid_and_distinct() {
        let names = |count: usize| (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>();
        let code = |names| WatchedNames::read(names).err().map(|error| error.code);
        assert_eq!(code(names(WATCHED_MAX)), None);
        assert_eq!(code(Vec::new()), None);
        assert_eq!(code(names(WATCHED_MAX + 1)), Some(Code::TooLarge));
        for bad in ["", "a\nb", &"x".repeat(129)] {
            assert_eq!(code(vec!["a".into(), bad.into()]), Some(Code::BadName), "{bad:?}");
        }
        assert_eq!(code(vec!["a".into(), "b".into(), "a".into()]), Some(Code::BadMessage));
    }

    #[test]
    fn openapi_document_has_the_same_bound() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../assets/openapi.json")).unwrap();
        let bound = "/components/schemas/Watch/properties/counters/maxItems";
        assert_eq!(document.pointer(bound), Some(&WATCHED_MAX.into()));
    }
}
