//! `counter-web top`: a live view of the cluster in a terminal.
//!
//! It asks the nodes on this machine for their status, over the operators' sockets. Two samples a
//! second apart make a picture with rates, and the frame draws it.

mod command;
mod frame;
mod sample;

pub(crate) use command::run;
