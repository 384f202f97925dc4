//! Gives each start of a node its identity and state: from its data directory, from its name, or
//! new. Every start is a new writer.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use counter_core::{CounterMap, ReplicaId};
use libp2p::identity::Keypair;
use sha2::{Digest, Sha256};

use crate::error::StartError;
use crate::network::node_id;
use crate::shared::Store;
use crate::store::{DataDirectory, Meta, Opened, RedbLog, StoreError};

/// The incarnation that a start begins, with all it needs.
pub(in crate::driver) struct NewIncarnation {
    pub(in crate::driver) keypair: Keypair,
    pub(in crate::driver) replica: ReplicaId,
    /// The state from the directory; empty without one.
    pub(in crate::driver) map: CounterMap,
    /// Earlier incarnations of this node. They ended, and this one is their successor.
    pub(in crate::driver) earlier: Vec<ReplicaId>,
    /// If the directory is a copy: the incarnations of the original, which may continue elsewhere.
    pub(in crate::driver) copied: Vec<ReplicaId>,
    pub(in crate::driver) store: Option<Store>,
    /// The node has a name and no directory, so no disk remembers its incarnation numbers.
    pub(in crate::driver) is_named: bool,
}

/// Domain of the hash that a named node's key pair is made from.
const NAME_DOMAIN: &[u8] = b"counter/1 node name\0";

/// Begins an incarnation. Loads the data directory on a blocking thread.
pub(in crate::driver) async fn begin(
    data_dir: Option<PathBuf>,
    restored: bool,
    cluster: String,
    name: Option<&str>,
) -> Result<NewIncarnation, StartError> {
    let Some(path) = data_dir else {
        let keypair =
            name.map_or_else(Keypair::generate_ed25519, |name| named_keypair(&cluster, name));
        let replica = writer(&keypair, 0);
        let (map, earlier, copied) = Default::default();
        return Ok(NewIncarnation {
            keypair,
            replica,
            map,
            earlier,
            copied,
            store: None,
            is_named: name.is_some(),
        });
    };
    if let Some(name) = name {
        tracing::info!(
            name,
            path = %path.display(),
            "ignoring the node name: the data directory already has an identity"
        );
    }
    let begun = tokio::task::spawn_blocking(move || from_directory(&path, restored, cluster)).await;
    Ok(begun.map_err(|error| StartError::Load(error.to_string()))??)
}

fn from_directory(
    path: &Path,
    restored: bool,
    cluster: String,
) -> Result<NewIncarnation, StoreError> {
    let directory = DataDirectory::open(path)?;
    let began = std::time::Instant::now();
    let Opened { mut log, mut meta, map, weight } = RedbLog::open(&directory)?;
    let failed = |source| StoreError::Directory { path: path.display().to_string(), source };
    if let Some(other) = meta.cluster.take().filter(|name| *name != cluster) {
        return Err(StoreError::OtherCluster { path: path.display().to_string(), cluster: other });
    }
    meta.cluster = Some(cluster);
    let place = directory.place().map_err(failed)?;
    let gave_way = std::mem::take(&mut meta.gave_way);
    let is_own = restored || !gave_way && meta.place.is_at(&place);
    let kept = if is_own { Keypair::from_protobuf_encoding(&meta.key_pair).ok() } else { None };
    let mut ended = None;
    match &kept {
        Some(_) if restored => meta.copied.clear(),
        None if gave_way => ended = note_clone(path, &mut meta, &map),
        None if meta.has_started() => note_copy(path, &mut meta),
        _ => {}
    }
    let (keypair, latest) = match kept {
        Some(keypair) => (keypair, meta.incarnation),
        None => (Keypair::generate_ed25519(), 0),
    };
    let node = node_id(&keypair.public().to_peer_id()).0;
    let mut earlier = earlier_incarnations(&map, ReplicaId::new(node, latest));
    let replica = writer(&keypair, earlier.last().map_or(0, |incarnation| incarnation.incarnation));
    earlier.extend(ended);
    meta.key_pair =
        keypair.to_protobuf_encoding().map_err(|error| failed(std::io::Error::other(error)))?;
    meta.incarnation = replica.incarnation;
    meta.place = place.renewed();
    // Written before the first add, so that the next incarnation is above this one in any case.
    log.set_meta(&meta)?;
    directory.set_mark(&meta.place).map_err(failed)?;
    let store = Some(Store { directory, log, weight, load_time: began.elapsed() });
    Ok(NewIncarnation {
        keypair,
        replica,
        map,
        earlier,
        copied: meta.copied,
        store,
        is_named: false,
    })
}

/// The key pair of a named node, the same at each start.
///
/// It depends on the two names alone, so a new cluster key changes no identity. Anyone who knows
/// both names can make it. The cluster key keeps strangers out, as for any other identity.
fn named_keypair(cluster: &str, name: &str) -> Keypair {
    let hash = Sha256::new()
        .chain_update(NAME_DOMAIN)
        .chain_update(cluster)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let mut secret: [u8; 32] = hash.into();
    Keypair::ed25519_from_bytes(&mut secret)
        .unwrap_or_else(|_| unreachable!("any 32 bytes are a secret"))
}

/// The directory is a copy. Another node may continue the original, so this one is a new node that
/// holds the original's cells.
fn note_copy(path: &Path, meta: &mut Meta) {
    tracing::warn!(
        path = %path.display(),
        "this data directory is a copy, or was restored or moved: the node takes a new identity \
         and keeps the stored counts. It refuses resets until a member has answered. If all nodes \
         start from backups, start each as restored"
    );
    let writer = Keypair::from_protobuf_encoding(&meta.key_pair)
        .map(|keypair| node_id(&keypair.public().to_peer_id()).0);
    meta.copied.extend(writer.map(|node| ReplicaId::new(node, meta.incarnation)));
}

/// Another process ran under this node's identity and continues. Returns the incarnation that ran
/// here and has ended.
fn note_clone(path: &Path, meta: &mut Meta, map: &CounterMap) -> Option<ReplicaId> {
    tracing::warn!(
        path = %path.display(),
        "this data directory is a clone of a running node's: the node takes a new identity and \
         keeps the stored counts. It refuses resets until a member has answered"
    );
    let node = Keypair::from_protobuf_encoding(&meta.key_pair)
        .map(|keypair| node_id(&keypair.public().to_peer_id()).0)
        .ok()?;
    let ran = ReplicaId::new(node, meta.incarnation);
    meta.copied.extend(
        map.replicas().filter(|incarnation| incarnation.node == node && *incarnation < ran).max(),
    );
    Some(ran)
}

/// The incarnations of the node of `latest` whose end is not on record, `latest` included: one that
/// ended at once may have left only its number.
fn earlier_incarnations(map: &CounterMap, latest: ReplicaId) -> Vec<ReplicaId> {
    let mut incarnations: Vec<ReplicaId> =
        map.replicas().filter(|incarnation| incarnation.node == latest.node).collect();
    incarnations.extend((latest.incarnation > 0).then_some(latest));
    incarnations.sort_unstable();
    incarnations.dedup();
    incarnations
}

/// The replica id of the incarnation after number `before`, which is 0 for none.
fn writer(keypair: &Keypair, before: u64) -> ReplicaId {
    let node = node_id(&keypair.public().to_peer_id()).0;
    ReplicaId::new(node, following(before, incarnation()))
}

/// The incarnation number after `before`, which is 0 for none: the clock's, or one ahead of it.
///
/// A number ahead of the clock is at the start of a second, with its low bits from the clock. So of
/// two processes that follow one incarnation, such as a disk's and its copy's, the later one has
/// the greater number.
fn following(before: u64, clock: u64) -> u64 {
    let earliest = if before == 0 {
        0
    } else {
        ReplicaId::new(0, before).next_incarnation().incarnation
            | (clock & u64::from(u32::MAX)) >> 10
    };
    clock.max(earliest)
}

/// An incarnation number from the clock: wall-clock milliseconds above 22 random bits. The clock
/// only orders incarnations.
fn incarnation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    now << 22 | fastrand::u64(..1 << 22)
}

#[cfg(test)]
#[path = "crashes.rs"]
mod crashes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_grow_whatever_the_clock_says() {
        let keypair = Keypair::generate_ed25519();
        let mut before = writer(&keypair, 0);
        for _ in 0..100 {
            let next = writer(&keypair, before.incarnation);
            assert!(
                next.incarnation >= before.next_incarnation().incarnation
                    && next.node == before.node
            );
            before = next;
        }
        let ahead = writer(&keypair, incarnation() + (1 << 50));
        assert!(ahead.incarnation > incarnation() + (1 << 50));
        let copies: std::collections::BTreeSet<ReplicaId> =
            (0..5).map(|_| writer(&keypair, ahead.incarnation)).collect();
        assert!(copies.len() > 1, "two copies do not begin the same incarnation");
    }

    #[test]
    fn later_start_of_a_copy_has_the_greater_number() {
        let second = incarnation() >> 32 << 32;
        let clocks = (0..4096u64)
            .step_by(50)
            .map(|milliseconds| second + (milliseconds << 22 | fastrand::u64(..1 << 22)));
        let numbers: Vec<u64> = clocks.map(|clock| following(second + 7, clock)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:x?}");
    }

    #[test]
    fn name_is_the_same_node_at_each_start() {
        let peer = |cluster, name| named_keypair(cluster, name).public().to_peer_id().to_string();
        assert_eq!(
            peer("counter", "web-1"),
            "12D3KooWPKihtjpdMxBjMTTS9E6kFAiGQsn2ftYh5UgNyXPup21L"
        );
        let others = [peer("counter", "web-2"), peer("staging", "web-1"), peer("counterw", "eb-1")];
        assert!(others.iter().all(|other| *other != peer("counter", "web-1")));
    }

    #[test]
    fn latest_incarnation_counts_as_earlier_without_cells() {
        let map = CounterMap::new();
        assert!(earlier_incarnations(&map, ReplicaId::new(7, 0)).is_empty());
        assert_eq!(earlier_incarnations(&map, ReplicaId::new(7, 3)), [ReplicaId::new(7, 3)]);
    }
}
