//! Adds that come with an id: applied once by whoever knows that id, and taken back where two had applied it before they met.

use std::sync::Arc;

use crate::amounts::{AMOUNT_MAX, Amounts};
use crate::error::AddError;
use crate::keys::KeyId;
use crate::mark::{Add, Id, Kind, Look, client_of};
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// What became of an add with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// It was added now.
    Applied,
    /// It was added before, here or by a replica whose state is held here; nothing was added now.
    Repeated,
}

impl Replica {
    /// Adds `amount`, not 0 and within ±2^32, to this region of a counter, unless an add with this id was applied before: here, or by a replica
    /// whose state is held here. The amount and the mark that it was applied are one change: nobody ever holds one without the other.
    ///
    /// An id is `<client>:<sequence>`, the sequence a decimal number that the client raises with each add, or any other 1 to 64 bytes. It names
    /// one add of one counter: sent again with another amount or counter it is still a repeat. Of each writer the latest
    /// [`MARKS_MAX`](crate::MARKS_MAX) marks of either kind are remembered: a mark is one of those other ids, or eight sequence numbers of a client.
    ///
    /// Two replicas that did not know of each other may both apply an add. When one of them holds the other's state, what the greater
    /// [`ReplicaId`] had added is taken back by that replica, or by the next life of its node.
    ///
    /// # Errors
    /// `IdOutOfRange`, and as [`add`](Self::add). Nothing was added.
    ///
    /// # Complexity
    /// O(log marks), and a look at each writer that holds marks.
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
    pub fn add_once(&mut self, id: &str, counter: &str, amount: i64) -> Result<Once, AddError> {
        let text = id;
        let id = Id::read(text)?;
        if amount == 0 || amount.unsigned_abs() > AMOUNT_MAX {
            return Err(AddError::AmountOutOfRange);
        }
        if self.map().look(id, text) == Look::Applied {
            return Ok(Once::Repeated);
        }
        if self.has_left() {
            return Err(AddError::Stopped);
        }
        let key = self.key_with_room(counter, amount)?;
        self.raise_now(key, amount)?;
        let own = self.id();
        self.map_mut().mark_applied(own, id, Add { key: key.0, amount });
        Ok(Once::Applied)
    }

    /// Writes an amount into the own cell at once; its mark follows before anybody looks.
    fn raise_now(&mut self, key: KeyId, amount: i64) -> Result<(), AddError> {
        let size = amount.unsigned_abs();
        let by = match amount > 0 {
            true => Amounts { increments: size, decrements: 0 },
            false => Amounts { increments: 0, decrements: size },
        };
        let (own, before) = (self.id(), self.version());
        self.map_mut().change_key(own, key, by)?;
        let unflushed = self.unflushed_mut();
        unflushed.after.get_or_insert(before);
        unflushed.changed.insert(key);
        Ok(())
    }

    /// After a join: takes back what this node's lives added for ids that a lesser replica had applied too. Returns the keys that changed.
    ///
    /// Every id has one copy that stays, that of the least replica, and each other copy has one node that takes it back: that of the replica
    /// which had applied it, or its heir. So nobody has to agree with anybody.
    pub(crate) fn take_back_repeats(&mut self, marked: &[(Kind, Arc<[u8]>)]) -> Vec<KeyId> {
        let mut changed = Vec::new();
        for (kind, name) in marked {
            let text = match kind {
                Kind::Client => client_of(name),
                Kind::Single => name,
                Kind::TakenBack => &name[ReplicaId::BYTES..],
            };
            let Ok(text) = std::str::from_utf8(text) else { continue };
            match kind {
                Kind::Client => {
                    for sequence in self.map().sequences_of(name) {
                        changed.extend(self.take_back(&format!("{text}:{sequence}"), Id::Of { client: text, sequence }));
                    }
                }
                Kind::Single => changed.extend(self.take_back(text, Id::Single(text))),
                Kind::TakenBack => changed.extend(self.give_back(name, text)),
            }
        }
        changed
    }

    fn take_back(&mut self, text: &str, id: Id<'_>) -> Vec<KeyId> {
        let (own, mut copies) = (self.id(), self.map().copies(id));
        copies.retain(|(writer, _)| self.map().taken_back(*writer, text).is_empty());
        let mut changed = Vec::new();
        for &(writer, add) in copies.iter().skip(1) {
            if !self.answers_for(writer) {
                continue;
            }
            // A cell without room keeps the amount; nothing else can be done about it.
            if self.raise_now(KeyId(add.key), -add.amount).is_ok() {
                self.map_mut().mark_taken_back(own, writer, text, add);
                changed.push(KeyId(add.key));
            }
        }
        changed
    }

    /// As its heir, before a life is forgotten: takes back what it had added for ids of lesser replicas, and remembers what it took back itself.
    /// Its ids are carried on already. O(marks).
    pub(crate) fn settle_marks(&mut self, ended: ReplicaId) {
        let own = self.id();
        let marked = self.map().marks_of(ended);
        self.take_back_repeats(&marked);
        self.map_mut().carry_taken_back(ended, own);
    }

    /// Two took the same back without knowing of each other, as lives of a node or heirs of a life: what is too much is given again by who
    /// answers for the greatest of them.
    fn give_back(&mut self, name: &[u8], text: &str) -> Option<KeyId> {
        let own = self.id();
        let writer = ReplicaId::from_bytes(*name.first_chunk()?);
        let took = self.map().taken_back(writer, text);
        let [(_, first), .., (last, _)] = *took.as_slice() else { return None };
        let excess = took.iter().map(|(_, add)| add.amount).sum::<i64>() - first.amount;
        if excess == 0 || !self.answers_for(last) {
            return None;
        }
        let mine = took.iter().find(|(by, _)| *by == own).map_or(0, |(_, add)| add.amount) - excess;
        if mine.unsigned_abs() > AMOUNT_MAX || self.raise_now(KeyId(first.key), excess).is_err() {
            return None;
        }
        let add = if mine == 0 { Add::default() } else { Add { key: first.key, amount: mine } };
        self.map_mut().mark_taken_back(own, writer, text, add);
        Some(KeyId(first.key))
    }

    /// Whether this replica acts for `writer`: as itself, as its heir, or as a later life of its node.
    fn answers_for(&self, writer: ReplicaId) -> bool {
        let own = self.id();
        self.map().heir_of(writer).map_or(writer.node == own.node && writer <= own, |heir| heir == own)
    }
}
