//! `netherd metrics`: counters as OpenMetrics text, for Prometheus' textfile collector and for
//! `curl`-like use in scripts.

use std::process::ExitCode;

use host::api::message::{Call, Metrics};

use super::connect;
use crate::cli::MetricsArgs;
use crate::output;

pub fn run(args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let mut client = connect::connect(&args.network.net, args.network.dir.as_deref())?;
    let answer = client.call::<Metrics>(&Call::Metrics {}, &[])?;
    output::print(&answer.value.text)?;
    Ok(ExitCode::SUCCESS)
}
