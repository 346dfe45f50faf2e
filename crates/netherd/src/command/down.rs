//! `netherd down`.

use std::process::ExitCode;

use crate::cli::DownArgs;

pub fn run(_args: &DownArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd down` is not part of this build")
}
