//! The warm process wasm containers are forked from, and the protocol between it and the server.
