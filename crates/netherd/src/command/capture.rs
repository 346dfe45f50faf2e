//! `netherd capture`: live pcapng.
//!
//! The daemon writes into a pipe of ours, and a thread moves what comes to where it is wanted
//! (splice(2), by way of `io::copy`). So the daemon needs no access to files, a full disk is our
//! trouble alone, and the end of the pipe says that the last block is complete.
//!
//! A capture ends with ^C or SIGTERM, with the network, or when its reader has gone. Then we let go
//! of the connection that keeps it going, and wait for the rest.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use host::api::client::Client;
use host::api::message::{Call, CaptureArgs as Plan, Capturing};
use sys::poll::{Events, Interest, Poller};
use sys::signal::{self, SignalFd, SignalSet};

use super::{connect, filter};
use crate::cli::CaptureArgs;

/// Numbers of signal(7) for the key and the command that end a capture.
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// How long the rest of a capture may take to come, and to be taken by a slow reader.
const REST: Duration = Duration::from_secs(2);

pub fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let to_stdout = args.write == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        bail!(
            "a terminal cannot show pcapng; write it with -w FILE, or pipe it into `tcpdump -n -r -` \
             or `wireshark -k -i -`"
        );
    }
    let filter = filter(args)?;
    // The network is asked first, so that a mistyped name does not empty a file.
    let mut client = connect::connect(&args.network.net, args.network.dir.as_deref())?;
    if args.port.is_some() {
        connect::show(&args.network, args.port.as_deref())?;
    }
    let out: File = if to_stdout {
        io::stdout().as_fd().try_clone_to_owned().context("cannot use standard output")?.into()
    } else {
        File::create(&args.write).map_err(|error| {
            anyhow!(
                "cannot write to {}: {error}; name a file in a directory of yours with -w",
                args.write.display()
            )
        })?
    };

    // Before there is a thread: from here on the signals end the capture and not us.
    let stop = SignalSet::of(&[SIGINT, SIGTERM]);
    signal::block(&stop).context("cannot block signals")?;
    let stop = SignalFd::new(&stop).context("cannot wait for signals")?;

    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let mut plan = Plan { port: args.port.clone(), filter, ..Plan::default() };
    if args.snaplen > 0 {
        plan.snaplen = args.snaplen;
    }
    client.call::<Capturing>(&Call::Capture(plan), &[writer.as_fd()])?;
    drop(writer);

    let watched = out.try_clone().context("cannot watch the reader")?;
    let (ended, ends) = io::pipe().context("cannot make a pipe")?;
    let mover = thread::spawn(move || relay(reader, out, ends));
    if wait(client, &stop, &watched, &ended)? {
        match mover.join() {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(anyhow::Error::new(error)
                    .context(format!("cannot write to {}", args.write.display())));
            }
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The filter expression, which is complained about here, where it was typed.
fn filter(args: &CaptureArgs) -> anyhow::Result<Option<String>> {
    let words = args.expression.join(" ");
    let Some(text) = args.filter.clone().or((!words.is_empty()).then_some(words)) else {
        if let Some(port) = args.port.as_ref().filter(|port| port.contains(' ')) {
            bail!(
                "{port:?} is not a port: to filter all ports, say `netherd capture --filter '{port}'`, and to \
                 filter one, its name first"
            );
        }
        return Ok(None);
    };
    filter::check(&text)?;
    Ok(Some(text))
}

/// Moves what the daemon writes to `out`; `_ends` closes when this is over.
fn relay(mut from: PipeReader, mut out: File, _ends: PipeWriter) -> io::Result<()> {
    io::copy(&mut from, &mut out).map(drop)
}

/// Tokens of what is waited for.
const STOP: u64 = 0;
const CONNECTION: u64 = 1;
const READER: u64 = 2;
const ENDED: u64 = 3;

/// Waits until the capture is over and the relay has ended; `false` when the relay is left to
/// itself: its reader has gone, or does not read.
fn wait(client: Client, stop: &SignalFd, out: &File, ended: &PipeReader) -> anyhow::Result<bool> {
    let poller = Poller::new().context("cannot wait for the end of the capture")?;
    poller.add(stop.as_fd(), STOP, Interest::READABLE)?;
    poller.add(client.fd(), CONNECTION, Interest::READABLE)?;
    poller.add(ended.as_fd(), ENDED, Interest::READABLE)?;
    // A pipe tells that its reader has gone even while there is nothing to write.
    if out.metadata().is_ok_and(|out| out.file_type().is_fifo()) {
        poller.add(out.as_fd(), READER, Interest::NONE)?;
    }
    let mut events = Events::with_capacity(4);
    let mut client = Some(client);
    loop {
        let patience = client.is_none().then_some(REST);
        if poller.wait(&mut events, patience)? == 0 && patience.is_some() {
            return Ok(false);
        }
        for event in events.iter() {
            match event.token {
                ENDED => return Ok(true),
                READER => return Ok(false),
                STOP if client.is_none() => return Ok(false),
                STOP => {
                    stop.read()?;
                    // Closing it ends the registration too.
                    client = None;
                }
                _ => {
                    if client.as_mut().is_some_and(is_over) {
                        client = None;
                    }
                }
            }
        }
    }
}

/// Whether the daemon has closed the connection; what else it says is of no interest here.
fn is_over(client: &mut Client) -> bool {
    loop {
        match client.pending_event() {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}
