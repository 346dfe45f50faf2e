//! `netherd exec`.

use std::process::ExitCode;

use anyhow::Context;
use host::api::message::{Call, Entrance};

use crate::cli::ExecArgs;
use crate::command::connect::{connect, guest_name};
use crate::output::failure::{Failure, NOT_STARTED};
use crate::sandbox::command::CommandLine;
use crate::sandbox::enter::Door;
use crate::sandbox::front::{Caller, Front};

/// Runs one more command in a guest and ends as it does.
///
/// # Errors
/// A sentence, with the status of env(1): 125, 126 or 127.
pub fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    match start(args) {
        Ok(front) => Ok(front.attend()),
        Err(error) if error.downcast_ref::<Failure>().is_some() => Err(error),
        Err(error) => Err(Failure::new(NOT_STARTED, error).into()),
    }
}

fn start(args: &ExecArgs) -> anyhow::Result<Front> {
    sys::process::fill_standard_streams().context("the standard streams cannot be opened")?;
    guest_name(&args.guest)?;
    // The guest may have a tree of its own, and the program may be one of it.
    sys::program::continue_from_copy().context(
        "netherd cannot make the copy of itself that keeps the guest's programs from changing it",
    )?;
    let mut client = connect(&args.network.net, args.network.dir.as_deref())?;
    let call = Call::Exec { guest: args.guest.clone() };
    let answer = client.call::<Entrance>(&call, &[])?;
    drop(client);
    let door = Door::new(&answer.value, answer.fds)?;
    let command = CommandLine::new(&args.command);
    let directory = std::env::current_dir().ok();
    let caller = Caller::take_over().context("signals cannot be received")?;
    let (inside, control) = door.start(&command, directory.as_deref())?;
    Ok(Front::new(caller, inside, control, None))
}
