//! The list of who may use which device with which addresses: `/etc/netherd/nic.toml`.
//!
//! Only root can write it, and that is checked at every reading: a list that others could write
//! would be nobody's decision. It is read anew for every connection.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::protocol::MacRange;
use crate::{mac_list, wording};

/// Where it is.
pub const PLACE: &str = "/etc/netherd/nic.toml";

/// Longest list, in bytes.
const TEXT_MAX: u64 = 1 << 20;

/// Most addresses of one connection.
pub const MACS_MAX: u16 = 1024;

/// Addresses of one connection, unless said otherwise.
const MACS: u16 = 16;

/// Connections of one user to one device, unless said otherwise.
const CONNECTIONS: u16 = 4;

/// Frames to groups that one connection is given in a second, unless said otherwise.
const GROUPS_PER_SECOND: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<Spanned<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: Option<Spanned<String>>,
    group: Option<Spanned<String>>,
    device: Spanned<String>,
    macs: Spanned<Vec<Spanned<String>>>,
    max_macs: Option<u16>,
    connections: Option<u16>,
    frames_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
    groups_per_second: Option<u64>,
}

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    User(u32),
    Group(u32),
}

/// What somebody may do on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub who: Who,
    pub device: String,
    pub macs: Vec<MacRange>,
    /// Addresses of one connection at a time.
    pub max_macs: u16,
    /// Connections at a time.
    pub connections: u16,
    /// Frames, and bytes on the wire, that one connection may send in a second; `None`: no limit.
    pub frames_per_second: Option<u64>,
    pub bytes_per_second: Option<u64>,
    /// Frames to groups that one connection is given in a second.
    pub groups_per_second: u64,
}

impl Allowance {
    fn is_about(&self, uid: u32, groups: &[u32]) -> bool {
        match self.who {
            Who::User(user) => user == uid,
            Who::Group(group) => groups.contains(&group),
        }
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("The list {path} cannot be read: {error}; it has to be readable by everybody.")]
    Unreadable { path: String, error: std::io::Error },
    #[error(
        "The list {0} does not belong to root, or others can write to it; run chown root and chmod go-w."
    )]
    Writable(String),
    #[error("The list {path} is not valid in line {}: {}.", .fault.line, .fault.why)]
    Senseless { path: String, fault: Fault },
}

/// What is wrong in a line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// A sentence but for its begin and its end.
    pub why: String,
}

/// All allowances, in their order.
#[derive(Debug, Default)]
pub struct List {
    allowances: Vec<Allowance>,
    idle: Vec<Fault>,
}

impl List {
    /// # Errors
    /// [`ListError`].
    pub fn read(path: &Path) -> Result<List, ListError> {
        let name = || path.display().to_string();
        let unreadable = |error| ListError::Unreadable { path: name(), error };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        let above = path.parent().map(std::fs::metadata).transpose().map_err(unreadable)?;
        let safe = |about: &std::fs::Metadata| about.uid() == 0 && about.mode() & 0o022 == 0;
        if !about.is_file() || !safe(&about) || !above.is_none_or(|above| safe(&above)) {
            return Err(ListError::Writable(name()));
        }
        let mut text = String::new();
        file.take(TEXT_MAX).read_to_string(&mut text).map_err(unreadable)?;
        parse(&text).map_err(|fault| ListError::Senseless { path: name(), fault })
    }

    /// The first allowance for a device that is about this user or one of these groups.
    #[must_use]
    pub fn find(&self, uid: u32, groups: &[u32], device: &str) -> Option<&Allowance> {
        self.allowances.iter().find(|it| it.device == device && it.is_about(uid, groups))
    }

    /// Whether any allowance is about this user or one of these groups.
    #[must_use]
    pub fn names(&self, uid: u32, groups: &[u32]) -> bool {
        self.allowances.iter().any(|it| it.is_about(uid, groups))
    }

    /// All of them.
    #[must_use]
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }

    /// Entries that are about nobody: whoever was meant may do nothing, and all others what they may.
    #[must_use]
    pub fn idle(&self) -> &[Fault] {
        &self.idle
    }
}

fn parse(text: &str) -> Result<List, Fault> {
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let file: File = toml::from_str(text).map_err(|error| Fault {
        line: line_of(error.span().map_or(0, |span| span.start)),
        why: wording::of_toml(text, error.message(), error.span()).trim_end_matches('.').to_owned(),
    })?;
    let mut list = List::default();
    for entry in file.allow {
        let begin = entry.span().start;
        let placed = |(at, why): Wrong| Fault { line: line_of(at.unwrap_or(begin)), why };
        let (allowance, unknown) = check(entry.get_ref()).map_err(placed)?;
        // Somebody who is no user (any more) has no rights, and the others keep theirs.
        match unknown {
            Some(unknown) => list.idle.push(placed(unknown)),
            None => list.allowances.extend(allowance),
        }
    }
    Ok(list)
}

/// What is wrong, and where; nowhere is in the entry as a whole.
type Wrong = (Option<usize>, String);

fn wrong<T, W>(at: &Spanned<T>, why: impl Into<String>) -> Result<W, Wrong> {
    Err((Some(at.span().start), why.into()))
}

/// An entry as an allowance; or whom it names who is nobody.
fn check(entry: &Entry) -> Result<(Option<Allowance>, Option<Wrong>), Wrong> {
    let unreadable = |e: std::io::Error| (None, format!("the account files cannot be read: {e}"));
    let unknown = |kind: &str, name: &Spanned<String>| {
        let why =
            format!("there is no {kind} \"{}\", so this entry grants nothing", name.get_ref());
        (Some(name.span().start), why)
    };
    let who = match (&entry.user, &entry.group) {
        (Some(user), None) => sys::user::by_name(user.get_ref())
            .map_err(unreadable)?
            .map(|account| Who::User(account.uid))
            .ok_or_else(|| unknown("user", user)),
        (None, Some(group)) => sys::user::group_by_name(group.get_ref())
            .map_err(unreadable)?
            .map(Who::Group)
            .ok_or_else(|| unknown("group", group)),
        _ => return Err((None, "the entry needs either user or group".into())),
    };
    let device = entry.device.get_ref();
    if !sys::device::is_name(device) {
        let why = format!("\"{device}\" cannot be the name of a network device");
        return wrong(&entry.device, why);
    }
    let texts = entry.macs.get_ref();
    for text in texts {
        if let Err(why) = mac_list::parse(std::iter::once(text.get_ref().as_str())) {
            return wrong(text, why.to_string());
        }
    }
    let macs = match mac_list::parse(texts.iter().map(|text| text.get_ref().as_str())) {
        Ok(macs) => macs,
        Err(why) => return wrong(&entry.macs, why.to_string()),
    };
    let max_macs = entry.max_macs.unwrap_or(MACS);
    if !(1..=MACS_MAX).contains(&max_macs) {
        return Err((None, format!("max_macs is 1 to {MACS_MAX}")));
    }
    let connections = entry.connections.unwrap_or(CONNECTIONS);
    if entry.frames_per_second == Some(0)
        || entry.bytes_per_second == Some(0)
        || connections == 0
        || macs.is_empty()
    {
        return Err((None, "the entry allows nothing; leave it out".into()));
    }
    let allowance = |who| Allowance {
        who,
        device: device.clone(),
        macs,
        max_macs,
        connections,
        frames_per_second: entry.frames_per_second,
        bytes_per_second: entry.bytes_per_second,
        groups_per_second: entry.groups_per_second.unwrap_or(GROUPS_PER_SECOND),
    };
    Ok(match who {
        Ok(who) => (Some(allowance(who)), None),
        Err(unknown) => (None, Some(unknown)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../pkg/etc/nic.toml");

    #[test]
    fn the_first_entry_that_fits_is_the_one() {
        let text = r#"
            [[allow]]
            user = "1000"
            device = "eth0"
            macs = ["02:00:00:00:00:01"]
            frames_per_second = 10
            [[allow]]
            group = "root"
            device = "eth0"
            macs = ["local"]
            max_macs = 3
            connections = 1
            bytes_per_second = 1000
            groups_per_second = 5
        "#;
        let list = parse(text).unwrap();
        let first = list.find(1000, &[0], "eth0").unwrap();
        assert_eq!((first.who, first.max_macs, first.connections), (Who::User(1000), 16, 4));
        assert_eq!((first.frames_per_second, first.bytes_per_second), (Some(10), None));
        assert_eq!(first.groups_per_second, 10_000);
        let second = list.find(1001, &[5, 0], "eth0").unwrap();
        assert_eq!((second.who, second.max_macs, second.connections), (Who::Group(0), 3, 1));
        assert_eq!((second.frames_per_second, second.bytes_per_second), (None, Some(1000)));
        assert_eq!(second.groups_per_second, 5);
        assert_eq!(list.find(1001, &[5], "eth0"), None);
        assert_eq!(list.find(1000, &[0], "eth1"), None);
        assert!(list.names(1000, &[]) && list.names(7, &[5, 0]) && !list.names(7, &[5]));
    }

    #[test]
    fn a_user_that_is_none_takes_nobodys_rights_away() {
        let text = "[[allow]]\nuser = \"no-such-user\"\ndevice = \"eth0\"\nmacs = [\"local\"]\n\
                    [[allow]]\nuser = \"0\"\ndevice = \"eth0\"\nmacs = [\"local\"]\n";
        let list = parse(text).unwrap();
        assert_eq!(list.allowances().len(), 1);
        let why = "there is no user \"no-such-user\", so this entry grants nothing".to_owned();
        assert_eq!(list.idle(), [Fault { line: 2, why }]);
        let text = text.replace("user = \"0\"", "group = \"no-such-group\"");
        let list = parse(&text).unwrap();
        assert_eq!((list.allowances().len(), list.idle().len()), (0, 2));
        assert_eq!(list.idle()[1].line, 6);
        assert!(list.idle()[1].why.contains("no group \"no-such-group\""));
    }

    #[test]
    fn what_makes_no_sense_is_a_sentence() {
        let entry = |more: &str| format!("[[allow]]\ndevice = \"eth0\"\n{more}\n");
        for (text, line, why) in [
            (entry("macs = [\"local\"]"), 1, "either user or group"),
            (entry("user = \"0\"\ngroup = \"0\"\nmacs = [\"local\"]"), 1, "either user or group"),
            (entry("user = \"0\"\nmacs = []"), 1, "allows nothing"),
            (entry("user = \"0\"\nmacs = [\"local\"]\nconnections = 0"), 1, "allows nothing"),
            (entry("user = \"0\"\nmacs = [\"local\"]\nmax_macs = 0"), 1, "max_macs is 1 to"),
            (entry("user = \"0\"\nmacs = [\"02::1\"]"), 4, "is not a MAC address"),
            (
                entry("user = \"0\"\nmacs = [\n\"local\",\n\"01:00:5e:00:00:01\"]"),
                6,
                "names group addresses",
            ),
            (
                entry("user = \"0\"\nmacs = [\"00:00:00:00:00:00\"]"),
                4,
                "which belongs to no station",
            ),
            (
                entry("user = \"0\"\nmacs = [\"local\"]\nmtu = 9000"),
                5,
                "there is no key `mtu` here",
            ),
            (
                entry("user = \"0\"\nmacs = \"local\""),
                4,
                "`macs` takes a list in brackets, not the text \"local\"",
            ),
            (
                entry("user = \"0\"\nmacs = [\"local\"]\nmax_macs = 70000"),
                5,
                "`max_macs` takes a whole number from 0 to 65535, not 70000",
            ),
            (entry("user = 0\nmacs = [\"local\"]"), 3, "`user` takes a text in quotes, not 0"),
            (
                "[[allow]]\nuser = \"0\"\nmacs = [\"local\"]\n".into(),
                1,
                "the key `device` is missing",
            ),
            ("[allow]\n".into(), 1, "`allow` takes a list in brackets, not a table"),
            ("[[allow]\n".into(), 1, ""),
            (
                "[[allow]]\nuser = \"0\"\ndevice = \"a/b\"\nmacs = [\"local\"]".into(),
                3,
                "name of a network device",
            ),
        ] {
            let said = parse(&text).expect_err(&text);
            assert!(said.line == line && said.why.contains(why), "{text}: {said:?}");
        }
    }

    #[test]
    fn the_example_is_a_list() {
        parse(EXAMPLE).unwrap();
        let commented: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .fold(String::new(), |text, line| {
                let is_toml = line.starts_with("[[") || line.contains(" = ");
                if is_toml { text + line + "\n" } else { text }
            });
        let entries = commented.matches("[[allow]]").count();
        assert!(entries > 0);
        let file: File = toml::from_str(&commented).unwrap();
        assert_eq!(file.allow.len(), entries);
    }

    #[test]
    fn only_roots_own_list_counts() {
        let place = std::env::temp_dir().join(format!("netherd-list-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let path = place.join("nic.toml");
        std::fs::write(&path, "").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(List::read(&path), Err(ListError::Writable(_))));
        assert!(matches!(List::read(&place), Err(ListError::Writable(_))));
        let missing = place.join("none");
        assert!(matches!(List::read(&missing), Err(ListError::Unreadable { .. })));
        std::fs::remove_dir_all(place).unwrap();
    }
}
