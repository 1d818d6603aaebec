//! Text to token ids and back, exact to the model's own vocabulary.

mod stream;

pub use stream::StreamDecoder;

use crate::error::Result;
use crate::gguf::Metadata;

/// A token id, an index into the vocabulary.
pub type TokenId = u32;

/// What a token is for, as GGUF's `tokenizer.ggml.token_type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind { Normal, Unknown, Control, UserDefined, Unused, Byte }

/// A vocabulary with its algorithm (SPM, byte-level BPE, WPM, UGM). Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Tokenizer {}

#[allow(unused_variables)]
impl Tokenizer {
    /// Builds the tokenizer that the file's metadata describes.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> { todo!() }
    /// Ids of `text`. `add_special` adds BOS/EOS where the model asks for them; `parse_special`
    /// turns control tokens' texts into their ids instead of plain text. Linear time.
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<TokenId> { todo!() }
    /// The bytes that `id` stands for in running text. Control tokens give their text when
    /// `special`, nothing otherwise. Unknown ids give nothing.
    #[must_use]
    pub fn token_bytes(&self, id: TokenId, special: bool) -> &[u8] { todo!() }
    /// Bytes of a whole sequence, with the leading space that SPM adds taken away again when
    /// `remove_space`.
    #[must_use]
    pub fn decode_bytes(&self, ids: &[TokenId], special: bool) -> Vec<u8> { todo!() }
    #[must_use]
    pub fn vocab_size(&self) -> usize { todo!() }
    #[must_use]
    pub fn kind(&self, id: TokenId) -> TokenKind { todo!() }
    /// The token's raw text in the vocabulary (as the GGUF stores it).
    #[must_use]
    pub fn raw_text(&self, id: TokenId) -> &str { todo!() }
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn eot(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn unk(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn pad(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn sep(&self) -> Option<TokenId> { todo!() }
    #[must_use]
    pub fn adds_bos(&self) -> bool { todo!() }
    #[must_use]
    pub fn adds_eos(&self) -> bool { todo!() }
    /// Whether `id` ends a generation (EOS, EOT and their kin, as llama.cpp collects them).
    #[must_use]
    pub fn is_eog(&self, id: TokenId) -> bool { todo!() }
    #[must_use]
    pub fn eog_tokens(&self) -> &[TokenId] { todo!() }
    /// The line-break token, where there is one.
    #[must_use]
    pub fn newline(&self) -> Option<TokenId> { todo!() }
    /// `spm`, `bpe`, `wpm` or `ugm`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str { todo!() }
}
