//! The `netherd` command. Everything is in the library, where tests and `xtask` reach it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    netherd::main()
}
