//! The guard: what a guest may claim to be, and what it may say about others.

mod spec;

pub use spec::{
    Action, Actions, CHECK_MAX, FirstCome, GuardMode, GuardSpec, MdnsPolicy, NetworkGuard, Prefix,
    Quarantine, Rate, Rates, Role, Storm,
};
