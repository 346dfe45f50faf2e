//! What a guest's programs read to look names up: `/etc/resolv.conf` and `/etc/hosts`.
//!
//! The files of the machine are not for a guest. Its `resolv.conf` names resolvers that the guest may not
//! reach, `127.0.0.53` above all. Its `hosts` says "this machine" where a guest is another one, and a name
//! that it gives to some address would hide the guest of that name. So guests get their own: `resolv.conf`
//! names the network's resolvers, and `hosts` has the guest, and of what the machine's (or the tree's) says,
//! the names that can be no guest's: those with a dot, outside of `internal`, at addresses that are not the
//! machine's own.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use host::api::message::Joined;

use super::interface::Plan;

/// resolv.conf(5): `MAXNS`; more are not read.
const RESOLVERS_MAX: usize = 3;
/// The domain of networks' zones (ICANN's reserved name for private use).
const INTERNAL: &str = "internal";

/// A guest's view of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub network: String,
    pub guest: String,
    /// Whom to ask, the first first.
    pub resolvers: Vec<IpAddr>,
    /// Domains in which a bare name is looked up; the first is the network's own.
    pub search: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Lookup {
    /// Takes what the hypervisor answered.
    #[must_use]
    pub fn from_joined(joined: &Joined, plan: &Plan) -> Self {
        let addresses = [
            plan.ipv4.map(|(address, _)| IpAddr::V4(address)),
            plan.ipv6.map(|(address, _)| IpAddr::V6(address)),
        ];
        Self {
            network: joined.network.clone(),
            guest: joined.guest.clone(),
            resolvers: joined.resolvers.clone(),
            search: joined.search.clone(),
            addresses: addresses.into_iter().flatten().collect(),
        }
    }

    /// The lines that matter, as they are in the guest's `resolv.conf`.
    #[must_use]
    pub fn resolver_lines(&self) -> String {
        let mut text = String::new();
        for resolver in self.resolvers.iter().take(RESOLVERS_MAX) {
            let _ = writeln!(text, "nameserver {resolver}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        text
    }

    /// The guest's `/etc/resolv.conf`. Without resolvers it names none, and look-ups fail at once.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        format!(
            "# netherd wrote this for guest {} of network {}; it is the guest's own.\n{}",
            self.guest,
            self.network,
            self.resolver_lines()
        )
    }

    /// The guest's `/etc/hosts`, from what the file has been.
    #[must_use]
    pub fn hosts(&self, before: &str) -> String {
        let mut text = format!(
            "# netherd wrote this for guest {} of network {}; it is the guest's own.\n\
             127.0.0.1 localhost\n\
             ::1 localhost ip6-localhost ip6-loopback\n\
             ff02::1 ip6-allnodes\n\
             ff02::2 ip6-allrouters\n",
            self.guest, self.network,
        );
        let mut names = String::new();
        if let Some(domain) = self.search.first() {
            let _ = write!(names, "{}.{domain} ", self.guest);
        }
        names.push_str(&self.guest);
        for address in &self.addresses {
            let _ = writeln!(text, "{address} {names}");
        }
        for (address, names) in before.lines().filter_map(kept) {
            let _ = writeln!(text, "{address} {}", names.join(" "));
        }
        text
    }
}

/// What a guest keeps of a line of hosts(5).
fn kept(line: &str) -> Option<(&str, Vec<&str>)> {
    let line = line.split('#').next().unwrap_or_default();
    let mut fields = line.split_ascii_whitespace();
    let address = fields.next()?;
    let own = match address.parse().ok()? {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4: Ipv4Addr| v4.is_loopback())
        }
    };
    let names: Vec<&str> = fields.filter(|name| !may_be_ours(name)).collect();
    (!own && !names.is_empty()).then_some((address, names))
}

/// Whether the network's zones may have this name, or it means the machine itself.
fn may_be_ours(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.rsplit_once('.') {
        None => true,
        Some((_, last)) => last == INTERNAL || last == "localhost" || last == "localdomain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup() -> Lookup {
        Lookup {
            network: "default".to_owned(),
            guest: "web".to_owned(),
            resolvers: vec!["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            search: vec!["default.internal".to_owned()],
            addresses: vec!["10.1.2.3".parse().unwrap(), "fd00::2".parse().unwrap()],
        }
    }

    #[test]
    fn a_guest_asks_its_network() {
        let text = lookup().resolv_conf();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["nameserver 10.1.0.1", "nameserver fd00::1", "search default.internal"]);
    }

    #[test]
    fn no_more_resolvers_than_are_read_and_none_where_there_are_none() {
        let mut many = lookup();
        many.resolvers = (1..=5).map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))).collect();
        assert_eq!(many.resolver_lines().matches("nameserver").count(), 3);
        many.resolvers.clear();
        many.search.clear();
        assert_eq!(many.resolver_lines(), "");
    }

    #[test]
    fn what_the_machine_calls_itself_or_a_guest_is_not_in_the_guests_file() {
        let before = "127.0.0.1\tlocalhost\n\
                      127.0.1.1 laptop.lan laptop\n\
                      ::1 localhost ip6-localhost\n\
                      ::ffff:127.0.0.1 mapped.example\n\
                      10.9.9.9 web web.default.internal nas.lan nas # the NAS\n\
                      0.0.0.0 ads.example\n\
                      fe80::1%lo0 zone.example\n\
                      2001:db8::5 build.example build.example.\n\
                      10.0.0.7 db\n\
                      # 10.0.0.8 comment.example\n\
                      rubbish\n";
        let text = lookup().hosts(before);
        let lines: Vec<&str> = text.lines().skip(5).collect();
        assert_eq!(
            lines,
            [
                "10.1.2.3 web.default.internal web",
                "fd00::2 web.default.internal web",
                "10.9.9.9 nas.lan",
                "0.0.0.0 ads.example",
                "2001:db8::5 build.example build.example.",
            ]
        );
        assert!(text.contains("127.0.0.1 localhost\n::1 localhost"), "{text}");
    }
}
