//! What guests ask for besides their addresses, and whether their network can give it.

use gateway::HostPort;
use ipnet::IpNet;

use super::Served;
use crate::api::message::{Code, Failure, Join};
use crate::config::{self, Forward};
use crate::daemon::caller::Caller;
use crate::names::Name;
use crate::worker::Worker;

/// What a guest asks for when it joins: all of it is for the owner of the hypervisor only.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub(super) publish: Vec<Forward>,
    pub(super) allow_host: Vec<HostPort>,
    /// MAC addresses besides its own.
    pub(super) macs: u16,
    /// Prefixes behind it.
    pub(super) routes: Vec<IpNet>,
}

/// A forward as a caller writes it; into `guest` if it names none.
pub(in crate::daemon) fn forward_of(text: &str, guest: Option<&Name>) -> Result<Forward, Failure> {
    Forward::parse(text, guest).map_err(|why| {
        Failure::new(Code::BadArgument, format!("{text:?} is not a forward: {why}."))
    })
}

impl Wishes {
    /// # Errors
    /// A sentence about the first that cannot be had.
    pub(super) fn read(args: &Join, name: &Name, caller: Caller) -> Result<Self, Failure> {
        let bad = |message: String| Failure::new(Code::BadArgument, message);
        let asked = !args.publish.is_empty()
            || !args.allow_host.is_empty()
            || args.macs > 0
            || !args.routes.is_empty();
        if asked && !caller.is_owner() {
            let message = format!(
                "Forwards, ports of the host, more MAC addresses and routes are for guests of the owner of this \
                 hypervisor (uid {}) and root.",
                sys::user::uid()
            );
            return Err(Failure::new(Code::NotAllowed, message));
        }
        let mut wishes = Self { macs: args.macs, ..Self::default() };
        for text in &args.publish {
            let forward = forward_of(text, Some(name))?;
            if forward.guest != *name {
                return Err(bad(format!(
                    "{text:?} is a forward into another guest than {name}: leave the name out."
                )));
            }
            wishes.publish.push(forward);
        }
        for text in &args.allow_host {
            let port =
                text.parse().map_err(|why: gateway::HostPortError| bad(format!("{why}.")))?;
            wishes.allow_host.push(port);
        }
        for text in &args.routes {
            let net = config::outside::parse_behind(text).map_err(|why| {
                let end = if why.ends_with('?') { "" } else { "." };
                bad(format!("{text:?} {why}{end}"))
            })?;
            wishes.routes.push(net);
        }
        Ok(wishes)
    }
}

impl Served {
    /// Whether guests could reach the host if a port of it was allowed.
    pub(super) fn check_allow_host(&self) -> Result<(), Failure> {
        let remedy = "allow no ports of the host there";
        self.check_gateway("The host is reached", remedy)
    }

    /// Whether a port of the host could lead to a guest: what leads in is what leads out.
    pub(super) fn check_publish(&self) -> Result<(), Failure> {
        self.check_gateway("Ports of the host lead to guests", "publish no ports there")
    }

    fn check_gateway(&self, what: &str, remedy: &str) -> Result<(), Failure> {
        let uplink = &self.config.outside.uplink;
        if uplink.is_nat() {
            return Ok(());
        }
        let message = format!(
            "{what} through the user-mode gateway, and the uplink of network {} is {uplink}: {remedy}, or give it \
             the uplink \"nat\".",
            self.config.name
        );
        Err(Failure::new(Code::WrongState, message))
    }

    /// Whether the network, which is up, leads where its guest was told it does.
    pub(super) fn check_uplink(&self, wanted: &str) -> Result<(), Failure> {
        let own = &self.config.outside.uplink;
        let same = wanted.parse().is_ok_and(|wanted: config::Uplink| {
            wanted == *own || (wanted.is_nat() && own.is_nat())
        });
        if same {
            return Ok(());
        }
        let name = &self.config.name;
        let message = format!(
            "Network {name} is up, and its uplink is {own}, not {wanted}: leave out --uplink, choose another \
            --net, or end the network first (netherd down {name})."
        );
        Err(Failure::new(Code::WrongState, message))
    }

    /// Whether prefixes can be behind a guest: nobody else has a part of them. `behind` is what is behind guests of all
    /// networks, which is routed only while they have their links.
    pub(super) fn check_routes(
        &self,
        worker: &Worker,
        routes: &[IpNet],
        behind: &[IpNet],
    ) -> Result<(), Failure> {
        for prefix in routes {
            let overlaps = |other: &IpNet| other.contains(prefix) || prefix.contains(other);
            // A default route leads elsewhere anyway.
            let routed = worker.router().routes().map(|route| route.prefix);
            let mut others = routed.filter(|it| it.prefix_len() > 0).chain(behind.iter().copied());
            if let Some(other) = others.find(overlaps) {
                let message = format!(
                    "{prefix} cannot be behind a guest: it overlaps {other}, which is routed elsewhere. Choose another."
                );
                return Err(Failure::new(Code::BadArgument, message));
            }
            if worker.interface(self.id).is_none() {
                let message =
                    format!("{prefix} cannot be behind a guest: the network has no router.");
                return Err(Failure::new(Code::WrongState, message));
            }
        }
        Ok(())
    }
}
