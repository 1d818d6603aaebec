//! What llama.cpp settles by the name of a scheme, a model or a token, on small vocabularies.

use std::collections::HashMap;
use std::path::Path;

use crate::gguf::Value;
use crate::tokenizer::*;

/// A byte-pair vocabulary: tokens with their kinds as the format numbers them.
#[derive(Default)]
struct Small<'a> {
    model: &'a str,
    pre: &'a str,
    tokens: &'a [(&'a str, i64)],
    merges: Option<&'a [&'a str]>,
    more: &'a [(&'a str, Value)],
}

impl Small<'_> {
    fn build(&self) -> Result<Tokenizer> {
        let strings = |texts: &[&str]| Value::Strings(texts.iter().map(|text| (*text).to_owned()).collect());
        let texts: Vec<&str> = self.tokens.iter().map(|(text, _)| *text).collect();
        let model = if self.model.is_empty() { "gpt2" } else { self.model };
        let mut values = HashMap::from([
            ("tokenizer.ggml.model".to_owned(), Value::String(model.into())),
            ("tokenizer.ggml.pre".to_owned(), Value::String(self.pre.into())),
            ("tokenizer.ggml.tokens".to_owned(), strings(&texts)),
            ("tokenizer.ggml.token_type".to_owned(), Value::I64s(self.tokens.iter().map(|(_, kind)| *kind).collect())),
        ]);
        if let Some(merges) = self.merges {
            values.insert("tokenizer.ggml.merges".into(), strings(merges));
        }
        values.extend(self.more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Tokenizer::from_gguf(&Metadata::new(Path::new("small.gguf"), values))
    }

    fn tokenizer(&self) -> Tokenizer {
        self.build().expect("the vocabulary is whole")
    }
}

const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const BYTE: i64 = 6;

const ABC: [(&str, i64); 5] = [("a", NORMAL), ("b", NORMAL), ("c", NORMAL), ("ab", NORMAL), ("abc", NORMAL)];
/// Enough tokens for the usual ids of BOS and EOS.
const LETTERS: [(&str, i64); 12] = [
    ("a", NORMAL),
    ("b", NORMAL),
    ("c", NORMAL),
    ("d", NORMAL),
    ("e", NORMAL),
    ("f", NORMAL),
    ("g", NORMAL),
    ("h", NORMAL),
    ("i", NORMAL),
    ("j", NORMAL),
    ("k", NORMAL),
    ("<|x|>", CONTROL),
];

#[test]
fn a_word_that_is_a_token_is_whole_in_some_schemes() {
    let ids = |pre| {
        Small { pre, tokens: &ABC, merges: Some(&["a b"]), ..Small::default() }.tokenizer().encode("abc", false, false)
    };
    for pre in ["llama-bpe", "tekken", "youtu", "minicpm5", "granite-embed-multi-97m"] {
        assert_eq!(ids(pre), [4], "{pre}");
    }
    for pre in ["dbrx", "gpt-4o", "qwen2", "glm4", "default"] {
        assert_eq!(ids(pre), [3, 2], "{pre}");
    }
}

#[test]
fn bos_is_the_schemes_the_files_or_none() {
    let build = |pre, more: &[(&str, Value)]| {
        Small { pre, tokens: &LETTERS, merges: Some(&[]), more, ..Small::default() }.tokenizer()
    };
    for (pre, adds) in [("llama-bpe", true), ("tekken", true), ("chameleon", true), ("qwen2", false), ("gpt-4o", false)]
    {
        assert_eq!((build(pre, &[]).adds_bos(), build(pre, &[]).bos()), (adds, Some(11)), "{pre}");
    }
    let no = [("tokenizer.ggml.add_bos_token", Value::Bool(false))];
    assert!(!build("tekken", &no).adds_bos());
    assert!(build("gemma4", &no).adds_bos(), "Gemma 4 wants it whatever the file says");
    assert_eq!((build("glm4", &[]).bos(), build("glm4", &[]).eos()), (None, Some(11)));
    let named = [("tokenizer.ggml.bos_token_id", Value::U64(3))];
    assert_eq!(build("glm4", &named).bos(), Some(3));
    let gemma = Small { model: "gemma4", tokens: &LETTERS, merges: Some(&[]), ..Small::default() }.tokenizer();
    assert_eq!((gemma.bos(), gemma.eos()), (None, None));
}

#[test]
fn only_kimi_may_lack_merges() {
    let build = |pre| Small { pre, tokens: &ABC, ..Small::default() }.build();
    assert_eq!(build("kimi-k2").expect("it needs none").encode("ab", false, false), [0, 1]);
    let refusal = build("qwen2").expect_err("it needs them").to_string();
    assert!(refusal.contains("tokenizer.ggml.merges"), "{refusal}");
    let refusal = build("gpt2").expect_err("no scheme is called so").to_string();
    assert!(refusal.contains("\"gpt2\"") && refusal.contains("tekken"), "{refusal}");
}

#[test]
fn raw_text_has_blanks_as_sentencepiece_and_bytes_of_what_is_unknown() {
    let tokens = [
        ("\u{2581}", NORMAL),
        ("a", NORMAL),
        ("\u{2581}a", NORMAL),
        ("\n", NORMAL),
        ("\n\n", NORMAL),
        ("<0xC3>", BYTE),
        ("<0xA9>", BYTE),
        ("a\u{2581}a", NORMAL),
    ];
    let merges = ["\u{2581} a", "a \u{2581}a"];
    for (model, pre) in [("gemma4", ""), ("gpt2", "gemma4"), ("gpt2", "sarvam-moe")] {
        let t = Small { model, pre, tokens: &tokens, merges: Some(&merges), ..Small::default() }.tokenizer();
        // Words are not split at blanks, only at line feeds.
        let ids = t.encode("a a é\n\n", false, false);
        let lines: &[TokenId] = if pre == "sarvam-moe" { &[3, 3] } else { &[4] };
        assert_eq!(ids, [&[7, 0, 5, 6], lines].concat(), "{model} {pre}");
        assert_eq!(t.decode_bytes(&ids, false), "a a é\n\n".as_bytes());
    }
}

#[test]
fn some_special_tokens_swallow_blanks() {
    let tokens = [
        ("a", NORMAL),
        ("Ġ", NORMAL),
        ("<mask>", CONTROL),
        ("<s>", CONTROL),
        ("<|end|>", CONTROL),
        ("[MASK]", CONTROL),
    ];
    let ids = |pre, key: &'static str, value: &str, text: &str| {
        let more = [(key, Value::String(value.into()))];
        let small = Small { pre, tokens: &tokens, merges: Some(&[]), more: &more, ..Small::default() };
        small.tokenizer().encode(text, false, true)
    };
    let text = "a <mask> a<s> a<|end|> a [MASK] a";
    let plain = [0, 1, 2, 1, 0, 3, 1, 0, 4, 1, 0, 1, 5, 1, 0];
    assert_eq!(ids("gpt-2", "general.name", "Other", text), plain);
    let before_mask = [0, 2, 1, 0, 3, 1, 0, 4, 1, 0, 1, 5, 1, 0];
    assert_eq!(ids("jina-v2-code", "general.name", "Other", text), before_mask);
    assert_eq!(ids("gpt-2", "general.architecture", "nomic-bert-moe", text), before_mask);
    let after_all_but_bos = [0, 1, 2, 0, 3, 1, 0, 4, 0, 1, 5, 0];
    assert_eq!(ids("gpt-2", "general.name", "Phi-3 mini", text), after_all_but_bos);
    let before_modern_mask = [0, 1, 2, 1, 0, 3, 1, 0, 4, 1, 0, 5, 1, 0];
    assert_eq!(ids("gpt-2", "general.name", "Modern-BERT base", text), before_modern_mask);
}

#[test]
fn ends_are_known_by_their_texts() {
    let ends = |texts: &[&str], more: &[(&str, Value)]| {
        let tokens: Vec<(&str, i64)> = texts.iter().map(|text| (*text, USER_DEFINED)).collect();
        let t = Small { pre: "gpt-2", tokens: &tokens, merges: Some(&[]), more, ..Small::default() }.tokenizer();
        let shown: Vec<&str> = texts
            .iter()
            .zip(0..)
            .filter(|(_, id)| !t.token_bytes(*id, false).is_empty())
            .map(|(text, _)| *text)
            .collect();
        (t.eog_tokens().iter().map(|id| texts[*id as usize].to_owned()).collect::<Vec<_>>(), shown.join(" "))
    };
    assert_eq!(ends(&["x", "[EOS]", "<turn|>"], &[]), (vec!["[EOS]".into(), "<turn|>".into()], "x".into()));
    // In harmony a part of a message ends so, and the marks of parts are shown.
    let harmony = ["<|end|>", "<|return|>", "<|call|>", "<|channel|>"];
    assert_eq!(ends(&harmony, &[]), (vec!["<|return|>".into(), "<|call|>".into()], "<|end|> <|channel|>".into()));
    assert_eq!(ends(&["<|end|>", "<|return|>"], &[]).0.len(), 2);
    assert_eq!(ends(&["</s>", "<|tool_response>"], &[]), (vec!["<|tool_response>".into()], "</s>".into()));
    assert_eq!(ends(&["</s>"], &[]).0, ["</s>"]);
    // The file's own key comes before the texts.
    assert_eq!(ends(&["x", "<|fim_pad|>"], &[]).0, ["<|fim_pad|>"]);
    let named = [("tokenizer.ggml.fim_pad_token_id", Value::U64(0))];
    assert_eq!(ends(&["x", "<|fim_pad|>"], &named).0, ["x"]);
}
