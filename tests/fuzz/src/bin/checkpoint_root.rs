//! Fuzzes [`redoubt_fuzz::decoders::checkpoint_root`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::decoders::checkpoint_root(input));
