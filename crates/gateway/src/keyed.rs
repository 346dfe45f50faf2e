//! The hash of tables that guests fill: SipHash with a key that they do not know.

use std::hash::{BuildHasher, Hasher};

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
}
