//! Who this node is in this incarnation: from its data directory where it has one, new otherwise.
//! Every start is a new writer.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use counter_core::{CounterMap, ReplicaId};
use libp2p::identity::Keypair;
use sha2::{Digest, Sha256};

use crate::behaviour::node_id;
use crate::error::StartError;
use crate::shared::Store;
use crate::store::{Directory, Meta, Opened, RedbLog, StoreError};

/// An incarnation that begins.
pub(super) struct Incarnation {
    pub(super) keypair: Keypair,
    pub(super) replica: ReplicaId,
    /// What the directory holds; empty without one.
    pub(super) map: CounterMap,
    /// Earlier incarnations of this very node: they ended, and this one is their successor.
    pub(super) earlier: Vec<ReplicaId>,
    /// Where the directory is a copy: the incarnations that wrote the original, which may go on
    /// elsewhere.
    pub(super) copied: Vec<ReplicaId>,
    pub(super) store: Option<Store>,
    /// No disk remembers the numbers of this node's incarnations.
    pub(super) is_named: bool,
}

/// In the hash from which a named node's key pair is made; nothing else hashes this.
const NAME_DOMAIN: &[u8] = b"counter/1 node name\0";

/// Begins an incarnation. Loading a large directory takes its time, on a thread that may block.
pub(super) async fn begin(
    data_dir: Option<PathBuf>,
    restored: bool,
    cluster: String,
    name: Option<&str>,
) -> Result<Incarnation, StartError> {
    let Some(path) = data_dir else {
        let keypair =
            name.map_or_else(Keypair::generate_ed25519, |name| named_keypair(&cluster, name));
        let replica = writer(&keypair, 0);
        let (map, earlier, copied) = Default::default();
        return Ok(Incarnation {
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
        tracing::info!(name, path = %path.display(), "the data directory says which node this is: the node name is not used");
    }
    let begun = tokio::task::spawn_blocking(move || from_directory(&path, restored, cluster)).await;
    Ok(begun.map_err(|error| {
        StartError::Network(format!("loading the data directory failed: {error}"))
    })??)
}

fn from_directory(path: &Path, restored: bool, cluster: String) -> Result<Incarnation, StoreError> {
    let directory = Directory::open(path)?;
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
        None if meta.has_lived() => note_copy(path, &mut meta),
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
    meta.key_pair = keypair
        .to_protobuf_encoding()
        .map_err(|error| StoreError::Write { reason: error.to_string() })?;
    meta.incarnation = replica.incarnation;
    meta.place = place.renewed();
    // Written before the first add is taken: the next incarnation is above this one whatever
    // happens.
    log.set_meta(&meta)?;
    directory.set_mark(&meta.place).map_err(failed)?;
    let store = Some(Store { directory, log, weight, load_time: began.elapsed() });
    Ok(Incarnation { keypair, replica, map, earlier, copied: meta.copied, store, is_named: false })
}

/// The key pair of a named node: the same at each start. It follows from the names alone, so
/// changing the cluster's key changes no identity. Whoever knows both names has it; what keeps
/// strangers out is the cluster key, as for any other identity.
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

/// Another node may go on from the original: this one is a new node, which has that one's cells.
fn note_copy(path: &Path, meta: &mut Meta) {
    tracing::warn!(
        path = %path.display(),
        "this data directory is a copy, or was restored or moved: the node takes a new identity and keeps what is stored as others' cells. It \
         does not reset until a member has answered. Where all nodes start from backups, start each with --restored"
    );
    let writer = Keypair::from_protobuf_encoding(&meta.key_pair)
        .map(|keypair| node_id(&keypair.public().to_peer_id()).0);
    meta.copied.extend(writer.map(|node| ReplicaId::new(node, meta.incarnation)));
}

/// This process ran as a node that another process is: that one goes on, and the incarnation that
/// ran here has ended, which is returned.
fn note_clone(path: &Path, meta: &mut Meta, map: &CounterMap) -> Option<ReplicaId> {
    tracing::warn!(
        path = %path.display(),
        "this data directory is a clone of a running node's: this node takes a new identity and keeps what is stored as others' cells. It does \
         not reset until a member has answered"
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

/// The incarnations of the node of `latest` whose end nobody has on record: one that ended at once
/// may have left no more than its number.
fn earlier_incarnations(map: &CounterMap, latest: ReplicaId) -> Vec<ReplicaId> {
    let mut incarnations: Vec<ReplicaId> =
        map.replicas().filter(|incarnation| incarnation.node == latest.node).collect();
    incarnations.extend((latest.incarnation > 0).then_some(latest));
    incarnations.sort_unstable();
    incarnations.dedup();
    incarnations
}

/// The writer of an incarnation that follows one of incarnation `before`; 0 for none.
fn writer(keypair: &Keypair, before: u64) -> ReplicaId {
    let node = node_id(&keypair.public().to_peer_id()).0;
    ReplicaId::new(node, following(before, incarnation()))
}

/// The incarnation after `before`, 0 for none, as the clock says or ahead of it. Ahead of it, it
/// lies at the beginning of its second: the later one of two processes that follow one incarnation,
/// such as of a disk and its copy, has the greater number.
fn following(before: u64, clock: u64) -> u64 {
    let earliest = if before == 0 {
        0
    } else {
        ReplicaId::new(0, before).follows().incarnation | (clock & u64::from(u32::MAX)) >> 10
    };
    clock.max(earliest)
}

/// Which incarnation of the node this is: milliseconds of the wall clock above 22 random bits. The
/// clock only orders incarnations; nothing is counted by it.
fn incarnation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    now << 22 | fastrand::u64(..1 << 22)
}

#[cfg(test)]
mod crashes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_follows_every_earlier_one_however_fast_they_come_and_whatever_the_clock_says()
    {
        let keypair = Keypair::generate_ed25519();
        let mut before = writer(&keypair, 0);
        for _ in 0..100 {
            let next = writer(&keypair, before.incarnation);
            assert!(next.incarnation >= before.follows().incarnation && next.node == before.node);
            before = next;
        }
        let ahead = writer(&keypair, incarnation() + (1 << 50));
        assert!(ahead.incarnation > incarnation() + (1 << 50));
        let copies: std::collections::BTreeSet<ReplicaId> =
            (0..5).map(|_| writer(&keypair, ahead.incarnation)).collect();
        assert!(copies.len() > 1, "two copies do not begin the same incarnation");
    }

    #[test]
    fn later_start_of_a_copy_has_the_greater_number_within_a_second_too() {
        let second = incarnation() >> 32 << 32;
        let clocks = (0..4096u64)
            .step_by(50)
            .map(|milliseconds| second + (milliseconds << 22 | fastrand::u64(..1 << 22)));
        let numbers: Vec<u64> = clocks.map(|clock| following(second + 7, clock)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:x?}");
    }

    #[test]
    fn a_name_is_the_same_node_at_each_start() {
        let peer = |cluster, name| named_keypair(cluster, name).public().to_peer_id().to_string();
        assert_eq!(
            peer("counter", "web-1"),
            "12D3KooWPKihtjpdMxBjMTTS9E6kFAiGQsn2ftYh5UgNyXPup21L"
        );
        let others = [peer("counter", "web-2"), peer("staging", "web-1"), peer("counterw", "eb-1")];
        assert!(others.iter().all(|other| *other != peer("counter", "web-1")));
    }

    #[test]
    fn the_latest_incarnation_is_an_earlier_one_even_where_it_left_nothing() {
        let map = CounterMap::new();
        assert!(earlier_incarnations(&map, ReplicaId::new(7, 0)).is_empty());
        assert_eq!(earlier_incarnations(&map, ReplicaId::new(7, 3)), [ReplicaId::new(7, 3)]);
    }
}
