//! Who joined which multicast group, and the querier that asks (checks 45, 49 and 50; RFC 3376,
//! RFC 3810, RFC 4541).
//!
//! Memberships are of ports, not of hosts, and by Ethernet group address, because that is what a
//! frame is sent by. Several groups of IP have one such address (RFC 1112, 6.4; RFC 2464, 7), so each
//! membership knows for which of them it is, and ends with the last one. They last until two queries in
//! a row went unanswered, or one after a port has blocked a sender of what it wants from some alone; there
//! is no clock but the querier's, of which each IP version has its own in each VLAN. The querier is the network itself, while
//! no router of the outside asks there; the engine's timer has it ask. Only a sound query about all
//! groups, to all stations, to be answered soon, that goes on to the guests, is one of a querier:
//! another is answered by few or by nobody, or too late, and would end the memberships of the others.
//! For the same reason reports do not reach other guests, who would keep back their own (RFC 2236, 3).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use wire::igmp::Wish;
use wire::ipv4::{Fragment, Header, protocol};
use wire::parse::{Ipv4, Ipv6};
use wire::{MacAddr, checksum, igmp, mld, ndp};

use crate::frame::Cast;
use crate::guard::egress::Reach;
use crate::guard::extension::{self, Extensions};
use crate::guard::ipv4::{Options, group_mac, router_alert};
use crate::guard::member::{Member, Senders};
use crate::guard::querier::{ALL_V4, ALL_V6, IGMP_V3_LEN, MLD_V2_LEN, long_v4, long_v6};
use crate::guard::share::Share;
use crate::guard::{Judge, Outcome};
use crate::keyed::Key;
use crate::reason::Reason;
use crate::time::Instant;

/// Memberships that a port is sure of, whatever others join.
const SURE: usize = 8;

/// Memberships of all ports of a network together beyond those.
const COMMON: usize = 8192;

/// Between two queries (RFC 3376, 8.2).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);

/// Another querier has gone when it was silent for so long (RFC 3376, 8.5).
const OTHER_QUERIER: Duration = Duration::from_secs(255);

/// Queries within this time are one round, and one that leaves more time for the answers is none.
const ROUND_TIME: Duration = Duration::from_secs(20);
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// Memberships of a network.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The port, and VLAN and group. What one port has lies together, because it is counted for every
    /// group that a report names.
    members: BTreeMap<(u16, u64), Member>,
    /// How many ports each group has.
    ports: BTreeMap<u64, u32>,
    /// How many ports have beyond [`SURE`], all together.
    beyond: usize,
    /// How often somebody blocked a sender.
    doubts: u64,
    /// The queries of each version in each VLAN.
    rounds: BTreeMap<(Version, u16), Rounds>,
    /// When one of them may be due.
    next: Instant,
}

/// Which protocol: IGMP or MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    /// That of a group's Ethernet address.
    fn of(group: Key) -> Self {
        if group.mac() >> 32 == 0x3333 { Self::V6 } else { Self::V4 }
    }
}

/// The queries of one IP version in one VLAN.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// When the last one was asked, by whomever.
    asked: Option<Instant>,
    /// Another querier asks until then.
    other_until: Option<Instant>,
}

impl Rounds {
    /// When the next query of ours is due.
    fn deadline(&self) -> Instant {
        let ours = self.asked.map_or(Instant::EPOCH, |asked| asked + QUERY_INTERVAL);
        self.other_until.map_or(ours, |until| ours.max(until))
    }
}

impl Groups {
    /// Whether the port is a member.
    pub(crate) fn has(&self, group: Key, port: u16) -> bool {
        self.members.contains_key(&(port, group.bits()))
    }

    /// Takes note that a port joined or renewed; false if it, or the network, has too many.
    fn join(&mut self, group: Key, share: Share, from: Senders, port: u16, most: usize) -> bool {
        let key = (port, group.bits());
        let known = self.members.contains_key(&key);
        while !known && !self.has_room(group, port, most) {
            let Some(doubtful) = self.doubtful(Version::of(group), port) else { return false };
            self.end(port, doubtful);
        }
        if !known {
            self.beyond += usize::from(self.its(port).count() >= SURE);
            *self.ports.entry(group.bits()).or_default() += 1;
        }
        self.members.entry(key).or_default().hear(share, from);
        true
    }

    /// Whether a port may be in one more group.
    fn has_room(&self, group: Key, port: u16, most: usize) -> bool {
        let version = Version::of(group);
        let alike = self.its(port).filter(|(other, _)| Version::of(*other) == version);
        alike.count() < most && (self.its(port).count() < SURE || self.beyond < COMMON)
    }

    /// The groups of a port.
    fn its(&self, port: u16) -> impl Iterator<Item = (Key, &Member)> {
        let its = self.members.range((port, u64::MIN)..=(port, u64::MAX));
        its.map(|((_, group), member)| (Key::of_bits(*group), member))
    }

    /// The group that a port may have left for the longest time.
    fn doubtful(&self, version: Version, port: u16) -> Option<Key> {
        let alike = self.its(port).filter(|(group, _)| Version::of(*group) == version);
        let doubtful = alike.filter_map(|(group, member)| Some((member.doubt()?, group)));
        doubtful.min_by_key(|(doubt, _)| *doubt).map(|(_, group)| group)
    }

    /// Whether somebody is a member, but for this port.
    pub(crate) fn somebody_but(&self, group: Key, port: u16) -> bool {
        let all = self.ports.get(&group.bits()).copied().unwrap_or(0);
        all > u32::from(self.has(group, port))
    }

    /// Whether the port is in a group in this VLAN.
    pub(crate) fn is_member_in(&self, vid: u16, port: u16) -> bool {
        self.its(port).any(|(group, _)| group.vid() == vid)
    }

    fn leave(&mut self, group: Key, share: Share, port: u16) {
        let Some(member) = self.members.get_mut(&(port, group.bits())) else { return };
        member.leave(share);
        if member.is_over() {
            self.end(port, group);
        }
    }

    /// A port blocks a sender.
    fn block(&mut self, group: Key, share: Share, port: u16) {
        let Some(member) = self.members.get_mut(&(port, group.bits())) else { return };
        if member.block(share, self.doubts + 1) {
            self.doubts += 1;
        }
    }

    /// Ends a membership.
    fn end(&mut self, port: u16, group: Key) {
        if self.members.remove(&(port, group.bits())).is_some() {
            self.one_less(group.bits());
            self.beyond -= usize::from(self.its(port).count() >= SURE);
        }
    }

    /// A port is not in this group any more.
    fn one_less(&mut self, group: u64) {
        let ports = self.ports.get(&group).copied().unwrap_or(0);
        if ports > 1 {
            self.ports.insert(group, ports - 1);
        } else {
            self.ports.remove(&group);
        }
    }

    /// Keeps some of the memberships.
    fn retain(&mut self, keep: impl Fn(u16, Key, &mut Member) -> bool) {
        let mut left = Vec::new();
        self.members.retain(|(port, group), member| {
            let stays = keep(*port, Key::of_bits(*group), member);
            left.extend((!stays).then_some(*group));
            stays
        });
        left.into_iter().for_each(|group| self.one_less(group));
        let (mut last, mut its, mut beyond) = (None, 0, 0);
        for (port, _) in self.members.keys() {
            its = if last == Some(*port) { its + 1 } else { 1 };
            last = Some(*port);
            beyond += usize::from(its > SURE);
        }
        self.beyond = beyond;
    }

    /// Forgets a port.
    pub(crate) fn forget(&mut self, port: u16) {
        self.retain(|its, _, _| its != port);
    }

    /// Somebody asked: whoever does not answer is forgotten in time.
    fn new_round(&mut self, version: Version, vid: u16, now: Instant) {
        let rounds = self.rounds.entry((version, vid)).or_default();
        rounds.asked = Some(now);
        self.retain(|_, group, member| {
            if (Version::of(group), group.vid()) == (version, vid) {
                member.age();
            }
            !member.is_over()
        });
    }

    /// A router of the outside asked in a VLAN.
    fn other_querier(&mut self, version: Version, vid: u16, now: Instant) {
        let rounds = self.rounds.entry((version, vid)).or_default();
        rounds.other_until = Some(now + OTHER_QUERIER);
        if rounds.asked.is_none_or(|asked| now.saturating_since(asked) > ROUND_TIME) {
            self.new_round(version, vid, now);
        }
    }

    /// When a query of ours may be due.
    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Where a query of which version is due now, among these VLANs and those in which somebody is a
    /// member.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        vids: impl Iterator<Item = u16>,
    ) -> BTreeSet<(Version, u16)> {
        let mut asked: BTreeSet<u16> = vids.collect();
        asked.extend(self.ports.keys().map(|group| Key::of_bits(*group).vid()));
        self.rounds.retain(|(_, vid), rounds| {
            asked.contains(vid) || rounds.other_until.is_some_and(|until| until > now)
        });
        let mut due = BTreeSet::new();
        for vid in asked {
            for version in [Version::V4, Version::V6] {
                if self.rounds.entry((version, vid)).or_default().deadline() <= now {
                    self.new_round(version, vid, now);
                    due.insert((version, vid));
                }
            }
        }
        let next = self.rounds.values().map(Rounds::deadline).min();
        self.next = next.unwrap_or(now + QUERY_INTERVAL);
        due
    }

    /// Memberships of all ports.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }
}

impl<'a> Judge<'a> {
    /// A guest's IGMP message.
    pub(super) fn igmp(&mut self, ip: &Ipv4, alert: bool) -> Result<Outcome, Reason> {
        let rate = self.me.spec.rates.groups;
        if !self.me.buckets.groups.take(self.now, rate) {
            self.refuse(Reason::IgmpRate)?;
        }
        let Ok(message) = igmp::Message::new(self.igmp_message(ip)) else {
            self.refuse(Reason::IgmpFormat)?;
            return Ok(Outcome::Pass);
        };
        let (kind, records) = (message.kind(), message.records());
        // Version 1 knows no router alert.
        let alert = alert || matches!(kind, igmp::kind::REPORT_V1);
        let known = matches!(
            kind,
            igmp::kind::QUERY
                | igmp::kind::REPORT_V1
                | igmp::kind::REPORT_V2
                | igmp::kind::REPORT_V3
                | igmp::kind::LEAVE
        );
        // Receivers believe one that is sent to them alone (RFC 3376, 4.2.14), and stay silent for it.
        let to_group = ip.destination.is_multicast();
        let sound = ip.ttl == 1 && alert && known && to_group && message.checksum_is_good();
        self.demand(sound && records.is_sound(), Reason::IgmpFormat)?;
        if kind == igmp::kind::QUERY {
            self.refuse(Reason::IgmpQuery)?;
            return Ok(Outcome::Pass);
        }
        for record in records {
            let group = record.group;
            if !group.is_multicast() {
                self.refuse(Reason::IgmpFormat)?;
            } else if group.octets()[..3] != [224, 0, 0] {
                let station = (group_mac(group), Share::v4(group));
                self.member(station, record.wish, Reason::IgmpGroups)?;
            }
        }
        Ok(self.reported(ip.source.into()))
    }

    /// A guest's MLD message.
    pub(super) fn mld(
        &mut self,
        ip: &Ipv6,
        extensions: &Extensions,
        kind: u8,
    ) -> Result<Outcome, Reason> {
        let rate = self.me.spec.rates.groups;
        if !self.me.buckets.groups.take(self.now, rate) {
            self.refuse(Reason::MldRate)?;
        }
        let Ok(records) = mld::records(self.icmpv6_message(ip)) else {
            self.refuse(Reason::MldFormat)?;
            return Ok(Outcome::Pass);
        };
        let source = ip.source.is_unicast_link_local()
            || (ip.source.is_unspecified() && kind != mld::kind::QUERY);
        // As with IGMP (RFC 3810, 5.2.14).
        let source = source && ip.destination.is_multicast();
        let sound = ip.hop_limit == 1 && extensions.router_alert && source && records.is_sound();
        self.demand(sound, Reason::MldFormat)?;
        if kind == mld::kind::QUERY {
            self.refuse(Reason::MldQuery)?;
            return Ok(Outcome::Pass);
        }
        for record in records {
            let group = record.group;
            if !group.is_multicast() {
                self.refuse(Reason::MldFormat)?;
            } else if !matches!(group.segments()[0], 0xff01 | 0xff02) {
                let station = (ndp::multicast_mac(group), Share::v6(group));
                self.member(station, record.wish, Reason::MldGroups)?;
            }
        }
        Ok(self.reported(ip.source.into()))
    }

    fn member(
        &mut self,
        (group, share): (MacAddr, Share),
        wish: Wish,
        full: Reason,
    ) -> Result<(), Reason> {
        let key = Key::new(self.vid(), group.as_u64());
        let (index, most) = (self.id.index, usize::from(self.me.spec.groups));
        let groups = &mut self.engine.memory.groups;
        let from = match wish {
            Wish::Receive => Senders::All,
            Wish::ReceiveFrom => Senders::Named,
            Wish::Allow => Senders::More,
            // Behind a cable to a switch others may still be in the group; they answer the next query.
            Wish::Leave | Wish::Block if !self.me.fixed_macs => return Ok(()),
            Wish::Leave => {
                groups.leave(key, share, index);
                return Ok(());
            }
            Wish::Block => {
                groups.block(key, share, index);
                return Ok(());
            }
            Wish::Unsaid => return Ok(()),
        };
        let fits = groups.join(key, share, from, index, most);
        self.demand(fits, full)
    }

    /// A report is for routers. One without a source address is for nobody but us (RFC 4541, 2.1.1).
    fn reported(&mut self, source: IpAddr) -> Outcome {
        if source.is_unspecified() {
            return Outcome::Consumed;
        }
        if self.engine.network.guard.snooping {
            self.said.reach = Reach::Servers;
        }
        Outcome::Pass
    }

    /// An IGMP message of the router or of the outside, but a query, is for routers.
    pub(super) fn trusted_igmp(&mut self, ip: &Ipv4) {
        let kind = igmp::Message::new(self.igmp_message(ip)).map(igmp::Message::kind);
        if ip.fragment != Fragment::Whole || kind != Ok(igmp::kind::QUERY) {
            self.for_routers();
        }
    }

    /// The same of MLD.
    pub(super) fn for_routers(&mut self) {
        if self.cast == Cast::Multicast && self.engine.network.guard.snooping {
            self.said.reach = Reach::Servers;
        }
    }

    /// An IGMP message of the router or of the outside, which goes on.
    pub(super) fn queried_v4(&mut self, ip: &Ipv4) {
        let bytes = self.igmp_message(ip);
        let Ok(message) = igmp::Message::new(bytes) else { return };
        let code = bytes.get(1).copied().unwrap_or(0);
        // Version 1 knows neither router alert nor a time to answer.
        let first = bytes.len() < IGMP_V3_LEN && code == 0;
        let options = Header::new(self.packet()).map_or(&[][..], Header::options);
        let tenths = if bytes.len() < IGMP_V3_LEN { code.into() } else { long_v4(code) };
        let sound = message.kind() == igmp::kind::QUERY
            && message.group().is_unspecified()
            && message.checksum_is_good()
            && ip.destination == ALL_V4
            && self.parsed.dst == group_mac(ALL_V4)
            && (first || router_alert(options) == Options::RouterAlert)
            && Duration::from_millis(100) * tenths <= LONGEST_ANSWER;
        if sound && ip.ttl == 1 && ip.fragment == Fragment::Whole {
            self.engine.memory.groups.other_querier(Version::V4, self.vid(), self.now);
        }
    }

    /// An MLD query of the router or of the outside, which goes on.
    pub(super) fn queried_v6(&mut self, ip: &Ipv6) {
        let message = self.icmpv6_message(ip);
        let general = mld::records(message).is_ok()
            && message.get(8..24).is_some_and(|group| group.iter().all(|byte| *byte == 0));
        let sum = || {
            let len = u32::try_from(message.len()).unwrap_or(0);
            let (source, destination) = (ip.source, ip.destination);
            let pseudo = checksum::pseudo_v6(source, destination, protocol::ICMPV6, len);
            checksum::add(pseudo, checksum::sum(message))
        };
        let alert = || {
            let header = self.packet();
            let body = header.get(wire::ipv6::HEADER_LEN..).unwrap_or_default();
            header.get(6).is_some_and(|first| extension::walk(*first, body).router_alert)
        };
        let code = message.get(4..6).map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
        let millis = if message.len() < MLD_V2_LEN { code.into() } else { long_v6(code) };
        if general
            && ip.hop_limit == 1
            && ip.source.is_unicast_link_local()
            && ip.destination == ALL_V6
            && self.parsed.dst == ndp::multicast_mac(ALL_V6)
            && ip.chain.fragment == Fragment::Whole
            && Duration::from_millis(millis) <= LONGEST_ANSWER
            && alert()
            && (self.partial || sum() == 0xffff)
        {
            self.engine.memory.groups.other_querier(Version::V6, self.vid(), self.now);
        }
    }

    /// The IGMP message, up to the end of the packet.
    fn igmp_message(&self, ip: &Ipv4) -> &'a [u8] {
        let start = self.parsed.l4.map_or(0, |l4| usize::from(l4.offset));
        let end = usize::from(self.parsed.l3_offset) + usize::from(ip.total_len);
        self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::member::ROUNDS;

    const SHARE: Share = Share::nth(7);

    fn ask(groups: &mut Groups, now: Instant) -> usize {
        groups.due(now, core::iter::once(1)).len()
    }

    #[test]
    fn memberships_end_after_queries_without_an_answer() {
        let mut groups = Groups::default();
        let mut now = Instant::from_nanos(1);
        let group = Key::new(1, 0x0100_5e01_0203);
        assert!(groups.deadline() <= now && groups.join(group, SHARE, Senders::All, 7, 32));
        for answered in [true, false, false] {
            assert_eq!(ask(&mut groups, now), 2);
            assert_eq!(groups.deadline(), now + QUERY_INTERVAL);
            now = now + QUERY_INTERVAL;
            if answered {
                assert!(groups.join(group, SHARE, Senders::All, 7, 32));
            }
            assert!(groups.has(group, 7) && groups.somebody_but(group, 8));
            assert!(!groups.somebody_but(group, 7));
        }
        ask(&mut groups, now);
        assert!(!groups.has(group, 7) && !groups.somebody_but(group, 8));
    }

    #[test]
    fn each_vlan_has_its_own_rounds() {
        let mut groups = Groups::default();
        let mut now = Instant::from_nanos(1);
        let (one, two) = (Key::new(1, 0x0100_5e01_0203), Key::new(2, 0x0100_5e01_0203));
        assert!(
            groups.join(one, SHARE, Senders::All, 7, 32)
                && groups.join(two, SHARE, Senders::All, 7, 32)
        );
        assert_eq!(groups.due(now, [1, 2, 3].into_iter()).len(), 6);
        for _ in 0..ROUNDS {
            now = now + ROUND_TIME + Duration::from_secs(1);
            groups.other_querier(Version::V4, 2, now);
        }
        assert!(groups.has(one, 7) && !groups.has(two, 7));
        now = Instant::from_nanos(1) + QUERY_INTERVAL;
        assert_eq!(
            groups.due(now, [1, 2, 3].into_iter()).into_iter().collect::<Vec<_>>(),
            [
                (Version::V4, 1),
                (Version::V4, 3),
                (Version::V6, 1),
                (Version::V6, 2),
                (Version::V6, 3)
            ]
        );
        // Nobody is in a VLAN: nothing is remembered of it.
        assert_eq!(groups.due(now + 3 * QUERY_INTERVAL, core::iter::empty()).len(), 2);
        assert!(groups.rounds.len() == 2 && groups.deadline() > now + 3 * QUERY_INTERVAL);
    }

    #[test]
    fn a_membership_is_for_several_groups_of_ip() {
        let mut groups = Groups::default();
        let group = Key::new(1, 0x0100_5e01_0203);
        assert!(
            groups.join(group, Share::nth(0), Senders::All, 7, 1)
                && groups.join(group, Share::nth(31), Senders::All, 7, 1)
        );
        groups.leave(group, Share::nth(5), 7);
        groups.leave(group, Share::nth(0), 7);
        groups.leave(group, Share::nth(0), 7);
        assert!(groups.has(group, 7) && groups.somebody_but(group, 8));
        groups.leave(group, Share::nth(31), 7);
        assert!(!groups.has(group, 7) && !groups.somebody_but(group, 8));
    }

    #[test]
    fn memberships_are_bounded() {
        let mut groups = Groups::default();
        for number in 0..32 {
            assert!(groups.join(
                Key::new(1, 0x0100_5e00_0000 | number),
                SHARE,
                Senders::All,
                7,
                32
            ));
            assert!(groups.join(
                Key::new(1, 0x3333_0000_0000 | number),
                SHARE,
                Senders::All,
                7,
                32
            ));
        }
        assert!(!groups.join(Key::new(1, 0x0100_5e00_0020), SHARE, Senders::All, 7, 32));
        assert!(groups.join(Key::new(1, 0x0100_5e00_0020), SHARE, Senders::All, 8, 32));
        groups.forget(7);
        assert_eq!(groups.len(), 1);
        let group = |number: u64| Key::new(1, 0x0100_5e00_0000 | number);
        for port in 10..1000 {
            for number in 0..32 {
                groups.join(group(number), SHARE, Senders::All, port, 32);
            }
        }
        // Who comes late is sure of some all the same.
        let others = groups.len();
        for number in 0..=SURE as u64 {
            assert_eq!(
                groups.join(group(number), SHARE, Senders::All, 2000, 32),
                number < SURE as u64
            );
        }
        assert_eq!(groups.len(), COMMON + 991 * SURE + 1);
        assert_eq!(groups.len() - others, SURE);
        // What one gives up another may have.
        assert!(groups.beyond == COMMON && !groups.join(group(8), SHARE, Senders::All, 2000, 32));
        groups.leave(group(5), SHARE, 10);
        assert!(
            groups.join(group(8), SHARE, Senders::All, 2000, 32)
                && !groups.join(group(9), SHARE, Senders::All, 2000, 32)
        );
        groups.forget(11);
        assert_eq!(groups.beyond, COMMON - (32 - SURE));
        assert!(groups.join(group(9), SHARE, Senders::All, 2000, 32));
        for nth in 0..ROUNDS {
            ask(&mut groups, Instant::EPOCH + QUERY_INTERVAL * nth as u32);
        }
        assert_eq!((groups.len(), groups.beyond, groups.ports.len()), (0, 0, 0));
    }

    #[test]
    fn another_querier_silences_ours_of_its_version() {
        let mut now = Instant::from_nanos(1);
        for (version, other, group) in [
            (Version::V4, Version::V6, Key::new(1, 0x3333_0000_0001)),
            (Version::V6, Version::V4, Key::new(1, 0x0100_5e01_0203)),
        ] {
            let mut groups = Groups::default();
            assert_eq!(ask(&mut groups, now), 2);
            let until = now + OTHER_QUERIER;
            groups.other_querier(version, 1, now);
            assert!(groups.join(group, SHARE, Senders::All, 7, 32));
            // Whom it does not ask does not have to answer it.
            for _ in 0..ROUNDS {
                now = now + QUERY_INTERVAL;
                groups.other_querier(version, 1, now);
                assert!(groups.has(group, 7));
            }
            assert!(groups.deadline() < until, "{other:?} is ours to ask");
            assert_eq!(ask(&mut groups, now), 1);
            assert!(groups.deadline() > now);
        }
    }
}
