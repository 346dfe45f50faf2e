//! The hypervisor of one network: it takes the frames that links read, decides about each, and
//! gives links the frames to write.
//!
//! An [`Engine`] is a deterministic state machine. It performs no I/O, reads no clock, starts no
//! thread, and knows no descriptor: frames, time and buffers come in as arguments, and verdicts,
//! queues, events and the next deadline come out as results. The same code runs under epoll on
//! Linux, under `mach_msg` on GNU Mach, and in a simulator with a clock that jumps.
//!
//! # Driving an engine
//!
//! The owner is one worker: it owns the engines of its networks and one [`Pool`] of buffers, and
//! calls everything from one place, so nothing in here locks. A turn of its loop is:
//!
//! 1. For each link that can be read: read frames into the pool ([`Pool::copy_in`], or
//!    [`Pool::lease_large`] and [`Pool::fill`]), collect up to [`BATCH`] in an [`RxBatch`], and
//!    call [`Engine::ingress`]. What the link cannot hand in it reports with
//!    [`Engine::receive_failed`].
//! 2. For each port that [`Engine::poll_ready`] names, and each whose link can be written again:
//!    [`Engine::poll_transmit`], write the [`Pool::pieces`] of the frames, [`Pool::release`] them.
//!    What the link cannot write now goes back by [`Engine::keep`]; what it cannot deliver at all
//!    it reports with [`Engine::transmit_failed`].
//! 3. [`Engine::handle_timeout`], if [`Engine::next_deadline`] has passed; then 2 again.
//! 4. [`Engine::poll_event`] and [`Engine::poll_capture`], if anybody wants to know.
//!
//! Spurious calls are harmless: a poll without anything to give gives nothing. This is when a
//! polled value may change:
//!
//! | value | changes in |
//! |---|---|
//! | [`RxBatch::verdicts`] | `ingress`, and the next `push` |
//! | [`Engine::poll_ready`] | `ingress` of any port, `handle_timeout`, `poll_transmit` of that port, `remove_port` |
//! | [`Engine::poll_transmit`], [`Engine::queue_len`] | `ingress` of other ports, `poll_transmit` and `keep` of that port |
//! | [`Engine::poll_event`] | `ingress`, `handle_timeout`, `bind`, `unbind`, `add_port`, `change_port`, `set_guard`, `release_port`, `hold_against`, `remove_port` |
//! | [`Engine::poll_capture`] | `ingress` |
//! | [`Engine::next_deadline`] | `ingress`, `handle_timeout`, `apply`, `bind`, `unbind`, and whatever else forgets addresses |
//! | [`Engine::port_counters`] | `ingress`, `poll_transmit`, `keep`, `receive_failed`, `transmit_failed` |
//!
//! # What it promises
//!
//! * **One verdict.** Every frame handed to `ingress` ends in one [`Verdict`], and every drop has a
//!   [`Reason`]. Every copy that was to leave is in a queue, was taken by a link, or is counted as
//!   a drop of the egress port; [`PortCounters`] states the equations, and the tests hold them
//!   after every step.
//! * **One queue per egress port**, bounded in frames, in bytes, and by its share of the pool. A
//!   full queue drops at its tail. It never holds up another port: `ingress` always takes the whole
//!   batch. However many links stall, the pool's reserve stays for those that do not.
//! * **An address has one owner.** Addresses bound to a port (or reserved) are refused to all
//!   others in every VLAN; learned ones do not move while their port lives and speaks. See
//!   [`SourceMode`].
//! * **Everything that a guest can grow is bounded**: addresses per port and in total, queues,
//!   events, captures. The port that meets a bound pays.
//! * **Bounded work.** A call does work in proportion to its batch or budget. The exceptions are
//!   [`Engine::add_port`], [`Engine::change_port`], [`Engine::remove_port`] and
//!   [`Engine::reserve_mac`], which walk the MAC table when there is something in it to forget, and
//!   the insertion that doubles the table.
//! * **No allocation per frame.** Pool, table and queues grow to their limits in steps and are
//!   kept. A running capture allocates for the frames that it shows.
//! * **No panic**, whatever the frames, the metadata and the order of calls.
//!
//! # Frames inside
//!
//! A frame is bytes and [`wire::Offload`] metadata. On the way in it loses its outer VLAN tag,
//! which then stands beside it, and its metadata is held against its bytes and against what its
//! link declared. On the way out, and only for a link that needs it, it gets its tag, its checksum
//! or its cuts; these stand in header buffers of their own while the body stays shared. So a guest
//! without offloads costs the work that it needs, and slows nobody else.
//!
//! # Addresses above Ethernet
//!
//! [`bindings`] says which IP address belongs to which port, from where that is known, and until
//! when: configuration and leases make bindings from outside, the guard those of first use. A
//! [`router::Router`] joins the engines of one worker: it stands in each network behind a port of
//! [`Role::Router`], takes what that port has, and gives what goes into another network or to a
//! gateway. It is driven like an engine; its module says how.
//!
//! # Filters
//!
//! A port may have a program in each direction ([`PortFilter`]): one is asked about what its guest
//! sends, behind the guard, the other about what is for its guest, at the queue. They see the frame
//! as it is on that port's wire, tag included, and are changed while frames flow
//! ([`Engine::set_filter`]). A capture has filters as well, which decide before anything is copied.
//!
//! # What it does not do yet
//!
//! There is no policy and no shaping. Their places are behind the MAC table in `ingress`, and at the
//! queue.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod batch;
pub mod bindings;
mod capture;
mod classify;
mod counters;
mod engine;
mod event;
mod filter;
mod frame;
mod guard;
mod ingress;
mod keyed;
mod keyed_slab;
mod mac_table;
mod named;
mod origin;
mod plan;
mod pool;
mod port;
mod ports;
mod prefix_map;
mod queue;
mod rate;
mod ready;
mod reason;
mod ring;
mod role;
pub mod router;
mod time;
mod transmit;
mod verdict;
pub mod vlan;

pub use batch::{BATCH, Budget, RxBatch, TxBatch};
pub use bindings::{FIRST_COME_MAX, FirstCome};
pub use capture::{CAPTURE_FILTERS, CapturePlan, CaptureRecord, RECORD_OVERHEAD};
pub use counters::PortCounters;
pub use engine::{Engine, MacEntry, MacKind, PortError};
pub use event::{BindingEnd, EVENT_CAPACITY, Event, Summary};
pub use filter::PortFilter;
pub use frame::{Frame, Lease};
pub use guard::{
    Action, ActionError, Actions, Audits, Check, Fate, GuardMode, GuardSpec, Kind, MdnsPolicy,
    NetworkGuard, Quarantine, Rates, Standing, Storm,
};
pub use plan::{
    MAC_TOTAL_MAX, MTU_MIN, Mode, NetworkPlan, NetworkSpec, OWN_MACS_MAX, PlanError, PortPlan,
    PortSpec, QUEUE_FRAMES_MAX, SourceMode,
};
pub use pool::{
    ClassUsage, Elsewhere, Foreign, HEADROOM, LARGE_CAPACITY, Pool, PoolEmpty, PoolLimits,
    PoolUsage, SMALL_CAPACITY,
};
pub use port::{MAX_PORTS, PortId};
#[doc(hidden)]
pub use prefix_map::PrefixMap;
pub use rate::{Bucket, Rate};
pub use reason::{Reason, Side};
pub use role::Role;
pub use time::Instant;
pub use verdict::Verdict;
pub use vlan::{VlanMode, VlanSet};
