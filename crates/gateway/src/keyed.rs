//! The hash of tables that guests fill: SipHash with a key that they do not know.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::{SipHasher13, SipHasher24};

/// A key for one use, made of the gateway's: what is seen of one use tells nothing about another.
pub(crate) fn subkey(key: &[u8; 16], purpose: &str) -> [u8; 16] {
    let mut made = [0; 16];
    for (half, bytes) in made.chunks_exact_mut(8).enumerate() {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write_usize(half);
        hasher.write(purpose.as_bytes());
        bytes.copy_from_slice(&hasher.finish().to_ne_bytes());
    }
    made
}

/// Makes hashers with the gateway's key.
#[derive(Clone, Copy)]
pub struct Keyed {
    key: [u8; 16],
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key: who knows it can make tables slow.
        f.write_str("Keyed")
    }
}

impl Keyed {
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.key)
    }
}

/// Feeds an address and port, and what else tells two keys apart, in few words: each costs a hasher
/// more than the bytes in it.
#[inline]
pub(crate) fn write_end(hasher: &mut impl Hasher, end: SocketAddr, kind: u8) {
    let rest = u64::from(end.port()) << 8 | u64::from(kind);
    match end.ip() {
        IpAddr::V4(ip) => hasher.write_u64(u64::from(ip.to_bits()) << 32 | rest),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            hasher.write_u64((bits >> 64) as u64);
            hasher.write_u64(bits as u64);
            hasher.write_u64(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_has_its_own_key() {
        let key = [7; 16];
        let made = ["tables", "tcp", "services"].map(|purpose| subkey(&key, purpose));
        assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2]);
        assert!(made.iter().all(|made| *made != key && made[..8] != made[8..]));
        assert_eq!(made[0], subkey(&key, "tables"));
        assert_ne!(made[0], subkey(&[8; 16], "tables"));
    }

    #[test]
    fn every_part_of_an_end_counts() {
        let hash = |end: &str, kind| {
            let mut hasher = Keyed::new([3; 16]).build_hasher();
            write_end(&mut hasher, end.parse().unwrap(), kind);
            hasher.finish()
        };
        let of = [
            ("10.0.0.1:1", 0),
            ("10.0.0.1:1", 1),
            ("10.0.0.1:2", 0),
            ("10.0.1.1:1", 0),
            ("[fd00::1]:1", 0),
            ("[fd00::1]:1", 1),
            ("[fd00::1]:257", 0),
            ("[fd00::2]:1", 0),
            ("[fd00:0:0:1::1]:1", 0),
        ];
        let mut all = of.map(|(end, kind)| hash(end, kind));
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(hash("10.0.0.1:1", 0), hash("10.0.0.1:1", 0));
    }
}
