//! The control interface of a network: one JSON object per line on the socket `api`.
//!
//! # Theory of operation
//!
//! Goals: everything that the command does to a running network goes through here, and another program can do
//! the same with a socket and a JSON library; `docs/api.md` is the reference. Descriptors ride with the line
//! they belong to (`SCM_RIGHTS`).
//!
//! * [`message`] has the types of requests, answers and events, and the encoding of a line.
//! * [`mod@line`] cuts a byte stream into bounded lines; half a line is kept and never blocks anybody.
//! * [`server`] is the daemon's side of the connections: credentials, bounds, buffers.
//! * [`client`] is the blocking side that the command uses.
//!
//! A guest's *session* is its connection: the guest lives in the network while the connection that joined it
//! is open. So a guest whose keeper dies, however it dies, leaves no trace, and no grace timer is needed.
//!
//! Limits: a request has at most [`message::LINE_MAX`] bytes, an answer [`message::ANSWER_MAX`], and either at most
//! [`message::FDS_MAX`] descriptors; the server bounds clients per user, requests in work and the bytes it holds for a client that
//! does not read.

pub mod client;
pub mod line;
pub mod message;
pub mod server;
