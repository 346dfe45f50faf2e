//! Lists of reasons: each is an enumeration with names and sentences, and its counters.

/// Makes the enumeration and its counters of one list.
macro_rules! reasons {
    (
        $(#[$about:meta])* $reason:ident;
        $(#[$about_counters:meta])* $counters:ident;
        $($variant:ident, $name:literal, $sentence:literal;)*
    ) => {
        $(#[$about])*
        ///
        /// A name never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $reason { $(#[doc = $sentence] $variant,)* }

        impl $reason {
            /// All reasons, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in counters, reports and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, as a sentence.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }

        $(#[$about_counters])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $counters {
            counts: [u64; $reason::ALL.len()],
        }

        impl Default for $counters {
            fn default() -> Self {
                Self { counts: [0; $reason::ALL.len()] }
            }
        }

        impl $counters {
            /// Counts one.
            #[inline]
            pub fn count(&mut self, reason: $reason) {
                self.add(reason, 1);
            }

            /// Counts several.
            #[inline]
            pub fn add(&mut self, reason: $reason, count: u64) {
                if let Some(counter) = self.counts.get_mut(reason as usize) {
                    *counter = counter.wrapping_add(count);
                }
            }

            /// How often.
            #[must_use]
            pub fn get(&self, reason: $reason) -> u64 {
                self.counts.get(reason as usize).copied().unwrap_or(0)
            }

            /// Those that are not zero, in order.
            pub fn iter(&self) -> impl Iterator<Item = ($reason, u64)> + '_ {
                $reason::ALL
                    .iter()
                    .map(|reason| (*reason, self.get(*reason)))
                    .filter(|(_, count)| *count > 0)
            }
        }

        #[cfg(test)]
        #[test]
        fn every_reason_has_a_name_of_its_own_and_a_sentence() {
            for (i, reason) in $reason::ALL.iter().enumerate() {
                assert_eq!(*reason as usize, i);
                assert!(reason.describe().ends_with('.'), "{}", reason.name());
                assert!($reason::ALL[..i].iter().all(|other| other.name() != reason.name()));
            }
        }
    };
}
pub(crate) use reasons;
