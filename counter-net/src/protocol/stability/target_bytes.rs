//! How targets and their confirmations travel.
//!
//! A target is a version vector, whole or as the difference from an earlier target. Confirmations
//! are one bit for each replica that the target names, under a short tag of the target.

use counter_core::{ReplicaId, Version, VersionVector};
use serde_bytes::ByteBuf;

use super::target::{Bits, TargetId};
use crate::protocol::interface::Refusal;
use crate::protocol::wire::{
    ConfirmMessage, Id, TargetMessage, pack_vector, push_varint, take_varint,
};

/// The message that carries these confirmations, and perhaps a target that its receiver lacks.
pub(super) fn pack(all: &[Bits], whole: Option<TargetMessage>) -> ConfirmMessage {
    let mut bytes = Vec::new();
    for Bits { tag, bits } in all {
        bytes.extend_from_slice(&tag.to_be_bytes());
        push_varint(&mut bytes, bits.len() as u64);
        bytes.extend_from_slice(bits);
    }
    ConfirmMessage { bits: ByteBuf::from(bytes), whole }
}

/// Reads [`pack`], of at most `targets_max` targets.
pub(super) fn unpack(message: &ConfirmMessage, targets_max: usize) -> Result<Vec<Bits>, Refusal> {
    let (mut bytes, mut all) = (&message.bits[..], Vec::new());
    while !bytes.is_empty() {
        let (tag, rest) = bytes.split_first_chunk::<8>().ok_or(Refusal::Malformed)?;
        let (length, rest) = take_varint(rest).ok_or(Refusal::Malformed)?;
        let length = usize::try_from(length).map_err(|_| Refusal::Malformed)?;
        let (bits, rest) = rest.split_at_checked(length).ok_or(Refusal::Malformed)?;
        if all.len() == targets_max {
            return Err(Refusal::Malformed);
        }
        all.push(Bits { tag: u64::from_be_bytes(*tag), bits: bits.to_vec() });
        bytes = rest;
    }
    Ok(all)
}

impl TargetMessage {
    /// The whole digest, or its difference from the base.
    pub(super) fn new(
        id: TargetId,
        digest: &VersionVector,
        base: Option<(TargetId, &VersionVector)>,
    ) -> Self {
        // A difference cannot express that a replica was folded since.
        let base = base.filter(|(_, base)| base.beside(digest).all(|(_, _, version)| version > 0));
        let (mut changes, mut added) = (Vec::new(), VersionVector::new());
        if let Some((_, base)) = base {
            let mut last = 0;
            for (at, (_, version, grown)) in base.beside(digest).enumerate() {
                let more = grown.saturating_sub(version);
                if more > 0 {
                    push_varint(&mut changes, (at - last) as u64);
                    push_varint(&mut changes, more);
                    last = at;
                }
            }
            let new = digest.beside(base).filter(|(_, _, before)| *before == 0);
            added = new.map(|(replica, version, _)| (replica, version)).collect();
        }
        Self {
            proposer: Id(id.proposer),
            number: id.number,
            base: base.map(|(id, _)| (Id(id.proposer), id.number)),
            changes: ByteBuf::from(changes),
            digest: pack_vector(if base.is_some() { &added } else { digest }),
        }
    }
}

/// A target that travelled as `changes` to its base and the replicas `added` since.
pub(super) fn add_changes(
    base: &VersionVector,
    mut changes: &[u8],
    added: VersionVector,
) -> Result<VersionVector, Refusal> {
    let mut whole: Vec<(ReplicaId, Version)> = base.iter().collect();
    let mut at = 0_u64;
    while !changes.is_empty() {
        let (step, rest) = take_varint(changes).ok_or(Refusal::Malformed)?;
        let (more, rest) = take_varint(rest).ok_or(Refusal::Malformed)?;
        at = at.saturating_add(step);
        let entry =
            usize::try_from(at).ok().and_then(|at| whole.get_mut(at)).ok_or(Refusal::Malformed)?;
        entry.1 = entry.1.saturating_add(more);
        changes = rest;
    }
    let mut whole: VersionVector = whole.into_iter().collect();
    whole.join(&added);
    Ok(whole)
}
