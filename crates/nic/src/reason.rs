//! What happened to each frame, counted.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The counters of one connection, by their numbers on the wire. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// How many there are.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// The name under which it is shown.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// Frames of the user that went out.
    Sent = "sent",
    /// Frames that were given to the user.
    Delivered = "delivered",

    // From the user, dropped:
    /// Shorter than an Ethernet header.
    Runt = "runt",
    /// Longer than the device's MTU, and not to be cut.
    Oversize = "oversize",
    /// A vnet header that is not valid.
    BadVnetHeader = "bad-vnet-header",
    /// Offload metadata that does not match the frame.
    BadOffload = "bad-offload",
    /// A VLAN tag.
    Tagged = "tagged",
    /// From an address that the connection has not claimed.
    SourceMac = "source-mac",
    /// Neither IPv4, ARP nor IPv6.
    Ethertype = "ethertype",
    /// Headers that cannot be read, so that what they hide is not known.
    Malformed = "malformed",
    /// ARP that speaks for another hardware address.
    ArpSender = "arp-sender",
    /// Neighbour discovery that speaks for another hardware address.
    NeighbourSender = "neighbour-sender",
    /// What only routers send: router advertisements, redirects.
    RouterMessage = "router-message",
    /// What only DHCP servers and relays send.
    DhcpServer = "dhcp-server",
    /// The device did not accept it: it is down or gone.
    DeviceDown = "device-down",
    /// The device's queue was full, or the kernel had no memory.
    DeviceBusy = "device-busy",
    /// The kernel refused the frame for another reason.
    DeviceRefused = "device-refused",

    // From the device, dropped:
    /// From the device: shorter than an Ethernet header, or not readable.
    InUnreadable = "in-unreadable",
    /// From the device: a VLAN tag.
    InTagged = "in-tagged",
    /// From the device: not to one of the user's addresses.
    InNotForUs = "in-not-for-us",
    /// From the device: neither IPv4, ARP nor IPv6.
    InEthertype = "in-ethertype",
    /// From the device: from one of the user's own addresses. A loop, or somebody who forges.
    InOwnSource = "in-own-source",
    /// From the device: offload metadata that does not match the frame.
    InBadOffload = "in-bad-offload",
    /// From the device: longer than any message.
    InOversize = "in-oversize",
    /// From the device: more frames to groups than are passed on in a second.
    InGroupRate = "in-group-rate",
    /// The kernel's socket buffer was full: the user, or this helper, reads too slowly.
    InKernelDrops = "in-kernel-drops",

    // Others:
    /// Times that the user was made to wait for its rate.
    Throttled = "throttled",
    /// Times that the device went down or away.
    DeviceLost = "device-lost",
    /// Times that it came back.
    DeviceBack = "device-back",
    /// Claims that were refused.
    ClaimsRefused = "claims-refused",
}

/// How often each happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters([u64; Reason::COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Reason::COUNT])
    }
}

impl Counters {
    pub fn count(&mut self, reason: Reason) {
        self.add(reason, 1);
    }

    pub fn add(&mut self, reason: Reason, times: u64) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter = counter.wrapping_add(times);
        }
    }

    #[must_use]
    pub fn get(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// All of them, by number.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.0
    }

    /// Those that moved, with their names.
    pub fn moved(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason.name(), self.get(reason)))
            .filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        let mut counters = Counters::default();
        counters.count(Reason::ClaimsRefused);
        counters.add(Reason::Sent, 2);
        assert_eq!(counters.moved().collect::<Vec<_>>(), [("sent", 2), ("claims-refused", 1)]);
    }
}
