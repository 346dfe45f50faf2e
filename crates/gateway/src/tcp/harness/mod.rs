//! What the tests and the fuzzers put around a table. Everything here panics on a failed
//! expectation.

mod fuzz;
mod rig;
mod streams;

pub use fuzz::fuzz;
pub use rig::{Rig, Seen, SetRoom, segment};
pub use streams::{FakeStream, FakeStreams, Peer, edge};
