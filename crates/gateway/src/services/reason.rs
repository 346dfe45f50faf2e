//! Where every message to a service ends, and how people are told.

use crate::reasons::reasons;

reasons! {
    /// What became of a message to a service, or what a service did.
    ServiceReason;
    /// Messages by [`ServiceReason`], since the services were made.
    ServiceCounters;
    DhcpOffer, "dhcp-offer", "Addresses offered.";
    DhcpAck, "dhcp-ack", "Leases given or renewed.";
    DhcpNak, "dhcp-nak", "Requests refused, because the client may not have that address.";
    DhcpInform, "dhcp-inform", "Clients with an address of their own that were told about the network.";
    DhcpRelease, "dhcp-release", "Leases that their clients gave back.";
    DhcpDecline, "dhcp-decline", "Addresses that a client found in use by another.";
    DhcpExpired, "dhcp-expired", "Leases that ended because they were not renewed.";
    DhcpReclaimed, "dhcp-reclaimed", "Leases taken back before their end: the guest had as many as it may, or is gone while others need an address.";
    DhcpMalformed, "dhcp-malformed", "DHCP messages that could not be read.";
    DhcpForged, "dhcp-forged", "DHCP messages in the name of a hardware address other than their sender's, or from a relay.";
    DhcpOther, "dhcp-other", "DHCP messages that do not concern this server: for another server, about a lease it does not know, or of a kind that clients do not send.";
    DhcpExhausted, "dhcp-exhausted", "Clients that got no answer, because every address is taken by another guest.";
    DhcpLimited, "dhcp-limited", "DHCP messages dropped because their guest sends them too fast.";
    AdvertPeriodic, "advert-periodic", "Router advertisements sent to all guests.";
    AdvertSolicited, "advert-solicited", "Router advertisements sent to the one guest that asked.";
    SolicitMalformed, "solicit-malformed", "Router solicitations that could not be read, or that came from behind a router.";
    SolicitLimited, "solicit-limited", "Router solicitations dropped because their guest sends them too fast.";
    Dhcp6Reply, "dhcp6-reply", "DHCPv6 messages answered.";
    Dhcp6Malformed, "dhcp6-malformed", "DHCPv6 messages that could not be read.";
    Dhcp6Other, "dhcp6-other", "DHCPv6 messages that do not concern this server: for another server, or of a kind that clients do not send.";
    Dhcp6Limited, "dhcp6-limited", "DHCPv6 messages dropped because their guest sends them too fast.";
    MdnsAnswered, "mdns-answered", "Questions by multicast DNS or LLMNR answered from the network's own names.";
    MdnsUnknown, "mdns-unknown", "Questions by multicast DNS or LLMNR about names that are not the network's, or that the asker already knows.";
    MdnsOwn, "mdns-own", "Questions by multicast DNS or LLMNR of a guest about itself, as it asks before it uses its name; not answered, so that it does.";
    MdnsRecent, "mdns-recent", "Questions by multicast DNS whose answer all guests have heard within the last second.";
    MdnsOther, "mdns-other", "Announcements and answers by multicast DNS or LLMNR: only the network itself answers.";
    MdnsMalformed, "mdns-malformed", "Messages of multicast DNS or LLMNR that could not be read.";
    MdnsLimited, "mdns-limited", "Messages of multicast DNS or LLMNR dropped because their guest sends them too fast.";
    DnsLocal, "dns-local", "Questions answered from the network's own names.";
    DnsForwarded, "dns-forwarded", "Questions passed on to a resolver.";
    DnsJoined, "dns-joined", "Questions that wait for the answer to the same question, passed on before.";
    DnsRepeated, "dns-repeated", "Questions sent once more by datagram while they wait for their answer, which comes once.";
    DnsAnswered, "dns-answered", "Answers of resolvers passed to guests.";
    DnsTruncated, "dns-truncated", "Answers cut because they are longer than the guest accepts in a datagram.";
    DnsRefused, "dns-refused", "Questions refused: zone transfers, questions for everything, other classes and kinds of requests; about the outside, where nothing leads out.";
    DnsMalformed, "dns-malformed", "DNS messages that could not be read; answered with an error where possible.";
    DnsNotQuery, "dns-not-query", "Answers sent to the name server, which expects questions; dropped, so that nothing is answered for ever.";
    DnsLimited, "dns-limited", "Questions dropped because their guest asks too fast.";
    DnsBusy, "dns-busy", "Questions dropped, or refused on a connection, because their guest, or all guests together, have as many unanswered as they may.";
    DnsFailed, "dns-failed", "Questions that no resolver answered in time; the guest was told of a server failure.";
    DnsRetried, "dns-retried", "Questions passed on once more, to the next resolver or to the same one.";
    DnsForged, "dns-forged", "Datagrams at the sockets towards resolvers that do not answer what was asked.";
    DnsResolverRefused, "dns-resolver-refused", "Resolvers that could not be reached at all, counted for each question.";
    DnsOverTcp, "dns-over-tcp", "Questions asked again over TCP, because the answer did not fit a datagram.";
    DnsStream, "dns-stream", "TCP connections of guests that were accepted.";
    DnsStreamRefused, "dns-stream-refused", "TCP connections of guests that were ended at once, because there were too many.";
    DnsStreamEnded, "dns-stream-ended", "TCP connections of guests that were ended because they were idle, or broke the framing.";
    OutOfDescriptors, "dns-out-of-descriptors", "Questions not passed on because the process has as many descriptors as it may, or the host has no port left.";
    Backlog, "service-backlog", "Answers dropped because too many waited to be sent.";
}
