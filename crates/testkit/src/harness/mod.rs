//! What the fuzz targets run, as functions of bytes, so that the ordinary tests run the stored
//! inputs too.

mod engine_actions;
mod guard;
mod program;
mod routing;
mod wire;

pub use self::wire::{parse, segment};
pub use engine_actions::engine_actions;
pub use guard::{Tally, guard};
pub use routing::routing_counters;

/// [`engine_actions()`] without the account of what was counted, as a fuzz target wants it.
pub fn actions(bytes: &[u8]) {
    engine_actions(bytes);
}

/// [`routing_counters()`] without the account, as a fuzz target wants it.
pub fn routing(bytes: &[u8]) {
    routing_counters(bytes);
}

/// [`guard()`] without the tally.
pub fn forgers(bytes: &[u8]) {
    guard(bytes);
}
