//! The first words of a connection, and what a relay gives up before it goes on.
//!
//! This runs in a process of its own, forked by the broker, so nobody waits for a hypervisor that
//! does not speak. Until [`confine`] it has the broker's two capabilities and can read files.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use sys::Cred;
use sys::caps::Capabilities;
use sys::shared::Memory;

use crate::device::{self, Port};
use crate::ledger::{Line, Question};
use crate::list::{Allowance, List};
use crate::log;
use crate::protocol::{self, Hello, ToHelper, VERSION, Welcome};
use crate::relay::{End, Relay};
use crate::slots::{LENT_MAX, Slots};

/// How long a hypervisor may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub(crate) fn serve(user: OwnedFd, peer: Cred, line: OwnedFd, list: &Path) {
    let Some(mut relay) = prepare(user, peer, line, list) else { return };
    let end = relay.run();
    let moved: Vec<String> =
        relay.counters().moved().map(|(name, count)| format!("{name} {count}")).collect();
    let why = match end {
        End::Closed => "closed its connection".to_owned(),
        End::Broken(why) => format!("was sent away: {why}"),
        End::NoBroker => "lost its connection, because the broker ended".to_owned(),
        End::Failed(why) => format!("lost its connection: {why}"),
    };
    log::say(&format!("User {} {why} ({}).", peer.uid, moved.join(", ")));
}

/// A relay that has given up what it does not need; `None` when it comes to nothing, which was said.
fn prepare(user: OwnedFd, peer: Cred, line: OwnedFd, list: &Path) -> Option<Relay> {
    let now = sys::clock::monotonic_nanos();
    let line = Line::new(line);
    let (port, allowance, lent) = match admit(user.as_fd(), peer, &line, list, now) {
        Ok(admitted) => admitted,
        // Said while the line is open: its end is the end of this process to the broker.
        Err(Refusal::Told(sentence)) => {
            let message = protocol::refused(&sentence);
            // Whoever is gone needs no answer.
            let _gone = sys::unix::send_vectored(user.as_fd(), &[IoSlice::new(&message)]);
            log::say(&format!("User {}: {sentence}", peer.uid));
            return None;
        }
        Err(Refusal::Mute(why)) => {
            log::say(&format!("User {} sent nothing that can be understood: {why}.", peer.uid));
            return None;
        }
    };
    let welcome = welcome(&port, &allowance).encode();
    let device = allowance.device.clone();
    let make = || {
        sys::unix::force_buffers(user.as_fd(), 4 << 20)?;
        let (slots, memory) = Slots::create()?;
        let relay = Relay::new(user, port, line, allowance, (slots, lent), now)?;
        confine()?;
        relay.welcome(&welcome, memory.as_fd())?;
        Ok::<Relay, io::Error>(relay)
    };
    match make() {
        Ok(relay) => {
            log::say(&format!("User {} uses {device}.", peer.uid));
            Some(relay)
        }
        Err(e) => {
            log::say(&format!("User {} cannot be served: {e}.", peer.uid));
            None
        }
    }
}

/// Why a connection comes to nothing.
enum Refusal {
    /// The hypervisor is told this.
    Told(String),
    /// It is not one.
    Mute(String),
}

fn admit(
    user: BorrowedFd<'_>,
    peer: Cred,
    line: &Line,
    list: &Path,
    now: u64,
) -> Result<(Port, Allowance, Option<Memory>), Refusal> {
    let (device, lends) = hello(user)?;
    let list = List::read(list).map_err(|e| {
        // What is wrong with root's file is for the log; its text is nobody's business.
        log::say(&e.to_string());
        Refusal::Told(
            "netherd-nic cannot use its list of users; its log says why to the administrator."
                .to_owned(),
        )
    })?;
    let mut groups = sys::unix::peer_groups(user).unwrap_or_default();
    groups.push(peer.gid);
    let Some(allowance) = list.find(peer.uid, &groups, &device) else {
        return Err(Refusal::Told(format!(
            "You (user {}) may not use the network device {device}: have the administrator add you \
             to /etc/netherd/nic.toml.",
            peer.uid
        )));
    };
    let open = Question::Open { device: device.clone(), connections: allowance.connections };
    match line.ask(&open) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Refusal::Told(format!(
                "You have {} networks on {device} already, which is what \"connections\" in \
                 /etc/netherd/nic.toml allows.",
                allowance.connections
            )));
        }
        Err(e) => return Err(Refusal::Told(format!("netherd-nic is ending: {e}."))),
    }
    let port = Port::open(&device, now).map_err(|e| {
        Refusal::Told(match e.raw_os_error() {
            Some(sys::errno::ENODEV) => {
                format!("There is no network device {device}; it may come later.")
            }
            Some(sys::errno::EPERM) => format!(
                "netherd-nic may not open packet sockets (it needs CAP_NET_RAW), so {device} cannot \
                 be used; the administrator has to start it as its unit says."
            ),
            _ => format!("The network device {device} cannot be used: {e}."),
        })
    })?;
    let lent = if lends { Some(borrow(user)?) } else { None };
    Ok((port, allowance.clone(), lent))
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Refusal {
        Refusal::Mute(e.to_string())
    }
}

/// Asks for the memory that is to be lent. What else a user sends here it may take him long to have closed, but that is
/// the time of his own connection.
fn borrow(user: BorrowedFd<'_>) -> Result<Memory, Refusal> {
    let _older = sys::unix::take_descriptors(user, true)?;
    sys::unix::send_vectored(user, &[IoSlice::new(&protocol::lend())])?;
    if !sys::wait::readable(user, Some(PATIENCE))? {
        return Err(Refusal::Mute("it lent nothing".into()));
    }
    let mut message = [0; 64];
    let received = sys::unix::receive_with_fds(user, &mut message, 1)?;
    let _older = sys::unix::take_descriptors(user, false)?;
    let (said, fd) = (ToHelper::decode(&message[..received.len]), received.fds.first());
    let (Ok(ToHelper::Memory), Some(fd)) = (said, fd) else {
        return Err(Refusal::Mute("it lent nothing".into()));
    };
    Memory::map_lent(fd.as_fd(), LENT_MAX).map_err(Refusal::from)
}

/// Which device is wanted, and whether memory can be lent.
fn hello(user: BorrowedFd<'_>) -> Result<(String, bool), Refusal> {
    if !sys::wait::readable(user, Some(PATIENCE))? {
        return Err(Refusal::Mute("it was silent".into()));
    }
    let mut message = [0; 64];
    let (len, _) = sys::unix::receive_message(user, &mut message)?;
    match ToHelper::decode(&message[..len]) {
        Ok(ToHelper::Hello(Hello { version: VERSION, device, lends })) => Ok((device, lends)),
        Ok(ToHelper::Hello(Hello { version, .. })) => Err(Refusal::Told(format!(
            "This netherd speaks version {version} of the protocol with netherd-nic, which speaks \
             {VERSION}; install both from one release."
        ))),
        Ok(_) => Err(Refusal::Mute("it did not begin with a hello message".into())),
        Err(e) => Err(Refusal::Mute(e.to_string())),
    }
}

fn welcome(port: &Port, allowance: &Allowance) -> Welcome {
    Welcome {
        version: VERSION,
        mtu: u16::try_from(port.mtu()).unwrap_or(u16::MAX),
        offloads: device::OFFLOADS,
        own: port.mac(),
        max_macs: allowance.max_macs,
        ranges: allowance.macs.clone(),
    }
}

/// Gives up everything but the descriptors.
fn confine() -> io::Result<()> {
    sys::caps::reduce(Capabilities::NONE)?;
    sys::confine::no_new_privileges()?;
    if let Err(e) = sys::confine::restrict_files(&[], &[]) {
        log::say(&format!(
            "Landlock was refused ({e}); only the filter of system calls confines the relay."
        ));
    }
    sys::confine::only_move_frames()
}
