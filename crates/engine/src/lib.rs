//! The hypervisor of one network: ports, MAC table, VLANs, queues, verdicts.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod batch;
mod capture;
mod counters;
mod engine;
mod event;
mod frame;
mod ingress;
mod keyed;
mod mac_table;
mod plan;
mod pool;
mod port;
mod ports;
mod queue;
mod reason;
mod time;
mod transmit;
mod verdict;
pub mod vlan;

pub use batch::{BATCH, Budget, RxBatch, TxBatch};
pub use capture::{CapturePlan, CaptureRecord, RECORD_OVERHEAD};
pub use counters::PortCounters;
pub use engine::{Engine, MacEntry, MacKind, PortError};
pub use event::{EVENT_CAPACITY, Event};
pub use frame::{Frame, Lease};
pub use plan::{
    MAC_TOTAL_MAX, MTU_MIN, Mode, NetworkPlan, NetworkSpec, OWN_MACS_MAX, PlanError, PortPlan,
    PortSpec, QUEUE_FRAMES_MAX, SourceMode,
};
pub use pool::{
    ClassUsage, HEADROOM, LARGE_CAPACITY, Pool, PoolEmpty, PoolLimits, PoolUsage, SMALL_CAPACITY,
};
pub use port::{MAX_PORTS, PortId};
pub use reason::{Reason, Side};
pub use time::Instant;
pub use verdict::Verdict;
pub use vlan::{VlanMode, VlanSet};
