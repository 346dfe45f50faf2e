//! Runs a fixed number of rounds of the engine under load, for `bench/count` to count the instructions of.
//!
//! Prints how many frames left, so that a change that forwards fewer is not mistaken for a faster one.

use bench::switchboard::Switchboard;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let (Some(Ok(addresses)), Some(Ok(rounds)), None) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("engine-count: give the number of addresses and the number of rounds");
        std::process::exit(2);
    };
    let mut board = Switchboard::new(64, addresses);
    let sent: usize = (0..rounds).map(|_| board.round()).sum();
    println!("{sent}");
}
