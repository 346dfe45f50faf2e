//! `netherd detach`.

use std::process::ExitCode;

use crate::cli::DetachArgs;

pub fn run(_args: &DetachArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd detach` is not part of this build")
}
