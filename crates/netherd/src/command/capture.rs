//! `netherd capture`.

use std::process::ExitCode;

use crate::cli::CaptureArgs;

pub fn run(_args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd capture` is not part of this build")
}
