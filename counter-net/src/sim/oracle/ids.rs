//! Adds with an id. Each id counts once, however often and wherever it was sent.

use std::collections::{BTreeMap, BTreeSet};

use counter_core::{AddOutcome, CounterMap, ID_CHUNK, ReplicaId};

use super::units::{ID_UNITS_MAX, id_amount, read_ids};
use crate::sim::Failure;

/// One id.
#[derive(Clone, Debug)]
struct Sent {
    text: String,
    /// How many times a node applied it.
    copies: i8,
    /// When it was applied first, on the clock of dedup entries.
    first: u64,
    /// Whether it may have been forgotten before its copies met. It may then count as often as it
    /// was applied.
    may_double: bool,
    /// Whether a reset may have seen it.
    may_be_cleared: bool,
    /// Whether a node could not tell if it was applied, and it never was.
    may_be_refused: bool,
}

/// All ids that were sent.
#[derive(Debug, Default)]
pub(super) struct Ids {
    sent: Vec<Sent>,
    /// When each dedup entry was last written, by entry and writer. An entry is a single id, or
    /// eight numbers of a client.
    entries: BTreeMap<(bool, String, ReplicaId), u64>,
    clock: u64,
    /// The counters that expire.
    expiring: BTreeSet<String>,
    /// The entries of a kind that are kept for each writer.
    dedup_max: usize,
}

impl Ids {
    pub(super) fn new(dedup_max: usize) -> Self {
        Self { dedup_max, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The counter of some id.
    pub(super) fn counter(&self, pick: usize) -> Option<String> {
        (!self.sent.is_empty()).then(|| counter_of(pick % self.sent.len()))
    }

    /// Makes an id, and returns its number.
    pub(super) fn make(&mut self, text: String) -> usize {
        self.sent.push(Sent {
            text,
            copies: 0,
            first: 0,
            may_double: false,
            may_be_cleared: self.expiring.contains(&counter_of(self.sent.len())),
            may_be_refused: false,
        });
        self.sent.len() - 1
    }

    /// The id's text, its counter and its amount.
    pub(super) fn add(&self, number: usize) -> (String, String, i64) {
        (self.sent[number].text.clone(), counter_of(number), id_amount(number % ID_UNITS_MAX))
    }

    /// A node that writes as `writer` answered an add with an id. `shows` is how often the id
    /// counted there before.
    pub(super) fn answered(
        &mut self,
        number: usize,
        writer: ReplicaId,
        how: AddOutcome,
        shows: i8,
    ) -> Result<(), Failure> {
        let (is_of_client, name) = entry(&self.sent[number].text);
        // If there are several copies, the first may be the one that stays. It is also forgotten
        // first.
        let is_remembered = self.is_remembered(number, self.sent[number].first);
        let sent = &mut self.sent[number];
        match how {
            AddOutcome::Repeated if sent.copies == 0 => {
                return Err(Failure::WrongValue(format!(
                    "the id {} counts as a repeat and was never applied",
                    sent.text
                )));
            }
            AddOutcome::CannotTell if is_remembered && sent.copies > 0 => {
                return Err(Failure::WrongValue(format!(
                    "a node cannot tell whether the id {} was applied, and must remember it",
                    sent.text
                )));
            }
            AddOutcome::CannotTell => sent.may_be_refused |= sent.copies == 0,
            AddOutcome::Repeated => {}
            AddOutcome::Applied => {
                if shows > 0 && (is_remembered || is_of_client) {
                    return Err(Failure::WrongValue(format!(
                        "the id {} counts at a node that applies it again",
                        sent.text
                    )));
                }
                sent.may_double |= shows > 0;
                self.clock += 1;
                sent.first = if sent.copies == 0 { self.clock } else { sent.first };
                sent.copies += 1;
                self.entries.insert((is_of_client, name, writer), self.clock);
                self.forget();
            }
        }
        Ok(())
    }

    /// Notes the ids whose entries may be gone before their copies meet.
    fn forget(&mut self) {
        for number in 0..self.sent.len() {
            if self.sent[number].copies > 0
                && !self.sent[number].may_double
                && !self.is_remembered(number, self.sent[number].first)
            {
                self.sent[number].may_double = true;
            }
        }
    }

    /// Whether fewer entries of the id's kind were written since then, anywhere, than are kept for
    /// one writer.
    fn is_remembered(&self, number: usize, since: u64) -> bool {
        let (kind, _) = entry(&self.sent[number].text);
        self.entries.iter().filter(|((other, ..), at)| *other == kind && **at > since).count()
            < self.dedup_max
    }

    /// A reset may have seen copies of the ids of a counter.
    pub(super) fn cleared(&mut self, counter: &str) {
        for number in 0..self.sent.len() {
            self.sent[number].may_be_cleared |= counter_of(number) == counter;
        }
    }

    /// A counter expires from now on, again and again. All of its ids may be cleared.
    pub(super) fn expires(&mut self, counter: &str) {
        self.cleared(counter);
        self.expiring.insert(counter.to_owned());
    }

    /// How often an id counts at a node.
    pub(super) fn shows(&self, map: &CounterMap, number: usize) -> i8 {
        let first = number - number % ID_UNITS_MAX;
        let count = ID_UNITS_MAX.min(self.sent.len() - first);
        read_ids(map.total(&counter_of(number)), count).map_or(0, |times| times[number - first])
    }

    /// Checks that no id counts more often than it was applied, neither above nor below zero.
    pub(super) fn look(&self, map: &CounterMap) -> Result<(), String> {
        for first in (0..self.sent.len()).step_by(ID_UNITS_MAX) {
            let count = ID_UNITS_MAX.min(self.sent.len() - first);
            let counter = counter_of(first);
            let times = read_ids(map.total(&counter), count)
                .map_err(|rest| format!("{counter} shows {rest} that no id added"))?;
            for (sent, times) in self.sent[first..first + count].iter().zip(times) {
                if times > sent.copies || times < -sent.copies {
                    return Err(format!(
                        "the id {} counts {times} times and was applied {} times",
                        sent.text, sent.copies
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks that at the end each id counts once.
    ///
    /// # Errors
    /// The first id that does not.
    pub(super) fn check(&self, map: &CounterMap) -> Result<(), Failure> {
        for (number, sent) in self.sent.iter().enumerate() {
            let times = self.shows(map, number);
            let most = if sent.may_double { sent.copies.max(1) } else { 1 };
            let least = if sent.may_be_cleared || sent.may_be_refused { 0 } else { 1 };
            if !(least..=most).contains(&times) {
                let what = format!(
                    "the id {} was applied {} times and counts {times} times in the end",
                    sent.text, sent.copies
                );
                return Err(Failure::WrongValue(what));
            }
        }
        Ok(())
    }
}

/// The start of the names of counters of adds with ids.
const COUNTER_PREFIX: &str = "ids ";

/// The counter that an id adds to.
fn counter_of(number: usize) -> String {
    format!("{COUNTER_PREFIX}{}", number / ID_UNITS_MAX)
}

/// True for counters of adds with ids.
pub(super) fn is_of_ids(counter: &str) -> bool {
    counter.starts_with(COUNTER_PREFIX)
}

/// The dedup entry of an id: whether it belongs to a client, and its name.
fn entry(text: &str) -> (bool, String) {
    match text
        .rsplit_once(':')
        .and_then(|(client, number)| Some((client, number.parse::<u64>().ok()?)))
    {
        Some((client, number)) => (true, format!("{client}:{}", number / ID_CHUNK)),
        None => (false, text.to_owned()),
    }
}
