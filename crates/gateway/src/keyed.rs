//! The hash of tables that guests fill: SipHash with a key that they do not know.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

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
