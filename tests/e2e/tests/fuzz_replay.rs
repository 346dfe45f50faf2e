//! Fuzzing in every run: each corpus entry is replayed, then mutated with fixed seeds.
//!
//! `fuzz/` holds the same targets for a coverage-guided fuzzer; what that finds goes into `fuzz/corpus`, and is
//! replayed here for ever. The mutations are the usual ones (flipped bits, interesting numbers, cuts, repeats,
//! splices of two entries) from a generator with a fixed seed: a failure repeats itself, on every machine.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

type Harness = fn(&[u8]);

/// The targets, by the names of `fuzz/fuzz_targets`.
const TARGETS: &[(&str, Harness)] = &[
    ("parse", testkit::harness::parse),
    ("segment", testkit::harness::segment),
    ("actions", testkit::harness::actions),
    ("forgers", testkit::harness::forgers),
    ("routing", testkit::harness::routing),
    ("stream", host::harness::stream),
    ("vde", host::harness::vde),
    ("dgram", host::harness::dgram),
    ("api", host::harness::api),
    ("config", host::harness::config),
    ("plan", host::harness::plan),
    ("gateway", gateway::fuzz::gateway),
    ("tcp", gateway::tcp::harness::fuzz),
    ("dhcp4", gateway::services::fuzz::dhcp4),
    ("dhcp6", gateway::services::fuzz::dhcp6),
    ("dns", gateway::services::fuzz::dns),
    ("solicit", gateway::services::fuzz::solicit),
    ("program", bpf::fuzz::program),
    ("expression", bpf::fuzz::expression),
];

/// Mutated inputs per target.
const MUTATIONS: u32 = 100_000;

/// Targets that play a whole conversation for each input, and how many mutated inputs they get.
const CONVERSATIONS: &[&str] = &["forgers", "gateway", "routing", "tcp"];
const MUTATED_CONVERSATIONS: u32 = 20_000;

/// The longest input; the largest frame fits.
const LONGEST: usize = 70_000;

fn fuzz() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("two folders down").join("fuzz")
}

/// The corpus of a target, in the order of the names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{target} has no corpus at {}: {error}", folder.display()));
    let mut found: Vec<(String, Vec<u8>)> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("the corpus can be read"))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "the corpus of {target} is empty");
    found
}

/// Marsaglia's xorshift64*: short, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// One to four changes to `bytes`.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    const NUMBERS: [u8; 10] = [0, 1, 4, 6, 14, 60, 127, 128, 254, 255];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.byte(),
            2 if !bytes.is_empty() => bytes[at] = NUMBERS[random.below(NUMBERS.len())],
            3 if bytes.len() >= at + 2 => {
                let number = [0, 0xffff, 0x8000, 0x7fff, 0x0800, 0x86dd, 0x8100][random.below(7)];
                bytes[at..at + 2].copy_from_slice(&u16::to_be_bytes(number));
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            7 => {
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
            _ => {
                let byte = random.byte();
                bytes.insert(at.min(bytes.len()), byte);
            }
        }
    }
    bytes.truncate(LONGEST);
}

/// Runs one input; a panic is reported with the bytes that caused it, ready to be put into the corpus.
fn run(target: &str, harness: Harness, name: &str, bytes: &[u8]) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| harness(bytes))) {
        let file =
            std::env::temp_dir().join(format!("netherd-fuzz-{target}-{}", std::process::id()));
        let kept = std::fs::write(&file, bytes).map_or_else(
            |error| format!("which could not be kept: {error}"),
            |()| format!("kept in {}: put it into fuzz/corpus/{target}", file.display()),
        );
        eprintln!("{target} fails on {name}, {} bytes, {kept}", bytes.len());
        std::panic::resume_unwind(cause);
    }
}

fn fuzz_target(target: &str) {
    let (_, harness) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let corpus = corpus(target);
    for (name, bytes) in &corpus {
        run(target, *harness, name, bytes);
    }
    run(target, *harness, "no bytes", &[]);
    let seed = target.bytes().fold(0x6e65_7468_6572_6431, |seed: u64, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = Random(seed);
    let mutations = if CONVERSATIONS.contains(&target) { MUTATED_CONVERSATIONS } else { MUTATIONS };
    for number in 0..mutations {
        let (name, bytes) = &corpus[random.below(corpus.len())];
        let (_, other) = &corpus[random.below(corpus.len())];
        let mut bytes = bytes.clone();
        mutate(&mut random, &mut bytes, other);
        run(target, *harness, &format!("mutation {number} of {name}"), &bytes);
    }
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test] fn $name() { fuzz_target(stringify!($name)); })+

        /// The same list in three places: here, in `fuzz/fuzz_targets`, and in `fuzz/Cargo.toml`.
        #[test]
        fn every_target_is_fuzzed() {
            let mut here = vec![$(stringify!($name)),+];
            here.sort_unstable();
            let mut table: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            table.sort_unstable();
            assert_eq!(here, table);
            let files = std::fs::read_dir(fuzz().join("fuzz_targets")).expect("the targets");
            let mut files: Vec<String> = files
                .flatten()
                .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
                .collect();
            files.sort();
            assert_eq!(files, here);
            let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest");
            for (name, _) in TARGETS {
                let path = format!("path = \"fuzz_targets/{name}.rs\"");
                assert!(manifest.contains(&path), "fuzz/Cargo.toml does not name {name}");
            }
        }
    };
}

targets! {
    parse segment actions routing forgers stream vde dgram api config plan gateway tcp dhcp4 dhcp6 dns solicit
    program expression
}
