//! `netherd man`: the manual pages, one for each subcommand, from the definition of the command
//! line.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, ManArgs};

pub fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    write_pages(&args.directory)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `netherd.1` and a `netherd-SUBCOMMAND.1` for each visible subcommand into `directory`,
/// which is made if it is missing.
pub fn write_pages(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write manual pages into {}", directory.display()))
}
