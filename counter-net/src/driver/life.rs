//! Who this node is in this life: from its data directory where it has one, new otherwise. Every start is a new writer.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use counter_core::{CounterMap, ReplicaId};
use libp2p::identity::Keypair;

use crate::behaviour::node_id;
use crate::error::StartError;
use crate::node::Store;
use crate::store::{Directory, Opened, RedbLog, StoreError};

/// A life that begins.
pub(super) struct Life {
    pub(super) keypair: Keypair,
    pub(super) replica: ReplicaId,
    /// What the directory holds; empty without one.
    pub(super) map: CounterMap,
    pub(super) store: Option<Store>,
}

/// Begins a life. Loading a large directory takes its time, on a thread that may block.
pub(super) async fn begin(data_dir: Option<PathBuf>) -> Result<Life, StartError> {
    let Some(path) = data_dir else {
        let keypair = Keypair::generate_ed25519();
        let replica = writer(&keypair, 0);
        return Ok(Life { keypair, replica, map: CounterMap::new(), store: None });
    };
    let begun = tokio::task::spawn_blocking(move || from_directory(&path)).await;
    Ok(begun.map_err(|error| StartError::Network(format!("loading the data directory failed: {error}")))??)
}

fn from_directory(path: &Path) -> Result<Life, StoreError> {
    let directory = Directory::open(path)?;
    let Opened { mut log, mut meta, map, weight } = RedbLog::open(&directory)?;
    let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
    let place = directory.place().map_err(failed)?;
    let kept = match meta.has_lived() && meta.place != place {
        true => {
            tracing::warn!(
                path = %path.display(),
                "this data directory is a copy, or was restored or moved: the node takes a new identity and keeps what is stored as others' cells"
            );
            None
        }
        false => Keypair::from_protobuf_encoding(&meta.key_pair).ok(),
    };
    let keypair = kept.unwrap_or_else(Keypair::generate_ed25519);
    let replica = writer(&keypair, latest_generation(&map, node_id(&keypair.public().to_peer_id()).0).max(meta.generation));
    meta.key_pair = keypair.to_protobuf_encoding().map_err(|error| StoreError::Write { reason: error.to_string() })?;
    meta.generation = replica.generation;
    meta.place = place;
    meta.place.mark = fastrand::u64(1..);
    // Written before the first add is taken: the next life is above this one whatever happens.
    log.set_meta(&meta)?;
    directory.set_mark(meta.place.mark).map_err(failed)?;
    Ok(Life { keypair, replica, map, store: Some(Store { directory, log, weight }) })
}

/// The writer of a life that follows one of generation `before`.
fn writer(keypair: &Keypair, before: u64) -> ReplicaId {
    let generation = generation().max(before.saturating_add(1));
    ReplicaId { node: node_id(&keypair.public().to_peer_id()).0, generation }
}

fn latest_generation(map: &CounterMap, node: u64) -> u64 {
    map.replicas().filter(|replica| replica.node == node).map(|replica| replica.generation).max().unwrap_or(0)
}

/// Which life of the node this is: milliseconds of the wall clock above 22 random bits. The clock only orders lives; nothing is counted by it.
fn generation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    now << 22 | fastrand::u64(..1 << 22)
}
