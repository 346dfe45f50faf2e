//! A guest's place in its network: the connection to the hypervisor, and coming back after its crash.
//!
//! The guest is in the network as long as the connection is open. The link's descriptor stays with us, so
//! whoever serves the network next gets the same link under the same name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use host::api::client::Client;
use host::api::message::{
    Call, Closed, Event, GuestKind, Join, Joined, LinkArgs, LinkMechanism, Linked,
};
use host::start::{StartOptions, connect_or_start};

use crate::cli::NetworkArgs;

/// Between tries to come back, the first one at once.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// What a guest asks of its network.
#[derive(Debug, Clone)]
pub struct Request {
    pub net: String,
    pub dir: Option<PathBuf>,
    pub name: Option<String>,
    /// What the name is derived from without one.
    pub command: String,
    pub mac: Option<wire::MacAddr>,
    pub kind: GuestKind,
}

impl Request {
    #[must_use]
    pub fn new(network: &NetworkArgs, kind: GuestKind) -> Self {
        let dir = network.dir.as_deref().map(|dir| std::path::absolute(dir).unwrap_or(dir.into()));
        Self { net: network.net.clone(), dir, name: None, command: String::new(), mac: None, kind }
    }

    /// Joins the network; a guest that was in it as `before` says comes back.
    ///
    /// What was started on demand is started again as it was. A network that somebody configured is only waited
    /// for: started here it would have no VLANs, no isolation and no declared ports, and would be in its owner's way.
    fn join(&self, before: Option<&Joined>) -> anyhow::Result<(Client, Joined)> {
        let dir = self.dir.as_deref();
        let mut client = match before.map(|joined| &joined.restart) {
            None => connect_or_start(&self.net, dir, &StartOptions::default())?,
            Some(Some(restart)) => connect_or_start(&self.net, dir, &restart.into())?,
            Some(None) => host::start::connect(&self.net, dir)?,
        };
        let join = Join {
            guest: self.name.clone(),
            command: self.command.clone(),
            mac: self.mac.map(|mac| mac.to_string()),
            kind: self.kind,
            resume: before.is_some(),
        };
        let joined = client.call::<Joined>(&Call::Join(join), &[])?.value;
        Ok((client, joined))
    }
}

/// A link's descriptor with what belongs to it, kept for the next hypervisor.
#[derive(Debug)]
pub struct KeptLink {
    pub args: LinkArgs,
    pub fd: OwnedFd,
    /// As `args.namespaces` names them.
    pub namespaces: Vec<OwnedFd>,
}

impl KeptLink {
    /// The arguments for a link without or with namespaces.
    #[must_use]
    pub fn new(tap: bool, vnet_hdr_len: u8, offloads: Vec<String>, fd: OwnedFd) -> Self {
        let link = if tap { LinkMechanism::Tap } else { LinkMechanism::Packet };
        let args =
            LinkArgs { link, vnet_hdr_len, offloads, init_pid: None, namespaces: Vec::new() };
        Self { args, fd, namespaces: Vec::new() }
    }

    fn hand_over(&self, client: &mut Client) -> anyhow::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(self.fd.as_fd())
            .chain(self.namespaces.iter().map(OwnedFd::as_fd))
            .collect();
        client.call::<Linked>(&Call::Link(self.args.clone()), &fds)?;
        Ok(())
    }
}

/// What has become of the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// As it was, or as it was again.
    None,
    /// Back, but the network planned other addresses meanwhile.
    Moved,
    /// Somebody took the port away; the guest is to end if `end` says so.
    Closed { why: String, end: bool },
}

/// A guest's connection.
#[derive(Debug)]
pub struct Session {
    request: Request,
    joined: Joined,
    link: Option<KeptLink>,
    client: Option<Client>,
    /// When to try again, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
    /// Somebody ended it on purpose.
    over: bool,
}

impl Session {
    /// Joins the network, starting it if nothing serves it.
    ///
    /// # Errors
    /// The sentence of whoever refused.
    pub fn open(mut request: Request) -> anyhow::Result<Self> {
        let (client, joined) = request.join(None)?;
        request.name = Some(joined.guest.clone());
        Ok(Self { request, joined, link: None, client: Some(client), retry: None, over: false })
    }

    #[must_use]
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    #[must_use]
    pub fn dir(&self) -> Option<&std::path::Path> {
        self.request.dir.as_deref()
    }

    /// Hands the guest's link to the hypervisor, and keeps it.
    ///
    /// # Errors
    /// The hypervisor's sentence.
    pub fn link(&mut self, link: KeptLink) -> anyhow::Result<()> {
        let client = self.client.as_mut().ok_or_else(|| anyhow!("the session has ended"))?;
        link.hand_over(client)?;
        self.link = Some(link);
        Ok(())
    }

    /// Whether the hypervisor has had the link.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// What to wait for, if connected.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.client.as_ref().map(Client::fd)
    }

    /// Milliseconds until [`Session::attend`] is to be called even if nothing is readable.
    #[must_use]
    pub fn timeout(&self) -> Option<u32> {
        let (at, _) = self.retry?;
        let left = at.saturating_duration_since(Instant::now()).as_millis();
        Some(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Reads what the hypervisor tells, and comes back to the network when the connection broke.
    pub fn attend(&mut self) -> Change {
        if let Some(client) = &mut self.client {
            match client.pending_event() {
                Ok(None | Some(Event::Other)) => return Change::None,
                Ok(Some(Event::Closed(closed))) => {
                    let Closed { why, wanted, end, .. } = closed;
                    self.client = None;
                    if wanted {
                        self.over = true;
                        return Change::Closed { why, end };
                    }
                }
                Err(_) => self.client = None,
            }
            self.retry = Some((Instant::now(), RETRY_FIRST));
        }
        match self.retry {
            Some((at, _)) if self.over || at > Instant::now() => Change::None,
            Some((_, pause)) => self.come_back(pause),
            None => Change::None,
        }
    }

    fn come_back(&mut self, pause: Duration) -> Change {
        let result = self.request.join(Some(&self.joined)).and_then(|(mut client, joined)| {
            if let Some(link) = &self.link {
                link.hand_over(&mut client)?;
            }
            Ok((client, joined))
        });
        match result {
            Ok((client, joined)) => {
                self.client = Some(client);
                self.retry = None;
                let plan = |j: &Joined| (j.mac.clone(), j.ipv4.clone(), j.ipv6.clone(), j.mtu);
                let moved = plan(&joined) != plan(&self.joined);
                self.joined = joined;
                if moved { Change::Moved } else { Change::None }
            }
            Err(_) => {
                self.retry = Some((Instant::now() + pause, (pause * 2).min(RETRY_LAST)));
                Change::None
            }
        }
    }
}
