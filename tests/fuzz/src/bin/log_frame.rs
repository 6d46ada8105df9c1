//! Fuzzes [`redoubt_fuzz::decoders::log_frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::decoders::log_frame(input));
