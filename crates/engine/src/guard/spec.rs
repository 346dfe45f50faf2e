//! What the guard of a port, and of a network, is asked to do.
//!
//! The numbers of checks are those of [`Check`]; `docs/guard.md` has one line for each.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::bindings::FirstCome;
use crate::guard::check::{Check, Kind};
use crate::rate::Rate;
use crate::reason::Reason;

/// Where a port's addresses come from, and so how strictly it is held to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GuardMode {
    /// No check above the Ethernet addresses.
    #[default]
    Off,
    /// First come, first served, up to [`FirstCome`]; never an address that is bound or planned
    /// elsewhere (RFC 6620).
    Learn,
    /// What the network's DHCP servers gave it, seen in their answers; link-local IPv6 addresses and
    /// those of announced prefixes first come, first served.
    Dhcp,
    /// What configuration or a lease of ours bound to it; link-local IPv6 addresses and those of
    /// announced prefixes first come, first served.
    Static,
}

/// What becomes of a frame that fails a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is dropped.
    #[default]
    Drop,
    /// It is dropped, and the guest is told: an ICMP error "administratively prohibited", where the
    /// frame is an IP packet that may be answered, at a bounded rate.
    Reject,
    /// It is counted and told as if it were dropped, and goes on.
    Audit,
    /// The check is not made.
    Allow,
}

/// Why a check cannot have an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// It holds the switch itself together.
    #[error("check {0} holds the network itself together, so its action is always \"drop\"")]
    Fixed(Check),
    /// No frame can fail it.
    #[error(
        "check {0} is not a test of a frame but a property of how the network is built: no frame can fail \
         it, so it has no action"
    )]
    Built(Check),
    /// It cannot tell anybody, and was asked to.
    #[error(
        "nobody can be told that a frame failed check {0}: an ICMP error answers only packets for one \
         station, with a source, that are neither errors nor neighbour discovery; choose \"drop\""
    )]
    Silent(Check),
}

/// An action for each check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions([Action; Check::COUNT]);

impl Actions {
    /// The action of a check.
    #[inline]
    #[must_use]
    pub fn get(&self, check: Check) -> Action {
        self.0.get(check.index()).copied().unwrap_or(Action::Drop)
    }

    /// Changes the action of a check.
    ///
    /// # Errors
    /// The check cannot have this action; nothing changes.
    pub fn set(&mut self, check: Check, action: Action) -> Result<(), ActionError> {
        match check.kind() {
            Kind::Fixed => return Err(ActionError::Fixed(check)),
            Kind::Built => return Err(ActionError::Built(check)),
            Kind::Settable { told: false } if action == Action::Reject => {
                return Err(ActionError::Silent(check));
            }
            Kind::Settable { .. } => {}
        }
        if let Some(place) = self.0.get_mut(check.index()) {
            *place = action;
        }
        Ok(())
    }

    /// Changes the actions of all checks that may choose; those that cannot tell anybody drop
    /// instead of that.
    pub fn set_all(&mut self, action: Action) {
        for (place, check) in self.0.iter_mut().zip(Check::ALL) {
            match check.kind() {
                Kind::Fixed | Kind::Built => {}
                Kind::Settable { told: false } if action == Action::Reject => *place = Action::Drop,
                Kind::Settable { .. } => *place = action,
            }
        }
    }

    /// The same, but every check that may choose only counts and tells; what is not made at all is
    /// not made then either.
    #[must_use]
    pub fn auditing(mut self) -> Self {
        for (place, check) in self.0.iter_mut().zip(Check::ALL) {
            if check.is_settable() && *place != Action::Allow {
                *place = Action::Audit;
            }
        }
        self
    }

    /// The action for a drop reason: that of its check. A reason that is no check's is a drop.
    #[inline]
    #[must_use]
    pub fn of(&self, reason: Reason) -> Action {
        reason.check().map_or(Action::Drop, |check| self.get(check))
    }
}

impl Default for Actions {
    fn default() -> Self {
        Self([Action::Drop; Check::COUNT])
    }
}

/// How much control traffic a port may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// ARP packets (check 18), RARP excepted.
    pub arp: Rate,
    /// Requests, ARP and ND, for addresses that nobody is known to have (checks 18 and 43).
    pub unknown: Rate,
    /// DHCP and DHCPv6 messages (checks 32 and 46).
    pub dhcp: Rate,
    /// Neighbour discovery messages, router solicitations excepted (checks 41 and 43).
    pub nd: Rate,
    /// Router solicitations (check 42).
    pub solicitations: Rate,
    /// Answers about addresses in use to those who try them (check 44).
    pub duplicates: Rate,
    /// IGMP and MLD messages (checks 45 and 50).
    pub groups: Rate,
    /// ICMPv6 and ICMP error messages (check 47).
    pub errors: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            arp: Rate::new(15, 30),
            unknown: Rate::new(10, 30),
            dhcp: Rate::new(5, 10),
            nd: Rate::new(30, 60),
            solicitations: Rate::new(1, 5),
            duplicates: Rate::new(5, 10),
            groups: Rate::new(20, 64),
            errors: Rate::new(100, 200),
        }
    }
}

/// Storm control (check 48): what a port may send to many. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Broadcast frames.
    pub broadcast: Option<Rate>,
    /// Multicast frames.
    pub multicast: Option<Rate>,
    /// Unicast frames whose destination nobody is known to have.
    pub unknown: Option<Rate>,
    /// Bytes of the first two together, and of the third; a second of them may come at once.
    pub bytes_per_second: Option<u32>,
    /// Puts a port that meets one of the first two limits into quarantine for this long.
    pub shutdown: Option<Duration>,
}

impl Default for Storm {
    fn default() -> Self {
        let rate = Some(Rate::new(1000, 1000));
        Self {
            broadcast: rate,
            multicast: rate,
            unknown: rate,
            // One percent of a line of 10 Gbit/s.
            bytes_per_second: Some(12_500_000),
            shutdown: None,
        }
    }
}

/// When a port is cut off for its violations, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Violations that are too many ...
    pub violations: u32,
    /// ... within this time.
    pub within: Duration,
    /// How long the port stays cut off.
    pub release: Duration,
}

/// The guard of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSpec {
    /// Where its addresses come from.
    pub mode: GuardMode,
    /// What becomes of a frame that fails a check.
    pub actions: Actions,
    /// Addresses bound to the port from the start, by configuration.
    pub addresses: Vec<IpAddr>,
    /// Prefixes bound to the port from the start: a network behind it, whose addresses it may all
    /// use (check 46).
    pub prefixes: Vec<IpNet>,
    /// How many addresses it may take without being given them.
    pub first_come: FirstCome,
    /// EtherTypes it may send beside IPv4, ARP and IPv6 (check 8).
    pub ethertypes: Vec<u16>,
    /// Whether it may send to IPv4 link-local addresses, 169.254/16 (check 23). Metadata services
    /// there stay refused.
    pub link_local_v4: bool,
    /// Whether the port may be given delegated prefixes by DHCPv6 (check 46).
    pub delegated_prefixes: bool,
    /// Segments that one of its frames may become (check 57).
    pub segments: u16,
    /// Bytes of a TCP segment that it may have frames cut into, at least (check 57). Datagrams have
    /// no such bound: the acknowledgements of a tunnel are small, and are handed over together.
    pub segment_min: u16,
    /// Multicast groups that it may join (checks 45, 49 and 50).
    pub groups: u16,
    /// How much control traffic it may send.
    pub rates: Rates,
    /// How much it may send to many.
    pub storm: Storm,
    /// Cutting the port off for its violations.
    pub quarantine: Option<Quarantine>,
    /// Cuts the port off for this long when it sends a bridge's own frames (check 5).
    pub bpdu_shutdown: Option<Duration>,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self {
            mode: GuardMode::Off,
            actions: Actions::default(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            first_come: FirstCome::default(),
            ethertypes: Vec::new(),
            link_local_v4: false,
            delegated_prefixes: false,
            segments: 512,
            segment_min: 256,
            groups: 32,
            rates: Rates::default(),
            storm: Storm::default(),
            quarantine: None,
            bpdu_shutdown: None,
        }
    }
}

/// What becomes of multicast DNS, LLMNR and SSDP between guests (check 51).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MdnsPolicy {
    /// They are multicast as any other.
    #[default]
    Flood,
    /// They are dropped.
    Off,
    /// They go to the router port alone, where a responder answers for all.
    Proxy,
    /// Multicast DNS goes on to the other guests, LLMNR and SSDP do not.
    Reflect,
}

/// What the guards of all ports of a network have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkGuard {
    /// The network's IPv4 subnet, whose broadcast address is nobody's (check 21).
    pub subnet: Option<Ipv4Net>,
    /// The first and the last of the subnet's addresses that are first come; the others are given
    /// out by the network itself, to guests that may not be here yet. `None`: all are first come.
    pub first_come: Option<(Ipv4Addr, Ipv4Addr)>,
    /// IPv6 prefixes that the network announces for stateless configuration: guests may take
    /// addresses of them (check 34).
    pub announced: Vec<Ipv6Net>,
    /// Answers and forwards multicast only to those who asked for it (check 49).
    pub snooping: bool,
    /// Multicast DNS and its like (check 51).
    pub mdns: MdnsPolicy,
    /// Guests see only the router: every address is behind its MAC, and their own frames reach
    /// nobody else (check 55).
    pub routed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions() {
        let mut actions = Actions::default();
        actions.set(Check::ArpSenderIp, Action::Audit).expect("settable");
        assert_eq!(actions.get(Check::ArpSenderIp), Action::Audit);
        assert_eq!(actions.of(Reason::ArpSenderIp), Action::Audit);
        assert_eq!(actions.get(Check::ArpSenderMac), Action::Drop);
        for (check, action, why) in [
            (Check::Vlan, Action::Audit, ActionError::Fixed(Check::Vlan)),
            (Check::Vlan, Action::Drop, ActionError::Fixed(Check::Vlan)),
            (Check::Lease, Action::Drop, ActionError::Built(Check::Lease)),
            (Check::Storm, Action::Reject, ActionError::Silent(Check::Storm)),
        ] {
            assert_eq!(actions.set(check, action), Err(why));
        }
        assert_eq!(actions.of(Reason::QueueFull), Action::Drop);
    }

    #[test]
    fn actions_of_all_checks_are_those_that_each_can_have() {
        let mut actions = Actions::default();
        actions.set_all(Action::Reject);
        for check in Check::ALL {
            let told = check.kind() == Kind::Settable { told: true };
            let expected = if told { Action::Reject } else { Action::Drop };
            assert_eq!(actions.get(check), expected, "{}", check.name());
        }
        actions.set(Check::Destination, Action::Allow).expect("settable");
        let auditing = actions.auditing();
        for check in Check::ALL {
            let expected = match check {
                Check::Destination => Action::Allow,
                _ if check.is_settable() => Action::Audit,
                _ => Action::Drop,
            };
            assert_eq!(auditing.get(check), expected, "{}", check.name());
        }
    }
}
