//! Incarnations that end: each is absorbed by a successor, nothing that it counted is lost, and in
//! the end the state holds only cells of live incarnations.

mod crash_loop;
mod leaves;
mod names;
mod story;
