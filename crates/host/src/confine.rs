//! What the daemon gives up once it has started.
//!
//! # Theory of operation
//!
//! A guest that finds a fault in the daemon gets what the daemon can do; this makes that little:
//!
//! * no new privileges by exec, and no core files;
//! * a seccomp filter: only the system calls that serving needs. Calls by which a process becomes another, changes its
//!   namespaces or looks into others kill it; all else that is not listed fails with EPERM;
//! * Landlock, where the kernel has it: of the file system only the networks' directories and the register of
//!   directories can be written to, and only those, the configuration, the account files and what says where names are
//!   asked can be read.
//!
//! What must still work afterwards is what `tests` in the daemon does under it: all calls, all nodes, reload with new
//! ports and new networks in the default place, captures, the end. What does not: publishing in a directory that was
//! not known at the start; the error says so.

use std::path::{Path, PathBuf};

use crate::directory;

/// Descriptors that are enough where the system sets no limit: two for a port, four for a guest, one for a connection
/// to the outside.
const DESCRIPTORS: u64 = 1 << 20;

/// The part of the file system that stays.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Directories of networks.
    pub writable: Vec<PathBuf>,
    /// The configuration file, for reload.
    pub config: Option<PathBuf>,
}

/// Raises the limit of descriptors as far as the system allows without privilege.
pub fn raise_descriptor_limit() {
    sys::confine::raise_descriptor_limit(DESCRIPTORS);
}

/// Where those who manage networks keep their `resolv.conf`, beside `/etc`: systemd-resolved, NetworkManager,
/// resolvconf, netconfig, ConnMan, and the host of a Linux under Windows.
const MANAGERS: [&str; 6] = [
    "run/systemd/resolve",
    "run/NetworkManager",
    "run/resolvconf",
    "run/netconfig",
    "run/connman",
    "mnt/wsl",
];

/// Where `/etc/resolv.conf` is, what it points to, and what it may come to point to. Who writes them replaces them, so
/// it is their directories that have to stay readable, for as far as this user can read what is in them; and who manages
/// the network from tomorrow on makes his directory then, so that it is the one above, where that is not `/run` as a
/// whole: there are secrets in it.
fn resolver_places(root: &Path) -> Vec<PathBuf> {
    let mut places = vec![root.join("etc")];
    let mut path = root.join("etc/resolv.conf");
    // A chain of links, each relative to the directory that it is in.
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(root).join(target);
        let directory = path.parent().and_then(|it| it.canonicalize().ok());
        places.extend(directory.filter(|it| it.parent().is_some()));
    }
    for manager in MANAGERS.map(Path::new) {
        let above = manager.parent().filter(|above| above.components().count() > 1);
        let place = root.join(above.unwrap_or(manager));
        places.extend(Some(place).filter(|it| it.is_dir()));
    }
    places.sort();
    places.dedup();
    places
}

/// Confines the process. To be called once, while it has one thread.
///
/// # Errors
/// When the kernel refuses no_new_privs or the filter. A kernel without Landlock is no error; it is logged.
pub fn confine(places: &Places) -> std::io::Result<()> {
    // It is kept from the first time on, and gateways that come later cannot read it any more.
    let _ports = sys::inet::ports::given_out();
    sys::confine::no_core_files()?;
    sys::confine::no_new_privileges()?;
    let mut writable = places.writable.clone();
    writable.extend(directory::default_places().into_iter().filter(|place| place.exists()));
    let mut readable: Vec<PathBuf> =
        ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/proc/self", "/dev/null"]
            .iter()
            .map(PathBuf::from)
            .collect();
    // An editor replaces the file, so it is the directory that has to stay readable.
    readable.extend(places.config.as_deref().and_then(Path::parent).map(Path::to_owned));
    readable.extend(resolver_places(Path::new("/")));
    match sys::confine::restrict_files(&writable, &readable) {
        Ok(sys::confine::Landlocked::Yes) => {}
        Ok(sys::confine::Landlocked::No) => crate::log::debug(
            "The kernel has no Landlock: the file system stays open to the daemon.",
        ),
        Err(error) => crate::log::warn(&format!(
            "Landlock was refused ({error}): the file system stays open to the daemon."
        )),
    }
    // A test of the list dies of what is missing on it; in service the one call fails.
    let unlisted =
        if cfg!(test) { sys::confine::Unlisted::Kill } else { sys::confine::Unlisted::Refuse };
    sys::confine::filter_system_calls(unlisted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The file is a link elsewhere tomorrow, or what it leads to is made anew.
    #[test]
    fn the_host_s_resolvers_are_followed_where_they_move() {
        let root = std::env::temp_dir().join(format!("netherd-places-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("ours");
            std::fs::write(path, text).expect("ours");
        };
        write("etc/other", "here\n");
        write("run/NetworkManager/resolv.conf", "NetworkManager\n");
        write("run/user/secret", "secret\n");
        write("run/systemd/units", "units\n");
        write("srv/names/resolv.conf", "of the site\n");
        let file = root.join("etc/resolv.conf");
        symlink("../srv/names/resolv.conf", &file).expect("ours");
        let places = resolver_places(&root);
        let expected = ["etc", "run/NetworkManager", "run/systemd", "srv/names"];
        assert_eq!(places, expected.map(|place| root.join(place)));

        // Confinement cannot be taken back, so it is for a thread that ends.
        let (secret, from) = (root.join("run/user/secret"), file.clone());
        let (ask, asked) = std::sync::mpsc::channel();
        let (said, heard) = std::sync::mpsc::channel();
        let confined = std::thread::spawn(move || {
            sys::confine::no_new_privileges().expect("no refusal");
            let status = sys::confine::restrict_files(&[], &places).expect("no refusal");
            while let Ok(()) = asked.recv() {
                said.send(std::fs::read_to_string(&from).ok()).expect("somebody listens");
            }
            (status, std::fs::read_to_string(secret).ok())
        });
        let read = || {
            ask.send(()).expect("it runs");
            heard.recv().expect("it runs")
        };
        assert_eq!(read().as_deref(), Some("of the site\n"));
        for (target, made) in [
            ("../run/NetworkManager/resolv.conf", None),
            ("../run/systemd/resolve/stub-resolv.conf", Some("stub\n")),
            ("../run/systemd/resolve/stub-resolv.conf", Some("stub, once more\n")),
            ("other", None),
        ] {
            std::fs::remove_file(&file).expect("it is there");
            symlink(target, &file).expect("ours");
            if let Some(text) = made {
                let _ = std::fs::remove_dir_all(root.join("run/systemd/resolve"));
                write("run/systemd/resolve/stub-resolv.conf", text);
            }
            let expected = std::fs::read_to_string(&file).expect("it is there");
            assert_eq!(read(), Some(expected), "{target}");
        }
        drop(ask);
        let (status, secret) = confined.join().expect("it ended");
        if status == sys::confine::Landlocked::Yes {
            assert_eq!(secret, None);
        }
        std::fs::remove_dir_all(&root).expect("ours");
    }
}
