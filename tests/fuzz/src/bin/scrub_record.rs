//! Fuzzes [`redoubt_fuzz::records::scrub_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::records::scrub_record(input));
