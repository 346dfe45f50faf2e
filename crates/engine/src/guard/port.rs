//! What the guard keeps for one port.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use arrayvec::ArrayVec;
use wire::MacAddr;

use crate::guard::dhcp::Client;
use crate::guard::fast::{Cache, GUEST_PLACES, OUTSIDE_PLACES};
use crate::guard::fragments::Fragments;
use crate::guard::leases::{Grants, Requests};
use crate::guard::spec::{GuardMode, GuardSpec};
use crate::guard::violation::Violations;
use crate::plan::{PortSpec, SourceMode};
use crate::rate::Bucket;
use crate::role::Role;
use crate::time::Instant;

/// How long an accepted source is remembered, in nanoseconds: one minute.
const CACHE_NANOS: u64 = 60_000_000_000;

/// Addresses that the outside is asked for at a time.
pub(super) const ASKED: usize = 8;

/// An address in a VLAN: in another one it may be somebody else's.
pub(crate) type Local = (u16, IpAddr);

/// The guard of one port. It exists for uplinks, for routers, and for guests whose mode is not
/// [`GuardMode::Off`].
#[derive(Debug)]
pub(crate) struct PortGuard {
    pub(crate) spec: GuardSpec,
    pub(crate) role: Role,
    /// The port has only its own Ethernet addresses.
    pub(crate) fixed_macs: bool,
    /// The Ethernet address that it was last judged for; zero before.
    pub(crate) last_mac: MacAddr,
    /// Sources that were accepted.
    pub(crate) cache: Cache,
    /// Destinations that were found to be the port's.
    pub(crate) egress: Cache,
    /// The generation of the bindings that both caches hold for.
    generation: u32,
    egress_generation: u32,
    /// When `cache` is to be forgotten.
    stale: u64,
    pub(crate) buckets: Buckets,
    pub(crate) violations: Violations,
    /// First-come addresses of the port, in order whatever their VLAN, and when they were last seen to be
    /// used.
    pub(crate) claims: Vec<(Local, Instant)>,
    /// When the port last wanted one more than it may have.
    pub(crate) found_full: Option<Instant>,
    /// Addresses that the outside was asked for on the port's behalf, and when.
    pub(crate) asked: ArrayVec<(Local, Instant), ASKED>,
    /// Addresses that it probed for last.
    pub(crate) tried: ArrayVec<Local, ASKED>,
    /// DHCP clients that were seen, and when.
    pub(crate) clients: Vec<(Client, Instant)>,
    /// What they asked for last.
    pub(crate) requests: Requests,
    /// What they were given.
    pub(crate) grants: Grants,
    pub(crate) fragments: Fragments,
}

/// The rates of one port, one bucket for each.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) arp: Bucket,
    /// ARP to one station. Others make a guest answer, so it has a bucket of its own.
    pub(crate) arp_unicast: Bucket,
    pub(crate) rarp: Bucket,
    pub(crate) unknown: Bucket,
    pub(crate) dhcp: Bucket,
    pub(crate) dhcpv6: Bucket,
    pub(crate) nd: Bucket,
    /// Neighbour discovery to one station, likewise.
    pub(crate) nd_unicast: Bucket,
    pub(crate) advertisements: Bucket,
    pub(crate) solicitations: Bucket,
    pub(crate) duplicates: Bucket,
    pub(crate) groups: Bucket,
    pub(crate) errors: Bucket,
    pub(crate) rejections: Bucket,
    pub(crate) broadcast: Bucket,
    pub(crate) multicast: Bucket,
    pub(crate) unicast: Bucket,
    /// Bytes to all or to a group.
    pub(crate) bytes: Bucket,
    /// Bytes to somebody whose place is not known. He may have left, so they take nothing from what
    /// the port may say to all.
    pub(crate) unicast_bytes: Bucket,
}

impl PortGuard {
    /// The guard that a port of this spec needs, if it needs one.
    pub(crate) fn new(spec: &PortSpec) -> Option<Box<Self>> {
        if spec.role == Role::Guest && spec.guard.mode == GuardMode::Off {
            return None;
        }
        let sources = if spec.role == Role::Guest { GUEST_PLACES } else { OUTSIDE_PLACES };
        Some(Box::new(Self {
            spec: spec.guard.clone(),
            role: spec.role,
            fixed_macs: spec.source == SourceMode::Static,
            last_mac: MacAddr::ZERO,
            cache: Cache::new(sources),
            egress: Cache::new(GUEST_PLACES),
            generation: 0,
            egress_generation: 0,
            stale: 0,
            buckets: Buckets::default(),
            violations: Violations::default(),
            claims: Vec::new(),
            found_full: None,
            asked: ArrayVec::new(),
            tried: ArrayVec::new(),
            clients: Vec::new(),
            requests: Requests::default(),
            grants: Grants::default(),
            fragments: Fragments::default(),
        }))
    }

    /// Takes over what a port keeps when its spec changes: who it is, and how often it failed.
    pub(crate) fn inherit(&mut self, old: &mut Self) {
        self.last_mac = old.last_mac;
        self.claims = core::mem::take(&mut old.claims);
        self.asked = core::mem::take(&mut old.asked);
        self.tried = core::mem::take(&mut old.tried);
        self.clients = core::mem::take(&mut old.clients);
        self.requests = core::mem::take(&mut old.requests);
        self.grants = core::mem::take(&mut old.grants);
        self.violations = core::mem::take(&mut old.violations);
        // Another rate begins with a quiet time behind it.
        if (self.spec.rates, self.spec.storm) == (old.spec.rates, old.spec.storm) {
            self.buckets = core::mem::take(&mut old.buckets);
        }
        self.fragments = core::mem::take(&mut old.fragments);
        if self.spec.first_come == old.spec.first_come {
            self.found_full = old.found_full;
        }
    }

    /// Forgets accepted sources that may not hold any more. Called before a batch is classified.
    #[inline]
    pub(crate) fn renew(&mut self, now: Instant, generation: u32) {
        if self.generation != generation || now.as_nanos() >= self.stale {
            self.generation = generation;
            self.stale = now.as_nanos().saturating_add(CACHE_NANOS);
            self.cache.forget();
        }
    }

    /// The same for destinations.
    #[inline]
    pub(crate) fn renew_egress(&mut self, generation: u32) {
        if self.egress_generation != generation {
            self.egress_generation = generation;
            self.egress.forget();
        }
    }

    /// When the outside was asked for an address on the port's behalf, if that still says anything.
    pub(super) fn asked_for(&self, now: Instant, address: Local) -> Option<Instant> {
        let (_, at) = self.asked.iter().find(|(known, _)| *known == address)?;
        (now.saturating_since(*at) < super::claims::ASKED_TIME).then_some(*at)
    }

    /// Takes note of an address that the port probes for.
    pub(super) fn tries(&mut self, address: Local) {
        self.tried.retain(|known| *known != address);
        if self.tried.is_full() {
            self.tried.remove(0);
        }
        self.tried.push(address);
    }

    /// Whether the port gets only what is for one of its addresses (checks 53 and 54).
    #[inline]
    pub(crate) fn is_strict(&self) -> bool {
        self.role == Role::Guest && matches!(self.spec.mode, GuardMode::Static | GuardMode::Dhcp)
    }

    /// Whether it matters for whom packets are that go there (check 54).
    #[inline]
    pub(crate) fn looks_at_destinations(&self) -> bool {
        self.role == Role::Guest && self.spec.mode != GuardMode::Off
    }

    /// Whether frames for stations that nobody is known to be go there.
    pub(crate) fn may_be_anybody(&self) -> bool {
        self.role != Role::Guest || self.spec.mode == GuardMode::Learn
    }
}
