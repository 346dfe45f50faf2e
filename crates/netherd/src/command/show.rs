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
            } else if args.ipv4 || args.ipv6 {
                let (addresses, family) =
                    if args.ipv4 { (&port.ipv4, "IPv4") } else { (&port.ipv6, "IPv6") };
                let Some(address) = addresses.first() else {
                    bail!("port {name} of network {} has no {family} address", report.network);
                };
                // Without the length of its prefix: this is for another program's arguments.
                let address = address.split('/').next().unwrap_or(address);
                output::print(&format!("{address}\n"))?;
            } else {
                output::print(&output::network::port(&report, port, style))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
