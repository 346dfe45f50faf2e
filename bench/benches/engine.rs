//! The engine alone, in wall-clock time: frames of 64 bytes between 64 ports.
//!
//! The promise is 10 million frames a second on one core with 1,000 addresses, and at most 1.5
//! times the cost per frame with 100,000. Wall-clock time on a shared machine is an observation;
//! `bench/count` is the gate.
#![forbid(unsafe_code)]

use bench::switchboard::{Addresses, Switchboard};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward-64-ports");
    let cases = [
        ("static", Addresses::Static),
        ("1000-learned", Addresses::Learned(1_000)),
        ("100000-learned", Addresses::Learned(100_000)),
        ("data", Addresses::Mixed { guarded: false, control: false }),
        ("data-filtered", Addresses::Filtered),
        ("data-guarded", Addresses::Mixed { guarded: true, control: false }),
        ("mix", Addresses::Mixed { guarded: false, control: true }),
        ("mix-guarded", Addresses::Mixed { guarded: true, control: true }),
    ];
    for (name, addresses) in cases {
        let mut board = Switchboard::new(64, addresses);
        group.throughput(Throughput::Elements(board.frames_per_round() as u64));
        group.bench_function(name, |b| b.iter(|| board.round()));
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
