//! What the translations stand on: host sockets.
