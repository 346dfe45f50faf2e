//! A network namespace of somebody else, as `attach` finds it: who owns it, how to enter it, when it ends.
//!
//! # Theory of operation
//!
//! A namespace that a file keeps (`/run/netns/NAME`) ends for us when that file no longer names it. Any other one
//! lives as long as a process is in it, so the keeper waits for the end of one process that is in it, and then looks
//! for another. What netherd itself left there does not count ([`is_left_by_netherd`]): `attach` may be typed inside
//! of the namespace, and then its keeper is in it, with the hypervisor that it started, and neither is there for its
//! own sake. Two of them would wait for each other for ever.
//!
//! The keeper holds no descriptor of the namespace, which would keep it alive. To take the interface back it opens the
//! namespace again, through whatever it watches.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use host::start::PROCESS_NAME;
use sys::caps::Capabilities;
use sys::errno::ESRCH;
use sys::netlink::PeerNamespace;
use sys::ns::{Forked, Namespaces, Parenthood};

use super::channel::{Channel, LinkMade, Report};
use super::interface::{self, Link, Plan};
use crate::output::failure::{self, FAILED};

/// What tells one namespace from another while it lives, as [`sys::ns::identity`] has it.
type Identity = (u64, u64);

/// How we learn that the namespace has gone.
#[derive(Debug)]
enum Watch {
    /// A process in it: readable when it has ended. The namespace then lives as long as another process is in it.
    Process { pidfd: OwnedFd },
    /// The directory of the file that names it: readable when one of its files has gone.
    File { inotify: OwnedFd, path: PathBuf },
}

/// How a user names a namespace.
#[derive(Debug, Clone)]
pub enum Named {
    /// That of this process.
    Process(i32),
    /// That of this file.
    File(PathBuf),
}

/// The namespace to attach.
#[derive(Debug)]
pub struct Target {
    netns: OwnedFd,
    identity: Identity,
    watch: Watch,
    /// How the user named it, for messages.
    shown: String,
    /// What a guest's name is derived from.
    command: String,
}

/// A link, and the number that its interface has in the namespace.
#[derive(Debug)]
pub struct Made {
    pub link: Link,
    pub index: u32,
}

/// Why a namespace cannot be attached for this caller, with who could.
fn not_yours(shown: &str, owner: Option<u32>) -> anyhow::Error {
    match owner {
        Some(uid) => anyhow!(
            "the network namespace of {shown} belongs to {}; only that user may attach it: run netherd as \
             that user (sudo -u '#{uid}' netherd attach ...), with --dir for a network that both may use",
            host::directory::user_name(uid)
        ),
        None => anyhow!(
            "the network namespace of {shown} belongs to a user namespace outside yours, such as that of the whole \
             machine; run netherd as root, or attach a namespace that you made: unshare -Urn"
        ),
    }
}

impl Target {
    /// Opens a namespace.
    ///
    /// # Errors
    /// A sentence: no such process or file, or not a network namespace.
    pub fn open(named: &Named) -> anyhow::Result<Self> {
        match named {
            Named::Process(pid) => Self::of_process(*pid),
            Named::File(path) => match pid_of_proc_path(path) {
                Some(pid) => Self::of_process(pid),
                None => Self::of_file(path),
            },
        }
    }

    fn of_process(pid: i32) -> anyhow::Result<Self> {
        let shown = format!("process {pid}");
        // First, so that the number cannot come to mean another process unnoticed.
        let process = sys::process::open(pid).map_err(|error| match error.raw_os_error() {
            Some(ESRCH) => anyhow!("there is no {shown}; check the number with ps"),
            _ => anyhow!("{shown} cannot be looked at: {error}; name a process of this machine"),
        })?;
        let netns = match sys::ns::of(pid, Namespaces::NETWORK) {
            Ok(netns) => netns,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let owner = std::fs::metadata(format!("/proc/{pid}")).ok();
                let owner = owner.map(|m| MetadataExt::uid(&m));
                return Err(not_yours(&shown, owner));
            }
            Err(error) => return Err(error).with_context(|| format!("{shown} has ended")),
        };
        let identity = sys::ns::identity(netns.as_fd())?;
        let watch = Watch::Process { pidfd: process };
        Ok(Self { netns, identity, watch, shown, command: command_of(pid) })
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let unopened = |error: std::io::Error| {
            anyhow!(
                "--netns {shown} cannot be opened: {error}; name a file such as /proc/PID/ns/net or \
                 /run/netns/NAME, or a process with --pid"
            )
        };
        // Without waiting for whoever would write to a pipe of that name.
        let file = File::options().read(true).custom_flags(sys::mount::NO_WAIT).open(path);
        let netns: OwnedFd = file.map_err(unopened)?.into();
        if sys::ns::kind(netns.as_fd()).ok() != Some(Namespaces::NETWORK) {
            bail!(
                "--netns {shown} is not a network namespace; name a file such as /proc/PID/ns/net or \
                 /run/netns/NAME"
            );
        }
        let identity = sys::ns::identity(netns.as_fd())?;
        let Some(path) = file_of(path, identity) else {
            return Self::of_members(netns, identity, shown);
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let inotify = sys::process::watch_deletions(directory)
            .with_context(|| format!("{} cannot be watched", directory.display()))?;
        let command = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { netns, identity, watch: Watch::File { inotify, path }, shown, command })
    }

    /// A namespace that was named by a way that ends with us, as `/proc/self/ns/net` does.
    fn of_members(netns: OwnedFd, identity: Identity, shown: String) -> anyhow::Result<Self> {
        // Before the search, which finds nobody in a namespace that the caller may not look into.
        let not_ours = |_| not_yours(&shown, None);
        let owner = sys::ns::owner(netns.as_fd()).map_err(not_ours)?;
        let ours = sys::ns::own(Namespaces::USER)?;
        let is_privileged =
            sys::caps::effective().is_ok_and(|held| held.contains(Capabilities::DEVICES));
        if sys::ns::same(owner.as_fd(), ours.as_fd())? && !is_privileged {
            return Err(not_yours(&shown, None));
        }
        // Who typed the command has a name that tells more than any other process there.
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap_or_default();
        let typed = counted(parent, identity).map(|pidfd| (parent, pidfd));
        let Some((pid, pidfd)) = typed.or_else(|| member(identity)) else {
            bail!(
                "no process but this command is in the network namespace of {shown}, and an interface would \
                disappear with it; attach while a program runs there"
            );
        };
        let watch = Watch::Process { pidfd };
        Ok(Self { netns, identity, watch, shown, command: command_of(pid) })
    }

    /// What a guest's name is derived from.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Readable when [`Target::is_gone`] is to be asked.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.watch {
            Watch::Process { pidfd, .. } => pidfd.as_fd(),
            Watch::File { inotify, .. } => inotify.as_fd(),
        }
    }

    /// After [`Target::fd`] was readable: whether the namespace has ended for us.
    #[must_use]
    pub fn is_gone(&mut self) -> bool {
        match &mut self.watch {
            Watch::Process { pidfd } => match member(self.identity) {
                Some((_, other)) => {
                    *pidfd = other;
                    false
                }
                None => true,
            },
            Watch::File { inotify, path } => {
                sys::process::drain(inotify.as_fd());
                file_of(path, self.identity).is_none()
            }
        }
    }

    /// Forgets the namespace itself, which would live as long as the descriptor does.
    #[must_use]
    pub fn into_watch(self) -> Self {
        // Our own namespace's descriptor takes the place: it holds nothing that would not live anyway.
        match sys::ns::own(Namespaces::NETWORK) {
            Ok(own) => Self { netns: own, ..self },
            Err(_) => self,
        }
    }

    /// Opens the namespace again after [`Target::into_watch`]; `None` when it has gone.
    fn reopen(&self) -> Option<OwnedFd> {
        let is_it = |netns: &OwnedFd| sys::ns::identity(netns.as_fd()).ok() == Some(self.identity);
        let of = |pid| sys::ns::of(pid, Namespaces::NETWORK).ok().filter(is_it);
        // The command may have been typed inside.
        let own = sys::ns::own(Namespaces::NETWORK).ok().filter(is_it);
        own.or_else(|| match &self.watch {
            Watch::Process { pidfd } => {
                let watched = sys::process::number(pidfd.as_fd()).ok().flatten().and_then(of);
                watched.or_else(|| member(self.identity).and_then(|(pid, _)| of(pid)))
            }
            Watch::File { path, .. } => File::open(path).ok().map(Into::into).filter(is_it),
        })
    }

    /// Takes the interface back, for a keeper that ends right afterwards: what it has entered does not matter. It would
    /// go with the last descriptor of its link as well, but for a veth pair only when the kernel gets round to it,
    /// and the hypervisor has such a descriptor too.
    ///
    /// # Errors
    /// The namespace cannot be entered any more, or has no such interface: it has gone already.
    pub fn remove_interface(&self, index: u32) -> anyhow::Result<()> {
        let netns = self.reopen().ok_or_else(|| anyhow!("{} has gone", self.shown))?;
        // A process of the namespace may be of the same user and look at us.
        sys::process::set_undumpable()?;
        let (owner, enter_owner) = self.owner(netns.as_fd())?;
        if enter_owner {
            sys::ns::enter(owner.as_fd(), Namespaces::USER)?;
        }
        sys::ns::enter(netns.as_fd(), Namespaces::NETWORK)?;
        sys::netlink::Netlink::open()?.delete_link(index)?;
        Ok(())
    }

    /// The user namespace that owns this network namespace, and whether it has to be entered.
    fn owner(&self, netns: BorrowedFd<'_>) -> anyhow::Result<(OwnedFd, bool)> {
        let owner = sys::ns::owner(netns).map_err(|_| not_yours(&self.shown, None))?;
        let ours = sys::ns::own(Namespaces::USER)?;
        let enter_owner = !sys::ns::same(owner.as_fd(), ours.as_fd())?;
        Ok((owner, enter_owner))
    }

    /// Makes and configures an interface in the namespace, by a helper that enters it.
    ///
    /// # Errors
    /// The namespace belongs to somebody else, or the interface cannot be made.
    pub fn make_interface(&self, plan: &Plan) -> anyhow::Result<Made> {
        let (owner, enter_owner) = self.owner(self.netns.as_fd())?;
        let (outside, inside) = Channel::pair()?;
        let helper = match sys::ns::fork(Namespaces::NONE, Parenthood::Own)? {
            Forked::Child => {
                drop(outside);
                match self.in_namespace(plan, owner.as_fd(), enter_owner) {
                    Ok(Made { link, index }) => {
                        let made = LinkMade {
                            tap: link.tap,
                            vnet_hdr_len: link.vnet_hdr_len,
                            offloads: link.offloads,
                            namespaces: Vec::new(),
                        };
                        let report = Report::Attached { link: made, index };
                        let _ = inside.send(&report, &[link.fd.as_fd()]);
                    }
                    Err(error) => inside.fail(FAILED, &failure::sentence(&error)),
                }
                sys::process::exit_now(0)
            }
            Forked::Parent(child) => child,
        };
        drop(inside);
        let answer = outside.receive::<Report>()?;
        let _ =
            sys::process::wait(sys::process::Which::Pid(helper.pid), sys::process::Patience::Block);
        match answer {
            Some((Report::Attached { link: made, index }, mut fds)) => {
                let fd = fds.pop().ok_or_else(|| anyhow!("the link did not arrive"))?;
                let LinkMade { tap, vnet_hdr_len, offloads, .. } = made;
                Ok(Made { link: Link { fd, tap, vnet_hdr_len, offloads }, index })
            }
            Some((Report::Failed { sentence, .. }, _)) => Err(anyhow!(sentence)),
            _ => bail!("the helper that enters {} ended without a word", self.shown),
        }
    }

    /// The helper's part. It ends right afterwards, so what it has entered does not matter.
    fn in_namespace(
        &self,
        plan: &Plan,
        owner: BorrowedFd<'_>,
        enter_owner: bool,
    ) -> anyhow::Result<Made> {
        // A process of the namespace may be of the same user and look at us.
        sys::process::set_undumpable()?;
        let denied =
            |_| not_yours(&self.shown, sys::ns::owner_uid(owner).ok().filter(|_| enter_owner));
        if enter_owner {
            sys::ns::enter(owner, Namespaces::USER).map_err(denied)?;
        }
        sys::ns::enter(self.netns.as_fd(), Namespaces::NETWORK).map_err(denied)?;
        self.check_name(plan)?;
        // Opened here and not before: a tap appears in the namespace in which its device was opened.
        let link = match sys::tap::open_device() {
            Ok(device) => interface::tap_on(device, &plan.name)
                .with_context(|| format!("no tap can be made in {}", self.shown))?,
            Err(_) => {
                // The outer end of a veth pair needs a namespace of its own.
                sys::ns::unshare(Namespaces::NETWORK).map_err(denied)?;
                let peer = PeerNamespace::Fd(self.netns.as_fd());
                let link = interface::make_veth(&plan.name, Some(plan.mac), plan.mtu, peer)?;
                sys::ns::enter(self.netns.as_fd(), Namespaces::NETWORK)?;
                link
            }
        };
        let index = interface::configure(plan, !link.tap)?;
        Ok(Made { link, index })
    }

    fn check_name(&self, plan: &Plan) -> anyhow::Result<()> {
        let mut netlink = sys::netlink::Netlink::open()?;
        if netlink.link(&plan.name).is_ok() {
            bail!(
                "{} has an interface {} already; choose another name with --ifname",
                self.shown,
                plan.name
            );
        }
        Ok(())
    }
}

/// The file of its own that keeps a namespace, if `path` leads to one. What `/proc` shows of a namespace is none: it is
/// there for as long as a process is.
fn file_of(path: &Path, namespace: Identity) -> Option<PathBuf> {
    let path = std::fs::canonicalize(path).ok()?;
    let file = File::open(&path).ok()?;
    (sys::ns::identity(file.as_fd()).ok()? == namespace).then_some(path)
}

/// A process that is in this network namespace for its own sake, of those that the caller may look at.
fn member(namespace: Identity) -> Option<(i32, OwnedFd)> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, counted(pid, namespace)?))
    })
}

/// A descriptor of this process, if it is such a one.
fn counted(pid: i32, namespace: Identity) -> Option<OwnedFd> {
    let is_in = || {
        let place = std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
        let found = (MetadataExt::dev(&place), MetadataExt::ino(&place));
        (found == namespace).then_some(())
    };
    is_in()?;
    let pidfd = sys::process::open(pid).ok()?;
    // The number may have come to mean another process.
    is_in()?;
    (pid != sys::process::own_pid() && !is_left_by_netherd(pid)).then_some(pidfd)
}

/// Whether a process is what netherd itself leaves in a namespace in which it is used: a keeper of `attach`, or a
/// hypervisor that was started on demand. A keeper of `run` is there for its guest, and `netherd up` for its user.
fn is_left_by_netherd(pid: i32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Ok(command_of(pid).as_str()) == PROCESS_NAME.to_str() && is_left(&words)
}

/// The same, of its words as `/proc/PID/cmdline` has them.
fn is_left(words: &[u8]) -> bool {
    let mut words = words.split(|byte| *byte == 0).skip(1);
    match words.next() {
        Some(b"attach") => true,
        Some(b"up") => words.next() == Some(b"--detached"),
        _ => false,
    }
}

/// What a process calls itself.
fn command_of(pid: i32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.trim().to_owned()
}

/// The process in `/proc/PID/ns/net`.
fn pid_of_proc_path(path: &Path) -> Option<i32> {
    let mut parts = path.strip_prefix("/proc").ok()?.to_str()?.split('/');
    let pid = parts.next()?.parse().ok()?;
    (parts.next() == Some("ns") && parts.next() == Some("net") && parts.next().is_none())
        .then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_proc_names_its_process() {
        assert_eq!(pid_of_proc_path(Path::new("/proc/12/ns/net")), Some(12));
        for other in ["/proc/self/ns/net", "/proc/12/ns/user", "/run/netns/x", "/proc/12/ns/net/x"]
        {
            assert_eq!(pid_of_proc_path(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn what_netherd_leaves_is_known_by_its_words() {
        for (line, left) in [
            ("netherd attach --pid 7", true),
            ("/usr/bin/netherd attach --netns /proc/self/ns/net", true),
            ("netherd up --detached --ready-fd 1 -- default", true),
            ("netherd up", false),
            ("netherd up -d", false),
            ("netherd run -d -- sleep 600", false),
            ("netherd", false),
            ("", false),
        ] {
            assert_eq!(is_left(line.replace(' ', "\0").as_bytes()), left, "{line}");
        }
    }

    #[test]
    fn a_way_through_proc_is_no_file_that_keeps_a_namespace() {
        let own = sys::ns::own(Namespaces::NETWORK).unwrap();
        let identity = sys::ns::identity(own.as_fd()).unwrap();
        for way in ["/proc/self/ns/net", "/proc/thread-self/ns/net", "/etc/passwd", "/no/such/file"]
        {
            assert_eq!(file_of(Path::new(way), identity), None, "{way}");
        }
    }

    #[test]
    fn the_sentence_names_who_may() {
        let text = not_yours("process 7", Some(0)).to_string();
        assert!(text.contains("root (uid 0)") && text.contains("sudo -u '#0'"), "{text}");
        assert!(not_yours("process 7", None).to_string().contains("unshare -Urn"));
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        for (named, words) in [
            (Named::Process(i32::MAX), "there is no process"),
            (Named::File("/etc/passwd".into()), "is not a network namespace"),
            (Named::File("/no/such/file".into()), "cannot be opened"),
        ] {
            let error = Target::open(&named).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
