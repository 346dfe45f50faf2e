//! What the router counted, and why it dropped.
//!
//! # Conservation
//!
//! Every frame that comes in (`received`, `sent_by_gateway`) is, on the interface that it came in
//! by, exactly one of: handed to a network (`forwarded`, counted at the *ingress* interface), handed
//! to a gateway (`to_gateway`), answered or taken note of (`answered`, `noted`), waiting for a
//! neighbour, or dropped for one [`RouterReason`]. What the router says itself (`arp_sent`,
//! `nd_sent`, `echoes_sent`, `errors_sent`) is counted on the interface that it leaves by. A packet
//! that was cut is forwarded once; its `fragments_sent` are counted beside it.

use crate::named::named;

macro_rules! router_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal;)+) => {
        named! {
            /// Why the router dropped a packet.
            RouterReason: $($(#[doc = $doc])+ $variant, $name;)+
        }

        impl RouterReason {
            /// The counter of this reason: `drop.` and its name.
            #[must_use]
            pub const fn counter(self) -> &'static str {
                match self { $(Self::$variant => concat!("drop.", $name),)+ }
            }
        }
    };
}

router_reasons! {
    /// The frame is addressed to another station; it reached the router because the network did not
    /// know where that is.
    OtherStation, "other-station";
    /// The frame is neither IPv4, IPv6 nor ARP, or of a version that the interface does not have.
    Protocol, "protocol";
    /// An IP, ARP or neighbour discovery packet is malformed, or its length does not fit the frame.
    Malformed, "malformed";
    /// The checksum of the IPv4 header or of an ICMP message is wrong.
    Checksum, "checksum";
    /// The source address is one that no packet can come from: multicast, loopback, or reserved.
    MartianSource, "martian-source";
    /// The destination address is one that no packet can be sent to.
    MartianDestination, "martian-destination";
    /// No route leads back to the source through the interface that the packet came in by.
    ReversePath, "reverse-path";
    /// The source or destination has a meaning only on its own network (169.254.0.0/16, fe80::/10).
    LinkScope, "link-scope";
    /// The packet is a broadcast or multicast that nobody behind the router listens to.
    Multicast, "multicast";
    /// The destination is the broadcast address of another network.
    DirectedBroadcast, "directed-broadcast";
    /// The packet asks for a path of its sender's choice (a source route or routing header).
    SourceRouted, "source-routed";
    /// The packet was forwarded too often: its TTL or hop limit is used up.
    TimeExceeded, "time-exceeded";
    /// No route leads to the destination.
    NoRoute, "no-route";
    /// A route says that the destination cannot be reached.
    Unreachable, "unreachable";
    /// A route, or an interface that is not routed, says that the packet may not be forwarded.
    Prohibited, "prohibited";
    /// The packet would leave by the interface that it came in by, which does not allow that.
    Hairpin, "hairpin";
    /// The packet is longer than the next network's MTU and must not be fragmented.
    TooBig, "too-big";
    /// Nobody answers for the next hop's address.
    NeighbourUnreachable, "neighbour-unreachable";
    /// The maximum number of packets is waiting: for that neighbour, of that port, or of all.
    WaitingFull, "waiting-full";
    /// The port's packets already wait for as many neighbours as they may.
    ResolvingLimit, "resolving-limit";
    /// The table of neighbours is full of neighbours that are in use.
    NeighboursFull, "neighbours-full";
    /// An ARP or neighbour discovery packet speaks for an address that belongs to another port or
    /// another MAC address.
    NeighbourForged, "neighbour-forged";
    /// An ARP or neighbour discovery packet says something that the router did not ask for and has no
    /// use for.
    NeighbourIgnored, "neighbour-ignored";
    /// The packet is addressed to the router itself, and nothing listens there.
    NoService, "no-service";
    /// The answer was suppressed because of a rate limit.
    RateLimited, "rate-limited";
    /// There was no free buffer for an answer or a rewritten header.
    NoBuffer, "no-buffer";
    /// The interface by which the packet was to leave was removed.
    InterfaceGone, "interface-gone";
    /// The maximum number of frames is waiting to be handed on.
    OutputFull, "output-full";
}

impl RouterReason {
    /// The reason's number, its place in [`RouterCounters::drops`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl core::fmt::Display for RouterReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! router_counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// The counters of one interface. All only ever grow.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct RouterCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Drops by [`RouterReason`], indexed by its number.
            pub drops: [u64; RouterReason::COUNT],
        }

        impl Default for RouterCounters {
            fn default() -> Self {
                Self { $($name: 0,)+ drops: [0; RouterReason::COUNT] }
            }
        }

        impl RouterCounters {
            /// Every counter with its name: the fields by their own, drops as `drop.` and the
            /// reason.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                let fields = [$((stringify!($name), self.$name)),+];
                fields
                    .into_iter()
                    .chain(RouterReason::ALL.into_iter().zip(self.drops).map(|(r, n)| (r.counter(), n)))
            }

            /// What each field counts, as a sentence; drops describe themselves.
            pub const DESCRIPTIONS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),+).trim_ascii())),+];
        }
    };
}

router_counters! {
    /// Frames that came in from the network.
    received;
    /// Bytes of those frames.
    received_bytes;
    /// Frames that the network's gateway sent towards a guest.
    sent_by_gateway;
    /// Bytes of those frames.
    sent_by_gateway_bytes;
    /// Packets that were handed to a network, this or another.
    forwarded;
    /// Bytes of those packets, with their Ethernet headers.
    forwarded_bytes;
    /// Packets that were handed to a gateway.
    to_gateway;
    /// Packets that were answered by the router itself.
    answered;
    /// ARP and neighbour discovery packets that told the router something.
    noted;
    /// Packets that began to wait for a neighbour.
    waited;
    /// Packets that were cut into fragments.
    fragmented;
    /// Fragments that were sent.
    fragments_sent;
    /// ARP packets that the router sent.
    arp_sent;
    /// Neighbour solicitations and advertisements that the router sent.
    nd_sent;
    /// Echo replies that the router sent.
    echoes_sent;
    /// ICMP errors that the router sent.
    errors_sent;
    /// ICMP errors that the router did not send because of a rate limit.
    errors_suppressed;
}

impl RouterCounters {
    /// The drops for one reason.
    #[must_use]
    pub fn dropped(&self, reason: RouterReason) -> u64 {
        self.drops.get(usize::from(reason.number())).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn count_drop(&mut self, reason: RouterReason) {
        if let Some(count) = self.drops.get_mut(usize::from(reason.number())) {
            *count += 1;
        }
    }
}
