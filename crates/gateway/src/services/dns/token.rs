//! The names of DNS's registrations in its epoll.

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A socket towards a resolver.
    Resolver,
    /// A connection of a guest.
    Guest,
}

/// A registration. The generation tells a report for something that has ended meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) source: Source,
    /// Which socket of a question.
    pub(crate) attempt: u8,
    /// The low 24 bits count.
    pub(crate) generation: u32,
    /// Below 2^24.
    pub(crate) index: u32,
}

impl Token {
    const LOW: u32 = 0x00ff_ffff;

    pub(crate) fn is_of(&self, generation: u32) -> bool {
        self.generation & Self::LOW == generation & Self::LOW
    }

    pub(crate) fn pack(self) -> u64 {
        let source = u64::from(self.source == Source::Guest);
        source << 56
            | u64::from(self.attempt) << 48
            | u64::from(self.generation & Self::LOW) << 24
            | u64::from(self.index & Self::LOW)
    }

    pub(crate) fn unpack(raw: u64) -> Self {
        let [source, attempt, a, b, c, x, y, z] = raw.to_be_bytes();
        Self {
            source: if source == 0 { Source::Resolver } else { Source::Guest },
            attempt,
            generation: u32::from_be_bytes([0, a, b, c]),
            index: u32::from_be_bytes([0, x, y, z]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_was_packed() {
        for source in [Source::Resolver, Source::Guest] {
            let token = Token { source, attempt: 5, generation: 0x0123_4567, index: 0x0089_abcd };
            let back = Token::unpack(token.pack());
            assert_eq!((back.source, back.attempt, back.index), (source, 5, 0x0089_abcd));
            assert!(back.is_of(0x0123_4567) && !back.is_of(0x0123_4568));
        }
    }
}
