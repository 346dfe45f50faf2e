//! `netherd detach`.

use std::process::ExitCode;

use host::api::message::{Call, Nothing};

use crate::cli::DetachArgs;
use crate::command::connect::{connect, guest_name};

/// Takes a guest off its network.
///
/// # Errors
/// A sentence: no such network or guest, or not the caller's.
pub fn run(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    guest_name(&args.guest)?;
    let mut client = connect(&args.network.net, args.network.dir.as_deref())?;
    client.call::<Nothing>(&Call::Detach { guest: args.guest.clone() }, &[])?;
    Ok(ExitCode::SUCCESS)
}
