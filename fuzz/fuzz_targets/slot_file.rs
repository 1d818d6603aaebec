#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustllm_fuzz::slot_file::check(data));
