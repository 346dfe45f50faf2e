//! Whom questions are passed on to.
//!
//! # Theory of operation
//!
//! Configured resolvers win. Otherwise it is those of the host's `resolv.conf`, in its order; a
//! stub on the loopback address, as systemd-resolved has it, is as good as any, since the sockets
//! are the host's. The file is looked at again when a question comes, at most once a second: it is
//! often a symbolic link into a directory that is replaced as a whole, which no watch survives.
//!
//! A resolver that could not be reached is asked after the others for [`PENALTY`]. One that is silent may
//! only wait for somebody else itself, and what it is asked is what guests choose: it is left aside when it
//! has answered nothing at all for [`SILENT_FOR`], although [`SILENT_NAMES`] different names were
//! asked, or [`OUTDONE`] questions that another resolver then answered. Once it was left aside, it comes back
//! on trial: one question that another then answers is enough, until it has answered something. A question
//! that nobody answers decides no trial: it would keep a resolver aside that has nothing to answer. The order among equals never changes, because the
//! first is often the only one that knows the names of its site.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use engine::Instant;

use super::name::Name;

/// Resolvers that are used; further ones are ignored.
pub(crate) const RESOLVERS_MAX: usize = 8;

/// How long a resolver that failed is asked after the others.
const PENALTY: Duration = Duration::from_secs(30);

/// A resolver that answers nothing for so long, whatever of so many names it is asked, is not there. What is
/// older than [`PENALTY`] says nothing about today.
const SILENT_FOR: Duration = Duration::from_secs(3);
const SILENT_NAMES: usize = 3;
/// The same of so many questions that another resolver answered: who asks little may ask one name only.
const OUTDONE: u32 = 2;

/// How often the file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of a `resolv.conf` that are read.
const FILE_MAX: u64 = 64 * 1024;

/// One resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resolver {
    address: SocketAddr,
    /// It is asked after the others until then.
    failed_until: Option<Instant>,
    silent: Option<Silence>,
    /// It was left aside because it was silent, and has answered nothing since then.
    on_trial: bool,
}

/// What a resolver has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Silence {
    since: Instant,
    /// Names it was asked, at most [`SILENT_NAMES`].
    names: Vec<Name>,
    /// Questions that another resolver answered.
    outdone: u32,
}

impl Resolver {
    const fn new(address: SocketAddr) -> Self {
        Self { address, failed_until: None, silent: None, on_trial: false }
    }

    fn silence(&mut self, now: Instant) -> &mut Silence {
        self.silent.take_if(|silent| now.saturating_since(silent.since) >= PENALTY);
        let new = || Silence { since: now, names: Vec::new(), outdone: 0 };
        self.silent.get_or_insert_with(new)
    }

    /// Leaves it aside if it was silent long enough, and about enough; on trial, if it was outdone just now. Who is
    /// aside already is asked what the others do not answer, which says nothing about him.
    fn judge(&mut self, now: Instant, outdone: bool) {
        if self.failed_until.is_some_and(|until| until > now) {
            return;
        }
        let is_gone = self.silent.as_ref().is_some_and(|silent| {
            now.saturating_since(silent.since) >= SILENT_FOR
                && (silent.names.len() >= SILENT_NAMES || silent.outdone >= OUTDONE)
        });
        if is_gone || (outdone && self.on_trial) {
            self.failed_until = Some(now + PENALTY);
            self.on_trial = true;
        }
    }
}

/// The list, and where it comes from.
#[derive(Debug)]
pub(crate) struct Resolvers {
    /// Those of the configuration; none: the file's.
    configured: Vec<SocketAddr>,
    list: Vec<Resolver>,
    path: PathBuf,
    looked: Option<Instant>,
    /// Time of change, length and inode of the file that was read.
    seen: Option<(SystemTime, u64, u64)>,
}

impl Resolvers {
    pub(crate) fn new(configured: &[SocketAddr], path: PathBuf) -> Self {
        let mut resolvers =
            Self { configured: Vec::new(), list: Vec::new(), path, looked: None, seen: None };
        resolvers.configure(configured);
        resolvers
    }

    /// Takes a configuration; whether it is another one.
    pub(crate) fn configure(&mut self, configured: &[SocketAddr]) -> bool {
        let other = self.configured != configured;
        self.configured = configured.to_vec();
        self.looked = None;
        self.seen = None;
        if !configured.is_empty() {
            self.set(configured.iter().copied());
        }
        other
    }

    /// Keeps what is known about resolvers that stay.
    fn set(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        let old = std::mem::take(&mut self.list);
        for address in addresses {
            if self.list.iter().all(|known| known.address != address)
                && self.list.len() < RESOLVERS_MAX
            {
                let known = old.iter().find(|known| known.address == address).cloned();
                self.list.push(known.unwrap_or_else(|| Resolver::new(address)));
            }
        }
    }

    /// The resolvers, those that are likely to answer first.
    pub(crate) fn in_order(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.look(now);
        let failed = |resolver: &Resolver| resolver.failed_until.is_some_and(|until| until > now);
        let mut list: Vec<&Resolver> = self.list.iter().collect();
        list.sort_by_key(|resolver| failed(resolver));
        list.into_iter().map(|resolver| resolver.address).collect()
    }

    /// All of them, in their own order.
    pub(crate) fn list(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|resolver| resolver.address).collect()
    }

    /// It answered.
    pub(crate) fn works(&mut self, address: SocketAddr) {
        if let Some(found) = self.find(address) {
            *found = Resolver::new(address);
        }
    }

    /// It cannot be reached.
    pub(crate) fn failed(&mut self, now: Instant, address: SocketAddr) {
        if let Some(found) = self.find(address) {
            found.failed_until = Some(now + PENALTY);
        }
    }

    /// It did not answer in time what it was asked about this name.
    pub(crate) fn silent(&mut self, now: Instant, address: SocketAddr, name: &Name) {
        let Some(found) = self.find(address) else { return };
        let names = &mut found.silence(now).names;
        if names.len() < SILENT_NAMES && !names.contains(name) {
            names.push(name.clone());
        }
        found.judge(now, false);
    }

    /// What it did not answer in time, another resolver did.
    pub(crate) fn outdone(&mut self, now: Instant, address: SocketAddr) {
        let Some(found) = self.find(address) else { return };
        let silence = found.silence(now);
        silence.outdone = silence.outdone.saturating_add(1);
        found.judge(now, true);
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Resolver> {
        self.list.iter_mut().find(|found| found.address == address)
    }

    /// Reads the file again if it is another one.
    pub(crate) fn look(&mut self, now: Instant) {
        if !self.configured.is_empty()
            || self.looked.is_some_and(|looked| now.saturating_since(looked) < LOOK_AGAIN)
        {
            return;
        }
        self.looked = Some(now);
        let state = std::fs::metadata(&self.path).ok().map(|file| {
            use std::os::unix::fs::MetadataExt;
            (file.modified().unwrap_or(SystemTime::UNIX_EPOCH), file.len(), file.ino())
        });
        if self.seen.is_some() && self.seen == state {
            return;
        }
        match read(&self.path) {
            Ok(text) => {
                self.seen = state;
                self.set(parse(&text).into_iter());
            }
            // For a moment there may be none while it is replaced: the last list serves on. With
            // no list at all the local host is asked, as the C library does it.
            Err(_) if !self.list.is_empty() => {}
            Err(_) => self.set(parse("").into_iter()),
        }
    }
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name servers of the host, as `path` (its `resolv.conf`) has them now.
///
/// # Errors
/// The file cannot be read.
pub fn of_host(path: &std::path::Path) -> std::io::Result<Vec<SocketAddr>> {
    read(path).map(|text| parse(&text))
}

/// The name servers of a `resolv.conf` (resolv.conf(5)); the local host if it names none.
fn parse(text: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver")
            && let Some(address) = words.next().and_then(address)
        {
            found.push(address);
        }
    }
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    found
}

/// An address, which may be a link-local one with its interface. The kernel is asked for its number: who has confined
/// itself reads no files of devices.
fn address(text: &str) -> Option<SocketAddr> {
    if let Some((address, scope)) = text.split_once('%') {
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let scope = scope.parse().ok().or_else(|| sys::device::number(scope).ok())?;
        return Some(SocketAddrV6::new(address, 53, 0, scope).into());
    }
    Some((text.parse::<IpAddr>().ok()?, 53).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_resolv_conf_is_read_as_the_c_library_does() {
        let text = "# made by hand\n; old\nsearch example.org\nnameserver 127.0.0.53\n\
                    nameserver\t2001:db8::53  # comment\nnameserver nonsense\nnameserver\n\
                    options edns0\nnameserver fe80::1%2\n nameserver 192.0.2.1\nnameservers 1.1.1.1\n";
        let expected = ["127.0.0.53:53", "[2001:db8::53]:53", "[fe80::1%2]:53", "192.0.2.1:53"];
        assert_eq!(parse(text), addresses(&expected));
        assert_eq!(parse("search example.org\n"), addresses(&["127.0.0.1:53"]));
        assert_eq!(address("fe80::1%lo").unwrap().to_string(), "[fe80::1%1]:53");
        assert_eq!(address("fe80::1%../lo"), None);
    }

    #[test]
    fn the_file_is_read_again_when_it_is_another() {
        let dir = std::env::temp_dir().join(format!("resolvers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("resolv.conf");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let mut resolvers = Resolvers::new(&[], path.clone());
        let mut now = Instant::EPOCH;
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.1:53"]));
        std::fs::write(&path, "nameserver 192.0.2.22\n").unwrap();
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.1:53"]), "looked just now");
        now = now + LOOK_AGAIN;
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.22:53"]));
        std::fs::remove_file(&path).unwrap();
        now = now + LOOK_AGAIN;
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.22:53"]), "the last list");
        std::fs::write(&path, "nameserver 192.0.2.3\n").unwrap();
        now = now + LOOK_AGAIN;
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.3:53"]));
        resolvers.configure(&addresses(&["192.0.2.9:5353"]));
        now = now + LOOK_AGAIN;
        assert_eq!(resolvers.in_order(now), addresses(&["192.0.2.9:5353"]));
        std::fs::remove_dir_all(&dir).unwrap();
        let mut none = Resolvers::new(&[], path);
        assert_eq!(none.in_order(now), addresses(&["127.0.0.1:53"]));
    }

    #[test]
    fn who_failed_is_asked_last_for_a_while() {
        let list = addresses(&["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"]);
        let mut resolvers = Resolvers::new(&list, PathBuf::new());
        let now = Instant::EPOCH;
        assert_eq!(resolvers.in_order(now), list);
        resolvers.failed(now, list[0]);
        assert_eq!(resolvers.in_order(now), [list[1], list[2], list[0]]);
        assert_eq!(resolvers.in_order(now + PENALTY), list);
        resolvers.failed(now, list[1]);
        resolvers.works(list[0]);
        assert_eq!(resolvers.in_order(now), [list[0], list[2], list[1]]);
        assert_eq!(resolvers.list(), list);
    }

    #[test]
    fn who_answers_nothing_at_all_is_asked_last_and_one_slow_name_is_not_enough() {
        let list = addresses(&["192.0.2.1:53", "[2001:db8::53]:53"]);
        let other_way_round = [list[1], list[0]];
        let names = ["a", "b", "c"].map(|label| Name::of([label, "example"]).unwrap());
        let mut resolvers = Resolvers::new(&list, PathBuf::new());
        let mut now = Instant::EPOCH;
        for _ in 0..20 {
            resolvers.silent(now, list[0], &names[0]);
            assert_eq!(resolvers.in_order(now), list);
            now = now + Duration::from_secs(1);
        }
        // Several names at once may wait for the same server.
        now = now + PENALTY;
        for name in &names {
            resolvers.silent(now, list[0], name);
        }
        assert_eq!(resolvers.in_order(now), list);
        now = now + SILENT_FOR;
        resolvers.silent(now, list[0], &names[0]);
        assert_eq!(resolvers.in_order(now), other_way_round);
        assert_eq!(resolvers.in_order(now + PENALTY), list);
        // What the others do not answer either keeps nobody aside, nor does it decide a trial.
        resolvers.silent(now + PENALTY / 2, list[0], &names[0]);
        assert_eq!(resolvers.in_order(now + PENALTY), list);
        // It comes back on trial: one answer of another is enough now, however late.
        now = now + 9 * PENALTY;
        resolvers.silent(now, list[0], &names[0]);
        assert_eq!(resolvers.in_order(now), list);
        resolvers.outdone(now, list[0]);
        assert_eq!(resolvers.in_order(now), other_way_round);
        now = now + PENALTY;
        assert_eq!(resolvers.in_order(now), list);
        // Any answer at all is a sign of life.
        resolvers.works(list[0]);
        resolvers.silent(now, list[0], &names[0]);
        resolvers.silent(now, list[0], &names[1]);
        resolvers.works(list[0]);
        now = now + SILENT_FOR;
        resolvers.silent(now, list[0], &names[2]);
        assert_eq!(resolvers.in_order(now), list);
        // What was long ago does not count.
        resolvers.silent(now, list[0], &names[0]);
        now = now + PENALTY;
        resolvers.silent(now, list[0], &names[1]);
        assert_eq!(resolvers.in_order(now), list);
    }

    #[test]
    fn who_is_outdone_by_another_is_asked_last() {
        let list = addresses(&["192.0.2.1:53", "[2001:db8::53]:53"]);
        let other_way_round = [list[1], list[0]];
        let name = Name::of(["a", "example"]).unwrap();
        let mut resolvers = Resolvers::new(&list, PathBuf::new());
        let mut now = Instant::EPOCH;
        let outdone = |resolvers: &mut Resolvers, now: Instant| {
            resolvers.silent(now, list[0], &name);
            resolvers.outdone(now, list[0]);
            resolvers.in_order(now)
        };
        // Many programs ask at once: that is one moment.
        for _ in 0..9 {
            assert_eq!(outdone(&mut resolvers, now), list);
        }
        resolvers.works(list[0]);
        assert_eq!(outdone(&mut resolvers, now), list);
        now = now + SILENT_FOR;
        resolvers.silent(now, list[0], &name);
        assert_eq!(resolvers.in_order(now), list, "once");
        assert_eq!(outdone(&mut resolvers, now), other_way_round);
        // An answer ends it.
        resolvers.works(list[0]);
        assert_eq!(outdone(&mut resolvers, now), list);
        // What was long ago does not count.
        now = now + PENALTY;
        assert_eq!(outdone(&mut resolvers, now), list);
    }
}
