//! Fuzzes [`tightrope_fuzz::runs::certify_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::runs::certify_log(data);
});
