//! Runs a fixed number of rounds of the engine under load, for `bench/count` to count the
//! instructions of.
//!
//! Prints how many frames left, so that a change that forwards fewer is not mistaken for a faster
//! one.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::crossing::{Crossing, Where};
use bench::switchboard::{Addresses, Switchboard};

/// Routes between the two networks of `routed`.
const ROUTES: u32 = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, rounds] = &*arguments
        && case == "routed"
        && let Ok(rounds) = rounds.parse::<u32>()
    {
        // Each frame to another destination, so that none is found without a look-up.
        let mut crossing = Crossing::with_routes(Where::Routed, 1, ROUTES);
        let sent: usize = (0..rounds).map(|_| crossing.round()).sum();
        println!("{sent}");
        return ExitCode::SUCCESS;
    }
    let Some((addresses, rounds)) = read(&arguments) else {
        eprintln!(
            "engine-count: give `static`, `data`, `data-filtered`, `data-guarded`, `mix`, `mix-guarded`, `routed` or a number of learned addresses, and the number of \
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
        "mix" => Addresses::Mixed { guarded: false, control: true },
        "mix-guarded" => Addresses::Mixed { guarded: true, control: true },
        count => Addresses::Learned(count.parse().ok().filter(|&count| count >= 64)?),
    };
    Some((addresses, rounds.parse().ok()?))
}
