//! `netherd metrics`.

use std::process::ExitCode;

use crate::cli::MetricsArgs;

pub fn run(_args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd metrics` is not part of this build")
}
