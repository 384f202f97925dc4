//! What was measured: the figures of a row, the curves of a plot, and both as text.

pub mod plot;
pub mod row;
pub mod table;
