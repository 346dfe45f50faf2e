//! `netherd show`: a network and its ports, or one port in full.

use std::process::ExitCode;

use anyhow::bail;

use super::connect;
use crate::cli::ShowArgs;
use crate::output::{self, style::Style};

pub fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let report = connect::show(&args.network, args.port.as_deref())?;
    let style = Style::of_stdout();
    match &args.port {
        None if args.json => output::print_json(&report)?,
        None => output::print(&output::network::network(&report, style))?,
        Some(name) => {
            let Some(port) = report.ports.iter().find(|port| port.name == *name) else {
                bail!(
                    "network {} has no port {name}; `netherd show` lists those it has",
                    report.network
                );
            };
            if args.json {
                output::print_json(port)?;
            } else {
                output::print(&output::network::port(&report, port, style))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
