//! The replica record: facts about one writer, held once instead of in every cell.

use crate::codec::fields::Fields;
use crate::codec::varint::{Reader, write_varint};
use crate::error::DecodeError;
use crate::lattice::keys::names::READ_NAME_BYTES_MAX;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

const FIELD_REGION: u64 = 1;
const FIELD_CLAIMS: u64 = 10;
const FIELD_FOLDED: u64 = 11;
const FIELD_REBASING: u64 = 12;
const FIELD_ABSORBING: u64 = 13;
const FIELD_LEFT: u64 = 14;
const FIELD_FORGOT: u64 = 15;
const FIELD_FOLDED_LOWER: u64 = 20;

/// Bytes of one folded node: its number, and the upper half of its latest folded incarnation.
const FOLDED_BYTES: usize = 12;
/// Bytes of one lower half, which earlier releases do not write.
const LOWER_BYTES: usize = 4;

/// A replica's statement about itself. It has a version in its writer's sequence, like a cell.
///
/// Only its own replica changes it, and it is replaced whole. Only a fault can give one version to
/// two different records. Then the order of the fields decides which is greater.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The writer's version of this record.
    pub version: Version,
    /// The region in which the replica runs.
    pub region: String,
    /// The ended incarnations whose successor this replica is or offers to be, in the order of ids.
    claims: Vec<ReplicaId>,
    /// By node, ascending: the incarnations that this replica has folded, and those that the
    /// incarnations it absorbed had folded.
    folded: Vec<Folded>,
    /// True while some of its cells still hold absorbed amounts of folded incarnations. Resets of
    /// these incarnations still count until it is false.
    rebasing: bool,
    /// The incarnations that it has begun to absorb, in the order of ids. Until it ends, no other
    /// replica becomes their successor.
    absorbing: Vec<ReplicaId>,
    /// The replica's last statement: the versions that it held when it left, its own included. It
    /// writes nothing after this record. Ascending; empty if it has not left.
    left: Vec<(ReplicaId, Version)>,
    /// All enrolled replicas hold the drops up to this version, so their tombstones are gone. 0 if
    /// there were none.
    forgot: Version,
    /// Fields that this release does not know, kept byte for byte.
    unknown: Fields,
}

/// A fold of one node's incarnations up to `upto`. A replica that still holds their cells forgets
/// them.
///
/// Earlier releases keep only the upper half of the incarnation, so a node's next incarnation must
/// differ in that half. [`ReplicaId::next_incarnation`] ensures it. Two processes of one node, such
/// as from a disk and its clone, may share that half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Folded {
    pub(crate) node: u64,
    /// The latest incarnation.
    pub(crate) upto: u64,
}

impl Folded {
    pub(crate) fn of(replica: ReplicaId) -> Self {
        Self { node: replica.node, upto: replica.incarnation }
    }

    fn halves(self) -> (u32, u32) {
        ((self.upto >> 32) as u32, self.upto as u32)
    }
}

impl Record {
    /// The ended incarnations whose successor this replica is or offers to be, in the order of ids.
    pub fn claims(&self) -> &[ReplicaId] {
        &self.claims
    }

    /// The incarnations that it claims, and those that it has begun to absorb.
    pub(crate) fn claims_and_absorbs(&self) -> impl Iterator<Item = ReplicaId> {
        self.claims.iter().chain(&self.absorbing).copied()
    }

    /// True if the replica has left: it writes nothing after this record.
    pub fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// The versions that the replica held when it left; empty if it has not left.
    pub fn final_versions(&self) -> &[(ReplicaId, Version)] {
        &self.left
    }

    /// True if it has begun to absorb incarnations, or has not yet rebased all that it folded.
    pub fn is_absorbing(&self) -> bool {
        !self.absorbing.is_empty() || self.rebasing
    }

    /// All enrolled replicas hold the drops up to this version, so their tombstones are gone. 0 if
    /// there were none.
    pub fn forgot(&self) -> Version {
        self.forgot
    }

    /// Forgets the tombstones up to a version. Every replica has proved that it holds that version.
    pub(crate) fn forget(&mut self, upto: Version) {
        self.forgot = self.forgot.max(upto);
    }

    /// The number of nodes whose incarnations it has folded.
    pub fn folded_count(&self) -> usize {
        self.folded.len()
    }

    /// True if it has claims or folds, or the replica is absorbing or rebasing.
    pub(crate) fn mentions_incarnations(&self) -> bool {
        !self.claims.is_empty()
            || !self.folded.is_empty()
            || self.rebasing
            || !self.absorbing.is_empty()
    }

    pub(crate) fn absorbing(&self) -> &[ReplicaId] {
        &self.absorbing
    }

    /// By node, ascending: the incarnations that it has folded.
    pub(crate) fn folds(&self) -> &[Folded] {
        &self.folded
    }

    /// True while it has not rebased everything that it folded.
    pub(crate) fn is_rebasing(&self) -> bool {
        self.rebasing
    }

    pub(crate) fn claim(&mut self, ended: ReplicaId) {
        if let Err(at) = self.claims.binary_search(&ended) {
            self.claims.insert(at, ended);
        }
    }

    /// Replaces the id `from` by `to` in the last statement.
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) {
        self.left.iter_mut().filter(|entry| entry.0 == from).for_each(|entry| entry.0 = to);
        self.left.sort_unstable();
    }

    /// Begins to absorb `incarnations`, and takes over the folds that they had made.
    pub(crate) fn begin_absorbing(
        &mut self,
        incarnations: Vec<ReplicaId>,
        inherited: impl IntoIterator<Item = Folded>,
    ) {
        self.absorbing = incarnations;
        inherited.into_iter().for_each(|folded| self.add_fold(folded));
    }

    /// Folds `incarnations`, which it has absorbed. Rebasing begins.
    pub(crate) fn fold(&mut self, incarnations: &[ReplicaId]) {
        self.drop_claims(incarnations);
        incarnations.iter().for_each(|&incarnation| self.add_fold(Folded::of(incarnation)));
        self.absorbing.clear();
        self.rebasing = true;
    }

    fn add_fold(&mut self, folded: Folded) {
        match self.folded.binary_search_by_key(&folded.node, |entry| entry.node) {
            Ok(at) => self.folded[at].upto = self.folded[at].upto.max(folded.upto),
            Err(at) => self.folded.insert(at, folded),
        }
    }

    pub(crate) fn end_rebasing(&mut self) {
        self.rebasing = false;
    }

    /// Drops the claims of these incarnations, which are ascending.
    pub(crate) fn drop_claims(&mut self, incarnations: &[ReplicaId]) {
        self.claims.retain(|claimed| incarnations.binary_search(claimed).is_err());
    }

    /// Makes this the last statement of a replica that holds these versions.
    pub(crate) fn leave(&mut self, held: impl Iterator<Item = (ReplicaId, Version)>) {
        self.left = held.collect();
    }

    /// Writes everything but the version.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = self.unknown.clone();
        fields.set(FIELD_REGION, self.region.as_bytes().to_vec());
        for (field, incarnations) in
            [(FIELD_CLAIMS, &self.claims), (FIELD_ABSORBING, &self.absorbing)]
        {
            if !incarnations.is_empty() {
                fields.set(field, incarnations.iter().flat_map(|id| id.to_bytes()).collect());
            }
        }
        if !self.folded.is_empty() {
            let entry = |folded: &Folded| {
                [folded.node.to_be_bytes().as_slice(), &folded.halves().0.to_be_bytes()].concat()
            };
            fields.set(FIELD_FOLDED, self.folded.iter().flat_map(entry).collect());
        }
        if !self.left.is_empty() {
            let mut bytes = Vec::with_capacity(self.left.len() * (ReplicaId::BYTES + 3));
            for (replica, version) in &self.left {
                bytes.extend_from_slice(&replica.to_bytes());
                write_varint(&mut bytes, *version);
            }
            fields.set(FIELD_LEFT, bytes);
        }
        if self.forgot > 0 {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, self.forgot);
            fields.set(FIELD_FORGOT, bytes);
        }
        // A record from an earlier release is written back unchanged.
        if self.folded.iter().any(|folded| folded.halves().1 < u32::MAX) {
            fields.set(
                FIELD_FOLDED_LOWER,
                self.folded.iter().flat_map(|folded| folded.halves().1.to_be_bytes()).collect(),
            );
        }
        if self.rebasing {
            fields.set(FIELD_REBASING, Vec::new());
        }
        fields.write(out);
    }

    /// An upper bound on its encoded bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes.len() + 10
    }

    pub(crate) fn read(version: Version, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut unknown = Fields::read(reader)?;
        let region = unknown
            .take(FIELD_REGION)
            .ok_or(DecodeError::Invalid("a record must name its region"))?;
        let region = String::from_utf8(region)
            .map_err(|_| DecodeError::Invalid("a region's name must be UTF-8"))?;
        let claims =
            unknown.take(FIELD_CLAIMS).map_or(Ok(Vec::new()), |bytes| read_incarnations(&bytes))?;
        let absorbing = unknown
            .take(FIELD_ABSORBING)
            .map_or(Ok(Vec::new()), |bytes| read_incarnations(&bytes))?;
        let mut folded =
            unknown.take(FIELD_FOLDED).map_or(Ok(Vec::new()), |bytes| read_folded(&bytes))?;
        if let Some(bytes) = unknown.take(FIELD_FOLDED_LOWER) {
            read_lower_halves(&bytes, &mut folded)?;
        }
        let left =
            unknown.take(FIELD_LEFT).map_or(Ok(Vec::new()), |bytes| read_versions(&bytes))?;
        let forgot =
            unknown.take(FIELD_FORGOT).map_or(Ok(0), |bytes| read_forgot(&bytes, version))?;
        let rebasing = match unknown.take(FIELD_REBASING) {
            Some(bytes) if !bytes.is_empty() => {
                return Err(DecodeError::Invalid("the field for rebasing must have no bytes"));
            }
            said => said.is_some(),
        };
        match region.len() <= READ_NAME_BYTES_MAX {
            true => {
                let read = Self {
                    version,
                    region,
                    claims,
                    folded,
                    rebasing,
                    absorbing,
                    ..Self::default()
                };
                Ok(Self { left, forgot, unknown, ..read })
            }
            false => Err(DecodeError::Invalid("a name must have at most 255 bytes")),
        }
    }
}

/// Reads ascending ids. The field must not be empty.
fn read_incarnations(bytes: &[u8]) -> Result<Vec<ReplicaId>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut incarnations = Vec::with_capacity(bytes.len() / ReplicaId::BYTES);
    while reader.left() > 0 {
        incarnations.push(reader.replica()?);
    }
    match !incarnations.is_empty() && incarnations.is_sorted_by(|a, b| a < b) {
        true => Ok(incarnations),
        false => {
            Err(DecodeError::Invalid("incarnations must ascend, and their field must not be empty"))
        }
    }
}

/// Reads a version vector: writers ascend, no version is 0, and there is at least one.
fn read_versions(bytes: &[u8]) -> Result<Vec<(ReplicaId, Version)>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut versions = Vec::with_capacity(bytes.len() / (ReplicaId::BYTES + 1));
    while reader.left() > 0 {
        versions.push((reader.replica()?, reader.varint()?));
    }
    let ascends = versions.is_sorted_by(|a: &(ReplicaId, Version), b| a.0 < b.0);
    match !versions.is_empty() && ascends && versions.iter().all(|entry| entry.1 > 0) {
        true => Ok(versions),
        false => Err(DecodeError::Invalid(
            "a last statement must name writers in ascending order, with versions above 0",
        )),
    }
}

/// Reads a version above 0 and below the record's own.
fn read_forgot(bytes: &[u8], record: Version) -> Result<Version, DecodeError> {
    let mut reader = Reader::new(bytes);
    let forgot = reader.varint()?;
    reader.finish()?;
    match (1..record).contains(&forgot) {
        true => Ok(forgot),
        false => {
            Err(DecodeError::Invalid("a record must forget only drops before its own version"))
        }
    }
}

fn read_folded(bytes: &[u8]) -> Result<Vec<Folded>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut folded = Vec::with_capacity(bytes.len() / FOLDED_BYTES);
    while reader.left() > 0 {
        let entry = reader.take(FOLDED_BYTES)?;
        let number = entry.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        // Covers every incarnation with this upper half, unless another field holds the lower half.
        folded.push(Folded {
            node: (number >> 32) as u64,
            upto: (number as u64) << 32 | u64::from(u32::MAX),
        });
    }
    match !folded.is_empty() && folded.is_sorted_by(|a, b| a.node < b.node) {
        true => Ok(folded),
        false => {
            Err(DecodeError::Invalid("folded nodes must ascend, and their field must not be empty"))
        }
    }
}

fn read_lower_halves(bytes: &[u8], folded: &mut [Folded]) -> Result<(), DecodeError> {
    let halves = || {
        bytes
            .chunks_exact(LOWER_BYTES)
            .map(|half| half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    if bytes.len() != folded.len() * LOWER_BYTES || halves().all(|half| half == u64::from(u32::MAX))
    {
        return Err(DecodeError::Invalid(
            "the lower halves must be one per folded node, and must not all be the greatest",
        ));
    }
    for (entry, half) in folded.iter_mut().zip(halves()) {
        entry.upto = entry.upto >> 32 << 32 | half;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Record, DecodeError> {
        Record::read(7, &mut Reader::new(bytes))
    }

    #[test]
    fn last_statement_reads_back() {
        let left = vec![(ReplicaId::new(1, 5), 300), (ReplicaId::new(2, 6), 1)];
        let record = Record { version: 7, region: "ord".into(), left, ..Record::default() };
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!(read(&bytes), Ok(record.clone()));
        assert!(record.has_left() && !record.mentions_incarnations());
        for left in [
            vec![(ReplicaId::new(1, 5), 0)],
            vec![(ReplicaId::new(2, 6), 1), (ReplicaId::new(1, 5), 3)],
        ] {
            let mut bytes = Vec::new();
            Record { left, ..record.clone() }.write(&mut bytes);
            assert!(read(&bytes).is_err());
        }
    }
}
