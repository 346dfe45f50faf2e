//! A guest's place in its network: the connection to the hypervisor, and coming back after its crash.
//!
//! The guest is in the network as long as the connection is open. The link's descriptor stays with us, so
//! whoever serves the network next gets the same link under the same name.
//!
//! Coming back may take as long as a hypervisor that is stopped or starts slowly likes, so a thread does it,
//! while the process goes on to pass signals and to see its command end.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use host::api::client::{Client, ClientError};
use host::api::message::{
    Call, Closed, Ending, Event, GuestKind, Join, Joined, LinkArgs, LinkMechanism, Linked,
};
use host::names::DEFAULT_NETWORK;
use host::start::{StartError, StartOptions, connect_or_start};

/// Between tries to come back; the first one is made at once.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// After so many failed tries the guest's user is told. A network that is only started anew is back before.
const TRIES_UNTOLD: u32 = 2;
/// A place that was lost sooner than this counts as a try that failed: a link that closes at once would
/// otherwise be handed over again and again.
const STEADY: Duration = Duration::from_secs(10);

/// What the guest's interface has from its network.
fn planned(joined: &Joined) -> (&str, &str, &str, u16) {
    (&joined.mac, &joined.ipv4, &joined.ipv6, joined.mtu)
}

/// How often a hypervisor may end before it answers a new guest.
const JOIN_TRIES: u32 = 5;

/// Whether the hypervisor ended before it answered.
fn is_gone(error: &anyhow::Error) -> bool {
    let client = match error.downcast_ref::<StartError>() {
        Some(StartError::Client(client)) => Some(client),
        _ => error.downcast_ref(),
    };
    matches!(client, Some(ClientError::Gone { .. }))
}

/// A network, and the directory in which it is published if that is not the usual one.
#[derive(Debug, Clone)]
pub struct Where {
    pub net: String,
    pub dir: Option<PathBuf>,
}

/// Another network is published in the directory than was named.
#[derive(Debug)]
pub struct WrongNetwork {
    directory: PathBuf,
    asked: String,
    serves: String,
}

impl fmt::Display for WrongNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, asked, serves } = self;
        let directory = directory.display();
        write!(
            f,
            "{directory} is the directory of network {serves}, not of {asked}; name that one, or leave out --net"
        )
    }
}

impl std::error::Error for WrongNetwork {}

/// Whether `net` may be the network that is served in a directory which was given. The default is what is taken for
/// no name at all.
///
/// # Errors
/// It is another one.
pub fn is_meant(net: &str, serves: &str, directory: &Path) -> Result<(), WrongNetwork> {
    if [DEFAULT_NETWORK, serves].contains(&net) {
        return Ok(());
    }
    let directory = directory.to_owned();
    Err(WrongNetwork { directory, asked: net.to_owned(), serves: serves.to_owned() })
}

/// What a guest asks of its network.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory as an absolute path.
    network: Where,
    pub name: Option<String>,
    /// What the name is derived from without one.
    pub command: String,
    pub mac: Option<wire::MacAddr>,
    pub kind: GuestKind,
    /// As `run` takes them from the command line.
    pub publish: Vec<String>,
    pub allow_host: Vec<String>,
    pub macs: u16,
    pub routes: Vec<String>,
    /// The way out of the network, which is started with it, or has it already.
    pub uplink: Option<String>,
}

impl Request {
    #[must_use]
    pub fn new(network: Where, kind: GuestKind) -> Self {
        let dir = network.dir.map(|dir| std::path::absolute(&dir).unwrap_or(dir));
        Self {
            network: Where { dir, ..network },
            name: None,
            command: String::new(),
            mac: None,
            kind,
            publish: Vec::new(),
            allow_host: Vec::new(),
            macs: 0,
            routes: Vec::new(),
            uplink: None,
        }
    }

    /// Joins the network; a guest that was in it as `before` says comes back.
    ///
    /// What was started on demand is started again as it was. A network that somebody configured is only waited
    /// for: started here it would have no VLANs, no isolation and no declared ports, and would be in its owner's way.
    fn join(&self, before: Option<&Joined>) -> anyhow::Result<(Client, Joined)> {
        // Somebody may end the network between our connection and its answer, as he may have done before; then
        // another one is started.
        let mut tries = if before.is_none() { JOIN_TRIES } else { 1 };
        // A hypervisor that was killed may have noted the guest as present before it could answer: the next one then
        // keeps the name for it, and it is us who come back.
        let mut resume = before.is_some();
        loop {
            tries -= 1;
            match self.try_join(before, resume) {
                Err(error) if tries > 0 && is_gone(&error) => resume = self.name.is_some(),
                joined => return joined,
            }
        }
    }

    fn try_join(&self, before: Option<&Joined>, resume: bool) -> anyhow::Result<(Client, Joined)> {
        let Where { net, dir } = &self.network;
        let dir = dir.as_deref();
        let mut client = match before.map(|joined| &joined.restart) {
            None => {
                let options =
                    StartOptions { uplink: self.uplink.clone(), ..StartOptions::default() };
                connect_or_start(net, dir, &options)?
            }
            Some(Some(restart)) => connect_or_start(net, dir, &restart.into())?,
            Some(None) => host::start::connect(net, dir)?,
        };
        if let Some(dir) = dir {
            is_meant(net, &client.hello()?.network, dir)?;
        }
        let join = Join {
            guest: self.name.clone(),
            command: self.command.clone(),
            mac: self.mac.map(|mac| mac.to_string()),
            kind: self.kind,
            resume,
            publish: self.publish.clone(),
            allow_host: self.allow_host.clone(),
            macs: self.macs,
            routes: self.routes.clone(),
            // Of who comes back the network asks nothing that was right when he came.
            uplink: self.uplink.clone().filter(|_| before.is_none()),
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

    /// Whether the interface was deleted: nobody can be handed it any more.
    fn is_gone(&self) -> bool {
        match self.args.link {
            LinkMechanism::Tap => sys::tap::is_gone(self.fd.as_fd()),
            LinkMechanism::Packet => sys::packet::bound_interface(self.fd.as_fd()).is_err(),
        }
    }

    fn hand_over(&self, client: &mut Client) -> anyhow::Result<Linked> {
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(self.fd.as_fd())
            .chain(self.namespaces.iter().map(OwnedFd::as_fd))
            .collect();
        Ok(client.call::<Linked>(&Call::Link(self.args.clone()), &fds)?.value)
    }
}

/// What has become of the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// As it was, or as it was again.
    None,
    /// Back, but the network planned other addresses meanwhile.
    Moved,
    /// The network is one that its owner has to start, and has not for now. Said once for each loss.
    Waiting { why: String },
    /// Somebody took the port away; the guest is to end if `end` says so.
    Closed { why: String, end: bool },
}

/// A return that is under way.
#[derive(Debug)]
struct Return {
    /// Hung up when there is a result.
    done: OwnedFd,
    result: Receiver<anyhow::Result<(Client, Joined)>>,
}

impl Return {
    fn start(
        request: Request,
        before: Joined,
        link: Option<Arc<KeptLink>>,
    ) -> anyhow::Result<Self> {
        let (done, working) = sys::process::pipe().context("no pipe")?;
        let (send, result) = channel();
        let work = move || {
            let back = request.join(Some(&before)).and_then(|(mut client, joined)| {
                if let Some(link) = &link {
                    link.hand_over(&mut client)?;
                }
                Ok((client, joined))
            });
            // Nobody waits for it any more: the guest has ended.
            let _ = send.send(back);
            drop(working);
        };
        std::thread::Builder::new().name("return".to_owned()).spawn(work).context("no thread")?;
        Ok(Self { done, result })
    }
}

/// When to try again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    /// How long to wait after that try.
    pause: Duration,
}

impl Retry {
    /// After a place was lost that was taken `since`, with `pause` the pause reached before.
    fn after_loss(now: Instant, since: Instant, pause: Duration) -> Self {
        if now.saturating_duration_since(since) >= STEADY {
            Self { at: now, pause: RETRY_FIRST }
        } else {
            Self::after_failure(now, pause)
        }
    }

    fn after_failure(now: Instant, pause: Duration) -> Self {
        Self { at: now + pause, pause: (pause * 2).clamp(RETRY_FIRST, RETRY_LAST) }
    }
}

/// A guest's connection.
#[derive(Debug)]
pub struct Session {
    request: Request,
    joined: Joined,
    link: Option<Arc<KeptLink>>,
    client: Option<Client>,
    /// Since when there was a client; how long to pause if it is lost soon.
    since: Instant,
    pause: Duration,
    retry: Option<Retry>,
    /// Tries to come back that failed since the place was lost.
    failed: u32,
    /// The user has been told that they fail.
    told: bool,
    coming: Option<Return>,
}

impl Session {
    /// Sees to it that somebody serves the network.
    ///
    /// # Errors
    /// The sentence of whoever refused.
    pub fn prepare(network: &Where, uplink: Option<&str>) -> anyhow::Result<()> {
        let options = StartOptions { uplink: uplink.map(str::to_owned), ..StartOptions::default() };
        connect_or_start(&network.net, network.dir.as_deref(), &options)?;
        Ok(())
    }

    /// Joins the network, starting it if nothing serves it.
    ///
    /// # Errors
    /// The sentence of whoever refused.
    pub fn open(mut request: Request) -> anyhow::Result<Self> {
        let (client, joined) = request.join(None)?;
        request.name = Some(joined.guest.clone());
        Ok(Self {
            request,
            joined,
            link: None,
            client: Some(client),
            since: Instant::now(),
            // The hypervisor that a young guest loses was no trouble yet.
            pause: Duration::ZERO,
            retry: None,
            failed: 0,
            told: false,
            coming: None,
        })
    }

    #[must_use]
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.request.network.dir.as_deref()
    }

    /// Hands the guest's link to the hypervisor, and keeps it. Answers what the user is to be told, if anything.
    ///
    /// # Errors
    /// The hypervisor's sentence.
    pub fn link(&mut self, link: KeptLink) -> anyhow::Result<Option<String>> {
        let client = self.client.as_mut().ok_or_else(|| anyhow!("the session has ended"))?;
        let linked = match link.hand_over(client) {
            // Somebody ended the network after we had joined it: as if he had done so before.
            Err(error) if is_gone(&error) => {
                let (mut client, joined) = self.request.join(Some(&self.joined))?;
                if planned(&joined) != planned(&self.joined) {
                    bail!(
                        "network {} was started anew with other addresses while the guest was made; try again",
                        self.request.network.net
                    );
                }
                let linked = link.hand_over(&mut client)?;
                self.client = Some(client);
                self.joined = joined;
                linked
            }
            result => result?,
        };
        self.link = Some(Arc::new(link));
        Ok(linked.note)
    }

    /// Whether the hypervisor has had the link.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// What to wait for, if there is anything: [`Session::attend`] is to be called when it is readable.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let coming = self.coming.as_ref().map(|coming| coming.done.as_fd());
        coming.or_else(|| self.client.as_ref().map(Client::fd))
    }

    /// Milliseconds until [`Session::attend`] is to be called even if nothing is readable.
    #[must_use]
    pub fn timeout(&self) -> Option<u32> {
        let left = self.retry?.at.saturating_duration_since(Instant::now()).as_millis();
        Some(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Reads what the hypervisor tells, and comes back to the network when the connection broke. Waits for
    /// nothing.
    pub fn attend(&mut self) -> Change {
        if let Some(client) = &mut self.client {
            match client.pending_event() {
                Ok(None | Some(Event::Other)) => return Change::None,
                Ok(Some(Event::Closed(Closed { why, ending, .. }))) => {
                    self.client = None;
                    if ending != Ending::LinkLost {
                        return Change::Closed { why, end: ending == Ending::GuestEnds };
                    }
                }
                Err(_) => self.client = None,
            }
            if self.link.as_ref().is_some_and(|link| link.is_gone()) {
                let why = format!(
                    "guest {}'s interface was deleted; it has no network until it is started again",
                    self.joined.guest
                );
                return Change::Closed { why, end: false };
            }
            self.retry = Some(Retry::after_loss(Instant::now(), self.since, self.pause));
            (self.failed, self.told) = (0, false);
        }
        if let Some(coming) = &self.coming {
            match coming.result.try_recv() {
                Err(TryRecvError::Empty) => return Change::None,
                Ok(Ok((client, joined))) => return self.has_come_back(client, joined),
                Ok(Err(error)) => {
                    self.has_failed();
                    if let Some(why) = self.waiting_for(&error) {
                        return Change::Waiting { why };
                    }
                }
                Err(TryRecvError::Disconnected) => self.has_failed(),
            }
        }
        if self.retry.is_some_and(|retry| retry.at <= Instant::now()) {
            self.come_back();
        }
        Change::None
    }

    fn come_back(&mut self) {
        if let Some(retry) = self.retry.take() {
            self.pause = retry.pause;
        }
        let (request, before) = (self.request.clone(), self.joined.clone());
        match Return::start(request, before, self.link.clone()) {
            Ok(coming) => self.coming = Some(coming),
            Err(_) => self.has_failed(),
        }
    }

    /// What the guest's user is told of a try that failed: once for each loss, and not while the network may just be
    /// starting anew.
    fn waiting_for(&mut self, error: &anyhow::Error) -> Option<String> {
        if self.told || self.failed < TRIES_UNTOLD {
            return None;
        }
        let Self { request, joined: Joined { guest, .. }, .. } = &*self;
        let net = &request.network.net;
        let why = match error.downcast_ref() {
            Some(ClientError::Refused(failure)) => {
                format!("network {net} does not take guest {guest} back for now: {failure}")
            }
            // What was started for guests we start again ourselves.
            _ if self.joined.restart.is_some() => return None,
            _ => format!(
                "network {net} is down; guest {guest} waits until its owner serves it again"
            ),
        };
        self.told = true;
        Some(why)
    }

    fn has_failed(&mut self) {
        self.coming = None;
        self.failed = self.failed.saturating_add(1);
        self.retry = Some(Retry::after_failure(Instant::now(), self.pause));
    }

    fn has_come_back(&mut self, client: Client, joined: Joined) -> Change {
        self.coming = None;
        self.client = Some(client);
        self.since = Instant::now();
        let moved = planned(&joined) != planned(&self.joined);
        self.joined = joined;
        if moved { Change::Moved } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lost_at_once_is_not_taken_again_at_once() {
        let start = Instant::now();
        let young = Retry::after_loss(start, start, Duration::ZERO);
        assert_eq!((young.at, young.pause), (start, RETRY_FIRST));
        let mut pause = RETRY_FIRST;
        let mut waited = Vec::new();
        for _ in 0..7 {
            let again = Retry::after_loss(start, start, pause);
            waited.push((again.at - start).as_millis());
            pause = again.pause;
        }
        assert_eq!(waited, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        let steady = Retry::after_loss(start + STEADY, start, RETRY_LAST);
        assert_eq!((steady.at, steady.pause), (start + STEADY, RETRY_FIRST));
    }
}
