//! Fuzzes [`redoubt_fuzz::texts::mount_options`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::texts::mount_options(input));
