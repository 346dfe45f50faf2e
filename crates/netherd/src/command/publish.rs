//! `netherd publish`: forwards into guests, while the network runs.

use std::process::ExitCode;

use host::api::message::{Call, Nothing, Published};
use host::report::Publishes;

use super::connect::connect;
use crate::cli::{PublishAction, PublishArgs};
use crate::output::{self, style::Style};

pub fn run(args: &PublishArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        PublishAction::Add { forward, network } => {
            let mut client = connect(&network.net, network.dir.as_deref())?;
            let call = Call::Publish { forward: forward.clone() };
            let published: Published = client.call(&call, &[])?.value;
            output::print(&format!("{}\n", published.forward))?;
        }
        PublishAction::Remove { forward, network } => {
            let mut client = connect(&network.net, network.dir.as_deref())?;
            client.call::<Nothing>(&Call::Unpublish { forward: forward.clone() }, &[])?;
        }
        PublishAction::Ls { network, json } => {
            let mut client = connect(&network.net, network.dir.as_deref())?;
            let forwards: Publishes = client.call(&Call::Published {}, &[])?.value;
            if *json {
                output::print_json(&forwards.rows)?;
            } else {
                output::print(&output::tables::forwards(&forwards.rows, Style::of_stdout()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
