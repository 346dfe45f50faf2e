//! The users on whose behalf the tests act.

use std::fs;

/// The name of the first ordinary user that `./test` makes.
pub const FIRST: &str = "netherd-test-a";
/// The name of the second.
pub const SECOND: &str = "netherd-test-b";
/// The group both are in.
pub const SHARED_GROUP: &str = "netherd-test";

/// A user: numbers and name as in `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, as `/etc/group` lists them.
    pub groups: Vec<u32>,
}

impl User {
    /// The ordinary user a test acts for: for root the first test user, for everybody else himself.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!): root, and `./test` has made no users.
    pub fn first() -> Result<Self, String> {
        if is_root() { Self::named(FIRST) } else { Self::me() }
    }

    /// Another ordinary user.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!): only root can act for two users.
    pub fn second() -> Result<Self, String> {
        if is_root() {
            Self::named(SECOND)
        } else {
            Err("this needs two users, and only root can act for another".to_owned())
        }
    }

    /// The superuser.
    ///
    /// # Errors
    /// A reason for [`skip!`](crate::skip!): the tests do not run as root.
    pub fn root() -> Result<Self, String> {
        crate::skip::root()?;
        Self::named("root")
    }

    /// Whoever runs the tests.
    ///
    /// # Errors
    /// His number has no name.
    pub fn me() -> Result<Self, String> {
        let uid = rustix::process::geteuid().as_raw();
        Self::find(|_, number| number == uid).ok_or_else(|| format!("user {uid} has no name"))
    }

    fn named(name: &str) -> Result<Self, String> {
        Self::find(|found, _| found == name)
            .ok_or_else(|| format!("there is no user {name} (./test as root makes it)"))
    }

    fn find(wanted: impl Fn(&str, u32) -> bool) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let (name, uid, gid) = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            wanted(name, uid).then(|| (name.to_owned(), uid, gid))
        })?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let groups = groups
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let number = fields.nth(2)?.parse().ok()?;
                fields.next()?.split(',').any(|member| member == name).then_some(number)
            })
            .collect();
        Some(Self { name, uid, gid, groups })
    }
}

/// The number of the group both test users are in.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!): `./test` has not made it.
pub fn shared_group() -> Result<u32, String> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == SHARED_GROUP).then(|| fields.nth(1)?.parse().ok())?
        })
        .ok_or_else(|| format!("there is no group {SHARED_GROUP} (./test as root makes it)"))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
