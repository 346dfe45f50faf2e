//! TCP of guests on stream sockets of the host.

mod emit;
mod face;
mod flow;
#[doc(hidden)]
pub mod harness;
mod inbox;
mod input;
mod key;
mod options;
mod output;
mod pace;
mod scoreboard;
mod seq;
mod table;
mod wheel;

pub use face::{IcmpError, Incoming, Kept, Segment, Target, TcpLimits, Unreachable};
pub use table::Table;

#[cfg(test)]
mod tests;
