//! Deltas and digests as bytes: the format, bytes from strangers, and the memory that they take.

mod arbitrary;
mod golden;
mod hostile;
mod memory;
