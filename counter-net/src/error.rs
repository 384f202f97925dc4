//! Errors of a starting and of a running node. Each message says what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use counter_core::WriteError;

use crate::store::StoreError;

/// Why a node refused to add, subtract or reset. Unless the operation says otherwise, nothing
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError {
    /// The counter itself refused: the amount, the name, the id, or a bound.
    Refused(WriteError),
    /// The data directory cannot be written at present.
    StoreFailing {
        /// The system's error number, if the last commit failed with one.
        os_error: Option<i32>,
    },
    /// The node has stopped, so an add would be lost.
    Stopped,
    /// The node stopped during the add, which may count or not. Retry it only with an id.
    MaybeAdded,
    /// The node has not caught up with the others, so it does not know all that a reset or a
    /// removal must clear.
    NotCaughtUp,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::NotCaughtUp => f.write_str(
                "this node has not caught up; nothing was reset or removed. Retry once it is ready",
            ),
            Self::Stopped => f.write_str(
                "the node has stopped; nothing changed. Use another node, or start this one again",
            ),
            Self::MaybeAdded => f.write_str(
                "the node has stopped; this add may or may not count. Retry only an add with an id",
            ),
            Self::StoreFailing { os_error } => {
                f.write_str("the data directory cannot be written")?;
                if let Some(code) = os_error {
                    write!(f, ": {}", io::Error::from_raw_os_error(*code))?;
                }
                f.write_str("; nothing was added. The node retries, and takes adds once it can")
            }
        }
    }
}

impl std::error::Error for AddError {}

/// Only a node that stops has a replica that has left.
impl From<WriteError> for AddError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Left => Self::Stopped,
            error => Self::Refused(error),
        }
    }
}

/// Why [`crate::NodeBuilder::start`] failed. Nothing is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The region is not 1-32 characters of `a`-`z`, `0`-`9` and `-`.
    Region(String),
    /// The cluster is not 1-64 characters of letters, digits, `-`, `_` and `.`, or starts with `.`.
    Cluster(String),
    /// The node's name is blank or longer than 128 bytes.
    NodeName(String),
    /// No name can start with the prefix of an expiry, or the time is below 1 ms.
    Expiry {
        /// The prefix.
        prefix: String,
        /// The time after which counters end.
        after: Duration,
    },
    /// An address to listen on or to dial is not a multiaddress over TCP.
    Address {
        /// The address as given.
        address: String,
        /// The reason.
        reason: String,
    },
    /// An address is open to other machines, and there is no cluster key.
    KeyNeeded {
        /// The address that was refused.
        address: String,
    },
    /// There are further cluster keys but no first one.
    FirstKeyMissing,
    /// There are more cluster keys than a node may have.
    TooManyKeys {
        /// The number of distinct keys.
        keys: usize,
        /// The most that a node may have.
        keys_max: usize,
    },
    /// Listening failed: the port is taken, or the address is not this machine's.
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The data directory cannot be used.
    Store(StoreError),
    /// Loading the data directory was interrupted: it panicked, or the runtime is shutting down.
    Load(String),
    /// The thread that commits to the data directory cannot be started.
    CommitThread(io::Error),
    /// A discovery method cannot start.
    Discovery(DiscoveryError),
    /// The start was polled outside of a tokio runtime.
    NoRuntime,
    /// The network could not be set up. The text says which part.
    Network(String),
}

/// Why a node failed while it ran; see [`Node::failed`](crate::Node::failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeFailure {
    /// Another process already runs under this node's identity, from the original of this data
    /// directory or a clone of it.
    ///
    /// Adds to this node are in its directory. The next start takes a new identity and keeps them.
    SecondProcess,
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondProcess => f.write_str(
                "another process runs as this node, such as from the original of a cloned disk, \
                 so this one has stopped. Its data directory holds all its adds; start it again, \
                 and it takes a new identity and counts beside the other",
            ),
        }
    }
}

impl std::error::Error for NodeFailure {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(region) => write!(
                f,
                "the region {region:?} is not 1-32 characters of a-z, 0-9 and '-': write one such \
                 as \"ord\" or \"eu-west-1\""
            ),
            Self::Cluster(cluster) => write!(
                f,
                "a cluster name has 1-64 characters of letters, digits, '-', '_' and '.', and \
                 does not start with a dot; {cluster:?} does not fit: write one such as \
                 \"counter\""
            ),
            Self::NodeName(name) => write!(
                f,
                "the node's name {name:?} is blank or longer than 128 bytes: write one that no \
                 other node of the cluster has, such as \"web-1\""
            ),
            Self::Expiry { prefix, after } => write!(
                f,
                "counters that begin with {prefix:?} cannot end after {after:?}: write a prefix of \
                 at most 128 bytes without control characters, and a time of 1 ms or more"
            ),
            Self::Address { address, reason } => write!(
                f,
                "{address:?} is not a usable address ({reason}): write a multiaddress such as \
                 \"/ip4/192.0.2.7/tcp/7117\", optionally followed by /p2p/ and the whole id"
            ),
            Self::KeyNeeded { address } => write!(
                f,
                "{address} is open to other machines, and this cluster has no key: set a cluster \
                 key (COUNTER_CLUSTER_KEY or --cluster-key-file; `openssl rand -hex 32` makes \
                 one), the same on every node, or listen on loopback (/ip4/127.0.0.1/tcp/0)"
            ),
            Self::FirstKeyMissing => f.write_str(
                "there are further cluster keys to accept but no first one: set the key that all \
                 nodes have now with `cluster_key`",
            ),
            Self::TooManyKeys { keys, keys_max } => write!(
                f,
                "{keys} cluster keys were given, and a node has at most {keys_max}: leave out \
                 those that no node uses any more"
            ),
            Self::Listen { address, source } => write!(
                f,
                "cannot listen on {address}: {source}; choose another port, or 0 for any free one"
            ),
            Self::Store(error) => error.fmt(f),
            Self::Load(reason) => write!(
                f,
                "loading the data directory was interrupted: {reason}. Start the node again; if \
                 that fails too, keep the directory and report it"
            ),
            Self::CommitThread(source) => write!(
                f,
                "cannot start the thread that commits to the data directory: {source}; check the \
                 limits on threads and memory"
            ),
            Self::Discovery(error) => error.fmt(f),
            Self::NoRuntime => f.write_str(
                "a node runs on tokio, and this thread is in no runtime: start it under \
                 #[tokio::main], or in Runtime::block_on",
            ),
            Self::Network(reason) => write!(f, "the network could not be set up: {reason}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::CommitThread(source) => Some(source),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DiscoveryError> for StartError {
    fn from(error: DiscoveryError) -> Self {
        Self::Discovery(error)
    }
}

/// Why a discovery method cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The text names no discovery method.
    Unknown(String),
    /// `dns:` lacks a name or a port.
    Dns(String),
    /// `fly` was chosen outside of Fly.io, where this variable is not set.
    FlyVariable(&'static str),
    /// mDNS needs listeners that other machines can reach, which need a cluster key.
    MdnsNeedsKey,
    /// The directory for local discovery cannot be used.
    Directory {
        /// The directory.
        path: String,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                f,
                "{text:?} is not a discovery method: write local, mdns, dns:NAME:PORT, fly or none"
            ),
            Self::Dns(text) => write!(
                f,
                "{text:?} lacks a name or a port: write dns:NAME:PORT, such as \
                 dns:counter.default.svc:7117"
            ),
            Self::FlyVariable(name) => write!(
                f,
                "discovery by fly needs {name}, which only a Fly.io machine has: use another \
                 method, such as local"
            ),
            Self::MdnsNeedsKey => f.write_str(
                "discovery by mdns needs a cluster key: without one a node listens on loopback \
                 only, where mDNS cannot find it. Set a key, or use local",
            ),
            Self::Directory { path, reason } => write!(
                f,
                "local discovery cannot use the directory {path}: {reason}; set XDG_RUNTIME_DIR \
                 to a directory of yours, or use --discover none"
            ),
        }
    }
}

impl std::error::Error for DiscoveryError {}

/// Why a text is not a cluster key. The message never contains the key.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterKeyError {
    /// The text is empty or white space.
    Empty,
    /// The passphrase has fewer than 16 characters.
    TooShort {
        /// Its length.
        characters: usize,
    },
    /// The text is hexadecimal with 60 to 70 digits other than 64: some were lost or added on the
    /// way. It is never taken for a passphrase.
    HexDigits {
        /// The number of digits; a key has 64.
        digits: usize,
    },
    /// The text has several parts separated by commas, and some of them are keys.
    InList {
        /// The number of parts.
        parts: usize,
        /// The parts that are 64 hexadecimal digits or base64 of 32 bytes.
        keys: usize,
    },
    /// The text is a libp2p key file whose key is not 64 hexadecimal digits.
    KeyFile,
    /// The file could not be read.
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for ClusterKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the cluster key is empty: `openssl rand -hex 32` makes one"),
            Self::TooShort { characters } => write!(
                f,
                "the cluster key has {characters} characters, and 16 is the least: `openssl rand \
                 -hex 32` makes a good one"
            ),
            Self::HexDigits { digits } => write!(
                f,
                "the cluster key looks like hexadecimal and has {digits} digits; a key has 64: \
                 copy it whole, or make one with `openssl rand -hex 32`"
            ),
            Self::InList { parts, keys } if parts == keys => {
                write!(f, "expected one cluster key, found {keys}")
            }
            Self::InList { parts, keys } => write!(
                f,
                "a comma-separated list may hold only hexadecimal or base64 keys, and only {keys} \
                 of these {parts} parts are such keys: give a passphrase on its own"
            ),
            Self::KeyFile => f.write_str(
                "the swarm key file does not hold a /base16/ key of 64 hexadecimal digits",
            ),
            Self::Read { path, source } => write!(
                f,
                "the cluster key file {path} cannot be read: {source}; name a text file with the \
                 key, as `openssl rand -hex 32` writes one"
            ),
        }
    }
}

impl std::error::Error for ClusterKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}
