//! `netherd show`.

use std::process::ExitCode;

use crate::cli::ShowArgs;

pub fn run(_args: &ShowArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd show` is not part of this build")
}
