//! `netherd ls`: the networks that are up.

use std::process::ExitCode;
use std::time::Duration;

use host::api::client::{Client, ClientError};
use host::api::message::Call;
use host::report::{NetworkSummary, Networks};

use crate::cli::LsArgs;
use crate::output::{self, style::Style};

/// How long one that is stopped or busy may keep the others' lines back.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let networks = up();
    if args.json {
        output::print_json(&networks)?;
    } else {
        output::print(&output::network::list(&networks, Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The networks of this user that answer, by name.
///
/// A directory that nobody serves is what a killed hypervisor left, and a network that ends while
/// we look has ended: neither is worth a word.
fn up() -> Vec<NetworkSummary> {
    let mut networks: Vec<NetworkSummary> = Vec::new();
    for (_, directory) in host::directory::list() {
        // One daemon may serve several networks, and answers for all of them.
        if networks.iter().any(|known| known.directory == directory) {
            continue;
        }
        let answer = Client::connect(&directory).and_then(|client| {
            client.with_patience(PATIENCE).call::<Networks>(&Call::Networks {}, &[])
        });
        match answer {
            Ok(answer) => networks.extend(answer.value.networks),
            Err(ClientError::NotServed { .. } | ClientError::Gone { .. }) => {}
            Err(error) => output::note(&error.to_string()),
        }
    }
    networks.sort_by(|a, b| (&a.network, &a.directory).cmp(&(&b.network, &b.directory)));
    networks.dedup_by(|a, b| a.directory == b.directory);
    networks
}
