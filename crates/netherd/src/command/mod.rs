//! One module for each subcommand: its arguments come from [`crate::cli`], its work is done by
//! `host` or the sandbox, and what it says is printed through [`crate::output`].
//!
//! A command returns the exit status it wants, or an error that [`crate::main`] prints. An error
//! is status 1 unless it was made a [`Failure`](crate::output::failure::Failure) with another.

use std::process::ExitCode;

use crate::cli::Command;

pub mod args;
pub mod attach;
pub mod capture;
pub mod completions;
pub mod connect;
pub mod default_config;
pub mod detach;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod filter;
pub mod guard;
pub mod ls;
pub mod man;
pub mod metrics;
pub mod publish;
pub mod reload;
pub mod run;
pub mod show;
pub mod up;

/// Runs the command that was asked for.
pub fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Attach(args) => attach::run(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Guard(args) => guard::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Filter(args) => filter::run(&args),
        Command::Args(args) => args::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
