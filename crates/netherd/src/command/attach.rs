//! `netherd attach`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use host::api::message::GuestKind;

use crate::cli::AttachArgs;
use crate::output::{self, failure::FAILED};
use crate::sandbox::background;
use crate::sandbox::interface::Plan;
use crate::sandbox::lookup::Lookup;
use crate::sandbox::netns::{Made, Named, Target};
use crate::sandbox::session::{Change, KeptLink, Request, Session};

/// Gives a namespace an interface; a keeper in the background holds it.
///
/// # Errors
/// A sentence; nothing is left behind in the namespace then.
pub fn run(args: &AttachArgs) -> anyhow::Result<ExitCode> {
    sys::process::fill_standard_streams().context("the standard streams cannot be opened")?;
    if !sys::netlink::valid_interface_name(&args.ifname) {
        bail!(
            "`{}` cannot name an interface; use 1 to {} bytes without spaces, `/`, `:` or `%`, \
             other than `all` or `default`",
            args.ifname,
            sys::netlink::INTERFACE_NAME_MAX
        );
    }
    let target = Target::open(&named(args)?)?;
    background::keep(FAILED, |ready| {
        let (session, name, index) = start(args, &target)?;
        tell_resolvers(&session, args)?;
        ready.leave_caller(&args.network.net, &name)?;
        let _ = sys::process::set_directory(Path::new("/"));
        let target = target.into_watch();
        Ok((name, move || {
            if let Some(target) = keep(session, target) {
                // Who detaches it waits for our end.
                let _has_gone = target.remove_interface(index);
            }
        }))
    })
}

/// The namespace that the command line names.
fn named(args: &AttachArgs) -> anyhow::Result<Named> {
    let file = || args.netns.clone().map(Named::File);
    args.pid
        .map(Named::Process)
        .or_else(file)
        .ok_or_else(|| anyhow!("name a namespace: --pid PID or --netns PATH"))
}

/// Joins the network, and makes the interface: with the guest's name, and the number of the interface.
fn start(args: &AttachArgs, target: &Target) -> anyhow::Result<(Session, String, u32)> {
    let mut request = Request::new((&args.network).into(), GuestKind::Attach);
    request.name.clone_from(&args.name);
    target.command().clone_into(&mut request.command);
    request.mac = args.mac;
    let mut session = Session::open(request)?;
    let name = session.joined().guest.clone();
    let plan = Plan::from_joined(session.joined(), &args.ifname)?;
    let Made { link, index } = target.make_interface(&plan)?;
    let link = KeptLink::new(link.tap, link.vnet_hdr_len, link.offloads, link.fd);
    if let Some(note) = session.link(link)? {
        output::note(&note);
    }
    Ok((session, name, index))
}

/// Says what look-ups in the namespace need: whose files its programs read is not for us to change. And how
/// it gets addresses where the network plans none.
fn tell_resolvers(session: &Session, args: &AttachArgs) -> anyhow::Result<()> {
    let joined = session.joined();
    let plan = Plan::from_joined(joined, &args.ifname)?;
    let lines = Lookup::from_joined(joined, &plan).resolver_lines();
    if !lines.is_empty() {
        output::note(&format!(
            "to know this network's names, the programs there need in their /etc/resolv.conf:\n{}",
            lines.trim_end()
        ));
    }
    if let Some(note) = plan.without_addresses(joined) {
        output::note(&note);
    }
    Ok(())
}

/// The keeper: holds the link until the namespace has gone, or somebody takes it away from the namespace that this
/// returns.
fn keep(mut session: Session, mut target: Target) -> Option<Target> {
    loop {
        let mut fds = vec![target.fd()];
        fds.extend(session.fd());
        let timeout = session.timeout();
        let Ok(ready) = sys::process::poll(&fds, timeout) else { return None };
        let wakes = ready.get(1) == Some(&true) || (fds.len() == 1 && timeout.is_some());
        if ready[0] && target.is_gone() {
            return None;
        }
        if wakes && matches!(session.attend(), Change::Closed { .. }) {
            return Some(target);
        }
    }
}
