//! Marks in the map: written by their writer, taken with its cells, and asked for when an add comes with an id.

use std::sync::Arc;

use super::CounterMap;
use super::join::Joined;
use crate::delta::Part;
use crate::keys::Keys;
use crate::mark::{Add, Chunk, Id, Kind, Look, Mark, Said, client_of};
use crate::replica_id::ReplicaId;
use crate::state_hash::mark_hash;
use crate::version_vector::Version;
use crate::writer::Writer;

/// What a carried mark takes in a delta besides its name, at most: two versions, a chunk.
const MARK_BYTES: usize = 32;

impl CounterMap {
    /// Marks held of all writers.
    pub fn mark_count(&self) -> usize {
        self.writers.iter().map(|writer| writer.marks.len()).sum()
    }

    /// Whether some writer that is held applied the add with this id, and that was not taken back: what was taken back for the sake of a replica
    /// of which nothing is held counts nowhere here. O(writers that hold marks).
    pub(crate) fn look(&self, id: Id<'_>, text: &str) -> Look {
        let (kind, name) = id.place();
        let applied = |said: &Said| match (said, id) {
            (Said::Client(chunk), Id::Of { sequence, .. }) => chunk.look(sequence) == Look::Applied,
            _ => true,
        };
        let mut writers = self.marked().filter(|writer| writer.marks.said(kind, &name).is_some_and(applied));
        match writers.any(|writer| self.taken_back(writer.id, text).is_empty()) {
            true => Look::Applied,
            false => Look::New,
        }
    }

    /// Who applied an add, and what each added, in the order of ids; only those of whom that is known.
    pub(crate) fn copies(&self, id: Id<'_>) -> Vec<(ReplicaId, Add)> {
        let (kind, name) = id.place();
        let add = |said: &Said| match (said, id) {
            (Said::Client(chunk), Id::Of { sequence, .. }) => chunk.add_of(sequence),
            (Said::Single(add), _) => Some(*add).filter(|add| add.amount != 0),
            _ => None,
        };
        self.marked().filter_map(|writer| Some((writer.id, add(writer.marks.said(kind, &name)?)?))).collect()
    }

    /// Who took back, or gave again as a negative amount, what `applied_by` added for an id, and what; in the order of ids.
    pub(crate) fn taken_back(&self, applied_by: ReplicaId, id: &str) -> Vec<(ReplicaId, Add)> {
        let name = Mark::taken_back_name(applied_by, id);
        let took = |writer: &Writer| match writer.marks.said(Kind::TakenBack, &name) {
            Some(Said::TakenBack(add)) => Some((writer.id, *add)),
            _ => None,
        };
        self.marked().filter_map(took).collect()
    }

    /// The sequence numbers in a client's chunk that any writer applied and of which the amount is known, none twice.
    pub(crate) fn sequences_of(&self, chunk: &[u8]) -> Vec<u64> {
        let chunks = self.marked().filter_map(|writer| match writer.marks.said(Kind::Client, chunk) {
            Some(Said::Client(chunk)) => Some(chunk),
            _ => None,
        });
        let mut sequences: Vec<u64> = chunks.flat_map(|chunk| chunk.known().map(|known| known.0)).collect();
        sequences.sort_unstable();
        sequences.dedup();
        sequences
    }

    /// Kind and name of every mark of a writer.
    pub(crate) fn marks_of(&self, replica: ReplicaId) -> Vec<(Kind, Arc<[u8]>)> {
        let marks = self.writer(replica).into_iter().flat_map(|writer| writer.marks.since(0));
        marks.map(|mark| (mark.said.kind(), mark.name.clone())).collect()
    }

    fn marked(&self) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(|writer| !writer.marks.is_empty())
    }

    /// Marks an add as applied by `replica`, whose cell holds it already. An amount of 0 where it is not known.
    pub(crate) fn mark_applied(&mut self, replica: ReplicaId, id: Id<'_>, add: Add) -> Version {
        let (kind, name) = id.place();
        let held = self.writer(replica).and_then(|writer| writer.marks.said(kind, &name));
        let said = match (held.cloned(), id) {
            (Some(Said::Client(mut chunk)), Id::Of { sequence, .. }) => {
                chunk.apply(sequence, add);
                Said::Client(chunk)
            }
            (_, Id::Of { sequence, .. }) => Said::Client(Chunk::new(sequence, add)),
            (_, Id::Single(_)) => Said::Single(add),
        };
        self.write_mark(replica, name.as_slice().into(), said)
    }

    /// Marks what `replica` took back of what `applied_by` had added for an id; an amount of 0 undoes it.
    pub(crate) fn mark_taken_back(&mut self, replica: ReplicaId, applied_by: ReplicaId, id: &str, add: Add) -> Version {
        self.write_mark(replica, Mark::taken_back_name(applied_by, id), Said::TakenBack(add))
    }

    fn write_mark(&mut self, replica: ReplicaId, name: Arc<[u8]>, said: Said) -> Version {
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        writer.seen += 1;
        put(writer, &self.keys, self.marks_max, Mark { version: writer.seen, name, said });
        writer.seen
    }

    /// The oldest mark of a writer above a version. O(log marks).
    pub(crate) fn next_mark(&self, replica: ReplicaId, after: Version) -> Option<Mark> {
        self.writer(replica)?.marks.next_after(after).cloned()
    }

    /// Makes the ids of a mark of a life that ended the heir's: known as applied, and no more to be taken back, since whoever takes over a life has
    /// met everyone who could have applied the same. Returns about how many bytes the change costs each peer. O(log marks).
    ///
    /// The life's own mark stays beside it until the fold: there is no moment at which an id is not known.
    pub(crate) fn carry(&mut self, Mark { name, said, .. }: Mark, heir: ReplicaId) -> usize {
        let before = self.seen_of(heir);
        let is_new = self.writer(heir).is_none_or(|heir| heir.marks.said(said.kind(), &name).is_none());
        match said {
            Said::Client(chunk) if is_new => {
                self.write_mark(heir, name.clone(), Said::Client(Chunk { runs: Default::default(), ..chunk }));
            }
            Said::Client(chunk) => {
                if let Ok(client) = std::str::from_utf8(client_of(&name)) {
                    chunk.sequences().for_each(|sequence| self.carry_id(heir, Id::Of { client, sequence }));
                }
            }
            Said::Single(_) if is_new => {
                self.write_mark(heir, name.clone(), Said::Single(Add::default()));
            }
            _ => {}
        }
        if self.seen_of(heir) > before { name.len() + MARK_BYTES } else { 0 }
    }

    /// Makes what a life that ended took back the heir's, in one step with its fold: while both said it, it would be taken back twice. O(marks).
    pub(crate) fn carry_taken_back(&mut self, ended: ReplicaId, heir: ReplicaId) {
        let marks = self.writer(ended).into_iter().flat_map(|writer| writer.marks.since(0));
        let took: Vec<Mark> = marks.filter(|mark| mark.said.kind() == Kind::TakenBack).cloned().collect();
        for Mark { name, said, .. } in took {
            self.write_mark(heir, name, said);
        }
    }

    fn carry_id(&mut self, heir: ReplicaId, id: Id<'_>) {
        let (kind, name) = id.place();
        let is_new = match (self.writer(heir).and_then(|writer| writer.marks.said(kind, &name)), id) {
            (Some(Said::Client(chunk)), Id::Of { sequence, .. }) => chunk.look(sequence) == Look::New,
            (held, _) => held.is_none(),
        };
        if is_new {
            self.mark_applied(heir, id, Add::default());
        }
    }

    /// Takes the marks of a part that are newer than `seen`; `key` is the number here of a key there.
    pub(super) fn take_marks(&mut self, at: usize, part: &Part, seen: Version, key: impl Fn(u32) -> u32, joined: &mut Joined) {
        for mark in part.marks.iter().filter(|mark| mark.version > seen) {
            self.take_mark(at, mark, &key, joined);
        }
    }

    pub(super) fn take_mark(&mut self, at: usize, mark: &Mark, key: impl Fn(u32) -> u32, joined: &mut Joined) {
        let mut mark = mark.clone();
        mark.renumber(key);
        let (kind, name) = (mark.said.kind(), mark.name.clone());
        let writer = &mut self.writers[at];
        if put(writer, &self.keys, self.marks_max, mark) {
            joined.marked.push((kind, name));
        }
    }
}

fn put(writer: &mut Writer, keys: &Keys, marks_max: usize, mark: Mark) -> bool {
    let hash = mark_hash(writer.id, &mark, keys);
    writer.marks.put(mark, hash, marks_max)
}
