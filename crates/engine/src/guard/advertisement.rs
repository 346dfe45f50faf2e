//! Router advertisements from where they may come (check 38; RFC 4861, 6.1.2; RFC 8106).
//!
//! What is malformed, or promises what no host may believe, is refused whoever sends it. What the
//! outside says is held against what the network itself says, where it does: the prefixes that it
//! announces, and the last advertisement of its own router. An outsider may repeat these; he may not
//! add a prefix, a resolver or a route to them, nor say that a prefix of theirs is over.

use core::net::Ipv6Addr;
use core::time::Duration;

use arrayvec::ArrayVec;
use ipnet::Ipv6Net;
use wire::ndp::{self, Options, option};
use wire::parse::Ipv6;

use crate::guard::Judge;
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;

/// Prefixes, routes, and resolvers, of one advertisement that are looked at. One with more is refused.
const MOST: usize = 16;

/// For how long the advertisement of the network's own router stands for what the network says: as
/// long as the longest time between two (RFC 4861, 6.2.1).
const OWN_TIME: Duration = Duration::from_secs(1800);

/// Bytes of an advertisement before its options.
const FIXED: usize = 16;

/// On-link and autonomous.
const PREFIX_FLAGS: u8 = 0xc0;
const AUTONOMOUS: u8 = 0x40;

/// The least MTU of a link that carries IPv6 (RFC 8200, 5).
const MTU_MIN: u32 = wire::ipv6::MTU_MIN as u32;

/// One prefix of an advertisement.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    net: Ipv6Net,
    /// Hosts make addresses of it.
    autonomous: bool,
    /// For how long addresses of it are good, and good to begin with, in seconds.
    valid: u32,
    preferred: u32,
}

/// What is to be sent to the router: a route's prefix, and for how many seconds. It is what the
/// lifetime of the router is for `::/0` (RFC 4191, 2.3).
type Route = (Ipv6Net, u32);

/// What an advertisement says.
#[derive(Debug)]
struct Advertisement {
    prefixes: ArrayVec<Prefix, MOST>,
    routes: ArrayVec<Route, MOST>,
    resolvers: ArrayVec<Ipv6Addr, MOST>,
}

/// What the network's own router said last.
#[derive(Debug)]
pub(crate) struct Own {
    prefixes: ArrayVec<Prefix, MOST>,
    routes: ArrayVec<Route, MOST>,
    resolvers: ArrayVec<Ipv6Addr, MOST>,
    until: Instant,
}

impl Advertisement {
    /// Reads an ICMPv6 message; nothing if it is not sound.
    fn read(message: &[u8]) -> Option<Self> {
        let &[_, code, _, _, _, _, hi, lo] = message.first_chunk()?;
        let options = Options::new(message.get(FIXED..)?);
        let mut read =
            Self { prefixes: ArrayVec::new(), routes: ArrayVec::new(), resolvers: ArrayVec::new() };
        read.routes.push((Ipv6Net::default(), u16::from_be_bytes([hi, lo]).into()));
        for found in options {
            match found.kind {
                option::PREFIX => {
                    if let Some(prefix) = prefix(found.body)? {
                        read.prefixes.try_push(prefix).ok()?;
                    }
                }
                option::ROUTE => read.routes.try_push(route(found.body)?).ok()?,
                option::MTU => {
                    let mtu = u32::from_be_bytes(*found.body.get(2..)?.first_chunk()?);
                    (mtu >= MTU_MIN).then_some(())?;
                }
                option::RDNSS => {
                    // Two reserved bytes and a lifetime, then addresses.
                    let (addresses, rest) = found.body.get(6..)?.as_chunks::<16>();
                    (rest.is_empty() && !addresses.is_empty()).then_some(())?;
                    for address in addresses {
                        let address = Ipv6Addr::from(*address);
                        let nobody = address.is_multicast()
                            || address.is_unspecified()
                            || address.is_loopback();
                        (!nobody).then_some(())?;
                        read.resolvers.try_push(address).ok()?;
                    }
                }
                _ => {}
            }
        }
        (code == 0 && options.is_sound()).then_some(read)
    }
}

/// A prefix information option without type and length (RFC 4861, 4.6.2): nothing if it breaks the
/// rules of RFC 4862, 5.5.3; and no prefix if it is for nothing.
fn prefix(body: &[u8]) -> Option<Option<Prefix>> {
    let &[len, flags, v0, v1, v2, v3, p0, p1, p2, p3] = body.first_chunk()?;
    let bits: [u8; 16] = *body.get(14..)?.first_chunk()?;
    let net = Ipv6Net::new(bits.into(), len).ok()?;
    let valid = u32::from_be_bytes([v0, v1, v2, v3]);
    let preferred = u32::from_be_bytes([p0, p1, p2, p3]);
    let sound = preferred <= valid
        && !net.network().is_unicast_link_local()
        && !net.network().is_multicast();
    let net = net.trunc();
    let prefix = Prefix { net, autonomous: flags & AUTONOMOUS != 0 && len == 64, valid, preferred };
    sound.then_some((flags & PREFIX_FLAGS != 0).then_some(prefix))
}

/// A route information option without type and length (RFC 4191, 2.3): its prefix has as many bytes as
/// it needs, or more.
fn route(body: &[u8]) -> Option<Route> {
    let (&[len, _, l0, l1, l2, l3], bits) = body.split_first_chunk::<6>()?;
    let mut prefix = [0; 16];
    prefix.get_mut(..bits.len())?.copy_from_slice(bits);
    let net = Ipv6Net::new(prefix.into(), len).ok()?;
    let sound = usize::from(len).div_ceil(8) <= bits.len()
        && !net.network().is_unicast_link_local()
        && !net.network().is_multicast();
    sound.then_some((net.trunc(), u32::from_be_bytes([l0, l1, l2, l3])))
}

impl Judge<'_> {
    /// A message of the router or of the outside.
    pub(super) fn router_advertisement(&mut self, ip: &Ipv6) -> Result<(), Reason> {
        let sound = ip.hop_limit == ndp::HOP_LIMIT && ip.source.is_unicast_link_local();
        let message = Advertisement::read(self.icmpv6_message(ip)).filter(|_| sound);
        let Some(said) = message else {
            return self.refuse(Reason::RouterAdvertisement);
        };
        let outside = self.me.role == Role::Uplink;
        if outside {
            self.demand(!self.contradicts(&said), Reason::RouterAdvertisement)?;
        }
        let (now, memory) = (self.now, &mut self.engine.memory);
        for prefix in said.prefixes.iter().filter(|prefix| prefix.autonomous) {
            let valid = Duration::from_secs(prefix.valid.into());
            if outside {
                memory.prefixes.outside(now, prefix.net, valid);
            } else {
                memory.prefixes.own(now, prefix.net, valid);
            }
        }
        if !outside {
            let Advertisement { prefixes, routes, resolvers } = said;
            let until = now + OWN_TIME;
            memory.own_advertisement = Some(Own { prefixes, routes, resolvers, until });
        }
        Ok(())
    }

    /// Whether the outside says something else than the network.
    fn contradicts(&self, said: &Advertisement) -> bool {
        let announced = &self.engine.network.guard.announced;
        let foreign = |prefix: &Prefix| !announced.iter().any(|own| own.contains(&prefix.net));
        if !announced.is_empty() && said.prefixes.iter().any(foreign) {
            return true;
        }
        // The way to the network's own prefixes, or to a part of one, is in here.
        let diverts =
            |(net, time): &Route| *time > 0 && announced.iter().any(|own| own.contains(net));
        if said.routes.iter().any(diverts) {
            return true;
        }
        let own = self.engine.memory.own_advertisement.as_ref();
        own.filter(|own| self.now < own.until).is_some_and(|own| {
            let known = |(net, time): &Route| {
                *time == 0 || own.routes.iter().any(|(of, most)| of == net && time <= most)
            };
            // A lifetime that is shorter ends the guests' addresses, a preferred one at once.
            let shortens = |its: &Prefix| {
                own.prefixes.iter().any(|of| {
                    of.net == its.net && (its.valid < of.valid || its.preferred < of.preferred)
                })
            };
            said.prefixes.iter().any(shortens)
                || !said.routes.iter().all(known)
                || said.resolvers.iter().any(|resolver| !own.resolvers.contains(resolver))
        })
    }
}
