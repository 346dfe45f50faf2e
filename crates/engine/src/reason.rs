//! Why a frame went no further.
//!
//! One table makes the enum, its numbers, its names and its sentences, so that counters, `netherd
//! show`, captures and the documentation cannot disagree. Numbers are positions in the table; they
//! appear in captures, so new reasons go to the end.

/// On which port a drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// On the port the frame came from: the frame's verdict is this drop.
    Ingress,
    /// On the port the frame was to leave by: the verdict was to forward, and this copy met a limit
    /// on its way out.
    Egress,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident, $side:ident, $name:literal $(, $check:literal)?;)+) => {
        /// Why a frame, or one copy of a flooded frame, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// How many reasons there are.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// The short name that counters, captures and `netherd show` use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The name of this reason's counter: `drop.` and the short name.
            #[must_use]
            pub const fn counter(self) -> &'static str {
                match self { $(Self::$variant => concat!("drop.", $name),)+ }
            }

            /// What happened, as a sentence.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The number of the guard's check that this reason belongs to; `docs/guard.md` has a
            /// line for each.
            #[must_use]
            pub const fn check(self) -> Option<u8> {
                #[allow(unused_mut, unused_assignments, reason = "most reasons are no check's")]
                match self {
                    $(Self::$variant => {
                        let mut check = None;
                        $(check = Some($check);)?
                        check
                    })+
                }
            }

            /// On which port this drop is counted.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(Self::$variant => Side::$side,)+ }
            }
        }
    };
}

reasons! {
    /// The frame is shorter than an Ethernet header, or than its VLAN tag.
    Runt, Ingress, "runt", 1;
    /// The frame, or one segment of it, is longer than the network's MTU allows.
    Oversize, Ingress, "oversize", 1;
    /// The source address is zero, multicast or broadcast.
    BadSource, Ingress, "bad-source", 2;
    /// The destination is one of 01:80:c2:00:00:00 to 0f, which IEEE 802.1Q 8.6.3 tells a bridge
    /// never to forward.
    ReservedGroup, Ingress, "reserved-group", 4;
    /// The frame carries a VLAN tag that this port does not take.
    VlanTagged, Ingress, "vlan-tagged", 7;
    /// The frame carries no VLAN tag and this trunk port has no native VLAN.
    VlanUntagged, Ingress, "vlan-untagged", 7;
    /// The frame's VLAN is not among those that this trunk port carries.
    VlanNotAllowed, Ingress, "vlan-not-allowed", 7;
    /// The frame carries a second VLAN tag, and its sender or its receiver is not on a trunk.
    VlanDouble, Ingress, "vlan-double", 7;
    /// The frame asks for an offload that its link did not declare when it opened.
    OffloadUndeclared, Ingress, "offload-undeclared", 57;
    /// The frame's offload metadata contradicts its bytes.
    BadOffload, Ingress, "bad-offload", 57;
    /// The source address is not one of this port's own.
    MacForeign, Ingress, "mac-foreign", 2;
    /// The source address is bound to another port, or kept for a guest that is away.
    MacBound, Ingress, "mac-bound", 10;
    /// The source address is in use on another port that is alive.
    MacMoved, Ingress, "mac-moved", 10;
    /// The port already uses as many addresses as it may.
    MacLimit, Ingress, "mac-limit", 10;
    /// The port has its share of the table of addresses, and what the network has beyond the shares
    /// is used up.
    MacTableFull, Ingress, "mac-table-full", 10;
    /// The destination is behind the port that the frame came from.
    SamePort, Ingress, "same-port", 52;
    /// Both ports are isolated: they may talk to the uplink and the gateway, not to each other.
    Isolated, Ingress, "isolated", 52;
    /// The destination belongs to a guest that is away.
    MacAway, Ingress, "mac-away";
    /// The link read a frame and the worker had no free buffer for it.
    NoBuffer, Ingress, "no-buffer";
    /// The link read bytes that are no frame in its own framing.
    BadFraming, Ingress, "bad-framing";
    /// The port does not exist any more.
    PortGone, Ingress, "port-gone";
    /// The egress queue holds as many frames or bytes as it may.
    QueueFull, Egress, "queue-full";
    /// The egress queue already holds its share of the worker's free buffers.
    QueueShare, Egress, "queue-share";
    /// There was no free header buffer to tag, complete or segment the frame in.
    NoHeader, Egress, "no-header";
    /// The frame could not be completed or segmented for a link that needs it.
    SegmentFailed, Egress, "segment-failed";
    /// The link took the frame and had no room for it, until it closed or buffers ran short.
    LinkFull, Egress, "link-full";
    /// The link refused the frame.
    LinkRefused, Egress, "link-refused";
    /// The link or the port closed before the frame was delivered.
    LinkClosed, Egress, "link-closed";
}

impl Reason {
    /// The reason's number, as captures carry it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Index into an array of `COUNT` counters.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_sentences_are_distinct() {
        for (i, a) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(a.number()), i);
            assert_eq!(Reason::from_number(a.number()), Some(a));
            assert!(a.describe().ends_with('.'), "{a} is described by a sentence");
            assert!(a.counter().ends_with(a.name()));
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.name(), b.name());
            }
        }
        assert_eq!(Reason::from_number(u8::MAX), None);
    }
}
