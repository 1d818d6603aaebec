#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustllm_fuzz::json_schema::check(data));
