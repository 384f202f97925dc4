//! What a task that looks for nodes reports, and to whom.

use libp2p::Multiaddr;
use tokio::sync::mpsc;

/// What a finder reports: addresses of nodes, each with or without `/p2p/…`.
pub(super) type Findings = mpsc::Sender<Vec<Multiaddr>>;
