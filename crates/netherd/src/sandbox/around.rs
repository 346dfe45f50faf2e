//! Init's answers about the network around a guest: for a netherd that runs inside ([`host::outer`]).
//!
//! A helper answers each question, so that init waits for nobody. It belongs to init's namespaces, whose
//! privilege reaches into the guest's: so a guest without capabilities can have inner networks as well. What
//! it makes, it makes in the guest's network namespace, where it can do no more than the guest was allowed by
//! `run --macs` and `run --route`.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context, anyhow, bail};
use host::outer::{Asked, Outer, Question, Routed, Socket};
use sys::netlink::{LinkChange, Netlink, PeerNamespace};
use sys::ns::{Forked, Namespaces, Parenthood};

use super::interface::{self, Link};
use crate::output::failure;

/// Numbers that are tried for an inner network's interface.
const INTERFACES_MAX: u32 = 64;
/// Bytes of a packet socket's buffers, each way.
const PACKET_BUFFER: usize = 4 << 20;

/// What init needs to answer.
#[derive(Debug)]
pub struct Around {
    listener: UnixListener,
    outer: Outer,
}

impl Around {
    #[must_use]
    pub fn new(listener: OwnedFd, outer: Outer) -> Self {
        Self { listener: listener.into(), outer }
    }

    /// Readable when [`Around::attend`] is to be called.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes in one who asks, and has a helper answer. The namespaces are the guest's.
    pub fn attend(&self, mount: BorrowedFd<'_>, network: BorrowedFd<'_>) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        // The guest's own user is ours; other users that live in the guest have no business with it.
        let allowed = sys::unix::peer_cred(stream.as_fd())
            .is_ok_and(|peer| peer.uid == sys::unix::effective_uid());
        if !allowed {
            return;
        }
        // Reaped with init's other children.
        let Ok(Forked::Child) = sys::ns::fork(Namespaces::NONE, Parenthood::Own) else { return };
        let _ = self.answer(stream, mount, network);
        sys::process::exit_now(0)
    }

    /// In the helper.
    fn answer(
        &self,
        stream: UnixStream,
        mount: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
    ) -> anyhow::Result<()> {
        let asked = Asked::read(stream)?;
        let made = match asked.question {
            Question::Who => return Ok(asked.answer(&self.outer, None)?),
            Question::Bridge => {
                self.bridge(network).map(|(socket, fd)| asked.answer(socket, Some(fd)))
            }
            Question::Route { ipv4, ipv6, mtu } => {
                let addresses: Vec<(IpAddr, u8)> = [
                    ipv4.map(|(address, length)| (IpAddr::V4(address), length)),
                    ipv6.map(|(address, length)| (IpAddr::V6(address), length)),
                ]
                .into_iter()
                .flatten()
                .collect();
                self.route(&addresses, mtu, mount, network)
                    .map(|(routed, fd)| asked.answer(routed, Some(fd)))
            }
        };
        match made {
            Ok(answered) => Ok(answered?),
            Err(error) => Ok(asked.refuse(&failure::sentence(&error))?),
        }
    }

    /// A packet socket on the guest's interface.
    fn bridge(&self, network: BorrowedFd<'_>) -> anyhow::Result<(Socket, OwnedFd)> {
        if self.outer.macs == 0 {
            bail!(
                "guest {} may use no more MAC addresses on network {}; start it with `netherd run --macs N`, where \
                 N is the number of inner guests",
                self.outer.guest,
                self.outer.network
            );
        }
        sys::ns::enter(network, Namespaces::NETWORK)?;
        let link = Netlink::open()?
            .link(interface::NAME)
            .with_context(|| format!("the guest no longer has {}", interface::NAME))?;
        let fd = sys::packet::open(link.index, PACKET_BUFFER)
            .with_context(|| format!("no packet socket on {}", interface::NAME))?;
        Ok((Socket { offloads: interface::packet_offloads() }, fd))
    }

    /// An interface in the guest's namespace with these addresses, and the kernel's routing: a tap's, or,
    /// where `/dev/net/tun` is closed to the guest, the inner end of a veth pair.
    fn route(
        &self,
        addresses: &[(IpAddr, u8)],
        mtu: u16,
        mount: BorrowedFd<'_>,
        network: BorrowedFd<'_>,
    ) -> anyhow::Result<(Routed, OwnedFd)> {
        if self.outer.routes.is_empty() {
            bail!(
                "no prefix is routed to guest {} of network {}; start it with `netherd run --route PREFIX`",
                self.outer.guest,
                self.outer.network
            );
        }
        for (address, length) in addresses {
            let routed =
                |route: &&ipnet::IpNet| route.contains(address) && route.prefix_len() <= *length;
            if !self.outer.routes.iter().any(|route| routed(&route)) {
                bail!(
                    "{address}/{length} is not in a prefix that is routed to guest {}",
                    self.outer.guest
                );
            }
        }
        // For its /dev; init's own is not one.
        sys::ns::enter(mount, Namespaces::MOUNT)?;
        sys::ns::enter(network, Namespaces::NETWORK)?;
        let mut netlink = Netlink::open()?;
        let name = (0..INTERFACES_MAX)
            .map(|number| format!("inner{number}"))
            .find(|name| netlink.link(name).is_err())
            .ok_or_else(|| anyhow!("the guest has {INTERFACES_MAX} inner interfaces already"))?;
        let link = match interface::make_tap(&name) {
            Ok(link) => link,
            Err(why) => veth(&name, mtu, network).with_context(|| {
                format!("no tap can be made in the guest (/dev/net/tun: {why}), nor a veth pair")
            })?,
        };
        let index = netlink.link(&name)?.index;
        interface::trust_addresses(&name);
        let change =
            LinkChange { mtu: Some(u32::from(mtu)), up: Some(true), ..LinkChange::default() };
        netlink.change_link(index, &change)?;
        for (address, length) in addresses {
            netlink.add_address(index, *address, *length)?;
        }
        if addresses.iter().any(|(address, _)| address.is_ipv6()) {
            // The inner router asks for this station at once.
            interface::await_link_local(&mut netlink, index)?;
        }
        interface::forward();
        let Link { fd, tap, vnet_hdr_len, offloads } = link;
        Ok((Routed { interface: name, tap, vnet_hdr_len, offloads }, fd))
    }
}

/// A veth pair whose outer end is alone in a namespace that lives as long as its packet socket.
fn veth(name: &str, mtu: u16, network: BorrowedFd<'_>) -> anyhow::Result<Link> {
    sys::ns::unshare(Namespaces::NETWORK)?;
    let peer = PeerNamespace::Fd(network);
    let link = interface::make_veth(name, None, u32::from(mtu), peer)?;
    sys::ns::enter(network, Namespaces::NETWORK)?;
    interface::plain_inner_end(name);
    Ok(link)
}
