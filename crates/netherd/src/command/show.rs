//! `netherd show`: a network and its ports, one port in full, or one of the tables behind them.

use std::process::ExitCode;

use anyhow::bail;
use host::api::client::Client;
use host::api::message::{Call, Page};
use host::report::Paged;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connect;
use crate::cli::ShowArgs;
use crate::output::style::Style;
use crate::output::{self, counters, network, tables};

pub fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    match (args.what.as_deref(), args.port.as_deref()) {
        (None, _) => whole(args)?,
        (Some("port"), Some(port)) => one(args, port)?,
        (Some("port"), None) => bail!("name the port: netherd show port PORT"),
        (Some("flows"), _) => table(args, Call::Flows, tables::flows)?,
        (Some("leases"), _) => table(args, Call::Leases, tables::leases)?,
        (Some("routes"), None) => table(args, Call::Routes, tables::routes)?,
        (Some("neighbours"), _) => table(args, Call::Neighbours, tables::neighbours)?,
        (Some("bindings"), _) => table(args, Call::Bindings, tables::bindings)?,
        (Some("counters"), None) => counters(args)?,
        (Some("forwards"), None) => table(args, |_| Call::Published {}, tables::forwards)?,
        (Some(port), None) => one(args, port)?,
        (Some(what), Some(port)) => bail!(
            "`netherd show {what} {port}` is one word too many; only flows, leases, neighbours and bindings can be \
            shown for one port"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn whole(args: &ShowArgs) -> anyhow::Result<()> {
    let report = connect::show(&args.network, None)?;
    if args.json {
        return output::print_json(&report);
    }
    output::print(&network::network(&report, Style::of_stdout()))
}

fn counters(args: &ShowArgs) -> anyhow::Result<()> {
    for_no_port(args)?;
    let report = connect::show(&args.network, None)?;
    let outside = report.outside.unwrap_or_default();
    if args.json {
        return output::print_json(&counters::json(&outside));
    }
    output::print(&counters::table(&outside, Style::of_stdout()))
}

fn for_no_port(args: &ShowArgs) -> anyhow::Result<()> {
    if args.ipv4 || args.ipv6 {
        bail!("--ipv4 and --ipv6 are for one port: netherd show PORT --ipv4");
    }
    Ok(())
}

fn one(args: &ShowArgs, name: &str) -> anyhow::Result<()> {
    let report = connect::show(&args.network, Some(name))?;
    let Some(port) = report.ports.iter().find(|port| port.name == *name) else {
        if let Some(port) = report.declared.iter().find(|port| port.name == *name) {
            bail!(
                "port {name} of network {} is declared, and nobody has it open; a client attaches to {} in {}",
                report.network,
                port.nodes.join(" or "),
                report.directory.display()
            );
        }
        bail!("network {} has no port {name}; `netherd show` lists those it has", report.network);
    };
    if args.json {
        return output::print_json(port);
    }
    if args.ipv4 || args.ipv6 {
        let (addresses, family) =
            if args.ipv4 { (&port.ipv4, "IPv4") } else { (&port.ipv6, "IPv6") };
        let Some(address) = addresses.first() else {
            bail!("port {name} of network {} has no {family} address", report.network);
        };
        // Without the length of its prefix: this is for another program's arguments.
        let address = address.split('/').next().unwrap_or(address);
        return output::print(&format!("{address}\n"));
    }
    output::print(&network::port(&report, port, Style::of_stdout()))
}

/// One of the tables, all its pages.
fn table<T: DeserializeOwned + Serialize>(
    args: &ShowArgs,
    call: impl Fn(Page) -> Call,
    render: impl Fn(&[T], Style) -> String,
) -> anyhow::Result<()> {
    for_no_port(args)?;
    let mut client = connect::connect(&args.network.net, args.network.dir.as_deref())?;
    let rows = rows(&mut client, args.port.as_deref(), call)?;
    if args.json {
        return output::print_json(&rows);
    }
    output::print(&render(&rows, Style::of_stdout()))
}

/// All rows of a table, page after page. Rows that come or go meanwhile may be missing; what stays is there, once.
pub(super) fn rows<T: DeserializeOwned>(
    client: &mut Client,
    port: Option<&str>,
    call: impl Fn(Page) -> Call,
) -> anyhow::Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: None, port: port.map(str::to_owned) };
        let answer: Paged<T> = client.call(&call(page), &[])?.value;
        rows.extend(answer.rows);
        after = answer.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}
