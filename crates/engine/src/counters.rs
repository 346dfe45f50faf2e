//! What was counted on a port.
//!
//! Plain integers: one worker owns the engine, and a snapshot is a message that it answers between
//! batches.
//!
//! # Conservation
//!
//! Nothing disappears uncounted. For every port, at any moment between two calls:
//!
//! 1. `rx_frames` = `rx_forwarded` + `rx_flooded` + `rx_answered` + `rx_consumed` + the sum of its
//!    ingress drops.
//! 2. `tx_offered` = `tx_queued` + `drop.queue-full` + `drop.queue-share` + `drop.not-addressed` +
//!    `drop.not-destination` + `drop.filter-out`.
//! 3. `tx_queued` = `tx_taken` + the frames in its queue + `drop.no-header` + `drop.segment-failed`
//!    (+ `drop.link-closed` for what was in the queue when the port was removed).
//!
//! And over all ports of a network, removed ones included: the sum of `tx_offered` = the sum of
//! `rx_forwarded` + the sum of `rx_copies` + the sum of `tx_own`. Frames that a link took and then could not deliver
//! ([`Engine::transmit_failed`], [`Engine::keep`]) are in both `tx_taken` and a drop counter.
//!
//! [`Engine::keep`]: crate::Engine::keep
//! [`Engine::transmit_failed`]: crate::Engine::transmit_failed

use alloc::boxed::Box;
use core::ops::AddAssign;

use crate::reason::Reason;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// The counters of one port. All only ever grow; bytes are bytes of Ethernet frames without
        /// their checksum.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct PortCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Drops by [`Reason`], indexed by its number.
            // Elsewhere, so that what counts every frame is close together in a port.
            pub drops: Box<[u64; Reason::COUNT]>,
            /// Frames that failed a check whose action is to audit, and went on; by [`Reason`],
            /// indexed by its number.
            pub audits: Box<[u64; Reason::COUNT]>,
        }

        impl Default for PortCounters {
            fn default() -> Self {
                Self {
                    $($name: 0,)+
                    drops: Box::new([0; Reason::COUNT]),
                    audits: Box::new([0; Reason::COUNT]),
                }
            }
        }

        impl AddAssign<&Self> for PortCounters {
            fn add_assign(&mut self, other: &Self) {
                // Destructured in full, so that a new counter cannot be forgotten here.
                let Self { $($name,)+ drops, audits } = self;
                $(*$name += other.$name;)+
                let theirs = other.drops.iter().chain(other.audits.iter());
                for (mine, theirs) in drops.iter_mut().chain(audits.iter_mut()).zip(theirs) {
                    *mine += theirs;
                }
            }
        }

        impl PortCounters {
            /// Every counter with its name: the fields by their own, drops as `drop.` and audits as
            /// `audit.` and the reason.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                let fields = [$((stringify!($name), self.$name)),+];
                fields
                    .into_iter()
                    .chain(Reason::ALL.into_iter().zip(*self.drops).map(|(r, n)| (r.counter(), n)))
                    .chain(
                        Reason::ALL
                            .into_iter()
                            .filter(|reason| reason.check().is_some())
                            .map(|r| (r.audit_counter(), self.audited(r))),
                    )
            }

            /// What each field counts, as a sentence; drops describe themselves.
            pub const DESCRIPTIONS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),+).trim_ascii())),+];
        }
    };
}

counters! {
    /// Frames that the link read, each of which got a verdict.
    rx_frames;
    /// Bytes of those frames.
    rx_bytes;
    /// Frames read that were addressed to one station.
    rx_unicast;
    /// Frames read that were addressed to a group other than all.
    rx_multicast;
    /// Frames read that were addressed to all.
    rx_broadcast;
    /// Frames read that the network decided to send to one port.
    rx_forwarded;
    /// Frames read that the network decided to send to all ports that may have them.
    rx_flooded;
    /// Copies of flooded frames that were offered to other ports.
    rx_copies;
    /// Frames read that the network answered itself.
    rx_answered;
    /// Frames read that were for the network itself.
    rx_consumed;
    /// Frames that the network itself made for this port: answers, rejections, queries.
    tx_own;
    /// Frames, or copies, that were to leave by this port.
    tx_offered;
    /// Frames that the egress queue accepted.
    tx_queued;
    /// Frames that the link took from the queue, before segmentation.
    tx_taken;
    /// Frames handed to the link, after segmentation.
    tx_frames;
    /// Bytes of those frames.
    tx_bytes;
    /// Frames handed to the link that were addressed to one station.
    tx_unicast;
    /// Frames handed to the link that were addressed to a group other than all.
    tx_multicast;
    /// Frames handed to the link that were addressed to all.
    tx_broadcast;
    /// Frames from the queue whose checksum was completed in software.
    tx_completed;
    /// Frames from the queue that were segmented in software.
    tx_segmented;
}

impl PortCounters {
    /// The drops for one reason.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or(0)
    }

    /// The frames that failed a check with this reason and went on, because its action is to audit.
    #[must_use]
    pub fn audited(&self, reason: Reason) -> u64 {
        self.audits.get(reason.index()).copied().unwrap_or(0)
    }

    pub(crate) fn count_audit(&mut self, reason: Reason) {
        if let Some(count) = self.audits.get_mut(reason.index()) {
            *count += 1;
        }
    }

    #[inline]
    pub(crate) fn count_drop(&mut self, reason: Reason, frames: u64) {
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count += frames;
        }
    }
}
