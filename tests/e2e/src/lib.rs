//! The ground on which the end-to-end tests stand.
//!
//! A test makes a [`Lab`]: a folder of its own under `/tmp` (socket paths must stay under 108 bytes), in it
//! one [`Person`] for each user the test needs, with a private runtime directory and home. A person starts
//! programs as [`Job`]s; a [`Job`] that goes on is a [`Running`], which ends with the test. Everything started
//! in a lab carries the lab's mark in its environment, and the lab ends at its own end what still carries it:
//! by process id, and never anything else.
//!
//! Who may do what. Run as root, the tests use the two ordinary users that `./test` makes; run by an ordinary
//! user, that user is the first one and there is no second. What then cannot be tested is skipped through
//! [`skip!`], which writes the reason into the file that `./test` sums up: a skip is never silent.
//!
//! There are no fixed sleeps: [`until`] asks for a state again and again and fails past its limit with a sentence.
#![forbid(unsafe_code)]

pub mod binary;
pub mod bytes;
pub mod client;
pub mod job;
pub mod lab;
pub mod netns;
pub mod outside;
pub mod plug;
pub mod report;
pub mod skip;
pub mod user;
pub mod vm;
pub mod wait;

pub use job::{Job, Output, Running, Tun};
pub use lab::{Lab, Person};
pub use netns::Netns;
pub use outside::Outside;
pub use plug::Plug;
pub use report::{Port, Report};
pub use testkit::{need, skip};
pub use user::User;
pub use wait::{until, until_for, until_ok};
