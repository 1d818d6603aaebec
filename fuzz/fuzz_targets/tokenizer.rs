//! Any text through the embedded vocabulary: what is decoded is what was encoded.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustllm::gguf::GgufFile;
use rustllm::tokenizer::{StreamDecoder, Tokenizer};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/rustllm/models/stories260K.gguf");
    let file = GgufFile::open(path).expect("the embedded model opens");
    Tokenizer::from_gguf(file.metadata()).expect("its vocabulary is whole")
});

fuzz_target!(|text: &str| {
    let ids = TOKENIZER.encode(text, false, false);
    let bytes = TOKENIZER.decode_bytes(&ids, true);
    let decoded = String::from_utf8(bytes).expect("text stays text");
    // SPM puts a space in front, and its vocabulary's own sign for a space is a space.
    let decoded = decoded.strip_prefix(' ').unwrap_or(&decoded);
    assert_eq!(decoded, text.replace('\u{2581}', " "));
    let mut stream = StreamDecoder::default();
    let mut streamed: String = ids.iter().map(|id| stream.push(TOKENIZER.token_bytes(*id, true))).collect();
    streamed += &stream.finish();
    assert_eq!(streamed.strip_prefix(' ').unwrap_or(&streamed), decoded);
});
