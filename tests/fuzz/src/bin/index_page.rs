//! Fuzzes [`redoubt_fuzz::decoders::index_page`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::decoders::index_page(input));
