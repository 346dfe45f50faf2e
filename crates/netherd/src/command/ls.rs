//! `netherd ls`.

use std::process::ExitCode;

use crate::cli::LsArgs;

pub fn run(_args: &LsArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd ls` is not part of this build")
}
