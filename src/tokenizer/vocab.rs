//! The vocabulary of a GGUF file: texts, scores, kinds and special ids.

use super::texts::Texts;
use super::{TokenId, TokenKind};
use crate::error::Result;
use crate::gguf::Metadata;

/// Texts that end a generation wherever a vocabulary has them, as llama.cpp knows them.
const END_TEXTS: [&str; 23] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|end_of_turn|>",
];

/// Tokens of code models for filling in the middle: the file's key, and the texts of which the first
/// that there is counts where the file lacks the key.
const FIM_TEXTS: [(&str, &[&str]); 6] = [
    (
        "fim_pre",
        &["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>"],
    ),
    (
        "fim_suf",
        &["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>"],
    ),
    (
        "fim_mid",
        &["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>"],
    ),
    ("fim_pad", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    ("fim_rep", &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    ("fim_sep", &["<|file_sep|>"]),
];

/// Those of them that end a generation: padding and separators.
const FIM_ENDS: [&str; 3] = ["fim_pad", "fim_rep", "fim_sep"];

/// Texts of the harmony format that are shown, whatever the file says.
const SHOWN_TEXTS: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Texts of the end of a turn, looked for where the file names no such token.
const TURN_TEXTS: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Texts, kinds and special tokens.
#[derive(Debug)]
pub struct Vocab {
    pub texts: Texts,
    pub scores: Vec<f32>,
    pub kinds: Vec<TokenKind>,
    pub special: SpecialTokens,
    pub eog: Vec<TokenId>,
    /// Tokens for filling in the middle, by name without `fim_`.
    pub fim: Vec<(&'static str, TokenId)>,
    longest: usize,
}

/// Ids that the file names.
#[derive(Debug, Clone, Default)]
pub struct SpecialTokens {
    pub bos: Option<TokenId>,
    pub eos: Option<TokenId>,
    pub eot: Option<TokenId>,
    pub unk: Option<TokenId>,
    pub sep: Option<TokenId>,
}

impl Vocab {
    /// Reads and checks the `tokenizer.ggml.*` keys. `algorithm` decides which special ids a file
    /// without them has, as far as `usual_bos` and `usual_eos` let it.
    pub fn read(m: &Metadata, algorithm: &str, usual_bos: bool, usual_eos: bool) -> Result<Self> {
        let key = "tokenizer.ggml.tokens";
        let texts = m.require(key, m.strings(key))?;
        if texts.is_empty() || u32::try_from(texts.len()).is_err() {
            return Err(m.error(key, format!("{} tokens; allowed: 1 to {}", texts.len(), u32::MAX)));
        }
        let scores = match m.f32s("tokenizer.ggml.scores")? {
            None if algorithm == "spm" => return Err(m.error("tokenizer.ggml.scores", "the key is missing")),
            None => Vec::new(),
            Some(scores) => same_length(m, "tokenizer.ggml.scores", scores, texts.len())?,
        };
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(m.error("tokenizer.ggml.scores", format!("the score of token {at} is not a number")));
        }
        let kinds = kinds(m, texts.len())?;
        let special = SpecialTokens::read(m, algorithm, texts.len(), usual_bos, usual_eos)?;
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let mut vocab =
            Self { longest, texts: Texts::new(texts), scores, kinds, special, eog: Vec::new(), fim: Vec::new() };
        vocab.find_ends(m)?;
        Ok(vocab)
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of the longest text.
    #[must_use]
    pub fn longest_text(&self) -> usize {
        self.longest
    }

    /// The kind of a token; ids out of range are unused.
    #[must_use]
    pub fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or(TokenKind::Unused)
    }

    /// Whether plain text is never turned into this token.
    #[must_use]
    pub fn is_control(&self, id: TokenId) -> bool {
        matches!(self.kind(id), TokenKind::Control | TokenKind::Unknown)
    }

    fn find_ends(&mut self, m: &Metadata) -> Result<()> {
        let by_text = |text: &&str| self.texts.id(text);
        if self.special.eot.is_none() {
            self.special.eot = TURN_TEXTS.iter().find_map(by_text);
        }
        let by_key = |name: &str| special_id(m, name, self.texts.len(), None);
        let mut eog: Vec<TokenId> = END_TEXTS.iter().filter_map(by_text).collect();
        let (mut fim, mut hidden) = (Vec::new(), Vec::new());
        for (name, texts) in FIM_TEXTS {
            // Older files have longer names.
            let old = match name {
                "fim_pre" => by_key("prefix")?,
                "fim_suf" => by_key("suffix")?,
                "fim_mid" => by_key("middle")?,
                _ => None,
            };
            let named = by_key(name)?.or(old);
            let found = named.or_else(|| texts.iter().find_map(by_text));
            hidden.extend(found.filter(|_| named.is_none()));
            fim.extend(found.map(|id| (name.trim_start_matches("fim_"), id)));
            eog.extend(found.filter(|_| FIM_ENDS.contains(&name)));
        }
        eog.extend(self.special.eos.into_iter().chain(self.special.eot).chain(by_key("eom")?));
        eog.sort_unstable();
        eog.dedup();
        // An end token is never text, whatever the file says of its kind, nor is one known by its text.
        for id in eog.iter().chain(&hidden) {
            let kind = &mut self.kinds[*id as usize];
            if *kind == TokenKind::Normal || *kind == TokenKind::UserDefined {
                *kind = TokenKind::Control;
            }
        }
        let shown: Vec<TokenId> = SHOWN_TEXTS.iter().filter_map(by_text).collect();
        self.eog = eog;
        self.fim = fim;
        shown.into_iter().for_each(|id| self.kinds[id as usize] = TokenKind::UserDefined);
        self.withdraw_ends();
        Ok(())
    }

    /// Texts that end nothing in the company of others: `<|end|>` where messages have parts that end
    /// so, `</s>` where tools have an end of their own.
    fn withdraw_ends(&mut self) {
        let ends = |text: &str| self.texts.id(text).filter(|id| self.eog.contains(id));
        let calls = ends("<|call|>").or(ends("<|calls|>")).is_some();
        let harmony = calls && (ends("<|return|>").is_some() || ends("<|flush|>").is_some());
        let part = ends("<|end|>").filter(|_| harmony);
        let stray = ends("</s>").filter(|_| ends("<|tool_response>").is_some());
        for (id, kind) in [(part, TokenKind::UserDefined), (stray, TokenKind::Normal)] {
            if let Some(id) = id {
                self.eog.retain(|end| *end != id);
                self.kinds[id as usize] = kind;
            }
        }
    }
}

impl SpecialTokens {
    fn read(m: &Metadata, algorithm: &str, n: usize, usual_bos: bool, usual_eos: bool) -> Result<Self> {
        let id = |name: &str, default: Option<TokenId>| special_id(m, name, n, default);
        let defaults = match algorithm {
            "spm" => [Some(1), Some(2), Some(0), None],
            "wpm" => [Some(101), None, Some(100), Some(102)],
            _ => [Some(11), Some(11), None, None],
        };
        Ok(Self {
            bos: id("bos", defaults[0].filter(|_| usual_bos))?,
            eos: id("eos", defaults[1].filter(|_| usual_eos))?,
            eot: id("eot", None)?,
            unk: id("unknown", defaults[2])?,
            // The first spelling is the format's own.
            sep: id("seperator", defaults[3])?.or(id("separator", defaults[3])?),
        })
    }
}

/// The id that the file gives to the special token `name` of a vocabulary of `n`.
fn special_id(m: &Metadata, name: &str, n: usize, default: Option<TokenId>) -> Result<Option<TokenId>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match m.u64(&key)? {
        // Converters write 2³² − 1 for "none".
        Some(id) if id == u64::from(u32::MAX) => Ok(None),
        Some(id) if id < n as u64 => Ok(Some(id as TokenId)),
        Some(id) => Err(m.error(key, format!("{id} is out of range; allowed: 0 to {}", n - 1))),
        None => Ok(default.filter(|id| (*id as usize) < n)),
    }
}

fn kinds(m: &Metadata, n: usize) -> Result<Vec<TokenKind>> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = m.i64s(key)? else { return Ok(vec![TokenKind::Normal; n]) };
    let kind = |(id, ty): (usize, &i64)| match ty {
        0 | 1 => Ok(TokenKind::Normal),
        2 => Ok(TokenKind::Unknown),
        3 => Ok(TokenKind::Control),
        4 => Ok(TokenKind::UserDefined),
        5 => Ok(TokenKind::Unused),
        6 => Ok(TokenKind::Byte),
        other => Err(m.error(key, format!("type {other} of token {id} is unknown; known: 0 to 6"))),
    };
    same_length(m, key, types.iter().enumerate().map(kind).collect::<Result<_>>()?, n)
}

fn same_length<T>(m: &Metadata, key: &str, values: Vec<T>, n: usize) -> Result<Vec<T>> {
    if values.len() == n { Ok(values) } else { Err(m.error(key, format!("{} values for {n} tokens", values.len()))) }
}
