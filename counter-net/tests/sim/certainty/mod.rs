//! What a node may claim about the others: copies, agreement, stable totals.

mod agreement;
mod sessions;
mod stable;
