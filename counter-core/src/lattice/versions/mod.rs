//! Versions: the vector of the version held of each writer, and the order of one writer's cells by
//! version.

pub(crate) mod ring;
pub(crate) mod vector;
