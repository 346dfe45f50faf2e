//! What the fuzz targets run, as functions of bytes, so that the ordinary tests run the stored inputs too.

mod engine_actions;
mod wire;

pub use self::wire::{parse, segment};
pub use engine_actions::engine_actions;
