//! netherd on Linux: links, the published directory, control interface, configuration and the daemon.
//!
//! | module | what it is |
//! |---|---|
//! | [`worker`], [`link`], [`node`] | the loop that owns the networks, the mechanisms that carry frames |
//! | [`uplink`] | ports whose far side is the outside: network devices |
//! | [`outer`] | the network that this process itself is a guest of |
//! | [`names`], [`address`] | names of guests and networks, and the plan of their addresses |
//! | [`directory`] | where a network is published, who may open what, and that there is one hypervisor |
//! | [`config`] | the configuration file and its way to a validated plan |
//! | [`api`], [`report`] | the control interface and what it shows |
//! | [`daemon`], [`start`] | composition, reload, end; and how a command gets a running daemon |
//! | [`capture`], [`metrics`] | live pcapng and OpenMetrics text |
//! | [`wording`] | what libraries say of wrong values, in the words of the documentation |
//! | [`log`] | the lines that say what happened, rate limited where guests cause them |
//! | [`confine`] | what the daemon gives up once it has started |
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod capture;
pub mod closer;
pub mod config;
pub mod confine;
pub mod daemon;
pub mod directory;
pub mod harness;
pub mod link;
pub mod log;
pub mod metrics;
pub mod names;
pub mod node;
pub mod outer;
pub mod report;
pub mod start;
pub mod uplink;
pub mod worker;

pub use nic::wording;
