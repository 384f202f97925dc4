//! The protocol machine on its own. The tests hand it inputs and check its outputs.
//!
//! There is no network and no simulator here. `maelstrom` runs the example node of that name, which
//! is the same machine behind lines of JSON.

mod flush;
mod hostile;
mod maelstrom;
mod presence;
mod repair;
