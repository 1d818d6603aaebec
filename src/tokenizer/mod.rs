//! Text to token ids and back, exact to the model's own vocabulary.
//!
//! [`Tokenizer`] first cuts special tokens out of the text, then gives what lies between them to
//! the vocabulary's algorithm: [`spm`], [`bpe`] (after [`pretokenize`]) or [`wpm`]. The first two [`merge`].
//! [`StreamDecoder`] turns the bytes of a stream of tokens into whole characters.

mod bound;
mod bpe;
mod merge;
mod pretokenize;
mod special;
mod spm;
mod stream;
#[cfg(test)]
mod tests;
mod texts;
mod unicode;
mod vocab;
mod wpm;

pub use stream::StreamDecoder;

use crate::error::Result;
use crate::gguf::Metadata;
use bound::Bound;
use bpe::Bpe;
use pretokenize::{PreTokenizer, Trait};
use special::{Fragment, SpecialFinder, is_blank};
use spm::{SPACE, Spm};
use texts::Runs;
use vocab::Vocab;

/// A token id, an index into the vocabulary.
pub type TokenId = u32;

/// What a token is for, as GGUF's `tokenizer.ggml.token_type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

#[derive(Debug)]
struct Pair {
    between: Vec<TokenId>,
    after: Vec<TokenId>,
}

#[derive(Debug)]
enum Algorithm {
    Spm(Spm),
    Bpe(Bpe),
    Wpm,
}

/// A vocabulary with its algorithm. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    algorithm: Algorithm,
    special: SpecialFinder,
    /// The bytes that each token stands for.
    bytes: Runs,
    bound: Bound,
    adds_bos: bool,
    adds_eos: bool,
    /// What stands between the two texts of a pair, and after them, for models that judge pairs.
    pair: Pair,
    /// SPM puts a space before a text that does not follow other text.
    adds_space: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that the file's metadata describes.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let m = metadata;
        let model = m.require("tokenizer.ggml.model", m.str("tokenizer.ggml.model"))?;
        let name = match model {
            "llama" => "spm",
            "gpt2" | "gemma4" => "bpe",
            "bert" => "wpm",
            other => {
                let message = format!("{other:?} is not supported; supported: llama, gpt2, gemma4, bert");
                return Err(m.error("tokenizer.ggml.model", message));
            }
        };
        let pre = if name == "bpe" { Some(pre_tokenizer(m, model)?) } else { None };
        let has = |wanted| pre.is_some_and(|pre: PreTokenizer| pre.has(wanted));
        let has_usual_ids = model != "gemma4";
        let vocab = Vocab::read(m, name, has_usual_ids && !has(Trait::NoUsualBos), has_usual_ids)?;
        let bos_default = name != "bpe" || has(Trait::AddsBos);
        let always_bos = has(Trait::AlwaysBos);
        let algorithm = match pre {
            Some(pre) => Algorithm::Bpe(Bpe::read(m, &vocab, pre)?),
            None if name == "spm" => Algorithm::Spm(Spm::new(&vocab)),
            None => Algorithm::Wpm,
        };
        let flag = |name: &str, default: bool| m.bool(&format!("tokenizer.ggml.{name}")).map(|v| v.unwrap_or(default));
        // As in llama-server, where WordPiece has a separator between the texts of a pair and, unlike with
        // a single text, nothing after them unless the file says so.
        let ends_pairs = flag("add_eos_token", false)?;
        let end = vocab.special.eos.or(vocab.special.sep).filter(|_| ends_pairs);
        let separates = flag("add_sep_token", name == "wpm")?;
        let between = end.into_iter().chain(vocab.special.sep.filter(|_| separates)).collect();
        let pair = Pair { between, after: end.into_iter().collect() };
        let special = SpecialFinder::new(&vocab, m)?;
        let bytes: Runs = (0..vocab.len()).map(|id| spell(&vocab, &algorithm, id as TokenId)).collect();
        Ok(Self {
            pair,
            bound: bound(&vocab, &algorithm, &special, &bytes),
            special,
            adds_bos: flag("add_bos_token", bos_default)? || always_bos,
            adds_eos: flag("add_eos_token", name == "wpm")?,
            adds_space: flag("add_space_prefix", name == "spm")?,
            bytes,
            vocab,
            algorithm,
        })
    }

    /// How many tokens `text` has at least, whatever [`Tokenizer::encode`] is asked to add: proven
    /// from its bytes, a thousand times faster than by tokenizing. 0 where nothing can be proven.
    #[must_use]
    pub fn at_least(&self, text: &str) -> usize {
        self.bound.tokens(text)
    }

    /// Ids of `text`. `add_special` adds BOS and EOS where the model asks for them;
    /// `parse_special` turns the texts of control tokens into their ids. O(n log n), and mostly O(n).
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<TokenId> {
        let special = &self.vocab.special;
        let is_wpm = matches!(self.algorithm, Algorithm::Wpm);
        let mut out = Vec::new();
        if add_special && self.adds_bos {
            out.extend(special.bos);
        }
        let mut after_text = false;
        for fragment in self.special.split(text, parse_special) {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    after_text = false;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, !after_text, &mut out);
                    after_text = true;
                }
            }
        }
        if add_special && self.adds_eos {
            out.extend(if is_wpm { special.sep } else { special.eos });
        }
        out
    }

    /// Ids of a query and a document side by side, for models that judge whether they fit.
    #[must_use]
    pub fn encode_pair(&self, query: &str, document: &str) -> Vec<TokenId> {
        let mut out: Vec<TokenId> = self.vocab.special.bos.filter(|_| self.adds_bos).into_iter().collect();
        out.extend(self.encode(query, false, false));
        out.extend(&self.pair.between);
        out.extend(self.encode(document, false, false));
        out.extend(&self.pair.after);
        out
    }

    fn encode_text(&self, text: &str, first: bool, out: &mut Vec<TokenId>) {
        match &self.algorithm {
            Algorithm::Spm(spm) => {
                let prefix = if first && self.adds_space { SPACE } else { "" };
                spm.encode(&self.vocab, &format!("{prefix}{}", text.replace(' ', SPACE)), out);
            }
            Algorithm::Bpe(bpe) => bpe.encode(&self.vocab, text, out),
            Algorithm::Wpm => wpm::encode(&self.vocab, text, out),
        }
    }

    /// The bytes that `id` stands for in running text. Control tokens give their text when
    /// `special`, nothing otherwise. Unknown ids give nothing.
    #[must_use]
    pub fn token_bytes(&self, id: TokenId, special: bool) -> &[u8] {
        if !special && self.vocab.is_control(id) {
            return &[];
        }
        self.bytes.get(id as usize).unwrap_or_default()
    }

    /// Bytes of a whole sequence.
    #[must_use]
    pub fn decode_bytes(&self, ids: &[TokenId], special: bool) -> Vec<u8> {
        ids.iter().flat_map(|id| self.token_bytes(*id, special)).copied().collect()
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// What `id` is for.
    #[must_use]
    pub fn kind(&self, id: TokenId) -> TokenKind {
        self.vocab.kind(id)
    }

    /// The token's text as the file stores it; empty for unknown ids.
    #[must_use]
    pub fn raw_text(&self, id: TokenId) -> &str {
        self.vocab.texts.get(id).unwrap_or_default()
    }

    /// The token that begins a text.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.vocab.special.bos
    }

    /// The token that ends a text.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.vocab.special.eos
    }

    /// The token that ends a turn.
    #[must_use]
    pub fn eot(&self) -> Option<TokenId> {
        self.vocab.special.eot
    }

    /// The tokens for filling in the middle that there are, by name.
    pub fn fim(&self) -> impl Iterator<Item = (&'static str, TokenId)> {
        self.vocab.fim.iter().copied()
    }

    /// Whether `encode` puts BOS first.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether `encode` puts EOS last.
    #[must_use]
    pub fn adds_eos(&self) -> bool {
        self.adds_eos
    }

    /// Whether `id` ends a generation.
    #[must_use]
    pub fn is_eog(&self, id: TokenId) -> bool {
        self.vocab.eog.binary_search(&id).is_ok()
    }

    /// All tokens that end a generation, ascending.
    #[must_use]
    pub fn eog_tokens(&self) -> &[TokenId] {
        &self.vocab.eog
    }

    /// `spm`, `bpe` or `wpm`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Spm(_) => "spm",
            Algorithm::Bpe(_) => "bpe",
            Algorithm::Wpm => "wpm",
        }
    }
}

fn pre_tokenizer(m: &Metadata, model: &str) -> Result<PreTokenizer> {
    let name = if model == "gemma4" { model } else { m.str("tokenizer.ggml.pre")?.unwrap_or("default") };
    PreTokenizer::from_name(name).ok_or_else(|| {
        m.error("tokenizer.ggml.pre", format!("{name:?} is not supported; supported: {}", PreTokenizer::known()))
    })
}

/// How few tokens texts can be.
fn bound(vocab: &Vocab, algorithm: &Algorithm, special: &SpecialFinder, bytes: &Runs) -> Bound {
    let drops_blanks = special.drops_blanks();
    let vanishes = |byte: u8| {
        let dropped = match algorithm {
            Algorithm::Spm(spm) => spm.drops(vocab, byte),
            Algorithm::Bpe(bpe) => bpe.drops(byte),
            // A long word is one unknown token, and accents go.
            Algorithm::Wpm => true,
        };
        dropped || (drops_blanks && is_blank(char::from(byte)))
    };
    let text = |id: usize| vocab.texts.get(id as TokenId).unwrap_or_default().as_bytes();
    let tokens = (0..vocab.len()).map(|id| [text(id), bytes.get(id).unwrap_or_default()]);
    Bound::new(tokens, vanishes)
}

/// The bytes of a token's text.
fn spell(vocab: &Vocab, algorithm: &Algorithm, id: TokenId) -> Vec<u8> {
    let text = vocab.texts.get(id).unwrap_or_default();
    let byte =
        || text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).map(|hex| u8::from_str_radix(hex, 16));
    match (algorithm, vocab.kind(id)) {
        (Algorithm::Spm(_) | Algorithm::Bpe(_), TokenKind::Byte) => {
            byte().and_then(std::result::Result::ok).map_or_else(|| text.into(), |byte| vec![byte])
        }
        (Algorithm::Spm(_) | Algorithm::Wpm, TokenKind::Normal | TokenKind::Unused | TokenKind::UserDefined) => {
            text.replace(SPACE, " ").into_bytes()
        }
        (Algorithm::Bpe(bpe), TokenKind::Normal | TokenKind::Unused) => bpe.spell(text),
        _ => text.into(),
    }
}
