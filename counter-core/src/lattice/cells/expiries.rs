//! When counters expire: the rules for new counters, and an index of the existing ones.
//!
//! The cells decide when a counter expires. The index finds the counters that are due without
//! visiting all of them. A counter with an expiry first waits in `due` for its time, and then in
//! `ended` until its last cell is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::lattice::keys::names::BUCKET_PREFIX;

/// How long the counters that this replica creates live.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpiryRules {
    /// The lifetime in milliseconds, by name prefix.
    by_prefix: BTreeMap<String, u64>,
    /// The time of new cells: milliseconds since the start of 1970.
    now_ms: u64,
}

impl ExpiryRules {
    /// Sets the rules. If several prefixes match a name, the longest wins.
    pub(crate) fn set(&mut self, rules: impl IntoIterator<Item = (String, Duration)>) {
        let ms = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.by_prefix = rules.into_iter().map(|(prefix, after)| (prefix, ms(after))).collect();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    pub(crate) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// When a counter of this name expires if it is created now; 0 if no rule covers it.
    pub(crate) fn expiry_of(&self, counter: &str) -> u64 {
        if counter.starts_with(BUCKET_PREFIX) {
            return 0;
        }
        let covering = |(prefix, _): &(&String, &u64)| counter.starts_with(prefix.as_str());
        let rule = self.by_prefix.iter().filter(covering).max_by_key(|(prefix, _)| prefix.len());
        rule.map_or(0, |(_, after)| self.now_ms.saturating_add(*after).max(1))
    }
}

/// The counters that carry an expiry, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expiries {
    /// The latest expiry that any cell of the counter brought.
    latest: HashMap<u32, u64, RandomState>,
    /// The counters in `latest` that have not ended, by that time.
    due: BTreeSet<(u64, u32)>,
    /// The counters that have expired here and refuse adds.
    ended: BTreeSet<u32>,
    /// The ended counters whose last cell is gone.
    gone: BTreeSet<u32>,
    /// The counters whose expiry another writer has moved to a later time.
    extended: BTreeSet<u32>,
    /// The ended counter to check next.
    next: u32,
    /// When ended counters were last checked.
    last_check: u64,
}

impl Expiries {
    /// True if no counter has an expiry.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_empty() && self.ended.is_empty()
    }

    /// Notes the expiry of a cell; 0 for none. `is_own` is false for another writer's cell.
    pub(crate) fn note(&mut self, counter: u32, at: u64, is_own: bool) {
        let before = self.latest.get(&counter).copied().unwrap_or(0);
        if at <= before {
            return;
        }
        self.set_latest(counter, before, at);
        if !is_own {
            self.extended.insert(counter);
        }
    }

    fn set_latest(&mut self, counter: u32, before: u64, at: u64) {
        self.latest.insert(counter, at);
        self.due.remove(&(before, counter));
        if !self.ended.contains(&counter) {
            self.due.insert((at, counter));
        }
    }

    /// The latest expiry that any cell of a counter brought; 0 for none.
    pub(crate) fn latest(&self, counter: u32) -> u64 {
        self.latest.get(&counter).copied().unwrap_or(0)
    }

    pub(crate) fn has_ended(&self, counter: u32) -> bool {
        !self.ended.is_empty() && self.ended.contains(&counter)
    }

    /// Notes that a counter has lost its last cell.
    pub(crate) fn bury(&mut self, counter: u32) {
        if let Some(at) = self.latest.remove(&counter) {
            self.due.remove(&(at, counter));
        }
        self.extended.remove(&counter);
        if self.ended.contains(&counter) {
            self.gone.insert(counter);
        }
    }

    /// When there is something to do next. Ended counters are checked again `retry` after the last
    /// check.
    pub(crate) fn next_due(&self, now: u64, retry: u64) -> Option<u64> {
        // The clock may have been set back since.
        let again = self.last_check.min(now).saturating_add(retry);
        let again = (!self.ended.is_empty() || !self.extended.is_empty()).then_some(again);
        self.due.first().map(|(at, _)| *at).into_iter().chain(again).min()
    }

    /// Takes up to `max` counters whose expiry another writer has moved to a later time.
    pub(crate) fn take_extended(&mut self, max: usize) -> Vec<u32> {
        let extended: Vec<u32> = self.extended.iter().take(max).copied().collect();
        for counter in &extended {
            self.extended.remove(counter);
        }
        extended
    }

    /// Marks up to `max` due counters as ended, and returns them.
    pub(crate) fn end_due(&mut self, now: u64, max: usize) -> Vec<u32> {
        let over = self.due.iter().take_while(|(at, _)| *at <= now).take(max);
        let over: Vec<(u64, u32)> = over.copied().collect();
        for place in &over {
            self.due.remove(place);
            self.ended.insert(place.1);
        }
        over.into_iter().map(|(_, counter)| counter).collect()
    }

    /// Takes up to `max` ended counters whose last cell is gone. They are live again.
    pub(crate) fn take_gone(&mut self, max: usize) -> Vec<u32> {
        let gone: Vec<u32> = self.gone.iter().take(max).copied().collect();
        gone.iter().for_each(|counter| self.resume(*counter, self.latest(*counter)));
        gone
    }

    /// The next `max` ended counters. Successive calls go through all of them in turn.
    pub(crate) fn next_ended(&mut self, now: u64, max: usize) -> Vec<u32> {
        self.last_check = now;
        let ended: Vec<u32> = self.ended.range(self.next..).take(max).copied().collect();
        let last = ended.last().filter(|_| ended.len() == max);
        self.next = last.map_or(0, |last| last.saturating_add(1));
        ended
    }

    /// Marks a counter as live again. It expires at `at`, or never if that is 0.
    pub(crate) fn resume(&mut self, counter: u32, at: u64) {
        self.ended.remove(&counter);
        self.gone.remove(&counter);
        let before = self.latest(counter);
        match at {
            0 => {
                self.latest.remove(&counter);
                self.due.remove(&(before, counter));
            }
            at => self.set_latest(counter, before, at),
        }
    }

    /// All counters in the index.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u32> + '_ {
        self.latest.keys().chain(&self.ended).copied()
    }

    /// Renumbers the counters. Those without a new number are gone.
    pub(crate) fn renumber(&mut self, new: impl Fn(u32) -> Option<u32>) {
        let old = std::mem::take(self);
        let all = |set: BTreeSet<u32>| set.into_iter().filter_map(&new).collect();
        self.ended = all(old.ended);
        self.gone = all(old.gone);
        self.extended = all(old.extended);
        for (counter, at) in old.latest {
            if let Some(counter) = new(counter) {
                self.set_latest(counter, 0, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_counts_and_windows_are_spared() {
        let mut rules = ExpiryRules::default();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        rules.set([(String::new(), days(30)), ("day:".into(), days(2)), ("day:x".into(), days(1))]);
        rules.set_time(1_000);
        let after = |name| (rules.expiry_of(name) - 1_000) / 86_400_000;
        assert_eq!((after("other"), after("day:1"), after("day:x1")), (30, 2, 1));
        assert_eq!(rules.expiry_of(&format!("{BUCKET_PREFIX}7")), 0);
        rules.set([("day:".into(), days(2))]);
        assert_eq!(rules.expiry_of("other"), 0);
    }

    #[test]
    fn counters_end_at_the_latest_time_and_once() {
        let mut expiries = Expiries::default();
        expiries.note(7, 100, true);
        expiries.note(7, 200, false);
        expiries.note(7, 150, false);
        expiries.note(8, 120, true);
        assert_eq!((expiries.latest(7), expiries.take_extended(9)), (200, vec![7]));
        assert_eq!((expiries.next_due(0, 50), expiries.end_due(199, 9)), (Some(120), vec![8]));
        assert!(expiries.has_ended(8) && !expiries.has_ended(7));
        assert_eq!(expiries.end_due(200, 9), [7]);
        assert_eq!((expiries.next_ended(200, 1), expiries.next_ended(200, 1)), (vec![7], vec![8]));
        assert_eq!(expiries.next_due(230, 50), Some(250), "the ended ones are looked at again");
        expiries.bury(8);
        assert_eq!((expiries.take_gone(9), expiries.has_ended(8)), (vec![8], false));
        expiries.note(7, 300, false);
        assert!(expiries.has_ended(7), "until it is looked at");
        expiries.resume(7, 300);
        assert_eq!((expiries.has_ended(7), expiries.next_due(0, 400)), (false, Some(300)));
        expiries.renumber(|counter| (counter == 7).then_some(1));
        assert_eq!((expiries.latest(1), expiries.latest(7)), (300, 0));
        expiries.bury(1);
        assert!(expiries.is_empty());
    }
}
