//! The bytes of a socket: the handshake and the frames of WebSocket, and the JSON messages in them.

pub(super) mod frames;
pub(super) mod handshake;
pub(super) mod message;
