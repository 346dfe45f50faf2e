//! What names a connection: its two ends.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use siphasher::sip::SipHasher13;

/// The two ends of a connection as the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Guest's address and port, remote's address and port, 6 or 4. An IPv4 address is in the first
    /// four bytes of its place.
    bytes: [u8; 37],
}

impl Key {
    pub(super) fn new(guest: SocketAddr, remote: SocketAddr) -> Self {
        let mut bytes = [0; 37];
        let (guest_bytes, rest) = bytes.split_at_mut(18);
        write(guest_bytes, guest);
        write(rest, remote);
        bytes[36] = if guest.is_ipv4() { 4 } else { 6 };
        Self { bytes }
    }

    pub(super) const fn is_v6(&self) -> bool {
        self.bytes[36] == 6
    }

    pub(super) fn guest(&self) -> SocketAddr {
        self.read(0)
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.read(18)
    }

    fn read(&self, at: usize) -> SocketAddr {
        let address: [u8; 16] =
            self.bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        let port =
            self.bytes.get(at + 16..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        let ip = if self.is_v6() {
            IpAddr::V6(Ipv6Addr::from(address))
        } else {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        };
        SocketAddr::new(ip, u16::from_be_bytes(port))
    }
}

fn write(to: &mut [u8], from: SocketAddr) {
    let mut bytes = [0; 18];
    match from.ip() {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
    bytes[16..].copy_from_slice(&from.port().to_be_bytes());
    for (to, from) in to.iter_mut().zip(bytes) {
        *to = from;
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <-> {}", self.guest(), self.remote())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes);
    }
}

/// Hashes keys so that guests, who choose them, cannot choose where they fall.
#[derive(Clone, Debug)]
pub(super) struct Secret(SipHasher13);

impl Secret {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    /// Where the sequence numbers of a connection begin: nobody else can guess it, and it moves on
    /// with time so that an old connection's segments are not taken for the next one's (RFC 6528).
    pub(super) fn initial_sequence(&self, key: &Key, now: engine::Instant) -> super::seq::Seq {
        let mut hasher = self.0;
        hasher.write(b"initial sequence");
        key.hash(&mut hasher);
        let micros = now.as_nanos() / 1000;
        super::seq::Seq((hasher.finish() as u32).wrapping_add((micros / 4) as u32))
    }
}

impl BuildHasher for Secret {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_what_they_were() {
        for (guest, remote) in
            [("10.0.0.3:1", "1.2.3.4:65535"), ("[fd00::3]:1", "[2001:db8::1]:443")]
        {
            let (guest, remote) = (guest.parse().unwrap(), remote.parse().unwrap());
            let key = Key::new(guest, remote);
            assert_eq!((key.guest(), key.remote()), (guest, remote));
            assert_ne!(key, Key::new(remote, guest));
        }
        let mapped = Key::new("[a00::]:1".parse().unwrap(), "[::]:2".parse().unwrap());
        assert_ne!(mapped, Key::new("10.0.0.0:1".parse().unwrap(), "0.0.0.0:2".parse().unwrap()));
    }
}
