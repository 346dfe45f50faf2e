//! The broker's process: its socket, its list, and the privileges it keeps.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nic::broker::Broker;
use nic::list::{Fault, List, PLACE, Who};
use nic::{listener, log, protocol};
use sys::caps::Capabilities;
use sys::unix::SocketKind;

const HELP: &str = "\
netherd-nic: moves frames of users' networks through network devices

Usage: netherd-nic [--listen PATH] [--list PATH] [--user NAME]
       netherd-nic --check [--list PATH]

  --listen PATH  make the socket there (default: the one systemd hands over,
                 else /run/netherd/nic.sock)
  --list PATH    who may do what (default: /etc/netherd/nic.toml)
  --user NAME    whom to become, when started as root (default: nobody)
  --check        read the list, say what it allows and what is wrong in it, and exit
";

#[derive(Debug, Default)]
struct Options {
    listen: Option<PathBuf>,
    list: Option<PathBuf>,
    user: Option<String>,
    check: bool,
    help: bool,
    version: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--listen" => options.listen = Some(value()?.into()),
            "--list" => options.list = Some(value()?.into()),
            "--user" => options.user = Some(value()?),
            "--check" => options.check = true,
            "--help" | "-h" => options.help = true,
            "--version" | "-V" => options.version = true,
            other => return Err(format!("\"{other}\" is not an option; see --help")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            log::say(&sentence);
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    let options = options(std::env::args().skip(1))?;
    if options.help {
        return print(HELP);
    }
    if options.version {
        return print(&format!("netherd-nic {}\n", env!("CARGO_PKG_VERSION")));
    }
    let list = options.list.unwrap_or_else(|| PLACE.into());
    if options.check {
        return check(&list);
    }
    // The lock is held until the process ends; relays close it with all else that they do not need.
    let (listener, _lock) = match given_socket() {
        Some(socket) if options.listen.is_none() => (socket, None),
        _ => {
            let path = options.listen.as_deref().unwrap_or(Path::new(protocol::SOCKET));
            let (socket, lock) = listener::listen(path).map_err(|e| e.to_string())?;
            (socket, Some(lock))
        }
    };
    drop_privileges(options.user.as_deref().unwrap_or("nobody"))?;
    // A list that makes no sense is said now, and again to each who comes.
    match List::read(&list) {
        Ok(read) => say_idle(&list, &read),
        Err(e) => log::say(&e.to_string()),
    }
    let mut broker = Broker::new(listener, list).map_err(|e| format!("It cannot start: {e}."))?;
    if let Some(manager) = sys::service::Manager::of_process() {
        manager.tell("READY=1\n");
    }
    broker.run().map_err(|e| format!("It ended: {e}."))
}

/// Says which entries are about nobody.
fn say_idle(path: &Path, list: &List) {
    for Fault { line, why } in list.idle() {
        log::say(&format!(
            "An entry of the list {} cannot be applied, in line {line}: {why}.",
            path.display()
        ));
    }
}

fn check(path: &Path) -> Result<(), String> {
    let list = List::read(path).map_err(|e| e.to_string())?;
    for allowance in list.allowances() {
        let who = match allowance.who {
            Who::User(uid) => format!("user {uid}"),
            Who::Group(gid) => format!("group {gid}"),
        };
        let addresses: u64 = allowance.macs.iter().map(|it| it.last - it.first + 1).sum();
        print(&format!(
            "{who}: {}, {} of {addresses} addresses in each of {} networks\n",
            allowance.device, allowance.max_macs, allowance.connections
        ))?;
    }
    say_idle(path, &list);
    match list.idle().len() {
        0 => Ok(()),
        1 => Err("One entry of the list applies to nobody.".to_owned()),
        n => Err(format!("{n} entries of the list apply to nobody.")),
    }
}

/// Writes to standard output. That nobody reads it to its end is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("Standard output cannot be written: {error}; send it elsewhere."))
        }
        _ => Ok(()),
    }
}

/// The socket that systemd holds.
fn given_socket() -> Option<OwnedFd> {
    let number = sd_notify::listen_fds().ok()?.next()?;
    let socket = sys::detach::adopt(number).ok()?;
    (sys::unix::kind_of(std::os::fd::AsFd::as_fd(&socket)).ok()? == SocketKind::Seqpacket)
        .then_some(socket)
}

/// Keeps two capabilities and no root.
fn drop_privileges(user: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("Privileges cannot be given up: {e}.");
    sys::confine::no_core_files().map_err(failed)?;
    if sys::unix::effective_uid() == 0 {
        let account = sys::user::by_name(user)
            .map_err(failed)?
            .filter(|account| account.uid != 0)
            .ok_or_else(|| format!("There is no user {user} to become; name one with --user."))?;
        sys::caps::bound(Capabilities::DEVICES).map_err(failed)?;
        sys::user::become_user(account.uid, account.gid).map_err(failed)?;
    }
    sys::caps::reduce(Capabilities::DEVICES).map_err(failed)?;
    sys::confine::no_new_privileges().map_err(failed)?;
    sys::process::set_undumpable().map_err(failed)?;
    let held = sys::caps::effective().map_err(failed)?;
    if !held.contains(Capabilities::DEVICES) {
        log::say(
            "netherd-nic lacks CAP_NET_RAW or CAP_NET_ADMIN: devices cannot be opened, or only with small buffers.",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let read = |text: &str| options(text.split_whitespace().map(str::to_owned));
        let all = read("--listen /a --list /b --user c --check").unwrap();
        assert_eq!(all.listen.as_deref(), Some(Path::new("/a")));
        assert_eq!((all.list.as_deref(), all.user.as_deref()), (Some(Path::new("/b")), Some("c")));
        assert!(all.check);
        assert!(read("--listen").unwrap_err().contains("needs a value"));
        assert!(read("--what").unwrap_err().contains("is not an option"));
    }
}
