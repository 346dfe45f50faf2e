//! `netherd-nic`: moves the frames of ordinary users' hypervisors through real network devices.
//!
//! # Theory of operation
//!
//! A hypervisor is its user's own program and may do anything its user may; a packet socket may do
//! anything to every device. So the socket stays here, with a process that is small, has dropped
//! everything but the socket, and holds every frame against a list that only root can write. What
//! the hypervisor asks for and sends is judged as if the user had written it by hand.
//!
//! * The *broker* ([`broker`]) listens on a Unix socket. It keeps two capabilities, CAP_NET_RAW and
//!   CAP_NET_ADMIN, and no root. For each connection it looks up the user (by the kernel's word) in
//!   the list ([`list`]), opens a packet socket and forks a relay. It remembers who has claimed
//!   which address of which device.
//! * A *relay* ([`relay`]) has the connection, the packet socket and a line to the broker, and
//!   nothing else: no capabilities, no files, a short list of system calls. It moves frames both
//!   ways and applies the rules ([`policy`]). A fault in it ends one connection.
//!
//! A relay holds no frames between two calls but one batch that the device did not take. If the
//! hypervisor does not read, the relay stops reading the device, and the kernel drops (and counts)
//! what comes in; if the device does not take frames, or the user's rate is used up ([`rate`]), the
//! relay stops reading the hypervisor, whose own queue then fills. Nothing in it grows with what
//! either side does.
//!
//! When the device goes away the socket stays; when a device of its name is there again, the socket
//! is bound to that. Binding needs no privilege.
//!
//! Large frames lie in memory that relay and hypervisor share ([`slots`]); what decides about them is
//! copied out before it is looked at.
//!
//! [`protocol`], [`slots`], [`reason`], [`limiter`] and [`wording`] are shared with the hypervisor.
#![forbid(unsafe_code)]

pub mod admission;
pub mod broker;
mod connection;
mod device;
mod ledger;
pub mod limiter;
pub mod list;
pub mod listener;
pub mod log;
mod mac_list;
mod policy;
pub mod protocol;
mod rate;
pub mod reason;
mod relay;
pub mod slots;
pub mod wording;
