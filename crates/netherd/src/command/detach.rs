//! `netherd detach`.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use host::api::message::{Call, Nothing};

use crate::cli::DetachArgs;
use crate::command::connect::{connect, guest_name};

/// How long the keeper of an attached namespace may take to remove the interface: usually milliseconds, but it waits for
/// whoever configures interfaces there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a guest off its network, and waits until an attached one's interface is gone.
///
/// # Errors
/// A sentence: no such network or guest, or not the caller's.
pub fn run(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    guest_name(&args.guest)?;
    let mut client = connect(&args.network.net, args.network.dir.as_deref())?;
    let call = Call::Detach { guest: args.guest.clone() };
    let answer = client.call::<Nothing>(&call, &[])?;
    if let Some(keeper) = answer.fds.first()
        && !sys::wait::readable(keeper.as_fd(), Some(PATIENCE))?
    {
        let number = sys::process::number(keeper.as_fd()).ok().flatten();
        let number =
            number.map_or_else(|| "netherd attach".to_owned(), |it| format!("process {it}"));
        bail!(
            "guest {} is off the network, but its interface may still be in its namespace: its keeper ({number}) has not \
             ended after {} seconds; see whether it is stopped, and continue it (kill -CONT) or end it (kill)",
            args.guest,
            PATIENCE.as_secs()
        );
    }
    Ok(ExitCode::SUCCESS)
}
