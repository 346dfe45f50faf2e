//! What a guest must not find in the file system: the sockets of outer hypervisors and of their helper, of D-Bus, of
//! systemd and of programs that look names up.
//!
//! The covers are mounted in M1, so they are locked in the guest's M2. What is looked for is decided
//! by the outer process, which knows the caller's environment; init only mounts, wherever the mounts show
//! the place (a tree of `--rootfs` may have it too). A place that comes into being later could not be covered
//! then, so the default places of netherd are made now.
//!
//! A cover over a file ends when the file is removed outside, and a server that starts again removes and
//! makes its socket. So directories are covered. Where a directory also has what programs need, its cover
//! is a *copy* ([`directory_copy`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::directory_copy::{self, Hidden};
use super::mounts;

/// A guest's own hypervisor publishes here; sockets, leases and little else.
const NETWORKS_BYTES: u64 = 16 << 20;
/// Directories of programs that look names up for others, below `/run`: the caches of the C library (nscd,
/// unscd) and of LDAP, systemd's resolver, and mDNS. Through their sockets a guest's programs would see the
/// machine's names, and the machine's network, instead of the guest's. Without them, the C library goes on to
/// the next source of nsswitch.conf(5), which is `dns`.
const RESOLVERS: [&str; 4] = ["nscd", "nslcd", "systemd/resolve", "avahi-daemon"];

/// The places, all absolute and without symbolic links.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Covers {
    /// Networks' directories: an empty, writable directory instead, so that a netherd inside works.
    networks: BTreeSet<PathBuf>,
    /// An empty, read-only directory instead.
    directories: BTreeSet<PathBuf>,
    /// A copy instead. Beside what it hides, its entries are as they are when the guest starts.
    copies: BTreeMap<PathBuf, Hidden>,
    /// `/dev/null` instead: sockets in directories that are not ours to judge.
    sockets: BTreeSet<PathBuf>,
}

/// Where the sockets of the session and the system are.
#[derive(Debug)]
struct Places {
    runtime: Vec<PathBuf>,
    run: Vec<PathBuf>,
    bus_addresses: Vec<String>,
}

impl Places {
    fn of_process() -> Self {
        let mut runtime = Vec::new();
        runtime.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
        runtime.push(Path::new("/run/user").join(sys::user::uid().to_string()));
        Self {
            runtime,
            // One and the same on most machines.
            run: vec![PathBuf::from("/run"), PathBuf::from("/var/run")],
            bus_addresses: ["DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS"]
                .into_iter()
                .filter_map(|name| std::env::var(name).ok())
                .collect(),
        }
    }
}

impl Covers {
    /// Finds what there is to cover. `networks` comes from the hypervisor; this user's own places are
    /// added, because the hypervisor may be another user's.
    #[must_use]
    pub fn find(networks: &[PathBuf]) -> Self {
        let mut all = host::directory::covers();
        for place in &all {
            // It may exist, or its parent may not: then nothing can be published in it. What is made here
            // stays when nothing is published any more: removing a directory takes away what covers it in
            // every other mount namespace, and guests may live that count on it.
            let _ = fs::DirBuilder::new().mode(0o700).create(place);
        }
        all.extend_from_slice(networks);
        Self::find_in(&all, &Places::of_process())
    }

    fn find_in(networks: &[PathBuf], places: &Places) -> Self {
        let mut covers = Self::default();
        covers.networks.extend(networks.iter().filter_map(|p| fs::canonicalize(p).ok()));
        for runtime in &places.runtime {
            for name in ["systemd", "dbus-1", "at-spi"] {
                covers.add(&runtime.join(name));
            }
            covers.add(&runtime.join("bus"));
            covers.add_runtime(runtime);
        }
        for path in places.bus_addresses.iter().flat_map(|address| bus_paths(address)) {
            covers.add(&path);
        }
        for run in &places.run {
            for name in ["dbus", "netherd"] {
                covers.add(&run.join(name));
            }
            for name in RESOLVERS {
                covers.add(&run.join(name));
            }
            if let Ok(systemd) = fs::canonicalize(run.join("systemd"))
                && directory_copy::has_socket(&systemd)
            {
                covers.copies.insert(systemd, Hidden::Sockets);
            }
        }
        covers
    }

    fn add(&mut self, path: &Path) {
        let Ok(path) = fs::canonicalize(path) else { return };
        if self.networks.contains(&path) {
            return;
        }
        match fs::metadata(&path).map(|m| m.file_type()) {
            Ok(kind) if kind.is_dir() => self.directories.insert(path),
            Ok(kind) if kind.is_socket() => self.sockets.insert(path),
            _ => false,
        };
    }

    /// A runtime directory as the specification wants it, its user's alone: the names in it are covered
    /// whatever becomes of them.
    fn add_runtime(&mut self, runtime: &Path) {
        let Ok(path) = fs::canonicalize(runtime) else { return };
        let private = fs::metadata(&path).is_ok_and(|m| {
            m.is_dir() && m.uid() == sys::user::uid() && m.mode().trailing_zeros() >= 6
        });
        if private {
            let mut names: BTreeSet<OsString> =
                ["bus", "systemd", "dbus-1", "at-spi", "netherd"].map(OsString::from).into();
            let listed = self.sockets.iter().chain(&self.networks).chain(&self.directories);
            let below = listed.filter(|place| place.parent() == Some(&path));
            names.extend(below.filter_map(|place| place.file_name().map(OsString::from)));
            self.copies.insert(path, Hidden::Names(names));
        }
    }

    /// Mounts the covers.
    ///
    /// # Errors
    /// A cover that cannot be mounted: the guest must not start without it.
    pub fn mount(&self) -> anyhow::Result<()> {
        let mounts = mounts::table()?;
        let everywhere = |path: &Path| -> Vec<PathBuf> {
            let file = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
            let own = file(path);
            let same = |alias: &PathBuf| alias == path || (own.is_some() && file(alias) == own);
            mounts::aliases(&mounts, path).into_iter().filter(same).collect()
        };
        // All found before the first is mounted, which hides the others' places.
        let copies: Vec<_> = self.copies.iter().map(|(p, h)| (everywhere(p), h)).collect();
        let networks: Vec<_> = self.networks.iter().flat_map(|p| everywhere(p)).collect();
        let directories: Vec<_> = self.directories.iter().flat_map(|p| everywhere(p)).collect();
        let sockets: Vec<_> = self.sockets.iter().flat_map(|p| everywhere(p)).collect();
        for (places, hidden) in &copies {
            for path in places {
                cover_one(path, |p| directory_copy::copy(p, hidden))?;
            }
        }
        for path in &networks {
            cover_one(path, |p| sys::mount::tmpfs(p, 0o700, NETWORKS_BYTES))?;
        }
        for path in &directories {
            cover_one(path, sys::mount::empty)?;
        }
        for path in &sockets {
            cover_one(path, |p| sys::mount::bind(Path::new("/dev/null"), p))?;
        }
        Ok(())
    }
}

fn cover_one(path: &Path, mount: impl Fn(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    match mount(path) {
        // It went away, or lies below another cover.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| {
            format!("{} cannot be covered, and a guest must not reach it", path.display())
        }),
    }
}

/// The socket paths in a D-Bus address list: `unix:path=/run/user/1000/bus,guid=...;unix:...`, in which any byte
/// may be written as `%` and two digits (D-Bus Specification, Server Addresses).
fn bus_paths(address: &str) -> impl Iterator<Item = PathBuf> {
    address
        .split(';')
        .filter_map(|one| one.strip_prefix("unix:"))
        .flat_map(|keys| keys.split(',').filter_map(|pair| pair.strip_prefix("path=")))
        .map(|path| mounts::unescape_bytes(path, b'%', 2, 16))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn bus_addresses_are_read() {
        let address = "unix:path=/run/user/1/bus,guid=7;unix:abstract=/x;tcp:host=h,port=1;\
                       unix:guid=1,path=/tmp/b";
        let paths: Vec<_> = bus_paths(address).collect();
        assert_eq!(paths, ["/run/user/1/bus", "/tmp/b"].map(PathBuf::from));
        let escaped: Vec<_> = bus_paths("unix:path=/tmp/a%40b%2fc%zz%4").collect();
        assert_eq!(escaped, [PathBuf::from("/tmp/a@b/c%zz%4")]);
        assert_eq!(bus_paths("").count(), 0);
    }

    #[test]
    fn sockets_are_found_where_they_are() {
        let root = std::env::temp_dir().join(format!("netherd-covers-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let runtime = root.join("runtime");
        let run = root.join("run");
        for dir in [
            "runtime/systemd",
            "runtime/netherd",
            "run/systemd/journal",
            "run/systemd/resolve",
            "run/dbus",
            "run/netherd",
            "run/nscd",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let sockets =
            ["runtime/bus", "run/systemd/private", "run/systemd/journal/dev-log", "other"]
                .map(|name| root.join(name));
        let _listeners: Vec<_> =
            sockets.iter().map(|path| UnixListener::bind(path).unwrap()).collect();
        fs::write(run.join("systemd/resolv.conf"), "").unwrap();

        let places = Places {
            runtime: vec![runtime.clone(), root.join("absent")],
            run: vec![run.clone(), root.join("absent")],
            bus_addresses: vec![format!("unix:path={}", root.join("other").display())],
        };
        let networks = [runtime.join("netherd"), root.join("gone")];
        let covers = Covers::find_in(&networks, &places);
        let real = |path: PathBuf| fs::canonicalize(path).unwrap();
        assert_eq!(covers.networks, BTreeSet::from([real(runtime.join("netherd"))]));
        assert_eq!(
            covers.directories,
            BTreeSet::from([
                real(runtime.join("systemd")),
                real(run.join("dbus")),
                real(run.join("netherd")),
                real(run.join("nscd")),
                real(run.join("systemd/resolve")),
            ])
        );
        let single = [root.join("runtime/bus"), root.join("other")];
        assert_eq!(covers.sockets, single.map(real).into());
        // Only a private runtime directory is one.
        let copies = covers.copies;
        assert_eq!(copies, BTreeMap::from([(real(run.join("systemd")), Hidden::Sockets)]));
        fs::set_permissions(&runtime, PermissionsExt::from_mode(0o700)).unwrap();
        let covers = Covers::find_in(&networks, &places);
        let Some(Hidden::Names(names)) = covers.copies.get(&real(runtime.clone())) else {
            panic!("{covers:?}")
        };
        assert!(["bus", "systemd", "netherd"].iter().all(|n| names.contains(OsStr::new(n))));
        fs::remove_dir_all(&root).unwrap();
    }
}
