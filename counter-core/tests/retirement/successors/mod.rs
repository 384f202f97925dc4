//! Successors of incarnations that ended: several claimants, room that runs short, and incarnations
//! that come too late. No value is wrong at any time.

mod claimants;
mod room;
