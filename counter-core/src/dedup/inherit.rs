//! The dedup entries of an ended writer: its successor absorbs them, and decides which copies
//! stand.

use crate::dedup::chunk::Add;
use crate::dedup::entry::{DedupEntry, EntryBody, EntrySource, Single};
use crate::dedup::id::{AddId, client_of};
use crate::dedup::tables::NewEntry;
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// A successor's decision about a copy that it absorbs.
enum CopyVerdict {
    /// There is nothing to do.
    Settled { stands: bool },
    /// Another copy stands, and this much of it must be taken back.
    Falls { key: KeyId, excess: i64 },
}

impl Replica {
    /// Absorbs an entry of an ended writer as its successor, and decides for each of its copies
    /// whether it stands. If it does, no other copy of the add stands from then on, except one that
    /// another successor absorbed. `written` is the number of changes of this writer and the later
    /// incarnations of its node. Returns about how many bytes the change costs each peer.
    pub(crate) fn absorb_entry(
        &mut self,
        ended: ReplicaId,
        written: Version,
        entry: DedupEntry,
    ) -> usize {
        let DedupEntry { fresh, name, source, body, .. } = entry;
        // Whenever it was absorbed, a change of an earlier incarnation of the node is older than
        // the first change of this one.
        let since =
            if source.is_some_and(|source| source.replica.node == ended.node) { 0 } else { fresh };
        let age =
            written.saturating_sub(since).saturating_add(source.map_or(0, |source| source.age));
        let source = EntrySource { replica: source.map_or(ended, |source| source.replica), age };
        let own = self.id();
        let body = match body {
            EntryBody::Client(chunk) => {
                let Ok(client) = std::str::from_utf8(client_of(&name)) else { return 0 };
                let mut absorbed = chunk.clone().without_taken_back();
                for sequence in chunk.sequences() {
                    let id = AddId::Numbered { client, sequence };
                    if !self.decide(
                        &format!("{client}:{sequence}"),
                        id,
                        source.replica,
                        !chunk.stands(sequence),
                    ) {
                        absorbed.take_back(sequence);
                    }
                }
                self.admit(client.as_bytes(), self.map().dedup().bounds().forgotten());
                EntryBody::Client(absorbed.absorbed_now())
            }
            EntryBody::Single(single) => {
                let Ok(text) = std::str::from_utf8(&name) else { return 0 };
                let stands =
                    self.decide(text, AddId::Single(text), source.replica, single.taken_back);
                EntryBody::Single(Single { taken_back: !stands, ..single })
            }
            EntryBody::Forgotten(forgotten) => {
                let held = self.map().dedup().forgotten(own, &name);
                let now = held.unwrap_or_default().join(forgotten);
                if held == Some(now) {
                    return 0;
                }
                self.map_mut().write_entry(own, NewEntry::forgotten(&name, now));
                return name.len() + 2 * size_of::<Version>();
            }
            // The fold passes the amounts on, in one step. What is settled was looked up above.
            EntryBody::TakenBack(_) | EntryBody::Settled(_) => return 0,
        };
        let Some(entry) = self.map().dedup().absorbed(own, name, source, body) else { return 0 };
        let bytes = entry.absorbed_bytes_max();
        self.map_mut().write_entry(own, entry);
        bytes
    }

    /// The verdict on a copy of an ended writer.
    fn verdict(
        &self,
        text: &str,
        id: AddId<'_>,
        writer: ReplicaId,
        was_taken_back: bool,
    ) -> CopyVerdict {
        let known_copies = self.map().dedup().known_copies(id, text, None);
        let mut standing = None;
        for known in &known_copies {
            let excess = self.excess(&known_copies, known, id, &mut standing);
            if known.writer == writer {
                return match excess {
                    None => {
                        CopyVerdict::Settled { stands: known.absorbed.unwrap_or(!was_taken_back) }
                    }
                    Some(0) => CopyVerdict::Settled { stands: known.taken_back == 0 },
                    Some(excess) => CopyVerdict::Falls { key: KeyId(known.add.key), excess },
                };
            }
        }
        CopyVerdict::Settled { stands: !was_taken_back }
    }

    /// Returns true if a copy of an ended writer stands. If not, takes it back now, unless that was
    /// done before.
    fn decide(
        &mut self,
        text: &str,
        id: AddId<'_>,
        writer: ReplicaId,
        was_taken_back: bool,
    ) -> bool {
        match self.verdict(text, id, writer, was_taken_back) {
            CopyVerdict::Settled { stands } => stands,
            CopyVerdict::Falls { key, excess } => {
                self.subtract_copy(writer, id, key, excess).is_err()
            }
        }
    }

    /// The part of a writer's entry that can be absorbed without taking an add back, if any. Also
    /// returns true if that is less than the whole entry.
    pub(crate) fn settled_part(
        &self,
        ended: ReplicaId,
        entry: DedupEntry,
    ) -> (Option<DedupEntry>, bool) {
        let writer = entry.source.map_or(ended, |source| source.replica);
        let falls = |text: &str, id, taken_back| {
            matches!(self.verdict(text, id, writer, taken_back), CopyVerdict::Falls { .. })
        };
        match &entry.body {
            EntryBody::Client(chunk) => {
                let Ok(client) = std::str::from_utf8(client_of(&entry.name)) else {
                    return (None, false);
                };
                let settled = chunk.only(|sequence| {
                    !falls(
                        &format!("{client}:{sequence}"),
                        AddId::Numbered { client, sequence },
                        !chunk.stands(sequence),
                    )
                });
                let is_part = settled.as_ref().is_none_or(|settled| settled.len() < chunk.len());
                (
                    settled.map(|settled| DedupEntry { body: EntryBody::Client(settled), ..entry }),
                    is_part,
                )
            }
            EntryBody::Single(single) => {
                let Ok(text) = std::str::from_utf8(&entry.name) else { return (None, false) };
                if falls(text, AddId::Single(text), single.taken_back) {
                    (None, true)
                } else {
                    (Some(entry), false)
                }
            }
            EntryBody::Forgotten(_) | EntryBody::TakenBack(_) | EntryBody::Settled(_) => {
                (Some(entry), false)
            }
        }
    }

    /// Handles the entries in a fold of these incarnations, in the same step as the fold. Takes
    /// over the amounts that they had taken back on behalf of others, and remembers the client
    /// numbers that the fold drops. O(entries).
    pub(crate) fn fold_entries(&mut self, incarnations: &[ReplicaId]) {
        let own = self.id();
        self.forget_cleared_amounts();
        for incarnation in incarnations {
            let (map, dedup) = (self.map(), self.map().dedup());
            let stays = |writer| !incarnations.contains(&writer) && !map.is_folded(writer);
            for (writer, text, add) in dedup.took_back_for_others(*incarnation, stays) {
                let mine = self
                    .map()
                    .dedup()
                    .taken_back(writer, &text)
                    .iter()
                    .find(|(by, _)| *by == own)
                    .map_or(0, |(_, add)| add.amount);
                let sum = mine + add.amount;
                if sum.unsigned_abs() <= AMOUNT_MAX {
                    let add =
                        if sum == 0 { Add::default() } else { Add { key: add.key, amount: sum } };
                    self.map_mut().write_entry(own, NewEntry::taken_back(writer, &text, add));
                }
            }
        }
        let is_folded = |writer| incarnations.contains(&writer) || self.map().is_folded(writer);
        self.forget_all(self.map().dedup().surplus(own, is_folded));
    }

    /// Drops absorbed entries beyond their bound, after the last step absorbed some.
    pub(crate) fn drop_surplus(&mut self) {
        let own = self.id();
        let surplus = self.map().dedup().surplus(own, |writer| self.map().is_folded(writer));
        if !surplus.is_empty() {
            self.forget_all(surplus);
            self.map_mut().trim_entries();
        }
    }

    fn forget_all(&mut self, entries: Vec<DedupEntry>) {
        entries.iter().for_each(|entry| self.forget(entry));
    }
}
