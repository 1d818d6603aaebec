//! One sequence's position in a grammar, whichever kind the grammar is.

use std::sync::Arc;

use super::automaton::Automaton;
use super::bounds::Bounds;
use super::cache::Cache;
use super::mask::Vocabulary;
use super::{CompiledGrammar, TokenMask};
use crate::error::{Error, Result};
use crate::tokenizer::TokenId;

/// Masks of one GBNF grammar by situation, shared by its matchers: walking a trie of 128,000
/// tokens takes milliseconds, and answers come back to the same situations again and again.
pub type MaskCache = Cache<Vec<u32>, Arc<TokenMask>>;

/// One sequence's position in a grammar. EOG tokens are allowed only where the grammar may end.
pub struct Matcher {
    kind: Kind,
    grammar: Arc<CompiledGrammar>,
    vocabulary: Arc<Vocabulary>,
    mask: Option<Arc<TokenMask>>,
    /// How long a number and how deep a place the text ends in; at the start where nothing is bounded.
    bounds: Bounds,
    /// Whether an EOG token was accepted.
    ended: bool,
}

/// The engine behind a matcher.
pub(super) enum Kind {
    Gbnf(Box<Automaton>),
    Schema(Box<llguidance::Matcher>),
}

impl Matcher {
    pub(super) fn new(kind: Kind, grammar: Arc<CompiledGrammar>, vocabulary: Arc<Vocabulary>) -> Self {
        Self { kind, grammar, vocabulary, mask: None, bounds: Bounds::default(), ended: false }
    }

    /// Whether `token` may come next. Costs one token's bytes, not a whole mask.
    pub fn allows(&mut self, token: TokenId) -> bool {
        if self.ended || token as usize >= self.vocabulary.trie().vocab_size() {
            return false;
        }
        if let Some(mask) = &self.mask {
            return mask.is_allowed(token);
        }
        if self.vocabulary.is_eog(token) {
            return self.is_accepting();
        }
        if self.bounds.are_reached() && self.bounds.may_forbid(token, self.vocabulary.bound_tokens()) {
            // Whether anything else can follow is for the mask to say.
            return self.mask().is_ok_and(|mask| mask.is_allowed(token));
        }
        match &mut self.kind {
            Kind::Gbnf(automaton) => automaton.allows(token, self.vocabulary.text(token)),
            Kind::Schema(matcher) => {
                // A token without bytes would fit everywhere.
                !self.vocabulary.is_void(token)
                    && !matcher.is_stopped()
                    && matcher.validate_tokens(&[token]).is_ok_and(|n| n == 1)
            }
        }
    }

    /// All tokens that may come next. An error where there are none, or where finding them takes
    /// more than a request may use.
    pub fn mask(&mut self) -> Result<&TokenMask> {
        if self.mask.is_none() {
            let mask = self.compute_mask()?;
            if mask.is_zero() {
                return Err(self.fault("no token of this model can continue the answer"));
            }
            self.mask = Some(mask);
        }
        // Set just above.
        self.mask.as_deref().ok_or_else(|| Error::Internal("the mask is gone".into()))
    }

    fn compute_mask(&mut self) -> Result<Arc<TokenMask>> {
        let accepting = self.is_accepting();
        if self.ended {
            let mut mask = self.vocabulary.trie().alloc_token_set();
            self.vocabulary.set_eog(&mut mask, true);
            return Ok(Arc::new(mask));
        }
        let automaton = match &mut self.kind {
            Kind::Gbnf(automaton) => automaton,
            Kind::Schema(matcher) => {
                let computed = if matcher.is_stopped() && !matcher.is_error() {
                    Ok(self.vocabulary.trie().alloc_token_set())
                } else {
                    matcher.compute_mask()
                };
                let mut mask = computed.map_err(|e| self.fault(&with_limit(&e.to_string())))?;
                self.vocabulary.set_eog(&mut mask, accepting);
                if self.bounds.are_reached() {
                    self.bounds.narrow(&mut mask, self.vocabulary.bound_tokens());
                }
                return Ok(Arc::new(mask));
            }
        };
        let signature = automaton.signature();
        if let Some(mask) = signature.as_ref().and_then(|s| self.grammar.masks.get(s)) {
            return Ok(mask);
        }
        let mut mask = walk(automaton, &self.vocabulary).map_err(|reason| self.fault(reason))?;
        self.vocabulary.set_eog(&mut mask, accepting);
        let mask = Arc::new(mask);
        if let Some(signature) = signature {
            let weight = 4 * (signature.len() + mask.as_slice().len());
            self.grammar.masks.put(signature, Arc::clone(&mask), weight);
        }
        Ok(mask)
    }

    /// Advances over `token`; an error if it is not allowed.
    pub fn accept(&mut self, token: TokenId) -> Result<()> {
        if self.vocabulary.is_eog(token) {
            if !self.is_accepting() {
                return Err(self.refuse(token));
            }
            self.ended = true;
            self.mask = None;
            return Ok(());
        }
        if self.ended || token as usize >= self.vocabulary.trie().vocab_size() {
            return Err(self.refuse(token));
        }
        let text = self.vocabulary.text(token);
        let accepted = match &mut self.kind {
            Kind::Gbnf(automaton) => {
                let accepted = automaton.accept(token, text);
                if let Some(reason) = automaton.overrun() {
                    return Err(self.fault(reason));
                }
                accepted
            }
            Kind::Schema(_) if self.vocabulary.is_void(token) => false,
            Kind::Schema(matcher) => {
                matcher.try_consume_tokens(&[token]).map_err(|e| Error::invalid("json_schema", e.to_string()))? == 1
            }
        };
        if !accepted {
            return Err(self.refuse(token));
        }
        if self.grammar.is_bounded {
            self.bounds.push(text);
        }
        self.mask = None;
        Ok(())
    }

    /// Advances over `bytes` from the start of the grammar; where it does not take them, false,
    /// and the matcher is at the start again.
    pub fn begin_with(&mut self, bytes: &[u8]) -> Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        // Any tokens of these bytes will do: grammars read bytes.
        let tokens = self.vocabulary.trie().greedy_tokenize(bytes);
        let length: usize = tokens.iter().map(|token| self.vocabulary.text(*token).len()).sum();
        let mut fits = length == bytes.len();
        for token in tokens {
            fits = fits && self.allows(token) && self.accept(token).is_ok();
        }
        if !fits {
            *self = self.grammar.matcher()?;
        }
        Ok(fits)
    }

    /// Whether the text so far is complete (EOG allowed).
    pub fn is_accepting(&mut self) -> bool {
        match &mut self.kind {
            _ if self.ended => true,
            Kind::Gbnf(automaton) => automaton.is_accepting(),
            Kind::Schema(matcher) if matcher.is_stopped() => !matcher.is_error() && matcher.stop_reason().is_ok(),
            Kind::Schema(matcher) => matcher.is_accepting().unwrap_or(false),
        }
    }

    /// Whether nothing but EOG can follow.
    pub fn is_finished(&mut self) -> bool {
        match &self.kind {
            _ if self.ended => true,
            Kind::Gbnf(automaton) => automaton.is_accepting() && automaton.is_exhausted(),
            Kind::Schema(matcher) => matcher.is_stopped() && !matcher.is_error(),
        }
    }

    /// The mask of a GBNF grammar, made anew.
    #[cfg(test)]
    pub fn walked_mask(&mut self) -> TokenMask {
        match &mut self.kind {
            Kind::Gbnf(automaton) => walk(automaton, &self.vocabulary).expect("the grammar is not too much"),
            Kind::Schema(_) => panic!("a schema has no automaton"),
        }
    }

    /// From now on whatever was met is forgotten at every step.
    #[cfg(test)]
    pub fn remember_nothing(&mut self) {
        if let Kind::Gbnf(automaton) = &mut self.kind {
            automaton.remember_nothing();
        }
    }

    fn refuse(&self, token: TokenId) -> Error {
        self.fault(&format!("the token {token} is not allowed here"))
    }

    fn fault(&self, message: &str) -> Error {
        let param = match self.kind {
            Kind::Gbnf(_) => "grammar",
            Kind::Schema(_) => "json_schema",
        };
        Error::invalid(param, message)
    }
}

/// What llguidance says, with the limit's name where that was the reason; it tells these by their words only.
fn with_limit(message: &str) -> String {
    let too_much = ["Too many items", "fuel"].iter().any(|word| message.contains(word));
    format!("{message}{}", if too_much { " (--max-mask-ms)" } else { "" })
}

/// The tokens that may come next in a GBNF grammar, EOG tokens aside; the error is the reason why
/// they are too much work to find.
fn walk(automaton: &mut Automaton, vocabulary: &Vocabulary) -> std::result::Result<TokenMask, &'static str> {
    let mut mask = vocabulary.trie().alloc_token_set();
    automaton.begin();
    for (token, negated) in automaton.tokens() {
        if negated {
            // All but this one; another place may still allow it.
            let kept = mask.is_allowed(token);
            mask.set_all(true);
            mask.set(token as usize, kept);
        } else {
            mask.allow_token(token);
        }
    }
    let slice = vocabulary.slices().iter().find(|slice| automaton.takes_plain(slice.class, slice.length));
    if let Some(slice) = slice {
        mask.or(&slice.mask);
    }
    slice.map_or(vocabulary.trie(), |slice| &slice.rest).add_bias(automaton, &mut mask, &[]);
    automaton.overrun().map_or(Ok(mask), Err)
}
