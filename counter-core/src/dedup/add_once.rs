//! Adding once: a replica applies an add whose id it does not know, and takes a copy back if
//! another replica had applied the same add.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dedup::entry::{
    Add, AddId, Chunk, DedupEntry, EntryBody, EntryKind, EntrySource, Forgotten, ID_CHUNK,
    IdStatus, Single, chunk_name, client_of,
};
use crate::dedup::tables::{KnownCopy, NewEntry};
use crate::error::WriteError;
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// Chunks rechecked when a writer's gap-free prefix arrives: 10,000 numbers of one client.
const SURE_CHUNKS_MAX: u64 = 1_250;

/// The result of an add with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// It was added now.
    Applied,
    /// It was added before, here or by a replica whose state is held here. Nothing was added now.
    Repeated,
    /// Nothing was added. The client numbers its adds, and its entries are forgotten up to this
    /// number or beyond. The add was almost certainly applied: count it as done and do not send it
    /// again.
    CannotTell,
}

/// A successor's decision about a copy that it absorbs.
enum Verdict {
    /// There is nothing to do.
    Settled { stands: bool },
    /// Another copy stands, and this much of it must be taken back.
    Falls { key: KeyId, excess: i64 },
}

impl Replica {
    /// Adds `amount`, not 0 and within ±2^32, to this region of a counter, unless an add with this
    /// id was applied before, here or by a replica whose state is held here. The amount and the
    /// dedup entry are one change: no replica ever holds one without the other.
    ///
    /// An id is `<client>:<sequence>`, or any other 1 to 64 bytes. A client numbers its adds 1, 2,
    /// 3 and so on, without gaps, over all counters. They may arrive in another order. An id names
    /// one add of one counter: sent again with another amount or counter it is still a repeat.
    ///
    /// Each writer remembers the latest [`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX) other ids,
    /// and as many entries of eight numbers of a client. For the first
    /// [`CLIENTS_MAX`](crate::CLIENTS_MAX) clients it also remembers for good up to which number
    /// entries were forgotten. So no repeat of theirs counts again: the answer is then `Repeated`
    /// or [`CannotTell`](Once::CannotTell). Entries of later clients are forgotten like other ids.
    ///
    /// Two replicas that did not know of each other may both apply an add. Once they have met, one
    /// of the two copies is taken back, by the replica that applied it or by its successor when
    /// that absorbs it. It is the copy of the greater [`ReplicaId`], unless a successor absorbed
    /// that one before.
    ///
    /// # Errors
    /// `IdOutOfRange`, `Left`, or as for [`add`](Self::add). Nothing was added.
    ///
    /// # Complexity
    /// O(log entries), and a lookup in each writer that holds entries.
    ///
    /// ```
    /// use counter_core::{Once, Replica, ReplicaId, VersionVector};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
    /// assert_eq!(ord.add_once("tab-5f:1", "clicks", 1)?, Once::Applied);
    /// fra.join_delta(ord.map().delta_since(&VersionVector::new()))?;
    /// assert_eq!(fra.add_once("tab-5f:1", "clicks", 1)?, Once::Repeated);
    /// assert_eq!(fra.total("clicks"), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_once(&mut self, id: &str, counter: &str, amount: i64) -> Result<Once, WriteError> {
        let text = id;
        let id = AddId::read(text)?;
        if amount == 0 || amount.unsigned_abs() > AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        if let Some(once) = self.known(id, text) {
            return Ok(once);
        }
        if self.has_left() {
            return Err(WriteError::Left);
        }
        let key = self.key_with_room(counter, amount)?;
        self.add_new(id, key, amount).map(|()| Once::Applied)
    }

    /// The result of an add whose id is known; None if the id is new.
    pub(crate) fn known(&self, id: AddId<'_>, text: &str) -> Option<Once> {
        // This replica takes an add back for a copy that it holds, even if the entry of that copy
        // is forgotten by now.
        if self.map().dedup().holds_own(self.id(), id) {
            return Some(Once::Repeated);
        }
        match self.map().dedup().look(id, text) {
            IdStatus::Applied => Some(Once::Repeated),
            IdStatus::CannotTell => Some(Once::CannotTell),
            IdStatus::New => None,
        }
    }

    /// Adds an amount and notes its id, which is new, in one change.
    ///
    /// # Errors
    /// `CellFull` if the cell has no room at all. Nothing was added.
    pub(crate) fn add_new(
        &mut self,
        id: AddId<'_>,
        key: KeyId,
        amount: i64,
    ) -> Result<(), WriteError> {
        self.write_now(key, amount)?;
        let own = self.id();
        let (entry, is_new) = self.map().dedup().applied(own, id, Add { key: key.0, amount });
        let forgotten = self.map_mut().write_entry(own, entry).forgotten;
        if let (AddId::Of { client, .. }, true) = (id, is_new) {
            self.admit(client.as_bytes(), self.map().dedup().bounds().clients());
        }
        if let Some(entry) = forgotten {
            self.forget(&entry);
        }
        Ok(())
    }

    fn admit(&mut self, client: &[u8], max: usize) {
        let dedup = self.map().dedup();
        let others = dedup.forgotten_count();
        if others == 0 || dedup.forgotten(self.id(), client).is_none() {
            self.clients_mut().admit(client, others, max);
        }
    }

    /// When an entry of an admitted client is dropped, remembers which numbers were in it.
    fn forget(&mut self, entry: &DedupEntry) {
        let EntryBody::Client(chunk) = &entry.body else { return };
        let (own, client) = (self.id(), client_of(&entry.name));
        let held = self.map().dedup().forgotten(own, client);
        if held.is_none() && !self.clients_mut().remove(client) {
            return;
        }
        let before = held.unwrap_or_default();
        let now = match entry.source {
            None => before.with(chunk),
            // Its writer's own entry may still be there, and must not lose to this one.
            Some(_) => Forgotten { upto: before.upto.max(chunk.last), ..before },
        };
        if held != Some(now) {
            self.map_mut().write_entry(own, NewEntry::forgotten(client, now));
        }
    }

    /// After a join: looks at each add that may have got another copy, and takes back the copies
    /// that do not stand and that this replica answers for. Returns the keys that changed.
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
            }
        }
        changed
    }

    fn settle_chunk(&mut self, name: &[u8], changed: &mut Vec<KeyId>) {
        let Ok(client) = std::str::from_utf8(client_of(name)) else { return };
        for sequence in self.map().dedup().doubtful(EntryKind::Client, name) {
            self.settle_id(
                &format!("{client}:{sequence}"),
                AddId::Of { client, sequence },
                None,
                changed,
            );
        }
    }

    /// Another writer is sure of a client's numbers, though it forgot their entries. Copies of them
    /// that are known here do not stand.
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
        let mut first = None;
        for known in &known_copies {
            let Some(excess) = self.excess(&known_copies, known, id, &mut first) else { continue };
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
    /// the amount is unknown. Call it in the order of writers. `first` is the writer whose copy
    /// stands so far.
    ///
    /// A copy that was absorbed and stands is taken back only for another such copy, one absorbed
    /// where nobody knew of this one.
    fn excess(
        &self,
        known_copies: &[KnownCopy],
        known: &KnownCopy,
        id: AddId<'_>,
        first: &mut Option<ReplicaId>,
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
            || first.is_some()
            || self.map().dedup().is_sure_beside(writer, id);
        if !loses {
            *first = Some(writer);
        }
        Some(if loses { add.amount - taken_back } else { 0 })
    }

    fn take_back(&mut self, text: &str, id: AddId<'_>, known: &KnownCopy, excess: i64) -> bool {
        let (own, KnownCopy { writer, add, .. }) = (self.id(), *known);
        if self.map().dedup().has_absorbed(own, writer, id) {
            let fits = self.write_now(KeyId(add.key), -excess).is_ok();
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
        // A cell without room keeps the amount. There is nothing else to do.
        if !has_room
            || now.unsigned_abs() > AMOUNT_MAX
            || self.write_now(KeyId(add.key), -excess).is_err()
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

    /// Absorbs an entry of an ended writer as its successor, and decides for each of its copies
    /// whether it stands. From then on no other copy stands, except one that another successor
    /// absorbed. `written` is the number of changes that the writer's node had made in the end,
    /// counted like that writer's versions. Returns about how many bytes the change costs each
    /// peer.
    pub(crate) fn absorb_entry(
        &mut self,
        ended: ReplicaId,
        written: Version,
        entry: DedupEntry,
    ) -> usize {
        let DedupEntry { fresh, name, source, body, .. } = entry;
        // Everything that an earlier incarnation of the node wrote is older than the first change
        // of the one that ended, whenever it was absorbed.
        let since =
            if source.is_some_and(|source| source.replica.node == ended.node) { 0 } else { fresh };
        let age =
            written.saturating_sub(since).saturating_add(source.map_or(0, |source| source.age));
        let source = EntrySource { replica: source.map_or(ended, |source| source.replica), age };
        let own = self.id();
        let body = match body {
            EntryBody::Client(chunk) => {
                let Ok(client) = std::str::from_utf8(client_of(&name)) else { return 0 };
                let mut absorbed = Chunk { taken_back: 0, ..chunk.clone() };
                for sequence in chunk.sequences() {
                    let id = AddId::Of { client, sequence };
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
                EntryBody::Client(absorbed)
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
            // Passed on with the fold, in one step.
            EntryBody::TakenBack(_) => return 0,
        };
        let Some(entry) = self.map().dedup().absorbed(own, name, source, body) else { return 0 };
        let bytes = entry.absorbed_bytes_max();
        self.map_mut().write_entry(own, entry);
        bytes
    }

    /// The verdict on a copy of a writer that ended: whether it stands, and how much of it must be
    /// taken back if not.
    fn verdict(
        &self,
        text: &str,
        id: AddId<'_>,
        writer: ReplicaId,
        was_taken_back: bool,
    ) -> Verdict {
        let known_copies = self.map().dedup().known_copies(id, text, None);
        let mut first = None;
        for known in &known_copies {
            let excess = self.excess(&known_copies, known, id, &mut first);
            if known.writer == writer {
                return match excess {
                    None => Verdict::Settled { stands: known.absorbed.unwrap_or(!was_taken_back) },
                    Some(0) => Verdict::Settled { stands: known.taken_back == 0 },
                    Some(excess) => Verdict::Falls { key: KeyId(known.add.key), excess },
                };
            }
        }
        Verdict::Settled { stands: !was_taken_back }
    }

    /// True if a copy of a writer that ended stands. If not, takes it back now, unless that was
    /// done before.
    fn decide(
        &mut self,
        text: &str,
        id: AddId<'_>,
        writer: ReplicaId,
        was_taken_back: bool,
    ) -> bool {
        match self.verdict(text, id, writer, was_taken_back) {
            Verdict::Settled { stands } => stands,
            Verdict::Falls { key, excess } => self.write_now(key, -excess).is_err(),
        }
    }

    /// The part of a writer's entry that can be absorbed without taking an add back, if any; and
    /// whether that is less than the whole entry.
    pub(crate) fn settled_part(
        &self,
        ended: ReplicaId,
        entry: DedupEntry,
    ) -> (Option<DedupEntry>, bool) {
        let writer = entry.source.map_or(ended, |source| source.replica);
        let falls = |text: &str, id, taken_back| {
            matches!(self.verdict(text, id, writer, taken_back), Verdict::Falls { .. })
        };
        match &entry.body {
            EntryBody::Client(chunk) => {
                let Ok(client) = std::str::from_utf8(client_of(&entry.name)) else {
                    return (None, false);
                };
                let settled = chunk.only(|sequence| {
                    !falls(
                        &format!("{client}:{sequence}"),
                        AddId::Of { client, sequence },
                        !chunk.stands(sequence),
                    )
                });
                let is_part = settled.as_ref().is_none_or(|settled| {
                    settled.applied.count_ones() < chunk.applied.count_ones()
                });
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
            EntryBody::Forgotten(_) | EntryBody::TakenBack(_) => (Some(entry), false),
        }
    }

    /// The successor's part of a fold of these incarnations, in the same step. Takes over the
    /// amounts that they had taken back on behalf of others, and remembers the client numbers that
    /// the fold drops. O(entries).
    pub(crate) fn fold_entries(&mut self, incarnations: &[ReplicaId]) {
        let own = self.id();
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
