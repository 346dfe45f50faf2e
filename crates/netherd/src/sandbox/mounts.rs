//! What is mounted where, as `/proc/PID/mountinfo` tells (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system, as `major:minor`.
    pub device: String,
    /// What part of the file system it shows.
    pub root: PathBuf,
    /// Where it shows that.
    pub place: PathBuf,
    /// The type of the file system.
    pub kind: String,
}

/// The mounts that this process sees, in the order of mounting.
///
/// # Errors
/// `/proc` is not there, or not ours to read.
pub fn table() -> anyhow::Result<Vec<Mount>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("the mounts are unreadable")?;
    Ok(parse(&table).collect())
}

/// Reads the table, in the order of mounting; lines that are none are left out.
fn parse(table: &str) -> impl DoubleEndedIterator<Item = Mount> {
    table.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(2);
        Some(Mount {
            device: fields.next()?.to_owned(),
            root: unescape(fields.next()?),
            place: unescape(fields.next()?),
            kind: kind.split(' ').next()?.to_owned(),
        })
    })
}

/// Every place at which the mounts show what `path` names, `path` itself among them.
#[must_use]
pub fn aliases(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    // The last mount over a place is the one that is seen.
    let below = |mount: &&Mount| path.starts_with(&mount.place);
    let depth = |mount: &&Mount| mount.place.components().count();
    let mut all = vec![path.to_owned()];
    let Some(own) = mounts.iter().filter(below).max_by_key(depth) else { return all };
    let Ok(rest) = path.strip_prefix(&own.place) else { return all };
    let inside = own.root.join(rest);
    for mount in mounts.iter().filter(|mount| mount.device == own.device) {
        if let Ok(rest) = inside.strip_prefix(&mount.root) {
            // Not `join` with nothing, which ends in a slash.
            let alias = mount.place.components().chain(rest.components()).collect();
            if !all.contains(&alias) {
                all.push(alias);
            }
        }
    }
    all
}

/// Space, tab, newline and backslash are written as octal numbers.
fn unescape(field: &str) -> PathBuf {
    unescape_bytes(field, b'\\', 3, 8)
}

/// A path in which `mark` and `digits` digits to this base stand for a byte. A mark without them is itself.
pub fn unescape_bytes(text: &str, mark: u8, digits: usize, base: u32) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let number = text.get(at + 1..at + 1 + digits).filter(|_| bytes[at] == mark);
        if let Some(byte) = number.and_then(|number| u8::from_str_radix(number, base).ok()) {
            out.push(byte);
            at += 1 + digits;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                         23 22 0:20 / /run rw - tmpfs tmpfs rw\n\
                         24 22 8:1 /home/a\\040b /mnt/x rw master:2 - ext4 /dev/sda1 rw\n\
                         25 22 0:20 /user /srv/run rw - tmpfs tmpfs rw\n\
                         rubbish\n\
                         26 22 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_table_is_read() {
        let mounts: Vec<Mount> = parse(TABLE).collect();
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].root, Path::new("/home/a b"));
        assert_eq!((mounts[4].kind.as_str(), mounts[4].device.as_str()), ("cgroup2", "0:30"));
    }

    #[test]
    fn a_place_is_found_wherever_it_is_shown() {
        let mounts: Vec<Mount> = parse(TABLE).collect();
        let found = |path: &str| {
            let all = aliases(&mounts, Path::new(path));
            all.into_iter().map(|p| p.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("/run/user/7"), ["/run/user/7", "/srv/run/7"]);
        assert_eq!(found("/run/dbus"), ["/run/dbus"]);
        assert_eq!(found("/home/a b"), ["/home/a b", "/mnt/x"]);
        assert_eq!(found("/srv/run/7/bus"), ["/srv/run/7/bus", "/run/user/7/bus"]);
    }
}
