//! The way out of one network, and into it: NAT on the host's sockets, forwards into guests, and
//! the network's own services.
//!
//! # Theory of operation
//!
//! A [`Gateway`] stands behind the router of a network. It gets the packets that the router has for
//! the gateway's own addresses and for everything outside, and gives the router packets for guests.
//! Below it are ordinary sockets of an ordinary user: no privilege, no device, no packet socket. So
//! the outside sees connections of this process, and what a guest can do to it is what a program of
//! this user can do.
//!
//! ```text
//!   router --receive--> Gateway --+-- services: DHCP, router advertisement, DNS
//!   router <-poll_frame-          +-- tcp: segments <-> stream sockets
//!                                 +-- udp: datagrams <-> datagram sockets
//!   worker --turn------>          +-- icmp: echo <-> ICMP sockets
//!                                 +-- publish: listeners of the host -> flows into guests
//! ```
//!
//! It is a state machine with descriptors: it never waits, starts no thread, and reads no clock.
//! Its owner, the worker, watches one descriptor ([`Gateway::as_fd`], an epoll of its own, level
//! triggered) and calls:
//!
//! 1. [`Gateway::receive`] for each packet from the router, and [`Gateway::flush`] after a batch of
//!    them,
//! 2. [`Gateway::turn`] when the descriptor is ready, and when a guest's queue has drained while
//!    [`Gateway::wants_room`],
//! 3. [`Gateway::handle_timeout`] when [`Gateway::next_deadline`] has passed,
//! 4. then [`Gateway::poll_frame`] and [`Gateway::poll_event`] until they are empty.
//!
//! # What it promises
//!
//! * **Nothing disappears silently.** Every packet ends in one counter of [`GatewayCounters`], with
//!   a name and a sentence.
//! * **Credit.** Nothing is read from a host socket for which the guest's queue has no
//!   [`Room`]: what waits, waits in the kernel's socket buffer, where the sender's congestion
//!   control sees it.
//! * **Bounded.** Flows are bounded per guest and in total, and with them descriptors and memory;
//!   the guest that meets its bound loses its own oldest idle flow. Tables are keyed by what
//!   guests choose, and hash it with a key of the process.
//! * **Bounded work.** A call of [`Gateway::turn`] handles one batch of ready descriptors, and of
//!   each at most a batch of packets.
//! * **The host is not outside.** A destination that the kernel's own route look-up calls local or
//!   broadcast is refused, see [`host_reach`].
//!
//! # Frames
//!
//! Frames between router and gateway begin with 14 bytes of Ethernet header, without a tag. The
//! gateway reads no Ethernet addresses but those of DHCP's sender, and leaves those of its own
//! frames zero. Offload metadata travels both ways: large TCP and UDP frames stay whole.
#![forbid(unsafe_code)]

pub mod backend;
mod counters;
mod ctx;
mod dispatch;
mod event;
mod flow_table;
mod fragments;
pub mod fuzz;
mod gateway;
mod guests;
#[cfg(test)]
mod harness;
mod host_allow;
pub mod host_reach;
mod icmp;
mod keyed;
mod packet;
mod path_mtus;
mod plan;
pub mod poll;
pub mod publish;
mod reasons;
mod report;
pub mod services;
mod share;
pub mod tcp;
mod udp;

pub use counters::{GatewayCounters, Reason};
pub use ctx::{Ctx, Packet, Room, Unbounded};
pub use event::{GatewayEvent, Subject};
pub use gateway::{Gateway, GuestAddresses};
pub use guests::{GuestKey, Guests};
pub use keyed::Keyed;
pub use plan::{GatewayError, GatewayPlan, HostPort, HostPortError, Limits, Protocol};
pub use publish::{PublishError, PublishId, PublishSpec, PublishedRange};
pub use report::{FlowReport, FlowState, GatewayStatus, LeaseReport};
