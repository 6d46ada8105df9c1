//! Fuzzes [`redoubt_fuzz::decoders::superblock`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| redoubt_fuzz::decoders::superblock(input));
