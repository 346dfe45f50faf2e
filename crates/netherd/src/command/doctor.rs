//! `netherd doctor`.

use std::process::ExitCode;

use crate::cli::DoctorArgs;

pub fn run(_args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`netherd doctor` is not part of this build")
}
