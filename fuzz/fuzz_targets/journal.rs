//! Fuzzes [`tightrope_fuzz::runs::journal`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::runs::journal(data);
});
