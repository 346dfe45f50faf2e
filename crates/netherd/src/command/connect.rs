//! What commands that look at a running network have in common: finding it by name, and saying
//! so when there is none.

use std::path::Path;

use anyhow::anyhow;
use host::api::client::{Client, ClientError};
use host::api::message::Call;
use host::names::Name;
use host::report::Network;

use crate::cli::NetworkArgs;
use crate::sandbox::session::{Where, is_meant};

/// Connects to the network `net`, which is published in `dir` or in the usual place.
///
/// # Errors
///
/// A sentence that says how to start the network when nothing serves it.
pub fn connect(net: &str, dir: Option<&Path>) -> anyhow::Result<Client> {
    let directory = host::directory::resolve(net, dir)?;
    match Client::connect(&directory) {
        Ok(mut client) if dir.is_some() => {
            let serves = client.hello()?.network;
            is_meant(net, &serves, &directory)?;
            Ok(client)
        }
        Ok(client) => Ok(client),
        Err(ClientError::NotServed { .. }) => Err(anyhow!(
            "network {net} is not up in {}; `netherd ls` lists those that are, and `netherd run` or \
             `netherd up` starts one",
            directory.display()
        )),
        Err(error) => Err(error.into()),
    }
}

impl From<&NetworkArgs> for Where {
    fn from(args: &NetworkArgs) -> Self {
        Self { net: args.net.clone(), dir: args.dir.clone() }
    }
}

/// The report on a network, or on one port of it.
pub fn show(network: &NetworkArgs, port: Option<&str>) -> anyhow::Result<Network> {
    report(&mut connect(&network.net, network.dir.as_deref())?, port)
}

/// The same over a connection.
pub fn report(client: &mut Client, port: Option<&str>) -> anyhow::Result<Network> {
    let call = Call::Show { port: port.map(str::to_owned) };
    let mut report: Network = client.call(&call, &[])?.value;
    name_users(&mut report);
    Ok(report)
}

/// The daemon knows users by number only: the names are looked up here.
fn name_users(report: &mut Network) {
    for port in &mut report.ports {
        if let (None, Some(uid)) = (&port.user, port.uid) {
            port.user = sys::user::by_uid(uid).ok().flatten().map(|user| user.name);
        }
    }
}

/// `text` as the name of a network.
pub fn network_name(text: &str) -> anyhow::Result<Name> {
    Name::of_network(text).map_err(|why| anyhow!("`{text}` is not a valid network name: {why}"))
}

/// `text` as the name of a guest.
pub fn guest_name(text: &str) -> anyhow::Result<Name> {
    Name::of_guest(text).map_err(|why| anyhow!("`{text}` is not a valid guest name: {why}"))
}
