//! `netherd completions`: what a shell needs to complete our command lines.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::output;

pub fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "netherd", &mut script);
    output::print_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
