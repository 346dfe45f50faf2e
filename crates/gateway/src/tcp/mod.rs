//! TCP of guests on stream sockets of the host.

mod face;
mod seq;
mod table;

pub use face::{IcmpError, Incoming, Kept, Segment, Target, TcpLimits, Unreachable};
pub use table::Table;
