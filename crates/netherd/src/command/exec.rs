//! `netherd exec`.

use std::process::ExitCode;

use crate::cli::ExecArgs;

pub fn run(_args: &ExecArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd exec` is not part of this build")
}
