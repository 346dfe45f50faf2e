//! `netherd reload`.

use std::process::ExitCode;

use crate::cli::ReloadArgs;

pub fn run(_args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd reload` is not part of this build")
}
