//! What removals and windows cost: heap, bytes of the state, time.

mod removal;
mod window;
