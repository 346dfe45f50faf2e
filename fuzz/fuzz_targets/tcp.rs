#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::tcp::harness::fuzz(data));
