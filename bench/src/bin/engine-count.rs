//! Runs a fixed number of rounds of the engine under load, for `bench/count` to count the
//! instructions of.
//!
//! Prints how many frames left, so that a change that forwards fewer is not mistaken for a faster
//! one.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::switchboard::{Addresses, Switchboard};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((addresses, rounds)) = read(&arguments) else {
        eprintln!(
            "engine-count: give `static`, `data`, `data-filtered`, `data-guarded`, `mix-guarded` or a number of learned addresses, and the number of \
             rounds"
        );
        return ExitCode::from(2);
    };
    let mut board = Switchboard::new(64, addresses);
    let sent: usize = (0..rounds).map(|_| board.round()).sum();
    println!("{sent}");
    ExitCode::SUCCESS
}

fn read(arguments: &[String]) -> Option<(Addresses, u32)> {
    let [addresses, rounds] = arguments else { return None };
    let addresses = match addresses.as_str() {
        "static" => Addresses::Static,
        "data-filtered" => Addresses::Filtered,
        "data" => Addresses::Mixed { guarded: false, control: false },
        "data-guarded" => Addresses::Mixed { guarded: true, control: false },
        "mix-guarded" => Addresses::Mixed { guarded: true, control: true },
        count => Addresses::Learned(count.parse().ok().filter(|&count| count >= 64)?),
    };
    Some((addresses, rounds.parse().ok()?))
}
