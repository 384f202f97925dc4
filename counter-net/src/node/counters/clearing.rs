//! Resets and removals of whole counters.

use std::sync::RwLockWriteGuard;
use std::sync::atomic::Ordering;

use counter_core::KeyId;

use crate::error::AddError;
use crate::shared::{NodeState, Shared};

/// Resets every region of a counter. Returns false if this node holds nothing of it.
pub(super) fn reset(shared: &Shared, name: &str) -> Result<bool, AddError> {
    let mut state = caught_up(shared)?;
    let flushed = state.replica.flush();
    let regions = regions(&state, name);
    let outcome = regions.iter().try_for_each(|region| state.replica.reset(name, region).map(drop));
    report(shared, state, name, &flushed.changed, &regions);
    outcome?;
    Ok(!regions.is_empty())
}

/// Writes the request to remove a counter. Returns false if this node holds nothing of it.
pub(super) fn remove(shared: &Shared, name: &str) -> Result<bool, AddError> {
    let mut state = caught_up(shared)?;
    let flushed = state.replica.flush();
    let regions = regions(&state, name);
    let outcome = state.replica.remove(name);
    report(shared, state, name, &flushed.changed, &regions);
    Ok(outcome?)
}

/// Locks the state, if the node has caught up. A node that has not would clear only a part, perhaps
/// of incarnations that the others have folded.
fn caught_up(shared: &Shared) -> Result<RwLockWriteGuard<'_, NodeState>, AddError> {
    let state = shared.write();
    if shared.gate.is_stopped() {
        return Err(AddError::Stopped);
    }
    if shared.behind.load(Ordering::Relaxed) || !state.replicator.is_synced() {
        return Err(AddError::NotCaughtUp);
    }
    Ok(state)
}

fn regions(state: &NodeState, name: &str) -> Vec<String> {
    state.replica.map().regions(name).map(|(region, _)| region.to_owned()).collect()
}

/// Tells subscribers and the driver what changed: the counter, and what was flushed before. The
/// replicator reports its own flushes only.
fn report(
    shared: &Shared,
    state: RwLockWriteGuard<'_, NodeState>,
    name: &str,
    flushed: &[KeyId],
    regions: &[String],
) {
    let flushed = flushed.iter().map(|key| state.replica.map().name_of(*key));
    shared
        .subscribers
        .state_changed(flushed.chain(regions.iter().map(|region| (name, region.as_str()))));
    drop(state);
    shared.state_changed();
    shared.wakes.local.notify_one();
}
