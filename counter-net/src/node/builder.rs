//! The settings of a node before its start, with defaults for all of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use counter_core::CounterMap;

use crate::config::ClusterKey;
use crate::config::{self, NodeConfig};
use crate::discovery::Discovery;
use crate::error::StartError;
use crate::protocol::ProtocolConfig;

/// The most dedup entries that are staged beside a writer's cells.
const STAGED_BESIDE_MAX: usize = 1_000_000;
const LISTEN_DEFAULT: &str = "/ip4/127.0.0.1/tcp/0";

/// The settings of a node before its start; see [`Node::builder`](crate::Node::builder).
///
/// Setters do not fail. [`start`](Self::start) checks all settings.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct NodeBuilder {
    region: String,
    cluster: String,
    release: String,
    key: Option<ClusterKey>,
    further_keys: Vec<ClusterKey>,
    listen: Vec<String>,
    peers: Vec<String>,
    discovery: Vec<Discovery>,
    runtime_dir: Option<PathBuf>,
    name_server: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    restored: bool,
    node_name: Option<String>,
    commit_interval: Duration,
    counters_max: usize,
    expiry: Vec<(String, Duration)>,
    protocol: ProtocolConfig,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            region: "local".to_owned(),
            cluster: "counter".to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            key: None,
            further_keys: Vec::new(),
            listen: Vec::new(),
            peers: Vec::new(),
            discovery: Vec::new(),
            runtime_dir: None,
            name_server: None,
            data_dir: None,
            restored: false,
            node_name: None,
            commit_interval: Duration::from_millis(5),
            counters_max: counter_core::COUNTERS_MAX,
            expiry: Vec::new(),
            protocol: ProtocolConfig::default(),
        }
    }
}

impl NodeBuilder {
    /// Sets the region: 1-32 characters of `a`-`z`, `0`-`9` and `-`. Default `local`.
    ///
    /// Values are broken down by region. Each region costs a cell (76 bytes) in each counter that
    /// it adds to.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets the cluster's name: 1-64 characters of letters, digits, `-`, `_` and `.`. Default
    /// `counter`.
    ///
    /// Nodes with different names never connect. The name prevents mistakes, such as staging in
    /// production. Against intruders use a [key](Self::cluster_key).
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// Sets the application's release, up to 64 bytes, which other nodes show. Default this crate's
    /// version. It is part of every announcement (each 30 s).
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// Sets the secret that admits nodes to the cluster, the same on all nodes. Default none.
    ///
    /// Without a key the node listens on loopback only, so other machines cannot connect. With a
    /// key every connection is encrypted a second time.
    pub fn cluster_key(mut self, key: ClusterKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Accepts this key too, beside the [first](Self::cluster_key). Repeatable, up to four distinct
    /// keys in all.
    ///
    /// Two rolling restarts change a cluster's key, and all nodes stay in touch:
    ///
    /// 1. Restart each node with the old key as `cluster_key` and the new one as `also_accept_key`.
    /// 2. Once every node has both, restart each with the new key alone. After the last one the old
    ///    key admits nobody.
    ///
    /// Two nodes connect if the first key of either is among the other's keys. That costs no bytes
    /// and no round trip.
    pub fn also_accept_key(mut self, key: ClusterKey) -> Self {
        self.further_keys.push(key);
        self
    }

    /// Adds a multiaddress to listen on, such as `/ip6/::/tcp/7117`. Repeatable. Default
    /// `/ip4/127.0.0.1/tcp/0`.
    ///
    /// Port 0 picks a free port, which suits discovery. Firewalls and static peers need a fixed
    /// port, which only one process of a machine can have. TCP only.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Adds the multiaddress of a peer to stay connected to, such as `/dns4/host/tcp/7117`.
    /// Repeatable. Default none.
    ///
    /// One peer in the cluster is enough, because peers introduce each other. Name two or three, so
    /// that one of them may be down at the start. If none is reached, the node serves but is not
    /// [synced](crate::Node::synced). An address that ends in `/p2p/…` accepts only that node.
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.peers.push(address.into());
        self
    }

    /// Adds a discovery method. Repeatable. Default [`Discovery::Local`], and with a cluster key
    /// also [`Discovery::Mdns`].
    ///
    /// Each method costs a look every few seconds: at a directory, by multicast, or a DNS query.
    /// Use [`Discovery::None`] in tests, or they connect to other nodes on the machine.
    pub fn discover(mut self, method: Discovery) -> Self {
        self.discovery.push(method);
        self
    }

    /// Sets the directory for [`Discovery::Local`]. Default `$XDG_RUNTIME_DIR`, else a directory of
    /// the user in the temporary one.
    ///
    /// Only nodes with the same directory find each other. It must belong to this user and be
    /// closed to others (0700).
    pub fn runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(directory.into());
        self
    }

    /// Sets the name server for [`Discovery::Dns`] and [`Discovery::Fly`]. Default the system's
    /// (`/etc/resolv.conf`).
    pub fn name_server(mut self, server: SocketAddr) -> Self {
        self.name_server = Some(server);
        self
    }

    /// Sets the data directory, which is created (0700) if it does not exist. Default none: the
    /// state is in memory, and the rest of the cluster is its copy.
    ///
    /// The directory keeps everything that this node knows, also others' cells, so a whole cluster
    /// can stop and start again. The node keeps its identity; each start is a new incarnation and
    /// the successor of the one before. The directory is locked: one process at a time can use it.
    ///
    /// If the directory was copied, restored or moved, the node starts under a new identity with
    /// the same state. Once a member has answered, it takes over the original's counts, unless
    /// another node continues the original. Until then it refuses
    /// [`Counter::reset`](crate::Counter::reset).
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
        self
    }

    /// Declares that the data directory was restored or moved, and that no other node continues the
    /// original. Default false.
    ///
    /// The node then keeps its identity. Use this for a whole cluster that starts from backups, or
    /// for a cluster's only node. Adds after the backup that are in none of the directories are
    /// lost.
    pub fn restored(mut self, restored: bool) -> Self {
        self.restored = restored;
        self
    }

    /// Sets a name that outlives this node's process, such as its machine's name. 1-128 bytes,
    /// unique in the cluster. Default none.
    ///
    /// A killed node without a [directory](Self::data_dir) looks like one that is out of reach. It
    /// counts for copies and for stable totals until it is [retired](crate::Node::retire). If it
    /// starts again under its name, the others know that the earlier process has ended, and the new
    /// one takes over the counts that they hold. The name itself stores nothing: adds that no other
    /// node had are lost. A start under a name takes one more round trip. The identity in a data
    /// directory takes precedence over the name. Metrics show the name in either case.
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = Some(name.into());
        self
    }

    /// Sets the longest time between a change and its commit to the data directory. Default 5 ms.
    ///
    /// An add that is waited for ([`Counter::add_durable`](crate::Counter::add_durable)) is
    /// committed at once. Each commit is one fsync for all changes so far, so a longer interval
    /// saves writes. In a crash the node loses its adds of that interval that no other node has. 50
    /// ms to 1 s suits a spinning disk.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// Sets the most counters that may be created. Default 2,000,000. Must be the same on every
    /// node of a cluster.
    ///
    /// A node that holds this many creates no others. Existing counters take adds in every region.
    /// A node accepts up to twice as many from others, because both sides of a partition may create
    /// that many. Beyond that it refuses a delta as a whole, so that no two nodes keep different
    /// halves. The node is then not [ready](crate::Node::is_ready), and its log and metrics say so:
    /// start every node with a greater bound. A greater bound lets a fault fill more memory (76
    /// bytes a cell). The bound itself allocates nothing.
    ///
    /// The regions of all counters together are bounded at eight times this number, and at least
    /// 2,000,000.
    pub fn counters_max(mut self, counters: usize) -> Self {
        self.counters_max = counters;
        self
    }

    /// Ends each counter whose name starts with `prefix` when `after` has passed since it was
    /// created. Repeatable; the longest prefix of a name counts, and an empty one means all.
    /// Default none.
    ///
    /// A counter carries its expiry with it. Nothing is left of it a few seconds after that time,
    /// as after [`Node::remove`](crate::Node::remove), and adds are refused meanwhile. A later add
    /// creates it again, with a new expiry. If two nodes create one counter at the same time, it
    /// ends at the later time. An existing counter keeps its expiry, so give all nodes the same
    /// prefixes from their first start on.
    ///
    /// Each node goes by its own clock. [`Node::counter_until`](crate::Node::counter_until) ends a
    /// single counter.
    pub fn expire(mut self, prefix: impl Into<String>, after: Duration) -> Self {
        self.expiry.push((prefix.into(), after));
        self
    }

    /// Sets how long the node waits for silent peers and silent discovery before it is
    /// [ready](crate::Node::is_ready) anyway. Default 10 s.
    ///
    /// A node whose peers answer is ready once it holds all that they hold, usually within six
    /// round trips. This bounds the wait for a peer that accepts connections and stays silent. The
    /// node then serves without being [synced](crate::Node::is_synced). A shorter wait may show
    /// totals without a slow region.
    pub fn ready_within(mut self, wait: Duration) -> Self {
        self.protocol.ready_within = wait;
        self
    }

    /// Sets how long a node that leaves for good waits until another node holds all its counts.
    /// Default 5 s.
    ///
    /// A node leaves for good if it has no data directory, or by
    /// [`Node::leave`](crate::Node::leave). Over good links the wait takes a few round trips. After
    /// this time the node stops anyway.
    pub fn leave_within(mut self, wait: Duration) -> Self {
        self.protocol.leave_within = wait;
        self
    }

    /// Sets the average time between two flushes under load. Default 5 ms.
    ///
    /// After a pause up to four flushes go out at once, so an isolated add is never held. A longer interval delays adds and saves messages: each
    /// flush sends about 50 bytes per changed counter to each peer in the mesh. 1 to 100 ms is
    /// sensible; 0 flushes at every turn of the driver.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.protocol.flush_interval = interval;
        self
    }

    /// Sets the mean time between two rounds of anti-entropy with a random peer. Default 1 s,
    /// jittered by 20 %.
    ///
    /// A shorter interval finds lost messages sooner; a round costs about 300 bytes if nothing
    /// differs. 0.2 to 30 s is sensible. Gaps that gossip reveals are repaired at once in any
    /// case.
    pub fn anti_entropy_interval(mut self, interval: Duration) -> Self {
        self.protocol.anti_entropy_interval = interval;
        self
    }

    /// Checks every setting.
    pub(super) fn check(mut self) -> Result<NodeConfig, StartError> {
        config::check_region(&self.region)?;
        config::check_cluster(&self.cluster)?;
        self.node_name.as_deref().map_or(Ok(()), config::check_node_name)?;
        self.expiry.iter().try_for_each(config::check_expiry)?;
        let keys = config::check_keys(self.key.take(), std::mem::take(&mut self.further_keys))?;
        let has_key = !keys.is_empty();
        let discovery = self.discovery_or_default(has_key)?;
        let listen = if !self.listen.is_empty() {
            self.listen
                .iter()
                .map(|address| config::check_listen(address, has_key))
                .collect::<Result<_, _>>()?
        } else if discovery.contains(&Discovery::Fly) {
            vec![crate::discovery::fly::listen_address(has_key)?]
        } else {
            vec![config::check_listen(LISTEN_DEFAULT, has_key)?]
        };
        let peers: Vec<_> = self
            .peers
            .iter()
            .map(|address| config::check_peer(address, has_key))
            .collect::<Result<_, _>>()?;
        let peers_named = !peers.is_empty();
        let protocol = ProtocolConfig {
            release: self.release.clone(),
            peers_named,
            payload_bytes_max: config::GOSSIP_PAYLOAD_BYTES_MAX,
            // One writer may have a cell at every key, and dedup entries beside them.
            staging_cells_max: CounterMap::keys_max(self.counters_max)
                .saturating_add(STAGED_BESIDE_MAX),
            ..self.protocol
        };
        Ok(NodeConfig {
            region: self.region,
            cluster: self.cluster,
            release: self.release,
            keys,
            listen,
            peers,
            discovery,
            runtime_dir: self.runtime_dir,
            name_server: self.name_server,
            data_dir: self.data_dir,
            restored: self.restored,
            node_name: self.node_name,
            commit_interval: self.commit_interval,
            counters_max: self.counters_max,
            expiry: self.expiry,
            protocol,
        })
    }

    fn discovery_or_default(&self, has_key: bool) -> Result<Vec<Discovery>, StartError> {
        if self.discovery.contains(&Discovery::Mdns) && !has_key {
            return Err(crate::error::DiscoveryError::MdnsNeedsKey.into());
        }
        let default = || {
            if has_key { vec![Discovery::Local, Discovery::Mdns] } else { vec![Discovery::Local] }
        };
        Ok(if self.discovery.is_empty() { default() } else { self.discovery.clone() })
    }
}
