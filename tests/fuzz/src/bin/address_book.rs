//! Fuzzes [`redoubt_fuzz::decoders::address_book`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::decoders::address_book(input));
