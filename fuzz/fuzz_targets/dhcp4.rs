#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::services::fuzz::dhcp4(data));
