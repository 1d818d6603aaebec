#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustllm_fuzz::sampling::check(data));
