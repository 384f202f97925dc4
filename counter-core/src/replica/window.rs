//! Sliding windows: counts of recent adds, in buckets that expire.
//!
//! A bucket is a counter of its own. Its name contains the time of its expiry, so buckets sort by
//! that time, and no client can make such a name. An add goes to the current bucket, and a read
//! sums the buckets that have not expired. Each writer drops its own cells of expired buckets.
//!
//! The caller passes the time, which decides which bucket an add goes to, which buckets a read
//! sums, and when a writer drops its own cells. No clock takes part in a join.

use crate::dedup::settled::RememberedKeys;
use crate::error::WriteError;
use crate::lattice::keys::KeyId;
use crate::replica::bucket::{BucketName, WindowWidth, expiry_in};
use crate::replica::state::Replica;

/// How long an expired bucket is kept, in milliseconds. A node whose clock is behind still reads
/// it.
const GRACE_MS: u64 = 60_000;

/// The progress of a replica that drops its expired buckets.
#[derive(Clone, Debug, Default)]
pub struct ExpiredBuckets {
    /// The name after which the next call starts.
    after: String,
}

impl Replica {
    /// Adds `amount`, 1 to 2^32, to a window at this time: milliseconds since the start of 1970, by
    /// this node's clock.
    ///
    /// # Complexity
    /// As for [`add`](Self::add), and the formatting of a name.
    ///
    /// # Errors
    /// As [`add`](Self::add). Nothing was added.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{Replica, ReplicaId, WindowWidth};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// let minute = WindowWidth::new(6_000, 10).unwrap();
    /// ord.add_to_window("logins", minute, 3, 1_000_000)?;
    /// ord.add_to_window("logins", minute, 2, 1_030_000)?;
    /// assert_eq!(ord.window_total("logins", minute, 1_030_000), 5);
    /// assert_eq!(ord.window_total("logins", minute, 1_070_000), 2);
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    #[inline]
    pub fn add_to_window(
        &mut self,
        window: &str,
        width: WindowWidth,
        amount: u64,
        now_ms: u64,
    ) -> Result<(), WriteError> {
        self.add_to_bucket((window, width), amount, now_ms)
    }

    /// The sum over the buckets of a window that have not expired at this time, pending adds
    /// included.
    ///
    /// # Complexity
    /// A look-up for each bucket.
    pub fn window_total(&self, window: &str, width: WindowWidth, now_ms: u64) -> i128 {
        self.window_buckets(window, width, now_ms).map(|(_, total)| total).sum()
    }

    /// Each bucket of a window that has not expired at this time, the oldest first: the time of its
    /// expiry, and its total. A look-up for each bucket.
    pub fn window_buckets(
        &self,
        window: &str,
        width: WindowWidth,
        now_ms: u64,
    ) -> impl Iterator<Item = (u64, i128)> {
        let mut name = BucketName::default();
        width
            .moments(now_ms)
            .map(move |at_ms| (width.expiry_of(at_ms), self.total(name.of(window, width, at_ms))))
    }

    /// Drops this replica's cells of buckets that expired at least a minute ago. Looks at up to
    /// `max` buckets. Returns the keys that changed. Call it every few seconds.
    ///
    /// # Complexity
    /// O(max log counters).
    pub fn drop_expired(
        &mut self,
        work: &mut ExpiredBuckets,
        now_ms: u64,
        max: usize,
    ) -> Vec<KeyId> {
        // Each call sorts a few more names, until all are sorted.
        if self.has_left() || !self.map().sort_names(max) {
            return Vec::new();
        }
        let has_expired = |name: &str| expiry_in(name).is_some_and(|at| at + GRACE_MS <= now_ms);
        let after = std::mem::take(&mut work.after);
        let buckets = self.map().buckets_after(&after, max);
        let expired: Vec<u32> = buckets
            .iter()
            .take_while(|&&number| has_expired(self.map().counter_name(number)))
            .copied()
            .collect();
        if let Some(&last) = expired.last().filter(|_| expired.len() == max) {
            work.after = self.map().counter_name(last).to_owned();
        }
        let (mut changed, mut remembered) = (Vec::new(), RememberedKeys::default());
        for number in expired {
            changed.extend(self.drop_own_of(number, &mut remembered));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::versions::VersionVector;
    use crate::replica::removal::{Cleanup, ProvenVersions};
    use crate::replica_id::ReplicaId;

    const MINUTE: WindowWidth = WindowWidth::new(6_000, 10).unwrap();

    fn replica(node: u64) -> Replica {
        Replica::new(ReplicaId::new(node, 1), ["ord", "fra"][node as usize % 2]).unwrap()
    }

    #[test]
    fn window_counts_the_adds_of_its_width() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut ord = replica(1);
        let (mut adds, mut now) = (Vec::new(), 1_700_000_000_000);
        for _ in 0..2_000 {
            now += random.u64(0..3_000);
            let amount = random.u64(1..9);
            ord.add_to_window("logins", MINUTE, amount, now).unwrap();
            adds.push((now, i128::from(amount)));
            let first = (now / 6_000 - 9) * 6_000;
            let truth: i128 = adds.iter().filter(|add| add.0 >= first).map(|add| add.1).sum();
            assert_eq!(ord.window_total("logins", MINUTE, now), truth);
        }
        let other = WindowWidth::new(1_000, 60).unwrap();
        assert_eq!(ord.window_total("logins", other, now), 0, "another window");
        assert_eq!(ord.total("logins"), 0, "no plain counter");
    }

    #[test]
    fn clocks_apart_differ_by_the_adds_between() {
        let second = WindowWidth::new(1_000, 60).unwrap();
        let (mut ord, mut fra) = (replica(1), replica(2));
        let start = 1_700_000_000_000;
        for second_of in 0..60 {
            ord.add_to_window("logins", second, 1 << (second_of % 16), start + second_of * 1_000)
                .unwrap();
        }
        ord.flush();
        fra.join_delta(ord.map().delta_since(&VersionVector::new())).unwrap();
        let now = start + 59_000;
        let (here, there) = (
            ord.window_total("logins", second, now),
            fra.window_total("logins", second, now + 5_000),
        );
        assert_eq!(here - there, 0b11111, "the adds of the first five seconds");
    }

    #[test]
    fn expired_buckets_leave_nothing_and_are_not_listed() {
        let (mut ord, mut work, mut expired) = (replica(1), Cleanup::default(), Default::default());
        ord.add("clicks", 1).unwrap();
        let mut now = 1_700_000_000_000;
        for _ in 0..500 {
            now += 6_000;
            ord.add_to_window("logins", MINUTE, 1, now).unwrap();
            ord.flush();
            ord.drop_expired(&mut expired, now, 100);
            loop {
                let held = ord.map().version_vector();
                let shown = ProvenVersions { by_all: held.clone(), by_any: held };
                if ord.clean_up(&mut work, &shown, 100).is_none() {
                    break;
                }
            }
            // Ten that count, ten that expired within the last minute, and a few more.
            assert!(ord.map().cell_count() <= 26, "{}", ord.map().cell_count());
        }
        assert_eq!(ord.window_total("logins", MINUTE, now), 10);
        assert_eq!(ord.map().counters_after("", "", 1_000).counters, [("clicks", 1)]);
        assert_eq!(ord.map().tombstone_count(), 0);
    }

    #[test]
    fn widths_and_names_are_bounded() {
        assert!(WindowWidth::new(0, 1).is_none() && WindowWidth::new(1, 0).is_none());
        assert!(WindowWidth::new(1, 1_001).is_none());
        assert!(WindowWidth::new(31 * 24 * 3_600 * 1_000 + 1, 1).is_none());
        assert!(WindowWidth::new(u64::MAX, 2).is_none());
        let mut ord = replica(1);
        let longest = "x".repeat(128);
        ord.add_to_window(&longest, MINUTE, 1, 0).unwrap();
        for bad in ["", "\n", &"x".repeat(129)] {
            assert_eq!(ord.add_to_window(bad, MINUTE, 1, 0), Err(WriteError::NameOutOfRange));
        }
        let mut name = BucketName::default();
        let name = name.of("logins", MINUTE, 7);
        assert_eq!(ord.add(name, 1), Err(WriteError::NameOutOfRange), "not by its name");
    }
}
