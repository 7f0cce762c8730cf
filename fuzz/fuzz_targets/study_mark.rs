//! Fuzzes [`tightrope_fuzz::runs::study_mark`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::runs::study_mark(data);
});
