//! What happens when a frame fails a check: it is counted, told, and may get its port cut off.

use core::net::IpAddr;
use core::time::Duration;

use wire::{L3, MacAddr, Transport};

use crate::engine::Engine;
use crate::event::{Event, Summary};
use crate::frame::Frame;
use crate::guard::port::PortGuard;
use crate::keyed::Key;
use crate::pool::Pool;
use crate::port::PortId;
use crate::rate::Seldom;
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;

/// At most one event about a violation per port in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a frame that failed a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was dropped.
    Dropped,
    /// It went on all the same, because the check's action is to audit.
    Passed,
}

/// What a port has done lately.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    /// When an event told of one.
    told: Seldom,
    /// How many there were since.
    since: u32,
    /// When the current window of the quarantine began, and how many there were in it.
    window: Option<Instant>,
    count: u32,
    /// The port is cut off until then.
    pub(crate) until: Option<Instant>,
    /// What it was cut off for last.
    reason: Option<Reason>,
}

/// What stands against a port: that it is cut off, and what counts towards that. The owner of the
/// engine keeps it when the port goes and gives it to the next port of the same client, or everybody
/// would be free again by connecting anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Until when the port is cut off, and for what.
    cut_off: Option<(Instant, Reason)>,
    /// When violations began to be counted, how many there were, and until when they count.
    counted: Option<(Instant, u32, Instant)>,
}

impl Standing {
    /// When nothing of it holds any more.
    #[must_use]
    pub fn ends(&self) -> Instant {
        let cut_off = self.cut_off.map_or(Instant::EPOCH, |(until, _)| until);
        cut_off.max(self.counted.map_or(Instant::EPOCH, |(.., end)| end))
    }

    /// What stands against a client by two of its ports.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let counted = match (self.counted, other.counted) {
            (Some((begun, count, end)), Some((other_begun, other_count, other_end))) => {
                let count = count.saturating_add(other_count);
                Some((begun.min(other_begun), count, end.max(other_end)))
            }
            (one, another) => one.or(another),
        };
        let longest = |(until, _): &(Instant, Reason)| *until;
        let cut_off = self.cut_off.into_iter().chain(other.cut_off).max_by_key(longest);
        Self { cut_off, counted }
    }

    /// The cut-off alone, which holds for a client's other ports, too.
    #[must_use]
    pub fn cut_off(self) -> Option<Self> {
        self.cut_off.map(|cut_off| Self { cut_off: Some(cut_off), counted: None })
    }
}

impl Engine {
    /// Takes note of a violation of port `id`: its reason, and what became of the frame.
    #[cold]
    pub(crate) fn violation(
        &mut self,
        now: Instant,
        pool: &Pool,
        me: &mut PortGuard,
        id: PortId,
        frame: &Frame,
        (reason, fate): (Reason, Fate),
    ) {
        // These tell by events of their own, which name the addresses and the ports concerned.
        if matches!(
            reason,
            Reason::MacForeign
                | Reason::MacBound
                | Reason::MacMoved
                | Reason::MacLimit
                | Reason::MacTableFull
                | Reason::Quarantined
        ) {
            return;
        }
        me.violations.since = me.violations.since.saturating_add(1);
        if !me.violations.told.may(now, PAUSE) {
            return;
        }
        let since = core::mem::take(&mut me.violations.since);
        let summary = summary(pool, frame);
        self.events.push(Event::Violation { port: id, reason, fate, summary, since });
    }

    /// Counts a violation of a guest towards its quarantine.
    #[cold]
    pub(crate) fn strike(&mut self, now: Instant, me: &mut PortGuard, id: PortId, reason: Reason) {
        if me.role != Role::Guest {
            return;
        }
        let cut = match (reason, me.spec.bpdu_shutdown, me.spec.storm.shutdown) {
            (Reason::Quarantined, ..) => return,
            (Reason::Bpdu, Some(time), _)
            | (Reason::StormBroadcast | Reason::StormMulticast, _, Some(time)) => Some(time),
            _ => me.spec.quarantine.and_then(|quarantine| {
                let mine = &mut me.violations;
                let begun = *mine.window.get_or_insert(now);
                if now.saturating_since(begun) >= quarantine.within {
                    mine.window = Some(now);
                    mine.count = 0;
                }
                mine.count = mine.count.saturating_add(1);
                (mine.count >= quarantine.violations).then_some(quarantine.release)
            }),
        };
        if let Some(time) = cut {
            let until = now + time;
            me.violations.window = None;
            me.violations.count = 0;
            me.violations.until = Some(until);
            me.violations.reason = Some(reason);
            self.events.push(Event::Quarantined { port: id, reason, until });
        }
    }

    /// What stands against a port now; none if nothing does.
    #[must_use]
    pub fn standing(&self, now: Instant, port: PortId) -> Option<Standing> {
        let guard = self.ports.get(port)?.guard.as_ref()?;
        let Violations { until, reason, window, count, .. } = guard.violations;
        let counted = window
            .zip(guard.spec.quarantine)
            .map(|(begun, quarantine)| (begun, count, begun + quarantine.within));
        let counted = counted.filter(|(.., end)| *end > now);
        let cut_off = until.zip(reason).filter(|(until, _)| *until > now);
        (cut_off.is_some() || counted.is_some()).then_some(Standing { cut_off, counted })
    }

    /// Holds against a port what stood against one that its client had before, or has besides. It is
    /// cut off, with an event, for as long as that one was.
    pub fn hold_against(&mut self, now: Instant, port: PortId, standing: Standing) {
        let guard = self.ports.get_mut(port).and_then(|port| port.guard.as_mut());
        let Some(guard) = guard.filter(|guard| guard.role == Role::Guest) else { return };
        let mine = &mut guard.violations;
        if let Some((begun, count, end)) = standing.counted
            && end > now
        {
            mine.window = Some(begun);
            mine.count = count;
        }
        if let Some((until, reason)) = standing.cut_off
            && until > now
        {
            mine.until = Some(until);
            mine.reason = Some(reason);
            self.events.push(Event::Quarantined { port, reason, until });
        }
    }

    /// Lets a port that was cut off send again, whatever its time says. False if it was not.
    pub fn release_port(&mut self, port: PortId) -> bool {
        let guard = self.ports.get_mut(port).and_then(|port| port.guard.as_mut());
        let released = guard.is_some_and(|guard| guard.violations.until.take().is_some());
        if released {
            self.events.push(Event::Released { port });
        }
        released
    }

    /// Until when a port is cut off, if it is.
    #[must_use]
    pub fn quarantined_until(&self, port: PortId) -> Option<Instant> {
        self.ports.get(port)?.guard.as_ref()?.violations.until
    }

    /// Whether a port is cut off now; ends it when its time is over.
    #[inline]
    pub(crate) fn is_cut_off(&mut self, now: Instant, port: PortId) -> bool {
        let guard = self.ports.get(port).and_then(|port| port.guard.as_ref());
        match guard.and_then(|guard| guard.violations.until) {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                self.release_port(port);
                false
            }
        }
    }
}

/// What events tell of a frame.
pub(crate) fn summary(pool: &Pool, frame: &Frame) -> Summary {
    let bytes = pool.front(frame).unwrap_or_default();
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let vlan = Key::new(frame.tci & 0xfff, 0).vid();
    let Ok(parsed) = wire::parse(bytes) else {
        let (source, destination) = (MacAddr::ZERO, MacAddr::ZERO);
        return Summary {
            source,
            destination,
            vlan,
            ethertype: 0,
            addresses: None,
            transport: None,
            len,
        };
    };
    let addresses: Option<(IpAddr, IpAddr)> = parsed.l3.map(|l3| match l3 {
        L3::Arp(arp) => (arp.sender_ip.into(), arp.target_ip.into()),
        L3::Ipv4(ip) => (ip.source.into(), ip.destination.into()),
        L3::Ipv6(ip) => (ip.source.into(), ip.destination.into()),
    });
    let transport = parsed.l4.map(|l4| match l4.transport {
        Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination, .. } => {
            (l4.protocol, source, destination)
        }
        Transport::Icmpv4 { kind, code } | Transport::Icmpv6 { kind, code } => {
            (l4.protocol, u16::from(kind), u16::from(code))
        }
        Transport::Other => (l4.protocol, 0, 0),
    });
    Summary {
        source: parsed.src,
        destination: parsed.dst,
        vlan,
        ethertype: parsed.ethertype,
        addresses,
        transport,
        len,
    }
}
