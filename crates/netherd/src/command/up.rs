//! `netherd up`.

use std::process::ExitCode;

use crate::cli::UpArgs;

pub fn run(_args: &UpArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd up` is not part of this build")
}
