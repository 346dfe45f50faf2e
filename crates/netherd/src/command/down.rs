//! `netherd down`: stops a network.

use std::process::ExitCode;

use host::api::client::ClientError;
use host::api::message::{Call, Nothing};

use super::connect;
use crate::cli::DownArgs;

pub fn run(args: &DownArgs) -> anyhow::Result<ExitCode> {
    let mut client = connect::connect(&args.network, args.dir.as_deref())?;
    client.call::<Nothing>(&Call::Down {}, &[])?;
    // The connection ends with the network: when we return, the name is free again.
    loop {
        match client.wait_event() {
            Ok(_) => {}
            Err(ClientError::Gone { .. }) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        }
    }
}
