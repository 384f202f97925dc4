//! An add with an id counts once, however often and wherever it is sent again.

mod add_once;
mod repeats;
mod resets;
mod story;
