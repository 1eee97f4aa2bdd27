#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| minilote_fuzz::checkpoint(bytes));
