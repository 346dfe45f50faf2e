//! PID 1 of a guest: makes the outer namespaces' contents, starts CMD in the inner ones, reaps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use host::outer::Outer;
use sys::netlink::PeerNamespace;
use sys::notify::Listener;
use sys::ns::{Child, Forked, Namespaces, Parenthood};
use sys::terminal::Terminal;

use super::around::Around;
use super::bind_files::{self, BindFiles};
use super::channel::{Channel, Inner, LinkMade, Order, Report};
use super::command::{CommandLine, start_in};
use super::cover::Covers;
use super::identity::Identity;
use super::interface::{self, Link, Plan};
use super::job::{Job, Keep, Role};
use super::lookup::Lookup;
use super::{guest, kernel_views, refusal, rootfs};
use crate::output::failure::NOT_STARTED;

/// The namespaces of init, made by the fork that makes it.
#[must_use]
pub fn outer_namespaces() -> Namespaces {
    Namespaces::USER | Namespaces::MOUNT | Namespaces::NETWORK | Namespaces::PID
}

/// The namespaces of CMD.
fn inner_namespaces() -> Namespaces {
    Namespaces::USER | Namespaces::MOUNT | Namespaces::NETWORK | Namespaces::IPC | Namespaces::UTS
}

/// All a guest is made from.
#[derive(Debug)]
pub struct Blueprint {
    pub identity: Identity,
    pub covers: Covers,
    /// Canonical; `None` keeps the caller's file system.
    pub rootfs: Option<PathBuf>,
    /// Where CMD starts, if that directory is there.
    pub directory: Option<PathBuf>,
    pub plan: Plan,
    pub lookup: Lookup,
    /// What a netherd inside is told.
    pub outer: Outer,
    pub guest: String,
    pub command: CommandLine,
}

/// init's two channels.
#[derive(Debug)]
pub struct Channels {
    /// Reports on CMD and orders for it, as long as the guest lives.
    pub control: Channel,
    /// Until CMD has started: its end tells the outer side that it has.
    pub setup: Channel,
}

/// The life of init. Never returns: this process is the guest's.
pub fn main(blueprint: &Blueprint, channels: Channels) -> ! {
    let Channels { control, setup } = channels;
    match start(blueprint, &control, &setup) {
        Ok((command, listener, keep)) => {
            drop(setup);
            Job { command, control, listener, role: Role::Init(keep) }.supervise()
        }
        Err(error) => {
            setup.fail(NOT_STARTED, &crate::output::failure::sentence(&error));
            sys::process::exit_now(i32::from(NOT_STARTED))
        }
    }
}

fn start(
    blueprint: &Blueprint,
    control: &Channel,
    setup: &Channel,
) -> anyhow::Result<(Child, Option<Listener>, Keep)> {
    // From here on `run`'s death is ours. It may have died before: then its channel has ended.
    sys::process::set_death_signal(sys::signal::SIGKILL).context("init cannot be tied to `run`")?;
    match control.receive::<Order>()? {
        Some((Order::Mapped, _)) => {}
        _ => sys::process::exit_now(0),
    }
    let terminal = Terminal::controlling();
    if blueprint.identity.clear_groups {
        sys::process::clear_groups().context("the outer groups cannot be left")?;
    }
    let bind_files = mount(blueprint)?;
    // Seen by `exec`, which gives its programs the same.
    sys::caps::set_inheritable(blueprint.identity.caps)
        .context("the guest's capabilities cannot be noted")?;

    let (to_command, to_init) = Channel::pair()?;
    let forked = sys::ns::fork(inner_namespaces(), Parenthood::Own)
        .map_err(|error| anyhow!(refusal::explain(refusal::Step::Namespaces, &error)))?;
    let command = match forked {
        Forked::Child => {
            drop(to_command);
            guest::main(blueprint, &to_init, setup)
        }
        Forked::Parent(child) => child,
    };
    drop(to_init);
    sys::ns::write_maps(
        command.pid,
        &blueprint.identity.inner_users,
        &blueprint.identity.inner_groups,
        false,
    )
    .context("the command's user namespace cannot be given its id map")?;
    // What ptrace(2) guards is not for the guest; not earlier, because /proc/PID of a process that is
    // not dumpable belongs to the superuser, and the maps could not be written.
    sys::process::set_undumpable().context("init cannot be shielded")?;
    to_command.send(&Inner::Mapped, &[])?;
    bind_files.keep().context("the guest's files cannot be kept")?;
    let Made { mount_namespace, network_namespace, questions } =
        make_link(blueprint, &command, &to_command, setup)?;
    let listener = await_start(&to_command)?;
    let around = Around::new(questions, blueprint.outer.clone());
    let keep = Keep { bind_files, around, mount_namespace, network_namespace, terminal };
    Ok((command, listener, keep))
}

fn mount(blueprint: &Blueprint) -> anyhow::Result<BindFiles> {
    sys::mount::make_private()
        .map_err(|error| anyhow!(refusal::explain(refusal::Step::Privilege, &error)))?;
    kernel_views::freeze_control_groups()?;
    match &blueprint.rootfs {
        Some(root) => {
            // The tree may show the outer places somewhere; it then shows their covers.
            blueprint.covers.mount()?;
            rootfs::prepare(root, &blueprint.identity.inner_groups)?;
            rootfs::enter(root)?;
        }
        None => {
            sys::mount::proc(std::path::Path::new("/proc"))
                .map_err(|error| anyhow!(refusal::explain_proc(&error)))?;
            blueprint.covers.mount()?;
        }
    }
    kernel_views::hide_processes()?;
    let bind_files = bind_files::lay(&blueprint.lookup, blueprint.rootfs.is_some())?;
    kernel_views::forbid_control_group_namespaces()?;
    // By name, again: the directory we stand in may be one that is covered now.
    start_in(blueprint.directory.as_deref().filter(|_| blueprint.rootfs.is_none()))?;
    Ok(bind_files)
}

/// What init keeps of what the command has made.
struct Made {
    mount_namespace: OwnedFd,
    network_namespace: OwnedFd,
    /// The listener of [`host::outer`].
    questions: OwnedFd,
}

/// Takes the tap that the command made, or makes a veth pair, and passes the link out.
fn make_link(
    blueprint: &Blueprint,
    command: &Child,
    to_command: &Channel,
    setup: &Channel,
) -> anyhow::Result<Made> {
    // Without it the command has failed and said why on the set-up channel.
    let Some((Inner::Namespaces { tap_offloads, why_no_tap }, mut fds)) = to_command.receive()?
    else {
        sys::process::exit_now(i32::from(NOT_STARTED))
    };
    let link = match tap_offloads {
        Some(offloads) if !fds.is_empty() => {
            let fd = fds.remove(0);
            Link { fd, tap: true, vnet_hdr_len: sys::tap::VNET_HDR_LEN, offloads }
        }
        _ => {
            let pid = u32::try_from(command.pid).unwrap_or(0);
            let Plan { name, mac, mtu, .. } = &blueprint.plan;
            interface::make_veth(name, Some(*mac), *mtu, PeerNamespace::Pid(pid))
                .with_context(|| format!("no tap can be made ({why_no_tap}), nor a veth pair"))?
        }
    };
    to_command.send(&Inner::InterfaceMade, &[])?;
    let questions = fds.pop();
    let (Some(questions), true) = (questions, fds.len() == guest::NAMESPACES.len()) else {
        bail!("the command's namespaces did not arrive; this is an error in netherd");
    };
    let outer = sys::ns::own(Namespaces::USER)?;
    let pid = sys::ns::own(Namespaces::PID)?;
    let mut names = vec!["outer".to_owned(), "pid".to_owned()];
    names.extend(guest::NAMESPACES.map(str::to_owned));
    let descriptors: Vec<BorrowedFd<'_>> = [link.fd.as_fd(), outer.as_fd(), pid.as_fd()]
        .into_iter()
        .chain(fds.iter().map(OwnedFd::as_fd))
        .collect();
    let made = LinkMade {
        tap: link.tap,
        vnet_hdr_len: link.vnet_hdr_len,
        offloads: link.offloads,
        namespaces: names,
    };
    setup.send(&Report::Link(made), &descriptors)?;
    let mut namespaces: Vec<_> = guest::NAMESPACES.into_iter().zip(fds).collect();
    let mut take = |wanted: &str| {
        let at = namespaces.iter().position(|(name, _)| *name == wanted);
        at.map(|at| namespaces.swap_remove(at).1)
    };
    match (take("mnt"), take("net")) {
        (Some(mount_namespace), Some(network_namespace)) => {
            Ok(Made { mount_namespace, network_namespace, questions })
        }
        _ => bail!("the command's namespaces are incomplete; this is an error in netherd"),
    }
}

/// Waits until the command's end of the channel is closed by its exec, or by its end.
fn await_start(to_command: &Channel) -> anyhow::Result<Option<Listener>> {
    let mut listener = None;
    while let Some((message, mut fds)) = to_command.receive()? {
        if let Inner::Listener { steady } = message
            && let Some(fd) = fds.pop()
        {
            listener = Some(Listener::from_fd(fd, steady));
        }
    }
    Ok(listener)
}
