//! This replica's latest states, as version vectors. They show how far behind another replica is,
//! and which state is stable.
//!
//! A digest that covers a snapshot shows that its sender holds all that this replica held then. So
//! one ring answers both questions. The newest snapshot that a digest covers tells how far back its
//! sender is. The newest one that the digests of all enrolled replicas have covered is stable: they
//! hold it and keep it. Digests themselves are not kept.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use counter_core::{CounterMap, NAME_BYTES_MAX, ReplicaId, VersionVector};

/// The most snapshots kept. When it is reached every second one is dropped, so they reach back
/// further, and coarser.
const SNAPSHOTS_MAX: usize = 8;
/// While the state moves, the least time between two snapshots.
pub(crate) const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// The least time between two rounds of questions to peers while a counter is watched.
const QUESTION_INTERVAL: Duration = Duration::from_millis(250);
/// The most counters whose totals are kept with each snapshot. A further one replaces the one asked
/// about least recently.
const WATCHED_MAX: usize = 1024;
/// A counter that nobody asked about for this long is no longer watched.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// A counter's total at the latest state that every enrolled replica is known to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stable {
    /// The total then.
    pub total: i128,
    /// All that this replica held then.
    pub versions: VersionVector,
    /// How long ago the state moved on from there. Zero if it has not.
    pub age: Duration,
}

/// This replica's state at one moment.
#[derive(Clone, Debug)]
struct Snapshot {
    serial: u64,
    seen: VersionVector,
    /// The hash of `seen`.
    hash: u128,
    taken: Duration,
    /// When the state first moved on from it, if it has.
    ended: Option<Duration>,
    /// Totals of watched counters by the number of their watch, ascending.
    totals: Vec<(u64, i128)>,
}

#[derive(Debug)]
struct WatchedCounter {
    /// Never used again: a counter that is watched again gets a new number.
    number: u64,
    asked: Duration,
}

/// The latest snapshots, and which of them other replicas have confirmed.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// Oldest first. Each holds all that the one before it held.
    ring: VecDeque<Snapshot>,
    last_serial: u64,
    /// The last stamp that `take_if_due` was given.
    stamp: u64,
    watched: BTreeMap<String, WatchedCounter>,
    last_watch: u64,
    /// The latest snapshot that each other replica has confirmed, with all before it. Kept only
    /// while counters are watched.
    confirmed: BTreeMap<ReplicaId, u64>,
    stable: Option<Snapshot>,
    /// Peers are not asked for digests before this time.
    next_question: Duration,
}

impl Snapshots {
    /// Takes a snapshot if the state has moved on and the last one is old enough. `stamp` changes
    /// whenever the state does. O(1), or O(writers + replicas of the watched counters) if one is
    /// taken.
    pub(crate) fn take_if_due(&mut self, map: &CounterMap, stamp: u64, now: Duration) {
        if stamp != self.stamp {
            self.stamp = stamp;
            self.ring
                .back_mut()
                .into_iter()
                .chain(&mut self.stable)
                .for_each(|last| last.ended = last.ended.or(Some(now)));
        }
        let due = self
            .ring
            .back()
            .is_none_or(|last| last.ended.is_some_and(|ended| now >= ended + SNAPSHOT_INTERVAL));
        if due {
            self.take(map, now);
        }
    }

    fn take(&mut self, map: &CounterMap, now: Duration) {
        let seen = map.version_vector();
        if let Some(last) = self.ring.back_mut() {
            if last.seen == seen {
                let same = |snapshot: &&mut Snapshot| snapshot.seen == seen;
                self.ring
                    .back_mut()
                    .into_iter()
                    .chain(&mut self.stable)
                    .filter(same)
                    .for_each(|snapshot| snapshot.ended = None);
                return;
            }
            last.ended = last.ended.or(Some(now));
            let grown = |(writer, version): (ReplicaId, u64)| {
                seen.get(writer) >= version || map.is_folded(writer)
            };
            if !last.seen.iter().all(grown) {
                self.start_again();
            }
        }
        self.last_serial += 1;
        let totals = self.watched.iter().map(|(counter, watch)| (watch.number, map.total(counter)));
        let mut totals: Vec<(u64, i128)> = totals.collect();
        totals.sort_unstable();
        let hash = seen.digest_hash();
        self.ring.push_back(Snapshot {
            serial: self.last_serial,
            seen,
            hash,
            taken: now,
            ended: None,
            totals,
        });
        if self.ring.len() > SNAPSHOTS_MAX {
            let mut newer = self.ring.len();
            self.ring.retain(|_| {
                newer -= 1;
                newer.is_multiple_of(2)
            });
        }
    }

    /// Forgets every snapshot but the stable one, because the present state does not continue them.
    pub(crate) fn start_again(&mut self) {
        self.ring.clear();
    }

    /// Forgets the snapshots that name folded writers. Digests no longer name those, so these
    /// snapshots would never be covered again.
    pub(crate) fn forget_folded(&mut self, map: &CounterMap) {
        if self
            .ring
            .iter()
            .any(|snapshot| snapshot.seen.iter().any(|(writer, _)| map.is_folded(writer)))
        {
            self.start_again();
        }
    }

    /// For how long this replica has held the first cell that the sender of `digest` lacks; zero if
    /// it lacks none. Exact to [`SNAPSHOT_INTERVAL`] while the snapshots are fine-grained, and
    /// never more than they reach back. O(snapshots * writers).
    pub(crate) fn behind_for(&self, digest: &VersionVector, now: Duration) -> Duration {
        let since = match self.ring.iter().rev().find(|snapshot| digest.contains(&snapshot.seen)) {
            Some(covered) => covered.ended.unwrap_or(now),
            None => self.ring.front().map_or(now, |oldest| oldest.taken),
        };
        now.saturating_sub(since)
    }

    /// A caller asks about a counter. True if it was not watched before. A text that is no
    /// counter's name is ignored.
    pub(crate) fn watch(&mut self, map: &CounterMap, counter: &str, now: Duration) -> bool {
        if let Some(watch) = self.watched.get_mut(counter) {
            watch.asked = now;
            return false;
        }
        if counter.len() > NAME_BYTES_MAX && map.regions(counter).next().is_none() {
            return false;
        }
        if self.watched.len() >= WATCHED_MAX
            && let Some(oldest) = self
                .watched
                .iter()
                .min_by_key(|(_, watch)| watch.asked)
                .map(|(name, _)| name.clone())
        {
            self.watched.remove(&oldest);
        }
        self.last_watch += 1;
        self.watched
            .insert(counter.to_owned(), WatchedCounter { number: self.last_watch, asked: now });
        self.take(map, now);
        let (seen, total) = (map.version_vector(), (self.last_watch, map.total(counter)));
        let unchanged = self
            .ring
            .back_mut()
            .into_iter()
            .chain(&mut self.stable)
            .filter(|snapshot| snapshot.seen == seen);
        unchanged
            .filter(|snapshot| snapshot.totals.last() != Some(&total))
            .for_each(|snapshot| snapshot.totals.push(total));
        true
    }

    /// Ends the watch of counters that nobody asks about. With the last one, forgets what others
    /// have confirmed.
    pub(crate) fn unwatch(&mut self, now: Duration) {
        self.watched.retain(|_, watch| now.saturating_sub(watch.asked) < WATCHED_FOR);
        if self.watched.is_empty() {
            self.confirmed.clear();
            self.stable = None;
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        !self.watched.is_empty()
    }

    /// `incarnation` holds what its own digest names. O(snapshots * writers).
    pub(crate) fn confirm(&mut self, incarnation: ReplicaId, digest: &VersionVector) {
        self.confirm_newest(incarnation, |snapshot| digest.contains(&snapshot.seen));
    }

    /// `incarnation` holds exactly the version vector with this hash.
    pub(crate) fn confirm_hash(&mut self, incarnation: ReplicaId, hash: u128) {
        self.confirm_newest(incarnation, |snapshot| snapshot.hash == hash);
    }

    fn confirm_newest(&mut self, incarnation: ReplicaId, covers: impl Fn(&Snapshot) -> bool) {
        if self.is_watched()
            && let Some(snapshot) = self.ring.iter().rev().find(|snapshot| covers(snapshot))
        {
            let confirmed = self.confirmed.entry(incarnation).or_default();
            *confirmed = snapshot.serial.max(*confirmed);
        }
    }

    /// The replicas of `enrolled` that have not confirmed the latest snapshot. `enrolled` ascends.
    /// Forgets the confirmations of all other replicas.
    pub(crate) fn without_latest(&mut self, enrolled: &[ReplicaId]) -> Vec<ReplicaId> {
        self.confirmed.retain(|incarnation, _| enrolled.binary_search(incarnation).is_ok());
        let latest = self.ring.back().map_or(0, |snapshot| snapshot.serial);
        enrolled
            .iter()
            .copied()
            .filter(|incarnation| self.confirmed_by(*incarnation) < latest)
            .collect()
    }

    fn confirmed_by(&self, incarnation: ReplicaId) -> u64 {
        self.confirmed.get(&incarnation).copied().unwrap_or(0)
    }

    /// The newest snapshot that all of `others` have confirmed becomes the stable one. Drops older
    /// ones. O(others).
    pub(crate) fn settle(&mut self, others: &[ReplicaId]) {
        let least = others
            .iter()
            .map(|incarnation| self.confirmed_by(*incarnation))
            .min()
            .unwrap_or(self.last_serial);
        let known = self.stable.as_ref().map_or(0, |stable| stable.serial);
        let newest = self
            .ring
            .iter()
            .rposition(|snapshot| snapshot.serial <= least && snapshot.serial > known);
        if let Some(at) = newest.filter(|_| self.is_watched()) {
            self.ring.drain(..at);
            self.stable = self.ring.front().cloned();
        }
    }

    /// A watched counter at the stable snapshot, if that was taken while it was watched.
    pub(crate) fn stable(&self, counter: &str, now: Duration) -> Option<Stable> {
        let (snapshot, watch) = (self.stable.as_ref()?, self.watched.get(counter)?);
        let at = snapshot.totals.binary_search_by_key(&watch.number, |(number, _)| *number).ok()?;
        let age = snapshot.ended.map_or(Duration::ZERO, |ended| now.saturating_sub(ended));
        Some(Stable { total: snapshot.totals[at].1, versions: snapshot.seen.clone(), age })
    }

    /// When peers may be asked for their digests again.
    pub(super) fn next_question(&self) -> Duration {
        self.next_question
    }

    /// Peers are asked for their digests now.
    pub(super) fn asked(&mut self, now: Duration) {
        self.next_question = now + QUESTION_INTERVAL;
    }

    /// When the next snapshot is due, if that is known.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.ring.back()?.ended.map(|ended| ended + SNAPSHOT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counter_core::Replica;

    const MS: Duration = Duration::from_millis(1);

    fn moving() -> (Snapshots, Replica) {
        (Snapshots::default(), Replica::new(ReplicaId::new(1, 1), "ord").expect("a region"))
    }

    /// Adds one and looks at `now`.
    fn step(snapshots: &mut Snapshots, replica: &mut Replica, now: Duration) {
        replica.counter("clicks").and_then(|handle| handle.add(1)).expect("room");
        replica.flush();
        snapshots.take_if_due(replica.map(), replica.map().seen_of(replica.id()), now);
    }

    #[test]
    fn snapshots_are_bounded_and_coarsen() {
        let (mut snapshots, mut replica) = moving();
        for at in 1..=10_000 {
            step(&mut snapshots, &mut replica, 10 * at * MS);
            snapshots.watch(replica.map(), &format!("c{at}"), 10 * at * MS);
            assert!(
                snapshots.ring.len() <= SNAPSHOTS_MAX && snapshots.watched.len() <= WATCHED_MAX
            );
        }
        let ages: Vec<Duration> =
            snapshots.ring.iter().map(|snapshot| 100_000 * MS - snapshot.taken).collect();
        assert!(
            ages[0] > 50_000 * MS && ages.iter().filter(|age| **age < 1_000 * MS).count() >= 2,
            "{ages:?}"
        );
    }

    #[test]
    fn digest_lags_since_its_first_gap() {
        let (mut snapshots, mut replica) = moving();
        snapshots.take_if_due(replica.map(), 0, Duration::ZERO);
        let mut digests = vec![replica.map().version_vector()];
        for at in 1..=6 {
            step(&mut snapshots, &mut replica, 200 * at * MS);
            snapshots.take_if_due(
                replica.map(),
                replica.map().seen_of(replica.id()),
                200 * at * MS + SNAPSHOT_INTERVAL,
            );
            digests.push(replica.map().version_vector());
        }
        for (at, digest) in digests.iter().enumerate().take(6) {
            assert_eq!(
                snapshots.behind_for(digest, 2_000 * MS),
                2_000 * MS - 200 * (at as u32 + 1) * MS,
                "{at}"
            );
        }
        assert_eq!(snapshots.behind_for(&digests[6], 2_000 * MS), Duration::ZERO);
        assert_eq!(
            snapshots.behind_for(&VersionVector::new(), 2_000 * MS),
            2_000 * MS,
            "as far as it is remembered"
        );
    }

    #[test]
    fn stable_needs_every_replica() {
        let (mut snapshots, mut replica) = moving();
        let others = [ReplicaId::new(2, 1), ReplicaId::new(3, 1)];
        step(&mut snapshots, &mut replica, MS);
        assert!(
            snapshots.watch(replica.map(), "clicks", MS)
                && !snapshots.watch(replica.map(), "clicks", MS)
        );
        let first = replica.map().version_vector();
        snapshots.confirm(others[0], &first);
        snapshots.settle(&others);
        assert_eq!(snapshots.stable("clicks", MS), None);
        snapshots.confirm_hash(others[1], first.digest_hash());
        snapshots.settle(&others);
        let stable = Stable { total: 1, versions: first, age: Duration::ZERO };
        assert_eq!(snapshots.stable("clicks", 9 * MS), Some(stable.clone()));
        assert_eq!(snapshots.stable("likes", 9 * MS), None);
        step(&mut snapshots, &mut replica, 200 * MS);
        assert_eq!(snapshots.stable("clicks", 230 * MS), Some(Stable { age: 30 * MS, ..stable }));
        assert_eq!(snapshots.without_latest(&others), []);
        step(&mut snapshots, &mut replica, 400 * MS);
        assert_eq!(snapshots.without_latest(&others), others);
        snapshots.unwatch(WATCHED_FOR + MS);
        assert!(
            !snapshots.is_watched()
                && snapshots.confirmed.is_empty()
                && snapshots.stable("clicks", MS).is_none()
        );
    }
}
