//! Fuzzes [`redoubt_fuzz::texts::control_socket`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::texts::control_socket(input));
