//! The port that a batch came from, as the passes over the batch know it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bpf::Program;

use crate::engine::Engine;
use crate::guard::{Answer, Audits, PortGuard, Privacy, Reach};
use crate::plan::{Mode, SourceMode};
use crate::port::PortId;
use crate::role::Role;

/// What the third pass needs to know of the port that the batch came from.
pub(crate) struct Origin {
    pub(crate) id: PortId,
    /// The address that last passed as the port's own; put back at the end of the pass.
    pub(crate) own: u64,
    /// The port's guard while the pass runs; put back at its end.
    pub(crate) guard: Option<Box<PortGuard>>,
    /// The filter on what comes from the port, likewise.
    pub(crate) filter: Option<Arc<Program>>,
    /// A frame that the network itself sends to the port, after the one that is decided.
    pub(crate) answer: Option<Answer>,
    /// Checks that the frame that is decided failed without consequence.
    pub(crate) audits: Audits,
    /// That it failed may be another's fault.
    pub(crate) excused: bool,
    /// To which ports the frame that is decided may go, if it goes to many, as far as the guard
    /// has looked at it.
    pub(crate) reach: Reach,
    pub(crate) privacy: Privacy,
    /// It does not exchange frames with everybody.
    pub(crate) apart: bool,
    /// Ordinary frames may go to their port at once: neither that nor a capture asks for more.
    pub(crate) quick: bool,
    pub(crate) static_source: bool,
    pub(crate) max_learned: u32,
    pub(crate) hub: bool,
}

impl Origin {
    #[inline]
    pub(crate) fn is_guest(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.role == Role::Guest)
    }
}

impl Engine {
    /// What the passes need to know of the port, and what they borrow from it until
    /// `ingress` gives it back.
    pub(crate) fn origin(&mut self, port: PortId) -> Option<Origin> {
        let target = self.ports.get_mut(port)?;
        let privacy = Privacy::new(&target.spec, self.network.guard.routed);
        let apart = privacy.is_any();
        Some(Origin {
            id: port,
            own: target.own,
            guard: target.guard.take(),
            filter: target.spec.filter.from_guest.take(),
            answer: None,
            audits: Audits::default(),
            excused: false,
            reach: Reach::All,
            privacy,
            apart,
            quick: !apart && self.capture.is_none(),
            static_source: target.spec.source == SourceMode::Static,
            max_learned: target.max_learned(),
            hub: self.network.mode == Mode::Hub,
        })
    }
}
