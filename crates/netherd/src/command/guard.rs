//! `netherd guard`: what the guards of ports refuse, and what they are asked to do.

use std::process::ExitCode;

use host::api::message::{Call, Nothing, Page};
use host::report::Guard;

use super::connect::connect;
use super::show::rows;
use crate::cli::{GuardAction, GuardArgs, NetworkArgs};
use crate::output::{self, style::Style, tables};

pub fn run(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        GuardAction::Show { port, network, json } => show(port.as_deref(), network, *json)?,
        GuardAction::Set { port, check, action, network } => {
            let (port, check, action) = (port.clone(), check.clone(), action.clone());
            ask(network, &Call::GuardSet { port, check, action })?;
        }
        GuardAction::Audit { port, switch, network } => {
            ask(network, &Call::GuardAudit { port: port.clone(), on: switch == "on" })?;
        }
        GuardAction::Release { port, network } => {
            ask(network, &Call::GuardRelease { port: port.clone() })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(network: &NetworkArgs, call: &Call) -> anyhow::Result<()> {
    connect(&network.net, network.dir.as_deref())?.call::<Nothing>(call, &[])?;
    Ok(())
}

fn show(port: Option<&str>, network: &NetworkArgs, json: bool) -> anyhow::Result<()> {
    let mut client = connect(&network.net, network.dir.as_deref())?;
    let guards: Vec<Guard> = rows(&mut client, port, |page: Page| Call::Guard(page))?;
    if json {
        return output::print_json(&guards);
    }
    let style = Style::of_stdout();
    let mut text = tables::guards(&guards, style);
    if let (Some(_), [guard]) = (port, guards.as_slice()) {
        text.push('\n');
        text.push_str(&tables::checks(guard, style));
    }
    output::print(&text)
}
