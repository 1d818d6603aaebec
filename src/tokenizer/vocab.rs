//! The vocabulary of a GGUF file: texts, scores, kinds and special ids.

use std::collections::HashMap;

use super::{TokenId, TokenKind};
use crate::error::Result;
use crate::gguf::Metadata;

/// Texts that end a generation wherever a vocabulary has them, as llama.cpp knows them.
const END_TEXTS: [&str; 16] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<|end_of_text|>",
    "<|calls|>",
    "<|end_of_turn|>",
    "<|flush|>",
];

/// Texts of the end of a turn, looked for where the file names no such token.
const TURN_TEXTS: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
];

/// Texts, kinds and special tokens.
#[derive(Debug)]
pub struct Vocab {
    pub texts: Vec<String>,
    pub scores: Vec<f32>,
    pub kinds: Vec<TokenKind>,
    pub ids: HashMap<String, TokenId>,
    pub special: SpecialTokens,
    pub eog: Vec<TokenId>,
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
    /// Reads and checks the `tokenizer.ggml.*` keys. `algorithm` decides which defaults hold.
    pub fn read(m: &Metadata, algorithm: &str) -> Result<Self> {
        let key = "tokenizer.ggml.tokens";
        let texts = m.require(key, m.strings(key))?.to_vec();
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
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            // The first of two equal texts is the one that text is turned into.
            ids.entry(text.clone()).or_insert(id as TokenId);
        }
        let special = SpecialTokens::read(m, algorithm, texts.len())?;
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let mut vocab = Self { longest, texts, scores, kinds, ids, special, eog: Vec::new() };
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
        let by_text = |text: &&str| self.ids.get(*text).copied();
        if self.special.eot.is_none() {
            self.special.eot = TURN_TEXTS.iter().find_map(by_text);
        }
        let mut eog: Vec<TokenId> = END_TEXTS.iter().filter_map(by_text).collect();
        eog.extend(self.special.eos.into_iter().chain(self.special.eot));
        eog.extend(m.u64("tokenizer.ggml.eom_token_id")?.and_then(|id| TokenId::try_from(id).ok()));
        eog.sort_unstable();
        eog.dedup();
        eog.retain(|id| (*id as usize) < self.texts.len());
        // An end token is never text, whatever the file says of its kind.
        for id in &eog {
            let kind = &mut self.kinds[*id as usize];
            if *kind == TokenKind::Normal || *kind == TokenKind::UserDefined {
                *kind = TokenKind::Control;
            }
        }
        self.eog = eog;
        Ok(())
    }
}

impl SpecialTokens {
    fn read(m: &Metadata, algorithm: &str, n: usize) -> Result<Self> {
        let id = |name: &str, default: Option<TokenId>| -> Result<Option<TokenId>> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match m.u64(&key)? {
                // Converters write 2³² − 1 for "none".
                Some(id) if id == u64::from(u32::MAX) => Ok(None),
                Some(id) if id < n as u64 => Ok(Some(id as TokenId)),
                Some(id) => Err(m.error(key, format!("{id} is out of range; allowed: 0 to {}", n - 1))),
                None => Ok(default.filter(|id| (*id as usize) < n)),
            }
        };
        let defaults = match algorithm {
            "spm" => [Some(1), Some(2), Some(0), None],
            "wpm" => [Some(101), None, Some(100), Some(102)],
            _ => [Some(11), Some(11), None, None],
        };
        Ok(Self {
            bos: id("bos", defaults[0])?,
            eos: id("eos", defaults[1])?,
            eot: id("eot", None)?,
            unk: id("unknown", defaults[2])?,
            // The first spelling is the format's own.
            sep: id("seperator", defaults[3])?.or(id("separator", defaults[3])?),
        })
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
