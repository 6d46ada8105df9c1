//! Fuzzes [`redoubt_fuzz::texts::disk_size`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::texts::disk_size(input));
