//! What a guest must not find in the file system: the sockets of outer hypervisors, of D-Bus and of
//! systemd.
//!
//! The covers are mounted in M1, so they are locked in the guest's M2. What is looked for is decided
//! by the outer process, which knows the caller's environment; init only mounts. A place that comes
//! into being later could not be covered then, so the default places of netherd are made now.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A guest's own hypervisor publishes here; sockets, leases and little else.
const NETWORKS_BYTES: u64 = 16 << 20;
/// Sockets below this depth and beyond this number are none that systemd makes.
const DEPTH_MAX: u32 = 4;
const SOCKETS_MAX: usize = 512;

/// The places, all absolute and without symbolic links.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Covers {
    /// Networks' directories: an empty, writable directory instead, so that a netherd inside works.
    networks: BTreeSet<PathBuf>,
    /// An empty, read-only directory instead.
    directories: BTreeSet<PathBuf>,
    /// `/dev/null` instead.
    sockets: BTreeSet<PathBuf>,
}

/// Where the sockets of the session and the system are.
#[derive(Debug)]
struct Places {
    runtime: Vec<PathBuf>,
    run: PathBuf,
    bus_address: String,
}

impl Places {
    fn of_process() -> Self {
        let mut runtime = Vec::new();
        runtime.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
        runtime.push(Path::new("/run/user").join(sys::user::uid().to_string()));
        Self {
            runtime,
            run: PathBuf::from("/run"),
            bus_address: std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default(),
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
            // It may exist, or its parent may not: then nothing can be published in it.
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
        }
        for path in bus_paths(&places.bus_address) {
            covers.add(Path::new(path));
        }
        covers.add(&places.run.join("dbus"));
        covers.add_sockets(&places.run.join("systemd"), 0);
        covers
    }

    fn add(&mut self, path: &Path) {
        let Ok(path) = fs::canonicalize(path) else { return };
        match fs::metadata(&path).map(|m| m.file_type()) {
            Ok(kind) if kind.is_dir() => self.directories.insert(path),
            Ok(kind) if kind.is_socket() => self.sockets.insert(path),
            _ => false,
        };
    }

    /// systemd's own directory also holds files that programs need, so its sockets are covered one by
    /// one. What we may not look into, the guest may not either.
    fn add_sockets(&mut self, directory: &Path, depth: u32) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() && self.sockets.len() < SOCKETS_MAX {
                self.sockets.insert(entry.path());
            } else if kind.is_dir() && depth < DEPTH_MAX {
                self.add_sockets(&entry.path(), depth + 1);
            }
        }
    }

    /// Mounts the covers.
    ///
    /// # Errors
    /// A cover that cannot be mounted: the guest must not start without it.
    pub fn mount(&self) -> anyhow::Result<()> {
        for path in &self.networks {
            self.mount_one(path, |p| sys::mount::tmpfs(p, 0o700, NETWORKS_BYTES))?;
        }
        for path in &self.directories {
            self.mount_one(path, sys::mount::empty)?;
        }
        for path in &self.sockets {
            self.mount_one(path, |p| sys::mount::bind(Path::new("/dev/null"), p))?;
        }
        Ok(())
    }

    fn mount_one(
        &self,
        path: &Path,
        mount: impl Fn(&Path) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match mount(path) {
            // It went away, or lies below another cover.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| {
                format!("{} cannot be covered, and a guest must not reach it", path.display())
            }),
        }
    }
}

/// The socket paths in a D-Bus address list: `unix:path=/run/user/1000/bus,guid=...;unix:...`.
fn bus_paths(address: &str) -> impl Iterator<Item = &str> {
    address
        .split(';')
        .filter_map(|one| one.strip_prefix("unix:"))
        .flat_map(|keys| keys.split(',').filter_map(|pair| pair.strip_prefix("path=")))
}

/// Where sysfs is mounted, control groups below it: read-only for guests, because writing to a control
/// group that the user owns ends or freezes processes in it, outer ones too.
pub fn freeze_sys() -> io::Result<()> {
    // Not there or no mount point; or a kernel before 5.12, which cannot do it.
    const ABSENT: [i32; 3] = [2, 22, 38]; // ENOENT, EINVAL, ENOSYS
    match sys::mount::make_read_only(Path::new("/sys")) {
        Err(error) if error.raw_os_error().is_some_and(|e| ABSENT.contains(&e)) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn bus_addresses_are_read() {
        let address = "unix:path=/run/user/1/bus,guid=7;unix:abstract=/x;tcp:host=h,port=1;\
                       unix:guid=1,path=/tmp/b";
        assert_eq!(bus_paths(address).collect::<Vec<_>>(), ["/run/user/1/bus", "/tmp/b"]);
        assert_eq!(bus_paths("").count(), 0);
    }

    #[test]
    fn sockets_are_found_where_they_are() {
        let root = std::env::temp_dir().join(format!("netherd-covers-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let runtime = root.join("runtime");
        let run = root.join("run");
        for dir in ["runtime/systemd", "runtime/netherd", "run/systemd/journal", "run/dbus"] {
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
            run: run.clone(),
            bus_address: format!("unix:path={}", root.join("other").display()),
        };
        let networks = [runtime.join("netherd"), root.join("gone")];
        let covers = Covers::find_in(&networks, &places);
        let real = |path: PathBuf| fs::canonicalize(path).unwrap();
        assert_eq!(covers.networks, BTreeSet::from([real(runtime.join("netherd"))]));
        assert_eq!(
            covers.directories,
            BTreeSet::from([real(runtime.join("systemd")), real(run.join("dbus"))])
        );
        assert_eq!(covers.sockets, sockets.iter().cloned().map(real).collect());
        fs::remove_dir_all(&root).unwrap();
    }
}
