//! Enums whose variants have a name and a sentence: what users read is written where the variant is.

/// Makes the enum, in which each variant has its documentation, maybe its number, and its name.
macro_rules! named {
    (
        $(#[$meta:meta])*
        $enum:ident: $($(#[doc = $doc:literal])+ $variant:ident $(= $number:literal)?, $name:literal;)+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $enum { $($(#[doc = $doc])+ $variant $(= $number)?,)+ }

        impl $enum {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// How many there are.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// Its name, lower case with hyphens, as people read and write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it is about, in Markdown.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

pub(crate) use named;
