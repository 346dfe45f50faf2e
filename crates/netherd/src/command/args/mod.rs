//! `netherd args`: what to paste so that a client attaches.
//!
//! [`client`] knows the clients; here the network, the guest's name and the installed version
//! come together. The arguments go to standard output and nothing else does, so that
//! `qemu-system-x86_64 $(netherd args qemu)` works; what one ought to know goes to standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use host::names::{self, Name};
use host::report::{Declared, Network};
use serde::Serialize;

use self::client::{Advice, Attachment};
use super::connect;
use crate::cli::{ArgsArgs, ClientKind};
use crate::output;
use crate::sandbox::session::WrongNetwork;

pub mod client;
pub mod version;

/// What every client takes an Ethernet's to be.
const MTU_USUAL: u16 = 1500;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    client: &'static str,
    network: &'a str,
    guest: &'a str,
    mac: String,
    node: PathBuf,
    arguments: &'a [String],
    notes: &'a [String],
}

pub fn run(args: &ArgsArgs) -> anyhow::Result<ExitCode> {
    let directory = host::directory::resolve(&args.network.net, args.network.dir.as_deref())?;
    let directory = std::path::absolute(&directory)
        .with_context(|| format!("cannot find {}", directory.display()))?;

    let mut notes = Vec::new();
    let report = match connect::connect(&args.network.net, args.network.dir.as_deref()) {
        Ok(mut client) => Some(connect::report(&mut client, None)?),
        Err(error) if error.downcast_ref::<WrongNetwork>().is_some() => return Err(error),
        Err(_) => {
            notes.push(format!(
                "network {} is not up yet; start it with `netherd up {}` before the client",
                args.network.net, args.network.net
            ));
            None
        }
    };
    // What a directory holds has a name of its own, and MAC addresses follow from it.
    let network = report.as_ref().map_or(args.network.net.as_str(), |report| &report.network);
    let network: Name = connect::network_name(network)?;
    let mtu = report.as_ref().map(|report| report.mtu).filter(|mtu| *mtu != MTU_USUAL);
    let declared = args.name.as_deref().and_then(|name| declared(report.as_ref()?, name));
    let attachment = match declared {
        Some(port) => Attachment { mtu, ..of_declared(&network, port, args.client, &directory)? },
        None => {
            let guest = match &args.name {
                Some(name) => asked_for(&network, name, report.as_ref())?,
                None => free(&network, args.client, report.as_ref()),
            };
            Attachment {
                node: directory.join(client::node(args.client)),
                directory,
                guest: guest.to_string(),
                mac: names::mac(&network, &guest),
                mtu,
            }
        }
    };
    let advice = client::advise(args.client, &attachment, &version::Installed)?;
    notes.extend(advice.notes.iter().cloned());
    print(args, &network, &attachment, &advice, &notes)
}

fn print(
    args: &ArgsArgs,
    network: &Name,
    attachment: &Attachment,
    advice: &Advice,
    notes: &[String],
) -> anyhow::Result<ExitCode> {
    if args.json {
        output::print_json(&Answer {
            client: client::name(args.client),
            network: network.as_str(),
            guest: &attachment.guest,
            mac: attachment.mac.to_string(),
            node: attachment.node.clone(),
            arguments: &advice.words,
            notes,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    for note in notes {
        output::note(note);
    }
    let words: Vec<String> = match args.client {
        // A statement of C, not a shell's words.
        ClientKind::Libkrun => advice.words.clone(),
        _ => advice.words.iter().map(|word| shell_word(word)).collect(),
    };
    output::print(&format!("{}\n", words.join(" ")))?;
    Ok(ExitCode::SUCCESS)
}

/// The port of this name that the configuration declares.
fn declared<'a>(report: &'a Network, name: &str) -> Option<&'a Declared> {
    report.declared.iter().find(|port| port.name == name)
}

/// A declared port has a node of its own for each kind of client, and often an address.
fn of_declared(
    network: &Name,
    port: &Declared,
    client: ClientKind,
    directory: &Path,
) -> anyhow::Result<Attachment> {
    let wanted = client::node(client);
    let Some(node) = port.nodes.iter().find(|node| node.rsplit('/').next() == Some(wanted)) else {
        bail!(
            "port {} of network {network} has no node for this client; add \"{wanted}\" to its \
             `nodes` in the configuration",
            port.name
        );
    };
    let node = directory.join(node);
    let mac = match port.macs.first().and_then(|mac| mac.parse().ok()) {
        Some(mac) => mac,
        None => names::mac(network, &connect::guest_name(&port.name)?),
    };
    // A VDE address is the directory in which `ctl` lies.
    let directory = node.parent().unwrap_or(directory).to_owned();
    Ok(Attachment { node, directory, guest: port.name.clone(), mac, mtu: None })
}

/// The guest's name that was asked for, if nobody else has its address.
fn asked_for(network: &Name, name: &str, report: Option<&Network>) -> anyhow::Result<Name> {
    let guest = connect::guest_name(name)?;
    if let Some(owner) = holder(network, &guest, report) {
        bail!(
            "the name {guest} is taken on network {network}, by {owner}; choose another with --name"
        );
    }
    Ok(guest)
}

/// The first of `qemu`, `qemu-2`, `qemu-3` ... whose address nobody uses now.
fn free(network: &Name, client: ClientKind, report: Option<&Network>) -> Name {
    let base = Name::from_command(client::name(client));
    let mut guest = base.clone();
    let mut number = 1;
    while holder(network, &guest, report).is_some() {
        number += 1;
        guest = base.numbered(number);
    }
    guest
}

/// Who has the MAC address which belongs to the name `guest`: a port, or a guest that is away.
fn holder(network: &Name, guest: &Name, report: Option<&Network>) -> Option<String> {
    let report = report?;
    let mac = names::mac(network, guest).to_string();
    if let Some(port) = report.ports.iter().find(|port| port.macs.contains(&mac)) {
        return Some(format!("port {}", port.name));
    }
    let entry = report.macs.iter().find(|entry| entry.mac == mac)?;
    Some(match &entry.port {
        Some(port) => format!("port {port}"),
        None => "a guest that is away".to_owned(),
    })
}

/// `word` as a POSIX shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use host::report::{Mac, Port};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn with_guests(guests: &[&str]) -> Network {
        let net = name("default");
        let ports = guests
            .iter()
            .map(|guest| Port {
                name: format!("port-of-{guest}"),
                macs: vec![names::mac(&net, &name(guest)).to_string()],
                ..Port::default()
            })
            .collect();
        Network { ports, ..Network::default() }
    }

    #[test]
    fn clients_without_a_name_get_distinct_ones() {
        let net = name("default");
        assert_eq!(free(&net, ClientKind::Qemu, None), name("qemu"));
        let report = with_guests(&["qemu", "qemu-2"]);
        assert_eq!(free(&net, ClientKind::Qemu, Some(&report)), name("qemu-3"));
        assert_eq!(free(&net, ClientKind::Uml, Some(&report)), name("uml"));
    }

    #[test]
    fn a_learned_address_is_in_use_too() {
        let net = name("default");
        let mac = names::mac(&net, &name("uml")).to_string();
        let entry = Mac { mac, port: Some("seqpacket-1".to_owned()), ..Mac::default() };
        let report = Network { macs: vec![entry], ..Network::default() };
        assert_eq!(free(&net, ClientKind::Uml, Some(&report)), name("uml-2"));
    }

    #[test]
    fn a_name_that_is_taken_is_refused_with_its_holder() {
        let net = name("default");
        let report = with_guests(&["web"]);
        let error = asked_for(&net, "web", Some(&report)).unwrap_err().to_string();
        assert!(error.contains("port-of-web") && error.contains("--name"), "{error}");
        assert_eq!(asked_for(&net, "db", Some(&report)).expect("free"), name("db"));
        assert!(asked_for(&net, "No Name", None).is_err());
    }

    #[test]
    fn a_declared_port_has_its_own_node_and_address() {
        let port = Declared {
            name: "router".to_owned(),
            macs: vec!["02:00:5e:00:53:01".to_owned()],
            nodes: vec!["ports/router/stream".to_owned(), "ports/router/ctl".to_owned()],
        };
        let report = Network { declared: vec![port], ..Network::default() };
        let port = declared(&report, "router").expect("declared");
        assert_eq!(declared(&report, "web"), None);

        let net = name("lab");
        let of = |client| of_declared(&net, port, client, Path::new("/run/lab"));
        let qemu = of(ClientKind::Qemu).expect("a node");
        assert_eq!(qemu.node, PathBuf::from("/run/lab/ports/router/stream"));
        assert_eq!(qemu.mac.to_string(), "02:00:5e:00:53:01");
        let vde = of(ClientKind::Vde).expect("a node");
        assert_eq!(vde.directory, PathBuf::from("/run/lab/ports/router"));
        let error = of(ClientKind::Uml).unwrap_err().to_string();
        assert!(error.contains("\"seqpacket\""), "{error}");
    }

    #[test]
    fn words_survive_the_shell() {
        for (word, expected) in [
            ("-netdev", "-netdev"),
            ("a=b,c:d/e.f", "a=b,c:d/e.f"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("f(x);", "'f(x);'"),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
