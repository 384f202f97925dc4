//! A node's claims about the others: copies, agreement, stable totals.

mod agreement;
mod sessions;
mod stable;
