//! The builder: what a node may be told before it starts, with sensible defaults for all of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use counter_core::CounterMap;

use crate::cluster_key::ClusterKey;
use crate::config::{self, NodeConfig};
use crate::discovery::Discovery;
use crate::error::StartError;
use crate::protocol::ProtocolConfig;

/// Dedup entries that are staged beside the cells of a writer, at most.
const STAGED_BESIDE_MAX: usize = 1_000_000;
const LISTEN_DEFAULT: &str = "/ip4/127.0.0.1/tcp/0";

/// Settings of a node before its start; see [`Node::builder`](crate::Node::builder).
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
            protocol: ProtocolConfig::default(),
        }
    }
}

impl NodeBuilder {
    /// Where this node runs: a label of 1-32 characters of `a`-`z`, `0`-`9` and `-`. Default
    /// `local`. Nodes of one region add up.
    ///
    /// More regions cost a cell (76 bytes) a counter and region that is added to; one for all nodes
    /// loses the breakdown and nothing else.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The cluster to belong to: 1-64 characters of letters, digits, `-`, `_` and `.`. Default
    /// `counter`. Two names never mix.
    ///
    /// It keeps staging out of production by mistake, not by force: that takes another
    /// [key](Self::cluster_key). Costs nothing.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// The application's release, up to 64 bytes, shown to the other nodes. Default this crate's
    /// version. Its bytes are in every announcement (30 s).
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// The secret that admits a node to the cluster, the same on all of its nodes. Default none:
    /// then only loopback addresses are listened on.
    ///
    /// With one every connection is encrypted a second time; without one nobody from outside gets
    /// in, and neither do your other machines.
    pub fn cluster_key(mut self, key: ClusterKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Accepts this key too, beside the [first](Self::cluster_key). Repeatable: up to four keys in
    /// all. One given twice counts once.
    ///
    /// Two rolling restarts change a cluster's key, and all nodes stay in touch:
    ///
    /// 1. Restart each node with the old key as `cluster_key` and the new one as `also_accept_key`.
    /// 2. Once every node has both, restart each with the new key alone. After the last one the old
    ///    key admits nobody.
    ///
    /// Two nodes connect if the first key of either is among the other's keys. Costs no byte and no
    /// round trip.
    pub fn also_accept_key(mut self, key: ClusterKey) -> Self {
        self.further_keys.push(key);
        self
    }

    /// Listens on this multiaddress too, such as `/ip4/127.0.0.1/tcp/0` (the default) or
    /// `/ip6/::/tcp/7117`. Repeatable; port 0 picks a free one.
    ///
    /// A fixed port is what firewalls and static peers need, and one process a machine has it; a
    /// free one suits discovery. TCP only.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Keeps a connection to the node at this multiaddress, such as `/dns4/host/tcp/7117`, with or
    /// without `/p2p/…`. Repeatable. Default none.
    ///
    /// One that leads into the cluster is enough, since peers introduce each other; two or three
    /// outlive the first one's absence at a start. Where some are named and none is reached, the
    /// node serves and is never [synced](crate::Node::synced). With `/p2p/…` another node at that
    /// address is refused.
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.peers.push(address.into());
        self
    }

    /// Looks for other nodes this way too. Repeatable. Where it is never called:
    /// [`Discovery::Local`], and [`Discovery::Mdns`] with a cluster key.
    ///
    /// More ways find each other in more places; each costs a look every few seconds (a directory,
    /// a multicast, a DNS question). Tests want [`Discovery::None`], or they meet what else runs on
    /// the machine.
    pub fn discover(mut self, way: Discovery) -> Self {
        self.discovery.push(way);
        self
    }

    /// The directory for [`Discovery::Local`], instead of `$XDG_RUNTIME_DIR` or the user's own
    /// directory in the temporary one. Nodes meet only where it is the same one; it must belong to
    /// this user and be closed to others (0700).
    pub fn runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(directory.into());
        self
    }

    /// The name server for [`Discovery::Dns`] and [`Discovery::Fly`], instead of the system's.
    /// Default the system's (`/etc/resolv.conf`).
    pub fn name_server(mut self, server: SocketAddr) -> Self {
        self.name_server = Some(server);
        self
    }

    /// Keeps the state in this directory, which is made (0700) where it is not there. One process
    /// at a time: it is locked.
    ///
    /// Everything this node knows is kept, others' cells too, so a whole cluster can stop and come
    /// back. The node keeps its identity, and each start is a new writer, the successor of the one
    /// before. A directory that is a copy, or was restored or moved, starts under a new identity,
    /// with all that is in it; it takes over what it is a copy of once a member has answered,
    /// unless somebody else goes on from there, and until then
    /// [`Counter::reset`](crate::Counter::reset) is refused. Default none: in memory, and the
    /// cluster is the copy.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
        self
    }

    /// Default false. The data directory was restored or moved, and nothing else goes on from where
    /// it came: the node keeps its identity as if the directory were the one it wrote. For a whole
    /// cluster that starts from backups, and for the only node of one. What was counted after the
    /// backup and is in none of the directories is lost.
    pub fn restored(mut self, restored: bool) -> Self {
        self.restored = restored;
        self
    }

    /// A name for this node that outlives its process, such as that of its machine: 1-128 bytes,
    /// and no other node of the cluster has it. Default none.
    ///
    /// A node without a [directory](Self::data_dir) that is killed cannot be told from one that is
    /// out of reach: it counts for copies and for what is stable until somebody
    /// [retires](crate::Node::retire) it. Where it starts again under its name, the others know
    /// that the process before it has ended, and the new one takes over what they hold of it. The
    /// name keeps no numbers: what nobody else had is lost. A start under a name costs one round
    /// trip more. A directory's identity wins over a name.
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = Some(name.into());
        self
    }

    /// How long a change that nobody waits for may wait for its commit. Default 5 ms. An add that
    /// is waited for ([`Counter::add_durable`](crate::Counter::add_durable)) is committed at once.
    /// More saves writes (each commit is one fsync, however many changes it carries), less loses
    /// less in a crash: that much of this node's latest adds, where no other node has them yet. 50
    /// ms to 1 s suits a spinning disk. Without a data directory it does nothing.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// How many counters may be made. Default 2,000,000. Must be the same on every node of a
    /// cluster.
    ///
    /// The bound refuses only what is new. A node that knows so many counters makes no other one.
    /// Those that exist can be added to, in every region. A node takes up to twice as many from
    /// others, because the two sides of a cut may each have made as many as they may. What would
    /// pass that is refused whole, so that no two nodes keep different halves. Then the node is not
    /// [ready](crate::Node::is_ready), and its log and its metrics say so: start every node with a
    /// greater bound. More lets a fault fill the memory (76 bytes a cell), less makes an add fail
    /// sooner. It allocates nothing by itself.
    ///
    /// All regions of all counters are bounded too: at eight times this number, and at least
    /// 2,000,000.
    pub fn counters_max(mut self, counters: usize) -> Self {
        self.counters_max = counters;
        self
    }

    /// How long the node waits for peers that neither answer nor fail, and for a discovery that
    /// does not answer, before it is [ready](crate::Node::is_ready) with what it has. Default 10 s.
    ///
    /// A node whose peers answer is ready when it holds all that they hold, usually within six
    /// round trips. This bounds the wait where one accepts connections and stays silent. The node
    /// then serves, is not [synced](crate::Node::is_synced), and says so. More delays it; less may
    /// show numbers without those of a slow region.
    pub fn ready_within(mut self, wait: Duration) -> Self {
        self.protocol.ready_within = wait;
        self
    }

    /// How long a node that leaves for good (one without a directory, or one told to `leave`) waits
    /// until one other node holds all that it held. Default 5 s. It waits no longer than it must:
    /// over good links a few round trips. After that time it goes all the same.
    pub fn leave_within(mut self, wait: Duration) -> Self {
        self.protocol.leave_within = wait;
        self
    }

    /// The shortest time between two flushes under load. Default 5 ms; an isolated add leaves at
    /// once. More saves messages, one of about 50 bytes a flush, changed counter and peer in the
    /// mesh; less saves that much delay at the others. 0 flushes at every turn of the driver; 1 to
    /// 100 ms is sensible.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.protocol.flush_interval = interval;
        self
    }

    /// The mean time between two rounds of anti-entropy with a random peer. Default 1 s, jittered
    /// by 20 %. Less finds lost messages sooner, at about 300 bytes a round where nothing differs;
    /// more saves these while idle. 0.2 to 30 s is sensible: gaps that gossip shows are asked about
    /// at once anyway.
    pub fn anti_entropy_interval(mut self, interval: Duration) -> Self {
        self.protocol.anti_entropy_interval = interval;
        self
    }

    /// What the settings come to, each checked.
    pub(super) fn check(mut self) -> Result<NodeConfig, StartError> {
        config::check_region(&self.region)?;
        config::check_cluster(&self.cluster)?;
        self.node_name.as_deref().map_or(Ok(()), config::check_node_name)?;
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
