//! One filter and one frame, in wall-clock time: what a filter adds to a frame.
//!
//! The promise is at most 60 ns a frame for a program of 20 instructions, all of which are run.
#![forbid(unsafe_code)]

use std::hint::black_box;

use bench::switchboard::FILTER;
use bpf::expression::{Options, compile};
use bpf::{Instruction, Pieces, Program, instruction as i};
use criterion::{Criterion, criterion_group, criterion_main};

/// Loads and comparisons in turn, each of which goes on to the next, and a return.
fn straight(count: usize) -> Program {
    let mut code = Vec::new();
    for at in (0..).take((count - 1) / 2) {
        code.push(Instruction::new(i::LD | i::H | i::ABS, 12 + at));
        code.push(Instruction::new(i::JMP | i::JGE | i::K, 0));
    }
    code.resize(count - 1, Instruction::new(i::LD | i::W | i::LEN, 0));
    code.push(Instruction::new(i::RET | i::K, 1));
    Program::new(&code).expect("a program")
}

fn filter(c: &mut Criterion) {
    let mut frame = [0; 1514];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[23] = 6;
    let (addresses, rest) = frame.split_at(12);
    let tagged = Pieces([addresses, &[0x81, 0, 0, 10], rest, &[]]);
    let mut group = c.benchmark_group("filter");
    for count in [2, 20, 40] {
        let program = straight(count);
        group.bench_function(format!("{count}-instructions"), |b| {
            b.iter(|| black_box(&program).run(black_box(&frame[..])));
        });
        group.bench_function(format!("{count}-instructions-tagged"), |b| {
            b.iter(|| black_box(&program).run(black_box(&tagged)));
        });
    }
    let program = compile(FILTER, &Options::default()).expect("a filter");
    group.bench_function("expression", |b| {
        b.iter(|| black_box(&program).run(black_box(&frame[..])));
    });
    group.finish();
}

criterion_group!(benches, filter);
criterion_main!(benches);
