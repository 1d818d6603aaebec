//! What a request may say: GBNF (own automaton) and JSON schema (llguidance), both as one token
//! mask per step.

use std::sync::Arc;

pub use toktrie::SimpleVob as TokenMask;

use crate::error::Result;
use crate::tokenizer::{TokenId, Tokenizer};

/// The source of a grammar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GrammarSpec {
    /// GBNF text with a `root` rule.
    Gbnf(String),
    /// A JSON schema, as JSON text. `strict` refuses keywords that cannot be enforced.
    JsonSchema { schema: String, strict: bool },
    /// Any JSON object.
    JsonObject,
}

/// Compiles grammars for one vocabulary and keeps the latest ones (bounded). Thread-safe.
#[derive(Clone)]
pub struct GrammarCompiler {}

/// A compiled grammar, shared by its matchers.
pub struct CompiledGrammar {}

#[allow(unused_variables)]
impl GrammarCompiler {
    #[must_use]
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Self { todo!() }
    /// `param` names the request's field in errors (`grammar`, `json_schema`, `response_format`).
    pub fn compile(&self, spec: &GrammarSpec, param: &str) -> Result<Arc<CompiledGrammar>> { todo!() }
}

impl CompiledGrammar {
    /// A fresh matcher at the start.
    pub fn matcher(self: &Arc<Self>) -> Result<Matcher> { todo!() }
    /// Schema keywords that are accepted but not enforced, with their place (`/properties/a/format`).
    #[must_use]
    pub fn ignored_keywords(&self) -> &[String] { todo!() }
}

/// One sequence's position in a grammar. EOG tokens are allowed only where the grammar may end.
pub struct Matcher {}

#[allow(unused_variables)]
impl Matcher {
    /// Whether `token` may come next.
    pub fn allows(&mut self, token: TokenId) -> bool { todo!() }
    /// All tokens that may come next.
    pub fn mask(&mut self) -> Result<&TokenMask> { todo!() }
    /// Advances over `token`; an error if it is not allowed.
    pub fn accept(&mut self, token: TokenId) -> Result<()> { todo!() }
    /// Whether the text so far is complete (EOG allowed).
    pub fn is_accepting(&mut self) -> bool { todo!() }
    /// Whether nothing but EOG can follow.
    pub fn is_finished(&mut self) -> bool { todo!() }
}
