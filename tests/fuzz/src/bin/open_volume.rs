//! Fuzzes [`redoubt_fuzz::volume::open_volume`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::volume::open_volume(input));
