//! Who makes a call, and what he is to this hypervisor.

use sys::Cred;

/// The peer of a connection to `api`, as the kernel told him when he connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) cred: Cred,
    pub(super) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Who owns the daemon, or root: he may make every call.
    Owner,
    /// He may bring guests of his own and look after them, and sees nothing of others.
    Other,
}

impl Caller {
    pub(super) fn new(cred: Cred) -> Self {
        let is_owner = cred.uid == sys::user::uid() || cred.uid == 0;
        Self { cred, standing: if is_owner { Standing::Owner } else { Standing::Other } }
    }

    pub(super) fn uid(&self) -> u32 {
        self.cred.uid
    }

    pub(super) fn is_owner(&self) -> bool {
        self.standing.is_owner()
    }

    /// The only user whose ports and guests he sees; `None`: he sees those of all.
    pub(super) fn sees_only(&self) -> Option<u32> {
        (!self.is_owner()).then_some(self.uid())
    }

    /// Whether he sees what is this user's.
    pub(super) fn may_see(&self, uid: u32) -> bool {
        self.sees_only().is_none_or(|only| only == uid)
    }
}

impl Standing {
    pub(super) fn is_owner(self) -> bool {
        self == Self::Owner
    }
}
