//! Names of networks and guests, and what follows from them.
//!
//! A name is one lower-case LDH label (RFC 1123 section 2.1) of at most 32 bytes, so that it can be a
//! directory, a host name and a DNS label without any escaping. The MAC address of a guest and the IPv6
//! prefix of a network are pure functions of the names: a guest that comes back, on this machine or after a
//! crash, has the addresses it had, and nothing has to be stored for that. The hash key is fixed and public on
//! purpose; these functions give stability, not secrecy. Tables whose keys a guest chooses use their own
//! secret key (in the engine).

use core::fmt;
use core::str::FromStr;
use std::net::Ipv6Addr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher24;

use wire::MacAddr;

/// Longest name of a network or guest, in bytes.
pub const NAME_MAX: usize = 32;

/// The network that commands use when none is named.
pub const DEFAULT_NETWORK: &str = "default";

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it is empty; a name has 1 to {NAME_MAX} characters")]
    Empty,
    #[error("it has {0} bytes; a name has at most {NAME_MAX}")]
    TooLong(usize),
    #[error("{0:?} is not allowed in it; a name consists of the characters a-z, 0-9 and '-'")]
    BadCharacter(char),
    #[error("it begins or ends with '-'; begin and end it with a letter or a digit")]
    Hyphen,
    #[error(
        "`host.internal` is the host as guests reach it, and has no guests below it; choose another"
    )]
    Host,
    #[error("to every program `localhost` means itself; choose another")]
    Localhost,
}

/// A checked name of a network or guest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The label that the zone keeps for the host.
const HOST: &str = "host";
/// The name that RFC 6761 section 6.3 keeps for the asking machine itself.
const LOCALHOST: &str = "localhost";

impl Name {
    /// A name for a network: `GUEST.NETWORK.internal` must be free for its guests.
    ///
    /// # Errors
    /// What keeps `text` from being one.
    pub fn of_network(text: &str) -> Result<Self, NameError> {
        if text == HOST { Err(NameError::Host) } else { text.parse() }
    }

    /// A name for a guest: others must be able to reach it by that alone.
    ///
    /// # Errors
    /// What keeps `text` from being one.
    pub fn of_guest(text: &str) -> Result<Self, NameError> {
        if text == LOCALHOST { Err(NameError::Localhost) } else { text.parse() }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made from the path or name of a command: its last component in lower case, every other
    /// character a hyphen, at most 28 bytes so that a suffix `-NNN` still fits. `guest` when nothing is left, or what
    /// no guest may be called.
    #[must_use]
    pub fn from_command(command: &str) -> Self {
        let base = command.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
        let mut text = String::new();
        for c in base.chars() {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                text.push(c);
            } else if !text.is_empty() && !text.ends_with('-') {
                text.push('-');
            }
            if text.len() >= NAME_MAX - 4 {
                break;
            }
        }
        let text = text.trim_matches('-');
        Self::of_guest(text).unwrap_or_else(|_| Self("guest".to_owned()))
    }

    /// This name with the suffix `-number`, shortened where it would grow beyond [`NAME_MAX`].
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let keep = self.0.len().min(NAME_MAX - suffix.len());
        Self(format!("{}{suffix}", self.0[..keep].trim_end_matches('-')))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(bad) =
            text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
        {
            return Err(NameError::BadCharacter(bad));
        }
        if text.len() > NAME_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Hyphen);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|why| serde::de::Error::custom(format!("{text:?} is not a name: {why}")))
    }
}

/// Keeps the uses of the hash apart: two purposes never share a value by accident.
#[derive(Clone, Copy)]
enum Purpose {
    Mac = 1,
    Prefix = 2,
    Subnet = 3,
    Host = 4,
    Gateway = 5,
}

fn hash(purpose: Purpose, network: &str, guest: &str) -> u64 {
    // Lengths and a separator are part of the input, so ("a", "bc") and ("ab", "c") differ.
    let mut input = Vec::with_capacity(network.len() + guest.len() + 2);
    input.push(purpose as u8);
    input.extend_from_slice(network.as_bytes());
    input.push(0);
    input.extend_from_slice(guest.as_bytes());
    SipHasher24::new_with_key(b"netherd names v1").hash(&input)
}

/// The MAC address of a guest: locally administered and unicast (IEEE 802-2014 section 8.4).
#[must_use]
pub fn mac(network: &Name, guest: &Name) -> MacAddr {
    let [a, b, c, d, e, f, ..] = hash(Purpose::Mac, network.as_str(), guest.as_str()).to_be_bytes();
    MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// The MAC address of a network's gateway: locally administered and unicast, and no guest's by derivation.
#[must_use]
pub fn gateway_mac(network: &Name) -> MacAddr {
    let [a, b, c, d, e, f, ..] = hash(Purpose::Gateway, network.as_str(), "").to_be_bytes();
    MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// The same for a guest of a network inside others: `path` names them all, so that it is another one in each.
#[must_use]
pub fn mac_within(path: &str, guest: &Name) -> MacAddr {
    let [a, b, c, d, e, f, ..] = hash(Purpose::Mac, path, guest.as_str()).to_be_bytes();
    MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// The IPv6 prefix (/64) of a network: a unique local address with L = 1 (RFC 4193 section 3.1), whose global
/// and subnet identifiers come from the name.
#[must_use]
pub fn ipv6_prefix(network: &Name) -> Ipv6Addr {
    let id = hash(Purpose::Prefix, network.as_str(), "").to_be_bytes();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&id[..7]);
    Ipv6Addr::from(octets)
}

/// The address of `mac` in the /64 `prefix`: the interface identifier is the modified EUI-64 (RFC 4291
/// appendix A).
#[must_use]
pub fn ipv6_address(prefix: Ipv6Addr, mac: MacAddr) -> Ipv6Addr {
    let mut octets = prefix.octets();
    let [a, b, c, d, e, f] = mac.0;
    octets[8..].copy_from_slice(&[a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(octets)
}

/// Where the search for a free IPv4 subnet begins.
#[must_use]
pub(crate) fn subnet_seed(network: &Name) -> u64 {
    hash(Purpose::Subnet, network.as_str(), "")
}

/// Where the search for a free host number of a named guest begins.
#[must_use]
pub(crate) fn host_seed(network: &Name, guest: &Name) -> u64 {
    hash(Purpose::Host, network.as_str(), guest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    #[test]
    fn names_are_lower_case_ldh_labels() {
        for good in ["a", "web", "web-2", "0", &"x".repeat(32)] {
            assert_eq!(name(good).as_str(), good);
        }
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!("x".repeat(33).parse::<Name>(), Err(NameError::TooLong(33)));
        assert_eq!("Web".parse::<Name>(), Err(NameError::BadCharacter('W')));
        assert_eq!("../x".parse::<Name>(), Err(NameError::BadCharacter('.')));
        assert_eq!("a_b".parse::<Name>(), Err(NameError::BadCharacter('_')));
        assert_eq!("-a".parse::<Name>(), Err(NameError::Hyphen));
        assert_eq!("a-".parse::<Name>(), Err(NameError::Hyphen));
    }

    #[test]
    fn names_with_another_meaning_are_refused() {
        assert_eq!(Name::of_network("host"), Err(NameError::Host));
        assert_eq!(Name::of_guest("localhost"), Err(NameError::Localhost));
        // Each is harmless in the other's place, and so is the top of all names.
        for text in ["localhost", "internal", "web"] {
            assert_eq!(Name::of_network(text), text.parse());
        }
        for text in ["host", "internal", "default"] {
            assert_eq!(Name::of_guest(text), text.parse());
        }
        assert_eq!(Name::of_network("Host"), Err(NameError::BadCharacter('H')));
        assert_eq!(Name::of_guest(""), Err(NameError::Empty));
    }

    #[test]
    fn a_command_gives_a_name_that_is_one() {
        for (command, expected) in [
            ("/usr/bin/python3.11", "python3-11"),
            ("./A Server!.sh", "a-server-sh"),
            ("/", "guest"),
            ("", "guest"),
            ("___", "guest"),
            ("-sh", "sh"),
            ("ünder", "nder"),
            ("/bin/", "bin"),
            ("localhost", "guest"),
        ] {
            let made = Name::from_command(command);
            assert_eq!(made.as_str(), expected);
            assert_eq!(name(made.as_str()), made);
        }
    }

    #[test]
    fn a_numbered_name_never_grows_too_long() {
        assert_eq!(name("web").numbered(2).as_str(), "web-2");
        let long = name(&"x".repeat(32)).numbered(4_000_000_000);
        assert_eq!(long.as_str().len(), 32);
        assert_eq!(name(long.as_str()), long);
    }

    #[test]
    fn addresses_follow_from_names_and_stay() {
        let (net, web) = (name("default"), name("web"));
        let mac = mac(&net, &web);
        assert_eq!(mac.0[0] & 0x03, 0x02, "locally administered, unicast");
        assert_ne!(mac, super::mac(&name("other"), &web));
        assert_ne!(mac, super::mac(&net, &name("db")));
        let gateway = gateway_mac(&net);
        assert_eq!(gateway.0[0] & 0x03, 0x02, "locally administered, unicast");
        assert_ne!(gateway, gateway_mac(&name("other")));
        assert_ne!(gateway, mac);
        let prefix = ipv6_prefix(&net);
        assert_eq!(prefix.octets()[0], 0xfd);
        assert_eq!(prefix.octets()[8..], [0; 8]);
        let address = ipv6_address(prefix, mac);
        assert_eq!(address.octets()[..8], prefix.octets()[..8]);
        assert_eq!(address.octets()[8], mac.0[0] ^ 2);
        assert_eq!(address.octets()[11..13], [0xff, 0xfe]);
    }

    /// These are what existing guests have, and what their neighbours remember: a change of the key,
    /// the input or the rules would give every one of them another address.
    #[test]
    fn addresses_are_what_they_were_in_every_version() {
        let (net, web) = (name("default"), name("web"));
        let mac = mac(&net, &web);
        let prefix = ipv6_prefix(&net);
        assert_eq!(mac.to_string(), "d6:54:d6:9c:19:58");
        assert_eq!(mac_within("default/outer", &web).to_string(), "ea:c4:55:e2:51:b5");
        assert_eq!(gateway_mac(&net).to_string(), "82:66:92:d6:48:74");
        assert_eq!(prefix.to_string(), "fd45:1f2d:b9e1:64fe::");
        assert_eq!(
            ipv6_address(prefix, mac).to_string(),
            "fd45:1f2d:b9e1:64fe:d454:d6ff:fe9c:1958"
        );
        assert_eq!(subnet_seed(&net), 0xf8fe_c7f6_6a7d_a3c3);
        assert_eq!(host_seed(&net, &web), 0x6caf_24e2_2300_d606);
    }
}
