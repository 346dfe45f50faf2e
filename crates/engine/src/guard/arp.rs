//! ARP and RARP (checks 12 to 19; RFC 826, RFC 5227, RFC 903).
//!
//! Requests for an address whose station is known are answered here and go nowhere. Those for one
//! that nobody is known to have go, at a bounded rate, to ports where it might be.

use core::net::IpAddr;

use wire::arp::operation;
use wire::build::Builder;
use wire::parse::Arp;
use wire::{L3, MacAddr};

use crate::frame::Cast;
use crate::guard::claims::{Claim, Station};
use crate::guard::egress::Reach;
use crate::guard::fast::Packed;
use crate::guard::{Answer, Judge, Outcome, QUERIER};
use crate::port::PortId;
use crate::rate::Rate;
use crate::reason::Reason;
use crate::role::Role;

/// The longest payload of an ARP frame, in bytes: the packet, padded to the shortest Ethernet frame
/// and, by some devices, to that of a tagged one.
const PADDED_MAX: usize = 50;

/// RARP announcements (check 19). A machine that has moved sends five within two seconds (QEMU).
const RARP_RATE: Rate = Rate::new(1, 5);

impl Judge<'_> {
    pub(super) fn arp(&mut self) -> Result<Outcome, Reason> {
        let rate = self.me.spec.rates.arp;
        // A question to all is counted by whom it is about: see `resolve`.
        let question = matches!(self.parsed.l3, Some(L3::Arp(arp))
            if arp.operation == operation::REQUEST
                && self.cast == Cast::Broadcast
                && arp.sender_ip != arp.target_ip);
        let buckets = &mut self.me.buckets;
        let bucket = match self.cast {
            Cast::Unicast => &mut buckets.arp_unicast,
            Cast::Broadcast | Cast::Multicast => &mut buckets.arp,
        };
        if !question && !bucket.take(self.now, rate) {
            self.refuse(Reason::ArpRate)?;
        }
        let Some(L3::Arp(arp)) = self.parsed.l3 else {
            self.refuse(Reason::ArpFormat)?;
            return Ok(Outcome::Pass);
        };
        self.demand(self.packet_len() <= PADDED_MAX, Reason::ArpFormat)?;
        self.demand(arp.sender_mac == self.mac(), Reason::ArpSenderMac)?;
        match arp.operation {
            operation::REQUEST => self.arp_request(&arp),
            operation::REPLY => self.arp_reply(&arp),
            _ => {
                self.refuse(Reason::ArpOperation)?;
                Ok(Outcome::Pass)
            }
        }
    }

    /// The sender's address: its own, or none in a probe.
    fn arp_sender(&mut self, arp: &Arp) -> Result<(), Reason> {
        if arp.sender_ip.is_unspecified() {
            let probe = arp.operation == operation::REQUEST && !arp.target_ip.is_unspecified();
            return self.demand(probe, Reason::ArpSenderIp);
        }
        let foreign = if arp.sender_ip == arp.target_ip {
            Reason::ArpGratuitous
        } else {
            Reason::ArpSenderIp
        };
        match self.claim(arp.sender_ip.into()) {
            Claim::Own => Ok(()),
            Claim::Asked => self.refuse(Reason::AddressAsked),
            Claim::Limit => self.refuse(Reason::Ipv4SourceLimit),
            Claim::Foreign => self.refuse(foreign),
        }
    }

    fn arp_request(&mut self, arp: &Arp) -> Result<Outcome, Reason> {
        self.arp_sender(arp)?;
        let probe = arp.sender_ip.is_unspecified();
        if self.cast == Cast::Unicast {
            // A stack makes sure of a neighbour that it knows (RFC 1122, 2.3.2.1; RFC 4436), and says
            // who it is. A probe is for all (RFC 5227, 2.1.1): to one it would only tell a station
            // that tries its own address that somebody else wants it.
            self.demand(!probe, Reason::ArpSenderIp)?;
            return Ok(Outcome::Pass);
        }
        self.demand(self.cast == Cast::Broadcast, Reason::CastMismatch)?;
        if arp.sender_ip == arp.target_ip {
            // Everybody may know.
            return Ok(Outcome::Pass);
        }
        if probe {
            let local = (self.vid(), arp.target_ip.into());
            self.me.tries(local);
            self.probed(arp.target_ip.into());
        }
        self.resolve_v4(arp, probe)
    }

    /// A question to all, of a guest, of the router or of the outside.
    pub(super) fn resolve_v4(&mut self, arp: &Arp, probe: bool) -> Result<Outcome, Reason> {
        let target = IpAddr::V4(arp.target_ip);
        match self.resolve(target, probe, Reason::ArpNegative, Reason::ArpScan)? {
            Some(mac) => {
                self.answer_arp(arp, mac);
                Ok(Outcome::Answered)
            }
            None if self.said.reach == Reach::Nobody => Ok(Outcome::Consumed),
            None => Ok(Outcome::Pass),
        }
    }

    fn answer_arp(&mut self, arp: &Arp, mac: MacAddr) {
        let reply = Arp {
            operation: operation::REPLY,
            sender_mac: mac,
            sender_ip: arp.target_ip,
            target_mac: arp.sender_mac,
            target_ip: arp.sender_ip,
        };
        self.say(|builder| builder.ethernet(arp.sender_mac, mac).arp(&reply));
    }

    fn arp_reply(&mut self, arp: &Arp) -> Result<Outcome, Reason> {
        self.arp_sender(arp)?;
        if arp.sender_ip == arp.target_ip {
            // An announcement in the form of a reply (RFC 5944, 4.6; arping -A).
            return Ok(Outcome::Pass);
        }
        let to_one = self.cast == Cast::Unicast && arp.target_mac == self.parsed.dst;
        let target = IpAddr::V4(arp.target_ip);
        // Who asked chose from which of its Ethernet addresses, and may have gone meanwhile: the answer
        // is the sender's duty, and speaks against nobody.
        let consistent = match self.station(target) {
            Station::At(port, Some(mac)) => mac == arp.target_mac || self.is_macs_of(port, arp),
            Station::Away(mac) => mac == arp.target_mac || self.is_macs_of_absent(arp),
            Station::At(_, None) | Station::Apart | Station::Unknown => true,
        };
        self.demand(to_one && consistent, Reason::ArpReply)?;
        Ok(Outcome::Pass)
    }

    /// Whether the Ethernet address that a reply is for is one of a port's own.
    fn is_macs_of(&self, port: PortId, arp: &Arp) -> bool {
        self.engine.macs.owner(arp.target_mac.as_u64()) == Some(port.index)
    }

    /// Whether it is kept for a guest that is away.
    fn is_macs_of_absent(&self, arp: &Arp) -> bool {
        self.engine.macs.binding_of(arp.target_mac.as_u64()) == Some(None)
    }

    pub(super) fn rarp(&mut self) -> Result<Outcome, Reason> {
        let mac = self.mac();
        let announcement = matches!(self.parsed.l3, Some(L3::Arp(arp))
            if arp.operation == operation::REVERSE_REQUEST
                && arp.sender_mac == mac
                && arp.target_mac == mac
                && arp.sender_ip.is_unspecified()
                && arp.target_ip.is_unspecified());
        let sound = self.cast == Cast::Broadcast && self.packet_len() <= PADDED_MAX;
        self.demand(announcement && sound, Reason::Rarp)?;
        if !self.me.buckets.rarp.take(self.now, RARP_RATE) {
            self.refuse(Reason::RarpRate)?;
        }
        Ok(Outcome::Pass)
    }

    /// Finds the station of an address that somebody asks for. `Some`: the question is to be
    /// answered with this. `None`: it goes where [`Reach`] says.
    pub(super) fn resolve(
        &mut self,
        target: IpAddr,
        probe: bool,
        negative: Reason,
        scan: Reason,
    ) -> Result<Option<MacAddr>, Reason> {
        let guest = self.me.role == Role::Guest;
        let station = self.station(target);
        // Everybody is behind the router.
        let routed = guest && self.engine.network.guard.routed && !probe;
        let router = if routed { self.router_mac() } else { None };
        let unknown = matches!(station, Station::Unknown | Station::Apart);
        let about_nobody =
            guest && !probe && unknown && router.is_none() && !self.is_in_use_outside(target);
        // A probe of IPv6 was counted before it was known what becomes of it.
        let counted = probe && target.is_ipv6();
        if !about_nobody && !counted {
            self.may_ask(target)?;
        }
        if router.is_some() {
            return Ok(router);
        }
        match station {
            Station::At(port, _) if port == self.id => {
                // Nobody else has it, and the port's own need no answer of ours.
                self.said.reach = if probe { self.probing(target) } else { Reach::Nobody };
                Ok(None)
            }
            Station::At(_, Some(mac)) => {
                self.defend(probe)?;
                Ok(Some(mac))
            }
            Station::At(port, None) => {
                if probe && let Some(mac) = self.mac_behind(port) {
                    // Who is asked itself and just tries the address would give it up.
                    self.defend(probe)?;
                    return Ok(Some(mac));
                }
                self.said.reach = Reach::Port(port.index);
                Ok(None)
            }
            Station::Away(mac) if probe => {
                self.defend(probe)?;
                Ok(Some(mac))
            }
            Station::Away(_) => {
                self.said.reach = Reach::Nobody;
                Ok(None)
            }
            Station::Unknown if probe && guest && self.is_known_outside(target) => {
                self.defend(probe)?;
                let known = self.engine.memory.stations.mac_of(self.now, self.vid(), target);
                let mac = known.filter(|mac| mac.is_unicast());
                if mac.is_none() {
                    self.said.reach = Reach::Nobody;
                }
                Ok(mac)
            }
            Station::Apart if probe && guest => {
                // It would be refused with this address and never learn why. Who has it stays unsaid.
                self.defend(probe)?;
                Ok(Some(self.nobodys_mac()))
            }
            Station::Apart | Station::Unknown => {
                self.said.reach = if probe { self.probing(target) } else { Reach::Open };
                if guest && !probe {
                    let vid = self.vid();
                    if self.engine.memory.asked(self.now, self.id.index, vid, target) {
                        self.refuse(negative)?;
                    }
                    let rate = self.me.spec.rates.unknown;
                    if about_nobody && !self.me.buckets.unknown.take(self.now, rate) {
                        self.refuse(scan)?;
                    }
                }
                Ok(None)
            }
        }
    }

    /// Whether another station than the guest is known to have the address outside, and could be behind
    /// an uplink of this VLAN. It may be trying its address just now, because it starts anew, and would
    /// have to give it up if it heard somebody else's probe: so none leaves.
    fn is_known_outside(&self, target: IpAddr) -> bool {
        self.is_in_use_outside(target) && self.engine.has_outside(self.vid())
    }

    /// A question to all is one of those that a guest may ask. Those about nobody have a rate of their
    /// own alone: others can make it ask for some that are gone, and it has to be able to find the rest.
    fn may_ask(&mut self, target: IpAddr) -> Result<(), Reason> {
        if self.me.role != Role::Guest {
            return Ok(());
        }
        let (rates, buckets) = (self.me.spec.rates, &mut self.me.buckets);
        let (bucket, rate, reason) = match target {
            IpAddr::V4(_) => (&mut buckets.arp, rates.arp, Reason::ArpRate),
            IpAddr::V6(_) => (&mut buckets.nd, rates.nd, Reason::NdRate),
        };
        let may = bucket.take(self.now, rate);
        self.demand(may, reason)
    }

    /// Where a probe goes that nobody answers here. What somebody outside wants is no secret.
    pub(super) fn probing(&self, target: IpAddr) -> Reach {
        match self.me.role {
            Role::Guest => Reach::Probe(self.vid(), Packed::new(target)),
            Role::Uplink | Role::Router => Reach::Open,
        }
    }

    /// The Ethernet address that a port with addresses of its choice was last seen to use.
    fn mac_behind(&self, port: PortId) -> Option<MacAddr> {
        let guard = self.engine.ports.get(port)?.guard.as_ref()?;
        (guard.last_mac != MacAddr::ZERO).then_some(guard.last_mac)
    }

    /// The Ethernet address under which somebody has an address whom the asker cannot reach: where all
    /// are behind the router, the router's, and otherwise one that is no station's.
    fn nobodys_mac(&self) -> MacAddr {
        let routed = self.engine.network.guard.routed;
        self.router_mac().filter(|_| routed).unwrap_or(QUERIER)
    }

    /// Answers to those who try an address of another are bounded (check 44).
    fn defend(&mut self, probe: bool) -> Result<(), Reason> {
        let rate = self.me.spec.rates.duplicates;
        if probe && !self.me.buckets.duplicates.take(self.now, rate) {
            self.refuse(Reason::DuplicateRate)?;
        }
        Ok(())
    }

    /// Answers the port.
    pub(super) fn say(&mut self, build: impl FnOnce(Builder<'_>) -> Builder<'_>) {
        if let Some(answer) = compose(build) {
            self.said.answer = Some(answer);
        }
    }
}

/// A frame, padded to the shortest that Ethernet knows.
pub(super) fn compose(build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Option<Answer> {
    let mut bytes = [0; super::ANSWER_MAX];
    let len = build(Builder::new(&mut bytes)).finish().ok()?;
    let mut frame = Answer::from(bytes);
    frame.truncate(len.max(FRAME_MIN));
    Some(frame)
}

/// Bytes of the shortest Ethernet frame, without its check sequence.
const FRAME_MIN: usize = 60;
