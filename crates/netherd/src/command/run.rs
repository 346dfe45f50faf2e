//! `netherd run`.

use std::process::ExitCode;

use crate::cli::RunArgs;

pub fn run(_args: &RunArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd run` is not part of this build")
}
