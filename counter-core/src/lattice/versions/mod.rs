//! Versions: how far a replica has heard each writer, and a writer's cells in the order of theirs.

pub(crate) mod ring;
pub(crate) mod vector;
