//! TCP of guests on stream sockets of the host.
