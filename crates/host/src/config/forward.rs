//! Forwards as texts: the same words stand in the configuration, on the command line and in calls of `api`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway::Protocol;

use crate::names::{Name, NameError};

/// Why a text names no port, or no forward; the end of a sentence that begins with the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    #[error("its protocol {0:?} is neither tcp nor udp")]
    Protocol(String),
    #[error("{0:?} is not a port (1 to 65535)")]
    Port(String),
    #[error("{0:?} is not an address: give an IPv4 address, or an IPv6 address in brackets")]
    Address(String),
    #[error(
        "nobody can listen at {0}: give an address of the host, or 0.0.0.0 or [::] for all of them"
    )]
    Unheard(IpAddr),
    #[error(
        "{0:?} is a link-local address, which a forward cannot use: give another address of the host, or [::] for \
         all of them"
    )]
    LinkLocal(String),
    #[error("{0:?} is not a guest's name: {1}")]
    Guest(String, NameError),
    #[error("{0:?} is not a range of ports: give the first and the last, such as \"8000-8009\"")]
    Range(String),
    #[error("port {0} of the guest would be beyond 65535")]
    Beyond(u32),
    #[error(
        "it names no guest: write [tcp/|udp/][ADDRESS:]PORT:GUEST[:PORT], such as \"8080:web:80\""
    )]
    NoGuest,
    #[error(
        "it has too many parts: write [tcp/|udp/][ADDRESS:]PORT:GUEST[:PORT], such as \"8080:web:80\""
    )]
    Parts,
}

/// A port of the host that is forwarded to a port of a guest, or as many in a row.
///
/// ```text
/// 8080:web:80   udp/5353:web:53   192.0.2.1:8080:web:80   [::1]:8080:web:80   8000-8009:web:9000
/// ```
///
/// Without an address it is bound to loopback. A range leads to as many ports from the given one on. The guest's port
/// is left out when it is the same: `8080:web`. A guest that says it of itself does not name itself: `8080:80`, `8080`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forward {
    pub protocol: Protocol,
    /// Where the host listens; loopback, of both families, without it.
    pub listen: Option<IpAddr>,
    /// First and last port of the host.
    pub ports: (u16, u16),
    pub guest: Name,
    /// The guest's port for the first of them.
    pub to: u16,
}

impl Forward {
    /// Reads a forward. `own` is the guest that it is for when it names none.
    ///
    /// # Errors
    /// What the text lacks.
    pub fn parse(text: &str, own: Option<&Name>) -> Result<Self, ForwardError> {
        let (protocol, rest) = split_protocol(text)?;
        let (listen, rest) = split_address(rest)?;
        let parts: Vec<&str> = rest.split(':').collect();
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let name = |text: &str| {
            Name::of_guest(text).map_err(|why| ForwardError::Guest(text.to_owned(), why))
        };
        let (port, guest, to) = match parts.as_slice() {
            // A guest whose name is a number is named together with its port.
            [port, guest] if own.is_none() && !is_number(guest) => (*port, name(guest)?, None),
            [port] => (*port, own.cloned().ok_or(ForwardError::NoGuest)?, None),
            [port, to] => (*port, own.cloned().ok_or(ForwardError::NoGuest)?, Some(*to)),
            [port, guest, to] => (*port, name(guest)?, Some(*to)),
            _ => return Err(ForwardError::Parts),
        };
        let ports = parse_ports(port)?;
        let to = to.map_or(Ok(ports.0), parse_port)?;
        let beyond = u32::from(to) + u32::from(ports.1 - ports.0);
        if beyond > u32::from(u16::MAX) {
            return Err(ForwardError::Beyond(beyond));
        }
        Ok(Self { protocol, listen, ports, guest, to })
    }

    /// The addresses that the host listens at.
    pub fn listens(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let addresses = match self.listen {
            Some(address) => [Some(address), None],
            None => loopback.map(Some),
        };
        addresses.into_iter().flatten()
    }

    /// What the gateway is asked for.
    #[must_use]
    pub fn spec(&self) -> gateway::PublishSpec {
        gateway::PublishSpec {
            protocol: self.protocol,
            bind: self.listen,
            ports: self.ports,
            guest: self.guest.as_str().to_owned(),
            to: self.to,
        }
    }

    /// Whether both want the same port of the host.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.ports.0 <= other.ports.1
            && other.ports.0 <= self.ports.1
            && self.listens().any(|a| {
                other.listens().any(|b| {
                    a.is_ipv4() == b.is_ipv4()
                        && (a == b || a.is_unspecified() || b.is_unspecified())
                })
            })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == Protocol::Udp {
            f.write_str("udp/")?;
        }
        match self.listen {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        match self.ports {
            (port, last) if port == last => write!(f, "{port}")?,
            (first, last) => write!(f, "{first}-{last}")?,
        }
        write!(f, ":{}:{}", self.guest, self.to)
    }
}

fn split_protocol(text: &str) -> Result<(Protocol, &str), ForwardError> {
    match text.split_once('/') {
        None => Ok((Protocol::Tcp, text)),
        Some(("tcp", rest)) => Ok((Protocol::Tcp, rest)),
        Some(("udp", rest)) => Ok((Protocol::Udp, rest)),
        Some((other, _)) => Err(ForwardError::Protocol(other.to_owned())),
    }
}

/// The address before the first port, when there is one.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), ForwardError> {
    let bad = |address: &str| ForwardError::Address(address.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once("]:").ok_or_else(|| bad(text))?;
        let (plain, interface) = address.split_once('%').unwrap_or((address, ""));
        let parsed = plain.parse::<Ipv6Addr>().map_err(|_| bad(address))?;
        if parsed.is_unicast_link_local() {
            return Err(ForwardError::LinkLocal(address.to_owned()));
        }
        if !interface.is_empty() {
            return Err(bad(address));
        }
        return Ok((Some(can_be_heard(parsed.into())?), rest));
    }
    match text.split_once(':') {
        Some((address, rest)) if address.contains('.') => {
            let address = address.parse::<Ipv4Addr>().map_err(|_| bad(address))?;
            Ok((Some(can_be_heard(address.into())?), rest))
        }
        _ => Ok((None, text)),
    }
}

/// An address at which a socket of a host can be.
fn can_be_heard(address: IpAddr) -> Result<IpAddr, ForwardError> {
    let nobody = match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_multicast() || v6.to_ipv4_mapped().is_some(),
    };
    if nobody { Err(ForwardError::Unheard(address)) } else { Ok(address) }
}

fn parse_ports(text: &str) -> Result<(u16, u16), ForwardError> {
    let Some((first, last)) = text.split_once('-') else {
        let port = parse_port(text)?;
        return Ok((port, port));
    };
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first > last {
        return Err(ForwardError::Range(text.to_owned()));
    }
    Ok((first, last))
}

fn parse_port(text: &str) -> Result<u16, ForwardError> {
    // `+80` is no port, though it parses.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(ForwardError::Port(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    #[test]
    fn a_forward_is_read_and_shown() {
        for text in [
            "8080:web:80",
            "udp/5353:web:53",
            "192.0.2.1:8080:web:80",
            "[::1]:8080:web:80",
            "udp/[::]:8080:web-2:80",
            "0.0.0.0:1:w:65535",
            "8000-8009:web:9000",
        ] {
            let forward = Forward::parse(text, None).expect("a forward");
            assert_eq!(forward.to_string(), text);
            assert_eq!(Forward::parse(&forward.to_string(), None), Ok(forward));
        }
        let web = Forward::parse("tcp/8080:web:80", None).expect("a forward");
        assert_eq!(web, Forward::parse("8080:80", Some(&name("web"))).expect("a forward"));
        assert_eq!(web.listens().count(), 2);
        let same = Forward::parse("8000-8009:80:8000", None).expect("a forward");
        assert_eq!((same.guest.as_str(), same.to), ("80", 8000));
        let same = Forward::parse("8000-8009:web", None).expect("a forward");
        assert_eq!(same.to_string(), "8000-8009:web:8000");
        let same = Forward::parse("[::1]:80", Some(&name("web"))).expect("a forward");
        assert_eq!((same.ports, same.to, same.listen.is_some()), ((80, 80), 80, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("", ForwardError::NoGuest),
            ("80", ForwardError::NoGuest),
            ("80:80", ForwardError::NoGuest),
            ("icmp/80:web:80", ForwardError::Protocol("icmp".into())),
            ("0:web:80", ForwardError::Port("0".into())),
            ("80:web:65536", ForwardError::Port("65536".into())),
            ("+80:web:80", ForwardError::Port("+80".into())),
            ("81-80:web:80", ForwardError::Range("81-80".into())),
            ("80-:web:80", ForwardError::Port(String::new())),
            ("80-82:web:65534", ForwardError::Beyond(65536)),
            ("80:WEB:80", ForwardError::Guest("WEB".into(), NameError::BadCharacter('W'))),
            ("80:web_1", ForwardError::Guest("web_1".into(), NameError::BadCharacter('_'))),
            ("80:localhost", ForwardError::Guest("localhost".into(), NameError::Localhost)),
            ("[ff02::1]:80:web", ForwardError::Unheard("ff02::1".parse().expect("one"))),
            (
                "[::ffff:10.0.0.1]:80:web",
                ForwardError::Unheard("::ffff:10.0.0.1".parse().expect("one")),
            ),
            ("224.0.0.1:80:web", ForwardError::Unheard("224.0.0.1".parse().expect("one"))),
            (
                "255.255.255.255:80:web",
                ForwardError::Unheard("255.255.255.255".parse().expect("one")),
            ),
            ("[fe80::1]:80:web", ForwardError::LinkLocal("fe80::1".into())),
            ("[fe80::1%eth0]:80:web", ForwardError::LinkLocal("fe80::1%eth0".into())),
            ("[::1%lo]:80:web", ForwardError::Address("::1%lo".into())),
            ("80:web:80:90", ForwardError::Parts),
            ("1.2.3:80:web:80", ForwardError::Address("1.2.3".into())),
            ("[1.2.3.4]:80:web:80", ForwardError::Address("1.2.3.4".into())),
            ("[::1:80:web:80", ForwardError::Address("[::1:80:web:80".into())),
        ] {
            assert_eq!(Forward::parse(text, None), Err(why), "{text}");
        }
    }

    #[test]
    fn two_forwards_collide_on_one_port_of_the_host() {
        let forward = |text: &str| Forward::parse(text, None).expect("a forward");
        let plain = forward("8080:web:80");
        for (other, collides) in [
            ("8080:db:1", true),
            ("0.0.0.0:8080:db:1", true),
            ("[::]:8080:db:1", true),
            ("127.0.0.1:8080:db:1", true),
            ("192.0.2.1:8080:db:1", false),
            ("udp/8080:db:1", false),
            ("8081:web:80", false),
            ("8000-8080:db:1", true),
            ("8000-8079:db:1", false),
        ] {
            assert_eq!(plain.collides(&forward(other)), collides, "{other}");
        }
    }
}
