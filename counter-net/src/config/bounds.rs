//! Every bound and interval of the driver and the network, by name.

use std::time::Duration;

/// The largest gossip message with its envelope. It must never change: nodes ignore a larger
/// message.
pub(crate) const GOSSIP_TRANSMIT_BYTES_MAX: usize = 64 * 1024;
/// The largest gossip payload. libp2p's `publish` accepts one within about 1 KiB of the transmit
/// size, but never delivers it nor any later message to that peer.
pub(crate) const GOSSIP_PAYLOAD_BYTES_MAX: usize = GOSSIP_TRANSMIT_BYTES_MAX - 1024;
/// The most concurrent pull streams per connection, both directions together.
pub(crate) const PULL_STREAMS_MAX: usize = 32;
/// How long libp2p waits for the answer to a pull. As long as the protocol's `request_timeout`,
/// after which no answer is taken.
pub(crate) const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest introduction, in bytes.
pub(crate) const INTRODUCTION_BYTES_MAX: usize = 16 * 1024;
/// The most concurrent introductions per connection, both directions together.
pub(crate) const INTRODUCTION_STREAMS_MAX: usize = 2;
/// The most addresses in one introduction.
pub(crate) const INTRODUCED_MAX: usize = 64;
/// How often a node asks one of its peers, in turn, for an introduction. It asks each new peer at
/// once.
pub(crate) const INTRODUCTION_INTERVAL: Duration = Duration::from_secs(15);
/// The most messages queued for one gossip peer. Further ones are dropped, and anti-entropy repairs
/// that peer.
pub(crate) const GOSSIP_QUEUE_MAX: usize = 1_024;

/// The most cluster keys of one node. A key change needs two. Each costs one more trial on a
/// stranger's connection.
pub(crate) const CLUSTER_KEYS_MAX: usize = 4;

/// The most connections in all, and those that others opened. Gossip reaches the rest of a larger
/// cluster through these.
pub(crate) const CONNECTIONS_MAX: u32 = 512;
pub(crate) const CONNECTIONS_INCOMING_MAX: u32 = 384;
/// The most connections to one peer. Two nodes that dial each other at once have two; a third may
/// replace one of them.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 3;
/// The most connections in their handshake.
pub(crate) const CONNECTIONS_PENDING_MAX: u32 = 128;
/// With this many peers a node stops dialling further ones on its own.
pub(crate) const PEERS_WANTED: usize = 64;
/// The most peers in the address book. A further one replaces the one with the most failed dials in
/// a row that is neither connected nor named by the operator.
pub(crate) const KNOWN_PEERS_MAX: usize = 1_024;
/// The most addresses of one peer, the latest first.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = 8;
/// How long a peer that broke the rules is refused. Long enough to hurt it, short enough for a node
/// that was fixed.
pub(crate) const CUT_FOR: Duration = Duration::from_secs(60);
/// The most peers refused at a time. A further one lets the earliest come back.
pub(crate) const CUT_MAX: usize = 1_024;
/// The most discovery reports that wait for the driver. A discovery task waits while it is full.
pub(crate) const DISCOVERY_REPORTS_MAX: usize = 64;

/// How long an idle connection stays. Practically for ever, because gossip runs over it.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The time between pings. Each costs about 150 bytes per connection and direction. A shorter time
/// would not find silent peers before [`SILENT_AFTER`].
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long a ping may take. The second failure in a row closes the connection.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer that has answered pings may be silent before it is suspected. Its connection
/// stays, and it may refute the suspicion. The time covers one ping and a second for its answer. A
/// shorter time ends the presence of vanished nodes sooner, and on a bad link costs two messages to
/// all.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(3);
/// How long a peer that has answered pings may be silent before it is given up: its cable is out,
/// or it hangs. The time covers two pings and the delay of a bad link. A shorter time causes
/// needless reconnects on lossy links.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged before the system closes the connection. While bytes
/// wait, a connection to a lost peer cannot be closed in another way.
pub(crate) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
/// How long resolving a name may take. A name server of the same network answers in milliseconds,
/// and the time covers a lost packet.
pub(crate) const NAME_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a TCP connection may take. The system repeats its request after 1 s and 3 s, so two
/// lost packets in a row are survived.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long an incoming connection may take to greet. A node greets within one round trip. Until
/// then the connection is one of [`CONNECTIONS_PENDING_MAX`], and silent strangers must not keep
/// nodes out for long.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the handshake after the TCP connection (private network, Noise, Yamux) may take. It
/// takes 4 to 5 round trips, which is 3 s at a round trip of 600 ms. The rest is for lost packets
/// and busy machines.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait before a failed peer is dialled again. It doubles at each failure, with jitter.
pub(crate) const REDIAL_MIN: Duration = Duration::from_millis(100);
/// The longest wait before a failed peer is dialled again.
pub(crate) const REDIAL_MAX: Duration = Duration::from_secs(15);
/// How often the driver looks for lost peers, and for strangers that do not speak the protocol.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How long the farewell of a node that will come back may take.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_millis(500);
/// The default port if other nodes must know it in advance, as with `fly`.
pub(crate) const GOSSIP_PORT: u16 = 7117;
