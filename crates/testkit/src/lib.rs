//! What the tests of more than one crate need.
//!
//! * [`network`]: a network with named ports, driven frame by frame, with a clock that the test turns;
//! * [`ledger`]: counters that may not move unannounced, and the conservation laws;
//! * [`frames`], [`random`]: frames on one line, randomness from a seed;
//! * [`model`]: a switch written for being obviously right, to compare the engine with;
//! * [`guest`], [`wires`], [`simulator`]: whole TCP/IP stacks behind engine ports;
//! * [`routed`]: networks that a router joins, frame by frame or with whole stacks;
//! * [`harness`]: what the fuzz targets run, so that the ordinary tests can run it too;
//! * [`skip!`], [`need!`] and [`skipped`]: what was not tested, told to `./test`.
//!
//! Everything here panics on a failed expectation: that is how a test fails.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod frames;
pub mod guest;
pub mod harness;
pub mod ledger;
pub mod model;
pub mod network;
pub mod random;
pub mod routed;
pub mod simulator;
mod skip;
pub mod wires;

pub use frames::{Ip, Rich, mac};
pub use network::TestNetwork;
pub use random::Random;
pub use skip::{SKIPS, skipped};
