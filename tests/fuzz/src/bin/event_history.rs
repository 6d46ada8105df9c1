//! Fuzzes [`redoubt_fuzz::records::event_history`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::records::event_history(input));
