//! `netherd run`.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use host::api::message::{GuestKind, Joined};
use host::outer::Outer;
use sys::caps::Capabilities;
use sys::ns::{Child, Forked, Parenthood};

use crate::cli::{Caps, RunArgs};
use crate::command::default_config;
use crate::output;
use crate::output::failure::{Failure, NOT_STARTED};
use crate::sandbox::background;
use crate::sandbox::channel::{Channel, LinkMade, Order, Report};
use crate::sandbox::command::CommandLine;
use crate::sandbox::cover::Covers;
use crate::sandbox::front::{self, Caller, Front};
use crate::sandbox::identity::{Identity, Wishes};
use crate::sandbox::init::{self, Blueprint, Channels};
use crate::sandbox::interface::{self, Plan};
use crate::sandbox::lookup::Lookup;
use crate::sandbox::refusal::{self, Step};
use crate::sandbox::rootfs;
use crate::sandbox::session::{KeptLink, Request, Session};

impl From<&RunArgs> for Wishes {
    fn from(args: &RunArgs) -> Self {
        let caps = args.caps.map(|caps| match caps {
            Caps::None => Capabilities::NONE,
            Caps::Net => Capabilities::NETWORK,
        });
        Self { caps, root: args.root, map_auto: args.map_auto }
    }
}

/// Runs a command in a guest of its own and ends as it does.
///
/// # Errors
/// A sentence, with the status of env(1): 125, 126 or 127.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    sys::process::fill_standard_streams().context("the standard streams cannot be opened")?;
    if args.rootfs.is_some() {
        shield(args).map_err(not_started)?;
    }
    if args.detach {
        return background::start(|ready| start(args, Some(ready)));
    }
    match start(args, None) {
        Ok((front, _)) => Ok(front.attend()),
        Err(error) => Err(not_started(error)),
    }
}

/// Goes on from a copy of this program, so that the tree's programs cannot change netherd itself, once it is clear that
/// the guest can be made. A network that has to be started is, before: it is to be served from the program's own file.
fn shield(args: &RunArgs) -> anyhow::Result<()> {
    if !sys::program::is_shared().context("netherd's own file cannot be looked at")? {
        return Ok(());
    }
    Identity::plan(args.into())?;
    args.rootfs.as_deref().map_or(Ok(()), rootfs::check)?;
    refusal::check_copy()?;
    Session::prepare(&(&args.network).into(), args.uplink.as_deref())?;
    sys::program::continue_from_copy().context(
        "netherd cannot make the copy of itself that keeps the tree's programs from changing it",
    )
}

/// Our failures have a status of their own, unless they have one already.
fn not_started(error: anyhow::Error) -> anyhow::Error {
    if error.downcast_ref::<Failure>().is_some() {
        return error;
    }
    Failure::new(NOT_STARTED, error).into()
}

/// Starts the guest; answers its outer side and its name once CMD runs.
fn start(
    args: &RunArgs,
    background: Option<&background::Ready>,
) -> anyhow::Result<(Front, String)> {
    let identity = Identity::plan(args.into())?;
    let rootfs = match &args.rootfs {
        Some(root) => {
            rootfs::check(root)?;
            Some(std::fs::canonicalize(root).context("--rootfs cannot be used")?)
        }
        None => None,
    };
    let command = CommandLine::new(&args.command);
    if rootfs.is_none() {
        // Before a network is started and a name taken for it.
        command.look().map_err(|(status, sentence)| Failure::new(status, anyhow!(sentence)))?;
    }
    let mut request = Request::new((&args.network).into(), GuestKind::Run);
    request.name.clone_from(&args.name);
    request.command = command.name();
    request.mac = args.mac;
    request.publish.clone_from(&args.publish);
    request.allow_host.clone_from(&args.allow_host);
    request.macs = args.macs;
    request.routes.clone_from(&args.route);
    request.uplink.clone_from(&args.uplink);
    let session = Session::open(request)?;

    let joined = session.joined();
    // Started for guests, a network has the defaults.
    if joined.restart.is_some()
        && let Some(path) = default_config::with_network(&joined.network)
    {
        output::note(&format!(
            "network {} has the defaults, not what {} says about it, because `run` reads no configuration; to \
            serve it as configured, end it with `netherd down {}` and serve it with `netherd up {}`",
            joined.network,
            path.display(),
            joined.network,
            joined.network
        ));
    }
    let guest = joined.guest.clone();
    let mut networks = joined.covers.clone();
    networks.extend(session.dir().map(std::path::Path::to_owned));
    let plan = Plan::from_joined(joined, interface::NAME)?;
    if let Some(note) = plan.without_addresses(joined) {
        output::note(&note);
    }
    let blueprint = Blueprint {
        identity,
        covers: Covers::find(&networks),
        rootfs,
        directory: std::env::current_dir().ok(),
        outer: outer(joined, args),
        lookup: Lookup::from_joined(joined, &plan),
        plan,
        guest: guest.clone(),
        command,
    };
    if let Some(ready) = background {
        ready.leave_caller(&args.network.net, &guest)?;
    }
    let front = start_guest(&blueprint, session)?;
    Ok((front, guest))
}

/// What a netherd in the guest is told about the network around its own.
fn outer(joined: &Joined, args: &RunArgs) -> Outer {
    Outer {
        network: joined.network.clone(),
        guest: joined.guest.clone(),
        domains: joined.domains.clone(),
        occupied: joined.occupied.clone(),
        macs: args.macs,
        // The command line has seen that they are prefixes, and the hypervisor has taken them.
        routes: args.route.iter().filter_map(|prefix| prefix.parse().ok()).collect(),
        mtu: joined.mtu,
    }
}

fn start_guest(blueprint: &Blueprint, session: Session) -> anyhow::Result<Front> {
    let caller = Caller::take_over().context("signals cannot be received")?;
    let (control, init_control) = Channel::pair().context("the guest's init cannot be reached")?;
    let (setup, init_setup) = Channel::pair().context("the guest's init cannot be reached")?;
    let forked = sys::ns::fork(init::outer_namespaces(), Parenthood::Own)
        .map_err(|error| anyhow!(refusal::explain(Step::Namespaces, &error)))?;
    let inside = match forked {
        Forked::Child => {
            // Nothing of ours: above all not the session, which would outlive us with init.
            let keep = [init_control.as_fd(), init_setup.as_fd()];
            if sys::detach::close_all_but(&keep).is_err() {
                sys::process::exit_now(i32::from(NOT_STARTED));
            }
            init::main(blueprint, Channels { control: init_control, setup: init_setup })
        }
        Forked::Parent(child) => child,
    };
    drop((init_control, init_setup));
    let mut front = Front::new(caller, inside, control, Some(session));
    match accompany(blueprint, &mut front, &setup) {
        Ok(()) => Ok(front),
        Err(error) => {
            front::abandon(&front.caller, &front.inside);
            Err(error)
        }
    }
}

/// The outer side's part until CMD is executed.
fn accompany(blueprint: &Blueprint, front: &mut Front, setup: &Channel) -> anyhow::Result<()> {
    blueprint.identity.map_outer(front.inside.pid)?;
    let mut obeyed = order(&front.control, &Order::Mapped)?;
    loop {
        match setup.receive::<Report>()? {
            // The end of the channel before the link is there: init has died.
            None if !obeyed || front.session.as_ref().is_some_and(|s| !s.is_linked()) => {
                bail!("the guest's init ended before its command was started; try again")
            }
            None => return Ok(()),
            Some((Report::Failed { sentence, status }, _)) => {
                return Err(Failure::new(status, anyhow!(sentence)).into());
            }
            Some((Report::Link(made), fds)) => {
                let link = kept_link(made, fds, &front.inside)?;
                let note = front.session.as_mut().map(|session| session.link(link)).transpose()?;
                if let Some(note) = note.flatten() {
                    output::note(&note);
                }
                obeyed &= order(setup, &Order::Start)?;
            }
            Some(_) => {}
        }
    }
}

/// Sends an order; false if nobody is there for it. Whoever has gone has usually said why, which is read next.
fn order(channel: &Channel, order: &Order) -> std::io::Result<bool> {
    match channel.send(order, &[]) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// The link with the namespaces that `exec` needs.
fn kept_link(made: LinkMade, mut fds: Vec<OwnedFd>, init: &Child) -> anyhow::Result<KeptLink> {
    if fds.len() != made.namespaces.len() + 1 {
        bail!("the guest's link did not arrive; this is an error in netherd");
    }
    let fd = fds.remove(0);
    let mut link = KeptLink::new(made.tap, made.vnet_hdr_len, made.offloads, fd);
    fds.push(sys::process::duplicate(init.pidfd.as_fd())?);
    link.args.namespaces = made.namespaces;
    link.args.namespaces.push("init".to_owned());
    link.args.init_pid = Some(init.pid);
    link.namespaces = fds;
    Ok(link)
}
