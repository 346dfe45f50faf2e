//! `netherd reload`: has a network read its configuration again.

use std::process::ExitCode;

use host::api::message::{Call, Reloaded};

use super::connect;
use crate::cli::ReloadArgs;
use crate::output;

pub fn run(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let mut client = connect::connect(&args.network, args.dir.as_deref())?;
    let answer = client.call::<Reloaded>(&Call::Reload { config: None }, &[])?;
    for change in answer.value.changes {
        output::print(&format!("{change}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
