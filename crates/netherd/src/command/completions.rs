//! `netherd completions`: what a shell needs to complete our command lines.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, CompletionsArgs};
use crate::output;

pub fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    output::print(&generate(args.shell))?;
    Ok(ExitCode::SUCCESS)
}

/// The completions for the shell of this name, if there are any for it.
pub fn script(shell: &str) -> Option<String> {
    shell.parse().ok().map(generate)
}

fn generate(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netherd", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
