//! The vocabulary as grammars see it: a trie of token bytes, and which tokens end an answer.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::TokenMask;
use super::bounds::BoundTokens;
use super::gbnf::TokenNames;
use super::utf8::{CharSet, PLAIN};
use crate::tokenizer::{TokenId, TokenKind, Tokenizer};

/// Longer tokens do not fit toktrie's nodes; none in use is longer. They never match.
const MAX_TOKEN_BYTES: usize = 1000;

/// A vocabulary made ready for masks.
pub struct Vocabulary {
    env: TokEnv,
    eog: Vec<TokenId>,
    /// Special tokens by their text, brackets included.
    names: HashMap<Vec<u8>, TokenId>,
    slices: OnceLock<Vec<Slice>>,
    bound_tokens: OnceLock<BoundTokens>,
}

/// Tokens made of a few plain characters, whose mask is known where a grammar takes any of them,
/// and a trie of all other tokens. Text is nine tenths of a vocabulary, so the walk that is left
/// is short.
pub struct Slice {
    /// Index into [`PLAIN`].
    pub class: usize,
    /// Most characters of one token.
    pub length: usize,
    pub mask: TokenMask,
    pub rest: TokTrie,
}

/// The slices worth their memory, best first.
const SLICES: [(usize, usize); 4] = [(0, 20), (0, 7), (1, 7), (2, 10)];

impl Vocabulary {
    /// `tokens` are the bytes of all tokens in order. Those in `special` or `eog` never match
    /// text; their bytes are their names.
    pub fn new(mut tokens: Vec<Vec<u8>>, special: &[TokenId], eog: &[TokenId]) -> Self {
        let eog: Vec<TokenId> = eog.iter().copied().filter(|&id| (id as usize) < tokens.len()).collect();
        let mut names = HashMap::new();
        for &id in special.iter().chain(&eog) {
            let Some(bytes) = tokens.get_mut(id as usize) else {
                continue;
            };
            if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                continue;
            }
            let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            marked.extend_from_slice(bytes);
            names.entry(std::mem::replace(bytes, marked)).or_insert(id);
        }
        for bytes in &mut tokens {
            // As in llama.cpp, a token that starts with a zero byte never matches.
            if bytes.len() > MAX_TOKEN_BYTES || bytes.first() == Some(&0) {
                bytes.clear();
            }
        }
        let first_eog = eog.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(tokens.len() as u32, first_eog), &tokens);
        if !eog.is_empty() {
            trie = trie.with_eos_tokens(&eog);
        }
        Self {
            env: Arc::new(ApproximateTokEnv::new(trie)),
            eog,
            names,
            slices: OnceLock::new(),
            bound_tokens: OnceLock::new(),
        }
    }

    /// The vocabulary of `tokenizer`.
    pub fn from_tokenizer(tokenizer: &Tokenizer) -> Self {
        let ids = 0..tokenizer.vocab_size() as TokenId;
        let is_special = |id: TokenId| matches!(tokenizer.kind(id), TokenKind::Control | TokenKind::Unknown);
        let special: Vec<TokenId> = ids.clone().filter(|&id| is_special(id)).collect();
        let tokens = ids.map(|id| tokenizer.token_bytes(id, is_special(id) || tokenizer.is_eog(id)).to_vec()).collect();
        Self::new(tokens, &special, tokenizer.eog_tokens())
    }

    /// The trie, for mask computations.
    pub fn trie(&self) -> &TokTrie {
        self.env.tok_trie()
    }

    /// The same for llguidance.
    pub fn env(&self) -> &TokEnv {
        &self.env
    }

    /// The slices, made when first asked for.
    pub fn slices(&self) -> &[Slice] {
        self.slices.get_or_init(|| SLICES.iter().map(|&(class, length)| self.slice(class, length)).collect())
    }

    /// Tokens that may go beyond a bound, found when first asked for.
    pub fn bound_tokens(&self) -> &BoundTokens {
        self.bound_tokens.get_or_init(|| BoundTokens::new(self.trie()))
    }

    fn slice(&self, class: usize, length: usize) -> Slice {
        let set = CharSet::new(PLAIN[class].to_vec());
        let mut mask = self.trie().alloc_token_set();
        let mut others = self.trie().alloc_token_set();
        for token in 0..self.trie().vocab_size() as TokenId {
            let text = std::str::from_utf8(self.text(token)).unwrap_or_default();
            let plain =
                !text.is_empty() && text.chars().count() <= length && text.chars().all(|c| set.contains(u32::from(c)));
            if plain { mask.allow_token(token) } else { others.allow_token(token) }
        }
        Slice { class, length, mask, rest: self.trie().filter(&others) }
    }

    /// Whether `token` ends an answer.
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.eog.contains(&token)
    }

    /// The text that `token` stands for; empty where it stands for none.
    pub fn text(&self, token: TokenId) -> &[u8] {
        let known = (token as usize) < self.trie().vocab_size();
        let bytes = if known { self.trie().token(token) } else { &[] };
        if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) { &[] } else { bytes }
    }

    /// Whether `token` stands for nothing at all, neither text nor a special token.
    pub fn is_void(&self, token: TokenId) -> bool {
        (token as usize) >= self.trie().vocab_size() || self.trie().token(token).is_empty()
    }

    /// Sets the bits of all tokens that end an answer to `allowed`.
    pub fn set_eog(&self, mask: &mut TokenMask, allowed: bool) {
        for &token in &self.eog {
            mask.set(token as usize, allowed);
        }
    }
}

impl TokenNames for Vocabulary {
    fn token_named(&self, text: &str) -> Option<TokenId> {
        self.names.get(text.as_bytes()).copied().or_else(|| self.trie().token_id_at_bytes(text.as_bytes()))
    }

    fn vocab_size(&self) -> usize {
        self.trie().vocab_size()
    }
}
