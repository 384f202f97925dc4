//! What a service does with counters: batches, expiry, lists, and reads that wait for copies.

mod batches;
mod certainty;
mod expiry;
mod listing;
