//! What happened to each frame, counted.

/// The counters of one connection, by their numbers on the wire. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Reason {
    /// Frames of the user that went out.
    Sent,
    /// Frames that were given to the user.
    Delivered,

    // From the user, dropped:
    /// Shorter than an Ethernet header.
    Runt,
    /// Longer than the device's MTU, and not to be cut.
    Oversize,
    /// A vnet header that is not valid.
    BadVnetHeader,
    /// Offload metadata that does not match the frame.
    BadOffload,
    /// A VLAN tag.
    Tagged,
    /// From an address that the connection has not claimed.
    SourceMac,
    /// Neither IPv4, ARP nor IPv6.
    Ethertype,
    /// Headers that cannot be read, so that what they hide is not known.
    Malformed,
    /// ARP that speaks for another hardware address.
    ArpSender,
    /// Neighbour discovery that speaks for another hardware address.
    NeighbourSender,
    /// What only routers send: router advertisements, redirects.
    RouterMessage,
    /// What only DHCP servers and relays send.
    DhcpServer,
    /// The device did not accept it: it is down or gone.
    DeviceDown,
    /// The device's queue was full, or the kernel had no memory.
    DeviceBusy,
    /// The kernel refused the frame for another reason.
    DeviceRefused,

    // From the device, dropped:
    /// From the device: shorter than an Ethernet header, or not readable.
    InUnreadable,
    /// From the device: a VLAN tag.
    InTagged,
    /// From the device: not to one of the user's addresses.
    InNotForUs,
    /// From the device: neither IPv4, ARP nor IPv6.
    InEthertype,
    /// From the device: from one of the user's own addresses. A loop, or somebody who forges.
    InOwnSource,
    /// From the device: offload metadata that does not match the frame.
    InBadOffload,
    /// From the device: longer than any message.
    InOversize,
    /// From the device: more frames to groups than are passed on in a second.
    InGroupRate,
    /// The kernel's socket buffer was full: the user, or this helper, reads too slowly.
    InKernelDrops,

    // Others:
    /// Times that the user was made to wait for its rate.
    Throttled,
    /// Times that the device went down or away.
    DeviceLost,
    /// Times that it came back.
    DeviceBack,
    /// Claims that were refused.
    ClaimsRefused,
}

/// How many there are.
pub const REASONS: usize = ALL.len();

/// All of them, with their names.
pub const ALL: [(Reason, &str); 30] = [
    (Reason::Sent, "sent"),
    (Reason::Delivered, "delivered"),
    (Reason::Runt, "runt"),
    (Reason::Oversize, "oversize"),
    (Reason::BadVnetHeader, "bad-vnet-header"),
    (Reason::BadOffload, "bad-offload"),
    (Reason::Tagged, "tagged"),
    (Reason::SourceMac, "source-mac"),
    (Reason::Ethertype, "ethertype"),
    (Reason::Malformed, "malformed"),
    (Reason::ArpSender, "arp-sender"),
    (Reason::NeighbourSender, "neighbour-sender"),
    (Reason::RouterMessage, "router-message"),
    (Reason::DhcpServer, "dhcp-server"),
    (Reason::DeviceDown, "device-down"),
    (Reason::DeviceBusy, "device-busy"),
    (Reason::DeviceRefused, "device-refused"),
    (Reason::InUnreadable, "in-unreadable"),
    (Reason::InTagged, "in-tagged"),
    (Reason::InNotForUs, "in-not-for-us"),
    (Reason::InEthertype, "in-ethertype"),
    (Reason::InOwnSource, "in-own-source"),
    (Reason::InBadOffload, "in-bad-offload"),
    (Reason::InOversize, "in-oversize"),
    (Reason::InGroupRate, "in-group-rate"),
    (Reason::InKernelDrops, "in-kernel-drops"),
    (Reason::Throttled, "throttled"),
    (Reason::DeviceLost, "device-lost"),
    (Reason::DeviceBack, "device-back"),
    (Reason::ClaimsRefused, "claims-refused"),
];

/// How often each happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters([u64; REASONS]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; REASONS])
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
        ALL.into_iter().map(|(reason, name)| (name, self.get(reason))).filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place() {
        for (i, (reason, _)) in ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        let mut counters = Counters::default();
        counters.count(Reason::ClaimsRefused);
        counters.add(Reason::Sent, 2);
        assert_eq!(counters.moved().collect::<Vec<_>>(), [("sent", 2), ("claims-refused", 1)]);
    }
}
