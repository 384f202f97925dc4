//! The state of one running web front.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use counter_net::{Counter, CounterView, Node};

use super::counts::Counts;
use super::stop::Stop;
use crate::access::limits::{LimitRules, Limits};
use crate::access::{Access, Caller};
use crate::api::error::ApiError;
use crate::ws::topics::Topics;
use crate::ws::viewers::Viewers;

/// The settings of a front, from the command line.
pub(crate) struct FrontSettings {
    /// The page's counter.
    pub(crate) counter: String,
    /// The rights of callers.
    pub(crate) access: Access,
    pub(crate) limits: LimitRules,
    /// How long a client may be quiet before it is pinged.
    pub(crate) ping_interval: Duration,
    /// True if the page has a switch that cuts this node off from the others.
    pub(crate) partition_switch: bool,
}

/// One running web front.
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) topics: Arc<Topics>,
    pub(crate) viewers: Viewers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) region: String,
    /// The page's counter.
    pub(crate) counter: String,
    /// The rights of callers.
    pub(crate) access: Arc<Access>,
    /// How long a client may be quiet before it is pinged.
    pub(crate) ping_interval: Duration,
    /// True if the page has a switch that cuts this node off from the others.
    pub(crate) partition_switch: bool,
    /// The addresses of the demo's pages by region. Set once all nodes of the demo are ready, and
    /// never outside a demo.
    pub(crate) pages: OnceLock<BTreeMap<String, String>>,
    pub(crate) stop: Stop,
    /// True once an operator ran `leave`. A successor then takes over the counts of this node.
    pub(crate) leaves: AtomicBool,
    pub(crate) counts: Arc<Counts>,
}

impl App {
    /// The front of `node`. It serves nothing yet.
    pub(crate) fn new(node: Node, settings: FrontSettings) -> Self {
        let counts = Arc::<Counts>::default();
        Self {
            topics: Topics::new(node.clone(), Arc::clone(&counts)),
            viewers: Viewers::default(),
            limits: Limits::new(settings.limits),
            region: node.info().region,
            node,
            counter: settings.counter,
            access: Arc::new(settings.access),
            ping_interval: settings.ping_interval,
            partition_switch: settings.partition_switch,
            pages: OnceLock::new(),
            stop: Stop::new(),
            leaves: AtomicBool::new(false),
            counts,
        }
    }

    /// The front of `node`, with a partition switch and very high limits.
    #[cfg(test)]
    pub(crate) fn for_tests(node: Node) -> Self {
        let limits = LimitRules {
            rate: 1e6,
            rate_given: false,
            connections_per_address: 256,
            connections_given: false,
        };
        let settings = FrontSettings {
            counter: "clicks".to_owned(),
            access: Access::default(),
            limits,
            ping_interval: Duration::from_secs(20),
            partition_switch: true,
        };
        Self::new(node, settings)
    }

    /// Sets the addresses of the demo's pages by region, and lets those pages in. A second call
    /// changes nothing.
    pub(crate) fn set_pages(&self, pages: BTreeMap<String, String>) {
        self.access.allow_pages(pages.values());
        let _set = self.pages.set(pages);
    }

    /// Opens the counter `name` for adding, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// If it does not exist: 403 if the caller may not create it, 503 if there are too many
    /// counters. Nothing was created.
    pub(crate) fn open(&self, name: &str, caller: &Caller) -> Result<Counter, ApiError> {
        if !self.node.exists(name) && !caller.may_create(name) {
            return Err(ApiError::name_not_allowed());
        }
        self.node.counter(name).map_err(|error| ApiError::of_add_to(&self.node, name, error))
    }

    /// The value of this node's own region in a counter.
    pub(crate) fn value_here(&self, view: &CounterView) -> i128 {
        view.regions.get(&self.region).map_or(0, |region| region.value)
    }
}
