//! Which user a guest's command is: the ids that its user namespaces have.
//!
//! U1 has what the caller may map: his own id, his subordinate ids too with `--map-auto`, or every
//! id if he is root. U2 is U1's image; with `--root` alone, the caller's one id is 0 there.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use sys::caps::Capabilities;
use sys::ns::Extent;

use crate::subordinate;

/// What the caller wants to be in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Of CMD; without a word, what a user of that kind has.
    pub caps: Option<Capabilities>,
    /// CMD is user id 0.
    pub root: bool,
    /// The subordinate ids are there too, and CMD is user id 0.
    pub map_auto: bool,
}

/// How U1 gets its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    /// We may write these maps: one own id, or any if we are privileged.
    Own { users: Vec<Extent>, groups: Vec<Extent>, deny_setgroups: bool },
    /// newuidmap(1) and newgidmap(1) write them.
    Helpers { users: Vec<Extent>, groups: Vec<Extent> },
}

/// The ids of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    method: Method,
    /// The maps of U2, from ids of U1.
    pub inner_users: Vec<Extent>,
    pub inner_groups: Vec<Extent>,
    /// Capabilities of CMD in U2.
    pub caps: Capabilities,
    /// The outer supplementary groups are left: inside, their ids are others' or none.
    pub clear_groups: bool,
}

impl Identity {
    /// What is wished for, for the calling user.
    ///
    /// # Errors
    /// `--map-auto` without subordinate ids or without the programs that map them.
    pub fn plan(wishes: Wishes) -> anyhow::Result<Self> {
        let (uid, gid) = sys::process::ids();
        let inside_root = wishes.root || wishes.map_auto || uid == 0;
        let usual = if inside_root { Capabilities::ALL } else { Capabilities::NETWORK };
        let caps = wishes.caps.unwrap_or(usual);
        if uid == 0 && may_map_all() {
            let (users, groups) = sys::ns::own_maps().context("our own id maps are unreadable")?;
            let (users, groups) = (identity(&users), identity(&groups));
            return Ok(Self {
                inner_users: users.clone(),
                inner_groups: groups.clone(),
                method: Method::Own { users, groups, deny_setgroups: false },
                caps,
                // In a guest of a guest it may be forbidden for all time.
                clear_groups: std::fs::read_to_string("/proc/self/setgroups")
                    .is_ok_and(|text| text.trim() == "allow"),
            });
        }
        if wishes.map_auto {
            let [users, groups] = subordinates(uid)?;
            let users = with_subordinates(uid, users);
            let groups = with_subordinates(gid, groups);
            return Ok(Self {
                inner_users: inner_identity(&users),
                inner_groups: inner_identity(&groups),
                method: Method::Helpers { users, groups },
                caps,
                clear_groups: true,
            });
        }
        let one = |id| vec![Extent { inside: id, outside: id, count: 1 }];
        let inner = |id| {
            let inside = if wishes.root { 0 } else { id };
            vec![Extent { inside, outside: id, count: 1 }]
        };
        Ok(Self {
            inner_users: inner(uid),
            inner_groups: inner(gid),
            method: Method::Own { users: one(uid), groups: one(gid), deny_setgroups: true },
            caps,
            clear_groups: false,
        })
    }

    /// Writes the maps of U1 for init.
    pub fn map_outer(&self, pid: i32) -> anyhow::Result<()> {
        match &self.method {
            Method::Own { users, groups, deny_setgroups } => {
                sys::ns::write_maps(pid, users, groups, *deny_setgroups)
                    .context("the guest's user namespace cannot be given its id map")
            }
            Method::Helpers { users, groups } => {
                helper("newuidmap", pid, users)?;
                helper("newgidmap", pid, groups)
            }
        }
    }

    /// The group ids of U2 from the first to the last, for `ping_group_range`: both ends exist.
    #[must_use]
    pub fn group_range(&self) -> (u32, u32) {
        let first = self.inner_groups.iter().map(|e| e.inside).min().unwrap_or(0);
        let last = self.inner_groups.iter().map(|e| e.inside.saturating_add(e.count - 1)).max();
        // The kernel reads the range as signed numbers (ipv4_ping_group_range).
        (first, last.unwrap_or(0).min(i32::MAX.unsigned_abs()))
    }
}

/// Whether the superuser's privilege is really there: in some containers it is not.
fn may_map_all() -> bool {
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let needed = Capabilities::from_bits(SETGID | SETUID);
    sys::caps::of_status(&status, "CapEff").is_some_and(|held| held.contains(needed))
}

/// Every id of ours as itself.
fn identity(own: &[Extent]) -> Vec<Extent> {
    let same = |e: &Extent| Extent { inside: e.inside, outside: e.inside, count: e.count };
    own.iter().filter(|e| e.count > 0).map(same).collect()
}

/// Every id of the outer namespace as itself in the inner one.
fn inner_identity(outer: &[Extent]) -> Vec<Extent> {
    outer.iter().map(|e| Extent { outside: e.inside, ..*e }).collect()
}

/// 0 is the caller, then his subordinate ids from 1 on.
fn with_subordinates(own: u32, ranges: Vec<(u32, u32)>) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut next: u32 = 1;
    for (first, count) in ranges {
        extents.push(Extent { inside: next, outside: first, count });
        next = next.saturating_add(count);
    }
    extents
}

/// The user's subordinate ids: users, and groups.
fn subordinates(uid: u32) -> anyhow::Result<[Vec<(u32, u32)>; 2]> {
    let name = sys::user::by_uid(uid).ok().flatten().map(|u| u.name).unwrap_or_default();
    let texts = subordinate::FILES.map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let ranges = texts.each_ref().map(|text| subordinate::of_user(text, &name, uid));
    if let Some(missing) = ranges.iter().position(Vec::is_empty) {
        let user = if name.is_empty() { uid.to_string() } else { name };
        let remedy = subordinate::remedy(&user, uid, texts.each_ref().map(String::as_str));
        bail!(
            "you have no subordinate ids in {}; have the administrator {}",
            subordinate::FILES[missing],
            remedy.map_or_else(
                || "make room there: no range of the usual length is free".to_owned(),
                |command| format!("run `{command}`")
            )
        );
    }
    Ok(ranges)
}

fn helper(program: &str, pid: i32, extents: &[Extent]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for e in extents {
        command.args([e.inside, e.outside, e.count].map(|n| n.to_string()));
    }
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "--map-auto needs the program {program}, which is not installed; have the administrator install it \
             (Debian and Ubuntu: `apt install uidmap`; Fedora: `dnf install shadow-utils`)"
        ),
        Err(error) => return Err(error).with_context(|| format!("{program} cannot be started")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{program}` refused to map your subordinate ids ({}); check your lines in /etc/subuid and \
             /etc/subgid, and that {program} is setuid root",
            said.trim().trim_end_matches('.')
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_namespace_has_the_outer_ones_ids() {
        let outer = [
            Extent { inside: 0, outside: 1000, count: 1 },
            Extent { inside: 1, outside: 100_000, count: 10 },
        ];
        let inner = inner_identity(&outer);
        assert_eq!(inner[0], Extent { inside: 0, outside: 0, count: 1 });
        assert_eq!(inner[1], Extent { inside: 1, outside: 1, count: 10 });
        let own = [Extent { inside: 5, outside: 70, count: 3 }];
        assert_eq!(identity(&own), [Extent { inside: 5, outside: 5, count: 3 }]);
    }

    #[test]
    fn the_ping_range_ends_where_the_kernel_can_read_it() {
        let mut identity = Identity {
            method: Method::Own { users: vec![], groups: vec![], deny_setgroups: true },
            inner_users: vec![],
            inner_groups: vec![Extent { inside: 1000, outside: 1000, count: 1 }],
            caps: Capabilities::NETWORK,
            clear_groups: false,
        };
        assert_eq!(identity.group_range(), (1000, 1000));
        identity.inner_groups = vec![Extent { inside: 0, outside: 0, count: u32::MAX }];
        assert_eq!(identity.group_range(), (0, 2_147_483_647));
    }
}
