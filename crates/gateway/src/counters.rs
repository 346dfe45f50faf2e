//! Where every packet ends, and how people are told.

use crate::reasons::reasons;

reasons! {
    /// What became of a packet, or what happened to a flow.
    Reason;
    /// Packets and flows by [`Reason`], since the gateway was made.
    GatewayCounters;
    TcpOut, "tcp-out", "Segments of guests that the TCP translation accepted.";
    TcpDuplicate, "tcp-duplicate", "Segments of guests whose data or end was here already.";
    TcpOutOfWindow, "tcp-out-of-window", "Segments of guests outside the window; answered with an acknowledgement, at most twice a second when empty.";
    TcpChallenge, "tcp-challenge", "Segments of guests that could be forged: a reset or SYN inside the window, an acknowledgement of what was not sent (RFC 5961).";
    TcpNoRoom, "tcp-no-room", "Segments of guests that could not be held until the host socket accepts them; the guest sends them again.";
    TcpUnknown, "tcp-unknown", "Segments of guests that belong to no connection; answered with a reset.";
    TcpOtherGuest, "tcp-other-guest", "Segments for a connection that another guest opened, and ICMP errors about one.";
    TcpReopening, "tcp-reopening", "SYNs of guests that repeat one that is being worked on.";
    TcpIn, "tcp-in", "Segments sent to guests; a large frame counts once.";
    TcpRetransmitted, "tcp-retransmitted", "Segments sent to guests again, with those counted in tcp-in.";
    TcpTimeouts, "tcp-timeouts", "Times that a guest acknowledged nothing for too long.";
    TcpOpened, "tcp-opened", "Connections of guests that the outside accepted.";
    TcpAccepted, "tcp-accepted", "Connections of clients outside that a guest accepted.";
    TcpRefused, "tcp-refused", "Connections of guests that the outside refused; answered with a reset.";
    TcpUnreachable, "tcp-unreachable", "Connections of guests to destinations that cannot be reached; answered with an ICMP error.";
    TcpUnanswered, "tcp-unanswered", "Connections to which the other side did not answer in time.";
    TcpGuestRefused, "tcp-guest-refused", "Connections of clients outside that a guest refused; the client gets a reset.";
    TcpReset, "tcp-reset", "Open connections that the outside ended with a reset or an error.";
    TcpGuestReset, "tcp-guest-reset", "Connections that a guest ended with a reset.";
    TcpClosed, "tcp-closed", "Connections that both sides ended in order.";
    TcpInUse, "tcp-in-use", "Connections of outside clients, reset because the guest has another one with the same endpoints.";
    TcpLeftBehind, "tcp-left-behind", "Connections of guests that are gone, reset because the outside did not take in time what they had sent.";
    UdpOut, "udp-out", "Datagrams of guests written to host sockets; a large frame counts once.";
    UdpIn, "udp-in", "Datagrams read from host sockets and sent to guests; a large frame counts once.";
    EchoOut, "echo-out", "Echo requests of guests written to ICMP sockets.";
    EchoIn, "echo-in", "Echo replies sent to guests.";
    EchoAnswered, "echo-answered", "Echo requests for the gateway's own addresses, answered here.";
    Service, "service", "Packets that a service of the network accepted: DHCP, DNS, router solicitation.";
    IcmpErrorIn, "icmp-error-in", "Errors of the outside sent to guests as ICMP messages.";
    Malformed, "malformed", "The headers could not be read, or their lengths do not fit the frame.";
    Checksum, "checksum", "The transport checksum is wrong.";
    Fragment, "fragment", "A fragment that was not reassembled before it came here.";
    Protocol, "protocol", "A protocol that host sockets cannot carry; answered as unreachable.";
    LinkLocal, "link-local", "The destination is a link-local address, which is not routed; answered as unreachable.";
    Source, "source", "The source address is one that no answer could be sent to.";
    Multicast, "multicast", "The destination is a multicast or broadcast address, which NAT does not carry.";
    HostRefused, "host-refused", "The destination is the host itself, which is not allowed; answered as prohibited.";
    NoService, "no-service", "For the gateway's own address, at a port where nothing listens; answered as unreachable.";
    NoNat, "no-nat", "For the outside, and the network has no way out; answered as unreachable.";
    NoRoute, "no-route", "The host has no route to the destination; answered as unreachable.";
    GuestLimit, "guest-limit", "The guest has as many flows as it may, and none that is idle.";
    FlowLimit, "flow-limit", "All guests together have as many flows as they may.";
    Evicted, "evicted", "Flows ended because the guest that owned them opened more than it may have, or had the most when another one needed a place.";
    Expired, "expired", "Flows ended because nothing passed for too long.";
    FragmentHeld, "fragment-held", "Fragments that wait for the rest of their packet.";
    Reassembled, "reassembled", "Packets reassembled from fragments.";
    FragmentFull, "fragment-full", "Fragments given up because too many were waiting, of the guest or of all, or because the packet would be too long.";
    FragmentExpired, "fragment-expired", "Fragments given up because the rest did not come in time, or before the guest or its address was gone.";
    OutOfDescriptors, "out-of-descriptors", "The process has as many descriptors as it may; the packet was dropped.";
    OutOfPorts, "out-of-ports", "The host has no UDP port left for one more flow; the packet was dropped.";
    SocketFailed, "socket-failed", "A host socket could not be made, for a reason other than descriptors and ports.";
    SendFull, "send-full", "The host socket's buffer is full; the datagram was dropped, as on a full link.";
    SendFailed, "send-failed", "The host refused to send the datagram.";
    TooBig, "too-big", "The datagram is larger than the path allows and must not be fragmented; the guest was told.";
    TtlExpired, "ttl-expired", "The TTL or hop limit of the packet ends here.";
    PoolEmpty, "pool-empty", "No buffer was free for a packet towards a guest.";
    ReplyTruncated, "reply-truncated", "A datagram from outside was longer than any packet.";
    EchoRefused, "echo-refused", "The host gives this user no ICMP sockets; answered as prohibited.";
    IcmpAboutTcp, "icmp-about-tcp", "ICMP errors of guests about segments that were sent to them.";
    IcmpTooBig, "icmp-too-big", "ICMPv6 errors of guests, or of routers behind them, about datagrams that are too long for the way; the next ones are cut.";
    IcmpIgnored, "icmp-ignored", "An ICMP message that is neither an echo request nor an error of a known flow.";
    IcmpFromGuest, "icmp-from-guest", "An ICMP error of a guest about a published UDP port; counted, never sent.";
    RateLimited, "rate-limited", "An ICMP error was due to a guest that already gets too many.";
    PublishedUnknown, "published-unknown", "For a published port whose guest is away.";
    PublishedWaiting, "published-waiting", "Times that a published TCP port took no client for a moment, because the guest has not answered many that came before; clients wait in the host's queue.";
    PublishedFull, "published-full", "Datagrams of clients of a published port whose guest does not accept them fast enough.";
    PublishedOut, "published-out", "Answers of guests sent to clients of published UDP ports.";
    PublishedIn, "published-in", "Datagrams of clients of published UDP ports sent to guests, and connections of clients of TCP ports.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_shown() {
        let mut counters = GatewayCounters::default();
        counters.count(Reason::UdpOut);
        counters.add(Reason::Fragment, 3);
        let shown: Vec<_> = counters.iter().collect();
        assert_eq!(shown, [(Reason::UdpOut, 1), (Reason::Fragment, 3)]);
    }
}
