//! `netherd args`.

use std::process::ExitCode;

use crate::cli::ArgsArgs;

pub fn run(_args: &ArgsArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd args` is not part of this build")
}
