//! `netherd capture`: live pcapng.
//!
//! The daemon writes into the descriptor that we hand it; the frames do not pass through us. We
//! hold the connection that keeps the capture going, and let go of it on ^C.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use host::api::client::{Client, ClientError};
use host::api::message::{Call, CaptureArgs as Plan, Capturing};
use sys::poll::{Events, Interest, Poller};
use sys::signal::{self, SignalFd, SignalSet};

use super::connect;
use crate::cli::CaptureArgs;

/// Numbers of signal(7) for the keys and the commands that end a capture.
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

pub fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let standard_output = args.write == Path::new("-");
    if standard_output && io::stdout().is_terminal() {
        bail!(
            "a terminal cannot show pcapng; write it with -w FILE, or pipe it into `tcpdump -n -r -` \
             or `wireshark -k -i -`"
        );
    }
    // The network is asked first, so that a mistyped name does not empty a file.
    let mut client = connect::connect(&args.network.net, args.network.dir.as_deref())?;
    if args.port.is_some() {
        connect::show(&args.network, args.port.as_deref())?;
    }
    let file = if standard_output {
        io::stdout().as_fd().try_clone_to_owned().context("cannot use standard output")?
    } else {
        OwnedFd::from(
            File::create(&args.write)
                .with_context(|| format!("cannot write to {}", args.write.display()))?,
        )
    };

    // From here on, ^C ends the capture and not us: the last block is to be a whole one.
    let stop = SignalSet::of(&[SIGINT, SIGTERM]);
    signal::block(&stop).context("cannot block signals")?;
    let stop = SignalFd::new(&stop).context("cannot wait for signals")?;

    let mut plan = Plan { port: args.port.clone(), ..Plan::default() };
    if args.snaplen > 0 {
        plan.snaplen = args.snaplen;
    }
    client.call::<Capturing>(&Call::Capture(plan), &[file.as_fd()])?;
    drop(file);
    wait(client, &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Tokens of the two things to wait for.
const STOP: u64 = 0;
const CONNECTION: u64 = 1;

/// Waits until a signal asks for the end, or the daemon ends the capture: because what we gave it
/// has no reader any more, or because the network went down.
fn wait(mut client: Client, stop: &SignalFd) -> anyhow::Result<()> {
    let poller = Poller::new().context("cannot wait for the end of the capture")?;
    poller.add(stop.as_fd(), STOP, Interest::READABLE)?;
    poller.add(client.fd(), CONNECTION, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    loop {
        poller.wait(&mut events, None)?;
        for event in events.iter() {
            if event.token == STOP {
                return Ok(());
            }
            loop {
                match client.pending_event() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(ClientError::Gone { .. }) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}
