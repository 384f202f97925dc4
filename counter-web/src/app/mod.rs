//! What every handler shares: the node, its watchers, the limits, and the word that it is time to
//! stop.

pub(crate) mod counts;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use counter_net::{Counter, Node};
use tokio::sync::watch;

use crate::access::limits::Limits;
use crate::access::{Access, Caller};
use crate::api::error::ApiError;
use crate::ws::topics::Hub;
use crate::ws::viewers::Viewers;
use counts::Counts;

/// One running front. Shared by every request and socket.
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    pub(crate) viewers: Viewers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) region: String,
    /// The page's counter.
    pub(crate) counter: String,
    /// Who may do what.
    pub(crate) access: Arc<Access>,
    /// After how long a quiet client is pinged.
    pub(crate) ping_interval: Duration,
    /// Whether the page may cut this node from the others.
    pub(crate) partition_switch: bool,
    /// The addresses of the demo's pages by region, once all of its nodes are ready; nobody says
    /// them to a node that runs by itself.
    pub(crate) pages: OnceLock<BTreeMap<String, String>>,
    pub(crate) stop: Stop,
    /// An operator said `leave`: another node is to take over what this one counted.
    pub(crate) leaves: AtomicBool,
    pub(crate) counts: Arc<Counts>,
}

impl App {
    /// The front of `node`, with a switch and limits that nothing here reaches.
    #[cfg(test)]
    pub(crate) fn for_tests(node: Node) -> Self {
        let rules = crate::access::limits::Rules {
            rate: 1e6,
            rate_given: false,
            connections_per_address: 256,
            connections_given: false,
        };
        let counts = Arc::<Counts>::default();
        Self {
            hub: Hub::new(node.clone(), Arc::clone(&counts)),
            viewers: Viewers::default(),
            region: node.info().region,
            node,
            limits: Limits::new(rules),
            counter: "clicks".to_owned(),
            access: Arc::default(),
            ping_interval: Duration::from_secs(20),
            partition_switch: true,
            pages: OnceLock::new(),
            stop: Stop::new(),
            leaves: AtomicBool::new(false),
            counts,
        }
    }

    /// A handle to add to the counter `name`, which is made where it does not exist.
    ///
    /// # Errors
    ///
    /// 403 where it does not exist and the caller may not make it, and 503 where it does not exist
    /// and there are as many as may be made. Nothing was made.
    pub(crate) fn open(&self, name: &str, caller: &Caller) -> Result<Counter, ApiError> {
        if !self.node.exists(name) && !caller.may_create(name) {
            return Err(ApiError::name_not_allowed());
        }
        self.node.counter(name).map_err(ApiError::of_add)
    }
}

/// Says once that the front stops, and counts the streams (sockets, server-sent events) that have
/// not ended yet.
pub(crate) struct Stop {
    said: watch::Sender<bool>,
    streams: watch::Sender<usize>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { said: watch::Sender::new(false), streams: watch::Sender::new(0) }
    }

    pub(crate) fn say(&self) {
        self.said.send_replace(true);
    }

    pub(crate) fn is_said(&self) -> bool {
        *self.said.borrow()
    }

    /// Ends when stopping was said. Owns what it needs, so that it can live in a stream of its own.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut said = self.said.subscribe();
        async move {
            // An error means that the sender is gone, which is a stop too.
            let _ended = said.wait_for(|said| *said).await;
        }
    }

    /// Counts one stream until the guard is dropped.
    pub(crate) fn stream(&self) -> StreamGuard {
        self.streams.send_modify(|streams| *streams += 1);
        StreamGuard { streams: self.streams.clone() }
    }

    pub(crate) fn streams(&self) -> usize {
        *self.streams.borrow()
    }

    /// Ends when no stream is open.
    pub(crate) async fn streams_ended(&self) {
        let mut open = self.streams.subscribe();
        // The sender is here, so there is no error.
        let _ended = open.wait_for(|streams| *streams == 0).await;
    }
}

/// One open stream; see [`Stop::stream`].
pub(crate) struct StreamGuard {
    streams: watch::Sender<usize>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.send_modify(|streams| *streams = streams.saturating_sub(1));
    }
}
