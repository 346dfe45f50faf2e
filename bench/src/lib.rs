//! Measurements of netherd beside its peers.
//!
//! `bench/compare` puts the paths together and does the sums; the programs in `src/bin` are its
//! loads and its simplest peer. What they measure is what a guest sees: none of them knows what
//! carries its frames.

#![forbid(unsafe_code)]

pub mod crossing;
pub mod load;
mod mix;
pub mod switchboard;
