//! Recorded vectors and properties of the tokenizers.

mod families;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::gguf::GgufFile;

fn open(path: &Path) -> Tokenizer {
    let file = GgufFile::open(path).expect("the vocabulary opens");
    Tokenizer::from_gguf(file.metadata()).expect("the tokenizer is built")
}

fn stories() -> Tokenizer {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("python/rustllm/models/stories260K.gguf"))
}

/// Vocabulary-only files with texts and ids: those of the repository, and more where
/// `RUSTLLM_VOCAB_DIR` says.
fn vocab_dirs() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vocab");
    let more = std::env::var_os("RUSTLLM_VOCAB_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    [Some(own), more].into_iter().flatten().collect()
}

/// Every tokenizer that there is a file of.
fn all() -> &'static [Tokenizer] {
    static ALL: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
        let files = vocab_dirs().into_iter().flat_map(|dir| std::fs::read_dir(dir).expect("the folder is there"));
        let paths = files.map(|entry| entry.expect("a folder entry").path());
        let known = paths.filter(|path| path.extension().is_some_and(|ext| ext == "gguf"));
        std::iter::once(stories()).chain(known.map(|path| open(&path))).collect()
    });
    &ALL
}

#[test]
fn recorded_vectors() {
    let mut checked = 0;
    for dir in vocab_dirs() {
        for entry in std::fs::read_dir(&dir).expect("the folder of vocabularies is there") {
            let path = entry.expect("a folder entry").path();
            if path.extension().is_some_and(|ext| ext == "gguf") {
                check_vectors(&path);
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "only {checked} vocabularies");
}

fn check_vectors(path: &Path) {
    let tokenizer = open(path);
    let texts = std::fs::read_to_string(path.with_extension("inp")).expect("texts");
    let ids = std::fs::read_to_string(path.with_extension("out")).expect("ids");
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let lines: Vec<&str> = ids.lines().collect();
    for (text, line) in texts.iter().zip(&lines) {
        let want: Vec<TokenId> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        assert_eq!(tokenizer.encode(text, false, false), want, "{}: {text:?}", path.display());
    }
    assert!(
        texts.len().abs_diff(lines.len()) <= 1 && lines.len() > 40,
        "{}: {} texts, {} lines",
        path.display(),
        texts.len(),
        lines.len()
    );
}

#[test]
fn special_tokens_only_where_asked() {
    let t = stories();
    assert_eq!(t.encode("<s>a</s>", false, true)[0], 1);
    assert!(!t.encode("<s>a</s>", false, false).contains(&1));
    assert_eq!(t.encode("a", true, false)[0], 1, "BOS first");
    assert_eq!(t.token_bytes(1, false), b"");
    assert_eq!(t.token_bytes(1, true), b"<s>");
    assert!(t.is_eog(2) && !t.is_eog(1));
}

#[test]
fn time_is_linear_in_the_text() {
    let t = stories();
    let bpe = vocab_dirs().iter().map(|dir| dir.join("gpt-2.gguf")).find(|path| path.exists()).map(|path| open(&path));
    for tokenizer in std::iter::once(&t).chain(&bpe) {
        for unit in ["a", "xq", " ", "é"] {
            let seconds = |n: usize| {
                let text = unit.repeat(n);
                let start = cpu_time::ThreadTime::now();
                assert!(!tokenizer.encode(&text, false, false).is_empty());
                start.elapsed().as_secs_f64()
            };
            seconds(10_000);
            let (short, long) = (seconds(100_000), seconds(800_000));
            // 8 times the text; quadratic would be 64 times the time.
            assert!(long < 30.0 * short + 0.05, "{unit:?}: {short} s, {long} s");
        }
    }
}

#[test]
fn long_texts_are_known_to_be_long_without_their_tokens() {
    for t in all().iter().filter(|t| t.algorithm() != "wpm") {
        for unit in ["a", "xq", "a b ", "日本"] {
            let text = unit.repeat(1_000_000);
            let start = cpu_time::ThreadTime::now();
            let least = t.at_least(&text);
            assert!(start.elapsed().as_millis() < 200, "{:?}", start.elapsed());
            assert!(least > text.len() / 200, "{} of {unit:?}: {least}", t.algorithm());
        }
    }
}

proptest! {
    /// The bound is never above the count, and says something of texts that must be refused.
    #[test]
    fn no_text_has_fewer_tokens_than_the_bound(
        text in "([a-zA-Z0-9 .,é漢🎉\n▁<>|/s]{0,60}|a{0,200}| {0,200}|(<s>|</s>|<\\|endoftext\\|>| ){0,9})",
        special: bool,
    ) {
        for t in all() {
            let n = t.encode(&text, false, special).len();
            prop_assert!(t.at_least(&text) <= n, "{}: {} > {n}", t.algorithm(), t.at_least(&text));
        }
    }

    #[test]
    fn spm_text_comes_back(text in "[a-zA-Z0-9 .,é漢🎉\n]{0,60}") {
        let t = stories();
        let ids = t.encode(&text, false, false);
        let back = String::from_utf8(t.decode_bytes(&ids, false)).expect("valid text");
        // SPM's own space in front is the only difference.
        prop_assert_eq!(back.strip_prefix(' ').unwrap_or(&back), text);
    }
}
