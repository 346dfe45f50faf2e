//! The process that becomes CMD: makes its interface, drops what CMD must not have, executes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use sys::caps::Capabilities;
use sys::ns::Namespaces;

use super::channel::{Channel, Inner, Order};
use super::init::Blueprint;
use super::{interface, sysfs};
use crate::output::failure::NOT_STARTED;

/// The namespaces whose descriptors the command passes on, in this order.
pub const NAMESPACES: [&str; 5] = ["user", "mnt", "net", "ipc", "uts"];
const KINDS: [Namespaces; 5] =
    [Namespaces::USER, Namespaces::MOUNT, Namespaces::NETWORK, Namespaces::IPC, Namespaces::UTS];

/// Never returns: this process becomes CMD or ends.
pub fn main(blueprint: &Blueprint, to_init: &Channel, setup: &Channel) -> ! {
    let (status, sentence) = match prepare(blueprint, to_init, setup) {
        Ok(()) => blueprint.command.exec(),
        Err(error) => (NOT_STARTED, crate::output::failure::sentence(&error)),
    };
    setup.fail(status, &sentence);
    sys::process::exit_now(i32::from(status))
}

fn prepare(blueprint: &Blueprint, to_init: &Channel, setup: &Channel) -> anyhow::Result<()> {
    let Some((Inner::Mapped, _)) = to_init.receive()? else { sys::process::exit_now(0) };
    sys::process::set_undumpable()?;
    // Longer names than the kernel's 64 bytes do not exist: a guest's has at most 32.
    sys::process::set_host_name(&blueprint.guest)
        .context("the guest cannot be given its host name")?;

    let tap = interface::make_tap(&blueprint.plan.name);
    let namespaces = KINDS
        .iter()
        .map(|kind| sys::ns::own(*kind))
        .collect::<Result<Vec<OwnedFd>, _>>()
        .context("the guest's namespaces cannot be opened")?;
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    let (tap_offloads, why_no_tap) = match &tap {
        Ok(tap) => {
            fds.push(tap.fd.as_fd());
            (Some(tap.offloads.clone()), String::new())
        }
        Err(error) => (None, format!("/dev/net/tun: {error}")),
    };
    fds.extend(namespaces.iter().map(OwnedFd::as_fd));
    // Nobody else is in this namespace yet.
    let listener = host::outer::listen().context("the guest cannot be told of its network")?;
    fds.push(listener.as_fd());
    to_init.send(&Inner::Namespaces { tap_offloads, why_no_tap }, &fds)?;
    drop((namespaces, listener));

    interface::prepare_namespace(blueprint.identity.group_range())?;
    let Some((Inner::InterfaceMade, _)) = to_init.receive()? else { sys::process::exit_now(0) };
    interface::configure(&blueprint.plan, tap.is_err())?;
    drop(tap);

    if let Err(why) = sysfs::mount() {
        crate::output::note(&format!(
            "/sys does not show the guest's interfaces, because a fresh one cannot be mounted ({why}); \
             programs that look there find none, while `ip` shows them"
        ));
    }
    let Some((Order::Start, _)) = setup.receive()? else { sys::process::exit_now(0) };
    confine(blueprint.identity.caps, to_init)
}

/// The last step before exec, shared with `netherd exec`: filter, keys, capabilities, descriptors.
///
/// The filter's listener goes through `channel` as [`Inner::Listener`]. It is installed while this
/// process has `CAP_SYS_ADMIN` in its user namespace, which spares it `no_new_privs`.
pub fn confine(caps: Capabilities, channel: &Channel) -> anyhow::Result<()> {
    // Before the filter, behind which there are no keys.
    sys::process::leave_session_keyring().context("the outer session's keys cannot be left")?;
    let listener =
        sys::notify::install().context("the guest's system-call filter cannot be installed")?;
    if let Some(listener) = listener {
        let message = Inner::Listener { steady: listener.is_steady() };
        channel.send(&message, &[listener.as_fd()])?;
    }
    let (uid, _) = sys::process::ids();
    if uid == 0 {
        // User id 0 has all of the bounding set after exec.
        if caps != Capabilities::ALL {
            sys::caps::bound(caps).context("capabilities cannot be bounded")?;
        }
    } else {
        sys::caps::keep_across_exec(caps).context("capabilities cannot be set")?;
    }
    sys::process::close_on_exec_from(3).context("descriptors cannot be closed")
}
