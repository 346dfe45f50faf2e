//! `netherd up`: serves networks, in the foreground or, with `-d`, from the background.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use host::config::Uplink;
use host::daemon::{self, Options};
use host::names::{DEFAULT_NETWORK, Name};
use host::start::{self, StartOptions};

use super::default_config;
use crate::cli::UpArgs;

pub fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    if args.detach {
        return background(args);
    }
    let config = match &args.config {
        Some(path) => Some(
            std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?,
        ),
        // A network that `run` starts has the defaults: no file can keep `run` from working.
        None if args.detached => None,
        None => default_config::path()
            .filter(|path| path.exists() && is_for(path, args.network.as_deref())),
    };
    let uplink = args.uplink.as_deref().map(parse_uplink).transpose()?;
    daemon::serve(Options {
        network: args.network.clone(),
        config,
        dir: args.dir.clone(),
        group: args.group.clone(),
        mode: args.mode,
        uplink,
        idle: args.idle,
        detached: args.detached,
        ready_fd: args.ready_fd,
        log: args.log.clone(),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The command line has looked at it already.
fn parse_uplink(text: &str) -> anyhow::Result<Uplink> {
    text.parse().map_err(|why: String| anyhow!(why))
}

/// Whether the default configuration is meant: a network that it does not have gets the defaults. A
/// file that cannot be read is meant, so that its fault is told.
fn is_for(path: &Path, network: Option<&str>) -> bool {
    let Some(Ok(network)) = network.map(str::parse::<Name>) else { return true };
    host::config::read(path).map_or(true, |config| config.only(&network).is_some())
}

/// Starts the network as `run` would, unless it is up, and tells it to stay.
fn background(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let network = args.network.as_deref().unwrap_or(DEFAULT_NETWORK);
    let options = StartOptions {
        stay: true,
        group: args.group.clone(),
        mode: args.mode,
        uplink: args.uplink.clone(),
        ..StartOptions::default()
    };
    start::connect_or_start(network, args.dir.as_deref(), &options)?;
    Ok(ExitCode::SUCCESS)
}
