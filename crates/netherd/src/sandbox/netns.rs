//! A network namespace of somebody else, as `attach` finds it: who owns it, how to enter it, when it ends.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use sys::netlink::PeerNamespace;
use sys::ns::{Forked, Namespaces, Parenthood};

use super::channel::{Channel, LinkMade, Report};
use super::interface::{self, Link, Plan};
use crate::cli::AttachArgs;
use crate::output::failure::{self, FAILED};

/// How we learn that the namespace has gone.
#[derive(Debug)]
enum Watch {
    /// A process whose namespace it is: readable when it has ended. The namespace then lives as long as
    /// another process is in it.
    Process { pidfd: OwnedFd, identity: (u64, u64) },
    /// The directory of the file that names it: readable when one of its files has gone.
    File { inotify: OwnedFd, path: PathBuf, identity: (u64, u64) },
}

/// The namespace to attach.
#[derive(Debug)]
pub struct Target {
    netns: OwnedFd,
    watch: Watch,
    /// How the user named it, for messages.
    shown: String,
    /// What a guest's name is derived from.
    command: String,
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
            "the network namespace of {shown} belongs to a user namespace outside of yours, such as that of \
             the whole machine; run netherd as root, or attach a namespace that you made: unshare -Urn"
        ),
    }
}

impl Target {
    /// Opens what the command line names.
    ///
    /// # Errors
    /// A sentence: no such process or file, or not a network namespace.
    pub fn open(args: &AttachArgs) -> anyhow::Result<Self> {
        match (args.pid, &args.netns) {
            (Some(pid), _) => Self::of_process(pid),
            (None, Some(path)) => match pid_of_proc_path(path) {
                Some(pid) => Self::of_process(pid),
                None => Self::of_file(path),
            },
            (None, None) => bail!("name a namespace: --pid PID or --netns PATH"),
        }
    }

    fn of_process(pid: i32) -> anyhow::Result<Self> {
        let shown = format!("process {pid}");
        // First, so that the number cannot come to mean another process unnoticed.
        let process = sys::process::open(pid)
            .with_context(|| format!("there is no {shown}; check the number with ps"))?;
        let netns = match sys::ns::of(pid, Namespaces::NETWORK) {
            Ok(netns) => netns,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let owner = std::fs::metadata(format!("/proc/{pid}")).ok();
                let owner = owner.map(|m| MetadataExt::uid(&m));
                return Err(not_yours(&shown, owner));
            }
            Err(error) => return Err(error).with_context(|| format!("{shown} has ended")),
        };
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let identity = sys::ns::identity(netns.as_fd())?;
        let watch = Watch::Process { pidfd: process, identity };
        Ok(Self { netns, watch, shown, command: comm.trim().to_owned() })
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let unopened = |error: std::io::Error| {
            anyhow!(
                "--netns {shown} cannot be opened: {error}; name a file such as /proc/PID/ns/net or \
                 /run/netns/NAME, or a process with --pid"
            )
        };
        let path = std::fs::canonicalize(path).map_err(unopened)?;
        let netns: OwnedFd = File::open(&path).map_err(unopened)?.into();
        if sys::ns::kind(netns.as_fd()).ok() != Some(Namespaces::NETWORK) {
            bail!(
                "--netns {shown} is no network namespace; name a file such as /proc/PID/ns/net or \
                 /run/netns/NAME"
            );
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let inotify = sys::process::watch_deletions(directory)
            .with_context(|| format!("{} cannot be watched", directory.display()))?;
        let command = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let identity = sys::ns::identity(netns.as_fd())?;
        Ok(Self { netns, watch: Watch::File { inotify, path, identity }, shown, command })
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
            Watch::Process { pidfd, identity } => match member(*identity) {
                Some(other) => {
                    *pidfd = other;
                    false
                }
                None => true,
            },
            Watch::File { inotify, path, identity } => {
                sys::process::drain(inotify.as_fd());
                let now = File::open(path).ok().and_then(|f| sys::ns::identity(f.as_fd()).ok());
                now != Some(*identity)
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

    /// Makes and configures an interface in the namespace, by a helper that enters it.
    ///
    /// # Errors
    /// The namespace belongs to somebody else, or the interface cannot be made.
    pub fn make_interface(&self, plan: &Plan) -> anyhow::Result<Link> {
        let Ok(owner) = sys::ns::owner(self.netns.as_fd()) else {
            return Err(not_yours(&self.shown, None));
        };
        let ours = sys::ns::own(Namespaces::USER)?;
        let enter_owner = !sys::ns::same(owner.as_fd(), ours.as_fd())?;
        let (outside, inside) = Channel::pair()?;
        let helper = match sys::ns::fork(Namespaces::NONE, Parenthood::Own)? {
            Forked::Child => {
                drop(outside);
                match self.in_namespace(plan, owner.as_fd(), enter_owner) {
                    Ok(link) => {
                        let made = LinkMade {
                            tap: link.tap,
                            vnet_hdr_len: link.vnet_hdr_len,
                            offloads: link.offloads,
                            namespaces: Vec::new(),
                        };
                        let _ = inside.send(&Report::Link(made), &[link.fd.as_fd()]);
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
            Some((Report::Link(made), mut fds)) => {
                let fd = fds.pop().ok_or_else(|| anyhow!("the link did not arrive"))?;
                Ok(Link {
                    fd,
                    tap: made.tap,
                    vnet_hdr_len: made.vnet_hdr_len,
                    offloads: made.offloads,
                })
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
    ) -> anyhow::Result<Link> {
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
        interface::configure(plan, !link.tap)?;
        Ok(link)
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

/// A process that is in this network namespace, of those that the caller may look at.
fn member(namespace: (u64, u64)) -> Option<OwnedFd> {
    let is_in = |pid: i32| {
        let place = std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
        let found = (MetadataExt::dev(&place), MetadataExt::ino(&place));
        (found == namespace).then_some(())
    };
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        is_in(pid)?;
        let pidfd = sys::process::open(pid).ok()?;
        // The number may have come to mean another process.
        is_in(pid)?;
        Some(pidfd)
    })
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
    fn the_sentence_names_who_may() {
        let text = not_yours("process 7", Some(0)).to_string();
        assert!(text.contains("root (uid 0)") && text.contains("sudo -u '#0'"), "{text}");
        assert!(not_yours("process 7", None).to_string().contains("unshare -Urn"));
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        let args = |pid, netns: Option<&str>| AttachArgs {
            pid,
            netns: netns.map(PathBuf::from),
            network: crate::cli::NetworkArgs { net: "default".to_owned(), dir: None },
            name: None,
            mac: None,
            ifname: "eth0".to_owned(),
        };
        for (pid, path, words) in [
            (Some(i32::MAX), None, "there is no process"),
            (None, Some("/etc/passwd"), "is no network namespace"),
            (None, Some("/no/such/file"), "cannot be opened"),
        ] {
            let error = Target::open(&args(pid, path)).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
