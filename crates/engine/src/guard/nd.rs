//! Neighbour discovery (checks 36 to 44; RFC 4861, RFC 4862, RFC 6105, RFC 6620).

use core::net::{IpAddr, Ipv6Addr};

use wire::ndp::{self, Neighbour, Options, flag, kind, option};
use wire::parse::Ipv6;
use wire::{MacAddr, build};

use crate::frame::Cast;
use crate::guard::claims::Claim;
use crate::guard::egress::Reach;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

/// All routers of the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A neighbour discovery option does not hold the sender's own Ethernet address, or there is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Foreign;

impl<'a> Judge<'a> {
    /// A guest's message.
    pub(super) fn discovery(
        &mut self,
        ip: &Ipv6,
        message: u8,
        code: u8,
    ) -> Result<Outcome, Reason> {
        match message {
            kind::ROUTER_ADVERTISEMENT => {
                self.refuse(Reason::RouterAdvertisement)?;
                return Ok(Outcome::Pass);
            }
            kind::REDIRECT => {
                self.refuse(Reason::Icmpv6Kind)?;
                return Ok(Outcome::Pass);
            }
            _ => {}
        }
        self.demand(ip.hop_limit == ndp::HOP_LIMIT, Reason::NdHopLimit)?;
        if message == kind::ROUTER_SOLICITATION {
            return self.router_solicitation(ip, code);
        }
        let rate = self.me.spec.rates.nd;
        // A question to many is counted by whom it is about: see `resolve`.
        let question = message == kind::NEIGHBOUR_SOLICITATION
            && self.cast == Cast::Multicast
            && !ip.source.is_unspecified();
        let buckets = &mut self.me.buckets;
        let bucket = match self.cast {
            Cast::Unicast => &mut buckets.nd_unicast,
            Cast::Broadcast | Cast::Multicast => &mut buckets.nd,
        };
        if !question && !bucket.take(self.now, rate) {
            self.refuse(Reason::NdRate)?;
        }
        match message {
            kind::NEIGHBOUR_SOLICITATION => self.neighbour_solicitation(ip, code),
            _ => self.neighbour_advertisement(ip, code),
        }
    }

    /// The ICMPv6 message, up to the end of the packet.
    pub(super) fn icmpv6_message(&self, ip: &Ipv6) -> &'a [u8] {
        let Some(l4) = self.parsed.l4 else { return &[] };
        let end = usize::from(self.parsed.l3_offset)
            + wire::ipv6::HEADER_LEN
            + usize::from(ip.payload_len);
        self.bytes.get(usize::from(l4.offset)..end.min(self.bytes.len())).unwrap_or_default()
    }

    fn neighbour_solicitation(&mut self, ip: &Ipv6, code: u8) -> Result<Outcome, Reason> {
        let Ok(message) = Neighbour::new(self.icmpv6_message(ip)) else {
            self.refuse(Reason::NeighbourSolicitation)?;
            return Ok(Outcome::Pass);
        };
        let target = message.target();
        let probe = ip.source.is_unspecified();
        let named = match self.named(message.options()) {
            Ok(true) => !probe,
            Ok(false) => probe || self.cast == Cast::Unicast,
            Err(Foreign) => false,
        };
        let to_group = ip.destination == ndp::solicited_node(target);
        let addressed = to_group || (!probe && ip.destination == target);
        let sound = code == 0 && message.options().is_sound() && target_ok(target);
        self.demand(sound && named && addressed, Reason::NeighbourSolicitation)?;
        if probe {
            return self.duplicate_detection(target);
        }
        if self.cast == Cast::Unicast {
            return Ok(Outcome::Pass);
        }
        self.resolve_v6(ip.source, target, false)
    }

    /// The guest wants to use an address: it is its own from now on, if it may be (RFC 6620, 3.2.3).
    fn duplicate_detection(&mut self, target: Ipv6Addr) -> Result<Outcome, Reason> {
        let local = (self.vid(), target.into());
        self.me.tries(local);
        match self.claim_by_probe(IpAddr::V6(target)) {
            Claim::Own | Claim::Asked => {
                // Nobody in here has it. Outside somebody may.
                self.said.reach = self.probing(target.into());
                Ok(Outcome::Pass)
            }
            Claim::Limit => {
                self.refuse(Reason::Ipv6SourceLimit)?;
                Ok(Outcome::Pass)
            }
            // Somebody has it, in here or outside, and says so by us; or nobody may.
            Claim::Foreign => {
                if self.owner(target.into()).is_none() && !self.is_in_use_outside(target.into()) {
                    self.refuse(Reason::Ipv6Source)?;
                    return Ok(Outcome::Pass);
                }
                self.resolve_v6(Ipv6Addr::UNSPECIFIED, target, true)
            }
        }
    }

    /// A question to many, of a guest, of the router or of the outside.
    pub(super) fn resolve_v6(
        &mut self,
        source: Ipv6Addr,
        target: Ipv6Addr,
        probe: bool,
    ) -> Result<Outcome, Reason> {
        match self.resolve(target.into(), probe, Reason::NdNegative, Reason::NdRate)? {
            Some(mac) => {
                self.answer_nd(source, target, mac);
                Ok(Outcome::Answered)
            }
            None if self.said.reach == Reach::Nobody => Ok(Outcome::Consumed),
            None => Ok(Outcome::Pass),
        }
    }

    /// Whether the message names its sender's Ethernet address, whichever of the two options it
    /// uses. It is an error if any of these, however many there are and however long, holds anything
    /// else: receivers differ in which one they believe (RFC 4861, 4.6.1).
    fn named(&self, options: Options<'_>) -> Result<bool, Foreign> {
        let own = self.mac();
        let mut links = options.filter(|option| {
            matches!(option.kind, option::SOURCE_LINK_ADDRESS | option::TARGET_LINK_ADDRESS)
        });
        let Some(first) = links.next() else { return Ok(false) };
        if first.body != own.0 || links.next().is_some() { Err(Foreign) } else { Ok(true) }
    }

    fn answer_nd(&mut self, source: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) {
        let probe = source.is_unspecified();
        let (to, station, flags) = if probe {
            (ALL_NODES, ndp::multicast_mac(ALL_NODES), flag::OVERRIDE)
        } else {
            (source, self.parsed.src, flag::OVERRIDE | flag::SOLICITED)
        };
        let router = self.router_mac().is_some_and(|router| router == mac);
        let flags = if router { flags | flag::ROUTER } else { flags };
        let header = build::Ipv6 {
            source: target,
            destination: to,
            hop_limit: ndp::HOP_LIMIT,
            ..build::Ipv6::default()
        };
        self.say(|builder| {
            builder.ethernet(station, mac).ipv6(&header).neighbour(
                kind::NEIGHBOUR_ADVERTISEMENT,
                flags,
                target,
                mac,
            )
        });
    }

    fn neighbour_advertisement(&mut self, ip: &Ipv6, code: u8) -> Result<Outcome, Reason> {
        let Ok(message) = Neighbour::new(self.icmpv6_message(ip)) else {
            self.refuse(Reason::NeighbourAdvertisement)?;
            return Ok(Outcome::Pass);
        };
        let (target, flags) = (message.target(), message.flags());
        let named = self.named(message.options()).is_ok();
        let solicited = flags & flag::SOLICITED != 0;
        let sound = code == 0
            && message.options().is_sound()
            && target_ok(target)
            // Only who has a network behind him is a router.
            && (flags & flag::ROUTER == 0 || !self.me.spec.prefixes.is_empty())
            && !(solicited && ip.destination.is_multicast());
        let claim = self.claim(IpAddr::V6(target));
        if claim == Claim::Asked {
            self.refuse(Reason::AddressAsked)?;
        }
        let own = matches!(claim, Claim::Own | Claim::Asked);
        self.demand(sound && named && own, Reason::NeighbourAdvertisement)?;
        let rate = self.me.spec.rates.duplicates;
        if !solicited && !self.me.buckets.advertisements.take(self.now, rate) {
            self.refuse(Reason::AdvertisementRate)?;
        }
        Ok(Outcome::Pass)
    }

    fn router_solicitation(&mut self, ip: &Ipv6, code: u8) -> Result<Outcome, Reason> {
        let message = self.icmpv6_message(ip);
        let options = message.get(8..).map(Options::new);
        let probe = ip.source.is_unspecified();
        let named = match options.map_or(Ok(false), |options| self.named(options)) {
            Ok(names) => !(names && probe),
            Err(Foreign) => false,
        };
        let sound =
            code == 0 && options.is_some_and(Options::is_sound) && ip.destination == ALL_ROUTERS;
        self.demand(sound && named, Reason::RouterSolicitation)?;
        let rate = self.me.spec.rates.solicitations;
        if !self.me.buckets.solicitations.take(self.now, rate) {
            self.refuse(Reason::SolicitationRate)?;
        }
        self.said.reach = Reach::Servers;
        Ok(Outcome::Pass)
    }
}

/// Whether neighbour discovery can be about this address.
fn target_ok(target: Ipv6Addr) -> bool {
    !target.is_multicast() && !target.is_unspecified() && !target.is_loopback()
}
