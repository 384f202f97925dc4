//! Two copies of one add: two writers applied it before they met. One copy stands, and the writer
//! of the other takes it back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dedup::chunk::{Add, ID_CHUNK};
use crate::dedup::entry::{DedupEntry, EntryKind};
use crate::dedup::id::{AddId, chunk_name, client_of};
use crate::dedup::tables::{KnownCopy, NewEntry};
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::keys::KeyId;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// The most chunks checked when another writer's sure numbers of a client arrive: 10,000 numbers.
const SURE_CHUNKS_MAX: u64 = 1_250;

impl Replica {
    /// Runs after a join. Looks at each add that may have got another copy, and takes back the
    /// copies that do not stand, if this replica answers for them. Returns the keys that changed.
    ///
    /// The held state alone decides which copy stands, and only one replica may take a copy back:
    /// its writer, or that writer's successor. So replicas need not agree on it.
    pub(crate) fn take_back_repeats(&mut self, entries: &[(EntryKind, Arc<[u8]>)]) -> Vec<KeyId> {
        let mut changed = Vec::new();
        for (kind, name) in entries {
            match kind {
                EntryKind::Client => self.settle_chunk(name, &mut changed),
                EntryKind::Single
                    if self.map().dedup().doubtful(EntryKind::Single, name).is_empty() => {}
                EntryKind::Single => {
                    if let Ok(text) = std::str::from_utf8(name) {
                        self.settle_id(text, AddId::Single(text), None, &mut changed);
                    }
                }
                EntryKind::TakenBack => {
                    let writer = DedupEntry::taken_back_from(name);
                    let text = name
                        .get(ReplicaId::BYTES..)
                        .and_then(|text| std::str::from_utf8(text).ok());
                    if let Some((text, id)) =
                        text.and_then(|text| Some((text, AddId::read(text).ok()?)))
                    {
                        self.settle_id(text, id, writer, &mut changed);
                    }
                }
                EntryKind::Forgotten => self.settle_sure(name, &mut changed),
                EntryKind::Settled => {}
            }
        }
        changed
    }

    fn settle_chunk(&mut self, name: &[u8], changed: &mut Vec<KeyId>) {
        let Ok(client) = std::str::from_utf8(client_of(name)) else { return };
        for sequence in self.map().dedup().doubtful(EntryKind::Client, name) {
            self.settle_id(
                &format!("{client}:{sequence}"),
                AddId::Numbered { client, sequence },
                None,
                changed,
            );
        }
    }

    /// Another writer has surely applied a client's numbers, though it forgot their entries. So
    /// copies of these numbers by other writers do not stand.
    fn settle_sure(&mut self, client: &[u8], changed: &mut Vec<KeyId>) {
        let last = self.map().dedup().sure(client) / ID_CHUNK;
        for chunk in (last.saturating_sub(SURE_CHUNKS_MAX)..=last).rev() {
            self.settle_chunk(&chunk_name(client, chunk * ID_CHUNK), changed);
        }
    }

    fn settle_id(
        &mut self,
        text: &str,
        id: AddId<'_>,
        also: Option<ReplicaId>,
        changed: &mut Vec<KeyId>,
    ) {
        let known_copies = self.map().dedup().known_copies(id, text, also);
        let mut standing = None;
        for known in &known_copies {
            let Some(excess) = self.excess(&known_copies, known, id, &mut standing) else {
                continue;
            };
            if excess != 0
                && self.answers_for(known.writer, id)
                && self.take_back(text, id, known, excess)
            {
                changed.push(KeyId(known.add.key));
            }
        }
    }

    /// True if this replica takes back copies of `writer`: its own, and those that it has absorbed.
    /// Any other copy waits for its writer, or for that writer's successor. If it were taken back
    /// here, that change could reach a replica that the copy itself never reaches.
    fn answers_for(&self, writer: ReplicaId, id: AddId<'_>) -> bool {
        writer == self.id() || self.map().dedup().has_absorbed(self.id(), writer, id)
    }

    /// The amount of a copy that must still be taken back; None if a successor took it back, or if
    /// the amount is unknown. Call it for all copies in the order of writers. It sets `standing` to
    /// the first writer whose copy stands and was not absorbed.
    ///
    /// A standing copy that was absorbed is taken back only in favour of another absorbed copy.
    /// That happens if two successors absorbed copies without knowing of each other's.
    pub(super) fn excess(
        &self,
        known_copies: &[KnownCopy],
        known: &KnownCopy,
        id: AddId<'_>,
        standing: &mut Option<ReplicaId>,
    ) -> Option<i64> {
        let KnownCopy { writer, add, taken_back, absorbed } = *known;
        if absorbed == Some(false) || add.amount == 0 {
            return None;
        }
        let absorbed_others = || {
            known_copies
                .iter()
                .filter(|other| other.writer != writer && other.absorbed == Some(true))
        };
        if absorbed == Some(true) {
            let loses = absorbed_others().any(|other| other.writer < writer);
            return Some(if loses { add.amount - taken_back } else { 0 });
        }
        let absorbed_elsewhere = absorbed_others().next().is_some();
        let loses = taken_back != 0
            || absorbed_elsewhere
            || standing.is_some()
            || self.map().dedup().is_sure_elsewhere(writer, id);
        if !loses {
            *standing = Some(writer);
        }
        Some(if loses { add.amount - taken_back } else { 0 })
    }

    fn take_back(&mut self, text: &str, id: AddId<'_>, known: &KnownCopy, excess: i64) -> bool {
        let (own, KnownCopy { writer, add, .. }) = (self.id(), *known);
        if self.map().dedup().has_absorbed(own, writer, id) {
            let fits = self.subtract_copy(writer, id, KeyId(add.key), excess).is_ok();
            let entry = self.map().dedup().absorbed_taken_back(own, writer, id);
            if let Some(entry) = entry.filter(|_| fits) {
                self.map_mut().write_entry(own, entry);
            }
            return fits;
        }
        let by_bit = writer == own && excess == add.amount && self.map().dedup().holds_own(own, id);
        let took =
            if by_bit { SmallVec::new() } else { self.map().dedup().taken_back(writer, text) };
        let mine = took.iter().find(|(by, _)| *by == own).map(|(_, add)| add.amount);
        let now = mine.unwrap_or(0) + excess;
        let has_room = by_bit || mine.is_some() || self.map().dedup().may_take_back(own);
        // If the cell has no room, the amount stays in it. Nothing better is possible.
        if !has_room
            || now.unsigned_abs() > AMOUNT_MAX
            || self.subtract_copy(writer, id, KeyId(add.key), excess).is_err()
        {
            return false;
        }
        let entry = match by_bit {
            true => self.map().dedup().own_taken_back(own, id),
            false => {
                let add = if now == 0 { Add::default() } else { Add { key: add.key, amount: now } };
                Some(NewEntry::taken_back(writer, text, add))
            }
        };
        if let Some(entry) = entry {
            self.map_mut().write_entry(own, entry);
        }
        true
    }
}
