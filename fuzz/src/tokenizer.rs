//! Any text through the embedded vocabulary: what is decoded is what was encoded, and a text that is repeated takes
//! time in proportion.
use std::sync::LazyLock;
use std::time::Duration;

use cpu_time::ThreadTime;
use rustllm::gguf::GgufFile;
use rustllm::tokenizer::{StreamDecoder, Tokenizer};

use crate::text::text_of;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = crate::model::EMBEDDED;
    let file = GgufFile::open(path).expect("the embedded model opens");
    Tokenizer::from_gguf(file.metadata()).expect("its vocabulary is whole")
});

/// Bytes that are encoded at once, and how much of a core's time that may take: hundreds of times what it takes, but far less than
/// anything quadratic would.
const LONG: usize = 64 << 10;
const LONGEST: Duration = Duration::from_secs(2);

/// Texts whose repetition is tried: one in so many, since it takes longer than all else.
const ONE_IN: usize = 64;

/// Checks one input.
pub fn check(data: &[u8]) {
    let text = text_of(data);
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
    if !text.is_empty() && text.bytes().map(usize::from).sum::<usize>() % ONE_IN == 0 {
        let long = text.repeat(LONG.div_ceil(text.len()));
        let began = ThreadTime::now();
        let _ = TOKENIZER.encode(&long, false, false);
        assert!(began.elapsed() < LONGEST, "{} bytes took {:?}", long.len(), began.elapsed());
    }
}
