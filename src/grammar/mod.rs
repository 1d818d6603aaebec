//! What a request may say: GBNF (own automaton) and JSON schema (llguidance), both as one token
//! mask per step.
//!
//! - [`GrammarSpec`] is a grammar's source, [`GrammarCompiler::compile`] turns it into a
//!   [`CompiledGrammar`] (cached), and [`CompiledGrammar::matcher`] starts one sequence.
//! - Each step: [`Matcher::mask`] (or [`Matcher::allows`] for one token), then
//!   [`Matcher::accept`] with what was sampled.
//! - A [`Watch`] says from which place of the text on a grammar counts, where that is not the start.
//!
//! GBNF goes from text to rules ([`gbnf`], [`check`]), to a machine ([`program`], [`utf8`]), to a
//! running reader ([`automaton`], [`situation`], [`closure`], [`stack`]). Schemas are checked ([`schema_check`], [`schema_finite`], [`schema_open`]) and
//! compiled ([`schema`], [`schema_format`], [`schema_place`]); what no schema bounds ends
//! somewhere ([`bounds`]). Whatever is wrong with either is `Error::InvalidRequest`, which names
//! the place.

mod automaton;
mod bounds;
mod cache;
mod check;
mod closure;
mod gbnf;
mod mask;
mod matcher;
mod program;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod schema;
mod schema_check;
mod schema_finite;
mod schema_format;
mod schema_open;
mod schema_place;
mod situation;
mod stack;
#[cfg(test)]
mod tests;
mod utf8;
mod watch;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::ParserFactory;
pub use matcher::Matcher;
pub use toktrie::SimpleVob as TokenMask;
pub use watch::{GrammarStart, Marker, Scan, Thought, Watch};

use self::automaton::Automaton;
use self::cache::Cache;
use self::mask::Vocabulary;
use self::matcher::{Kind, MaskCache};
use self::program::Program;
use crate::error::{Error, Result};
use crate::tokenizer::{TokenId, Tokenizer};

/// Compiled grammars kept, and their bytes together.
const CACHE_ENTRIES: usize = 64;
const CACHE_BYTES: usize = 64 << 20;
/// What a compiled schema takes, roughly, for each byte of its text and on top.
const SCHEMA_BYTES: (usize, usize) = (64, 1 << 17);
/// Masks kept for one GBNF grammar, and their bytes together.
const MASK_ENTRIES: usize = 256;
const MASK_BYTES: usize = 4 << 20;
/// Milliseconds of work for a step's mask, unless settings say otherwise.
pub const MASK_MS: u32 = 100;

/// The source of a grammar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GrammarSpec {
    /// GBNF text with a `root` rule.
    Gbnf(String),
    /// A JSON schema, as JSON text. `strict` refuses keywords that cannot be enforced.
    JsonSchema { schema: String, strict: bool },
    /// Any JSON object.
    JsonObject,
    /// A grammar in llguidance's Lark dialect, made by the program, where `@name` is a schema; `ignored`
    /// are keywords that it does not enforce.
    Syntax { lark: String, schemas: Vec<NamedSchema>, ignored: Vec<String> },
}

/// A JSON schema as a part of a larger syntax.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedSchema {
    pub name: String,
    /// JSON text.
    pub schema: String,
    /// The request's field that it comes from, for errors.
    pub param: String,
    pub strict: bool,
}

impl GrammarSpec {
    /// Whether there is a schema in it, whose numbers and nesting are not spelled out.
    fn has_schema(&self) -> bool {
        match self {
            Self::Gbnf(_) => false,
            Self::JsonSchema { .. } | Self::JsonObject => true,
            Self::Syntax { schemas, .. } => !schemas.is_empty(),
        }
    }

    fn source_bytes(&self) -> usize {
        match self {
            Self::Gbnf(text) => text.len(),
            Self::JsonSchema { schema, .. } => schema.len(),
            Self::JsonObject => 0,
            Self::Syntax { lark, schemas, ignored } => {
                let ignored: usize = ignored.iter().map(String::len).sum();
                lark.len() + ignored + schemas.iter().map(|named| named.schema.len() + named.param.len()).sum::<usize>()
            }
        }
    }
}

/// Compiles grammars for one vocabulary and keeps the latest ones (bounded). Thread-safe.
#[derive(Clone)]
pub struct GrammarCompiler {
    inner: Arc<Inner>,
}

struct Inner {
    vocabulary: Arc<Vocabulary>,
    /// llguidance's side of the vocabulary, built when the first schema comes.
    factory: OnceLock<Arc<ParserFactory>>,
    compiled: Cache<GrammarSpec, Arc<CompiledGrammar>>,
    max_mask_ms: u32,
}

impl GrammarCompiler {
    /// A compiler for the vocabulary of `tokenizer`; a step's mask may take `max_mask_ms`, in work rather than by
    /// the clock, so that a grammar that is served once is served always.
    #[must_use]
    pub fn new(tokenizer: &Arc<Tokenizer>, max_mask_ms: u32) -> Self {
        Self::with_vocabulary(Vocabulary::from_tokenizer(tokenizer), max_mask_ms)
    }

    /// A compiler for a bare vocabulary: the bytes of all tokens in order; `special` and `eog`
    /// tokens never match text, their bytes are their names.
    #[must_use]
    pub fn from_vocab(tokens: Vec<Vec<u8>>, special: &[TokenId], eog: &[TokenId]) -> Self {
        Self::with_vocabulary(Vocabulary::new(tokens, special, eog), MASK_MS)
    }

    fn with_vocabulary(vocabulary: Vocabulary, max_mask_ms: u32) -> Self {
        let compiled = Cache::new(CACHE_ENTRIES, CACHE_BYTES);
        let vocabulary = Arc::new(vocabulary);
        Self { inner: Arc::new(Inner { vocabulary, factory: OnceLock::new(), compiled, max_mask_ms }) }
    }

    /// `param` names the request's field in errors (`grammar`, `json_schema`, `response_format`).
    pub fn compile(&self, spec: &GrammarSpec, param: &str) -> Result<Arc<CompiledGrammar>> {
        if let Some(grammar) = self.inner.compiled.get(spec) {
            return Ok(grammar);
        }
        // No lock is held here: others compile meanwhile, at worst the same grammar.
        let grammar = Arc::new(self.inner.compile(spec, param)?);
        let weight = spec.source_bytes() + grammar.source.bytes(spec.source_bytes());
        self.inner.compiled.put(spec.clone(), Arc::clone(&grammar), weight);
        Ok(grammar)
    }
}

impl Inner {
    fn compile(&self, spec: &GrammarSpec, param: &str) -> Result<CompiledGrammar> {
        let schema = match spec {
            GrammarSpec::Gbnf(text) => return self.compile_gbnf(text, param),
            GrammarSpec::JsonSchema { schema, strict } => schema::compile(self.factory()?, schema, *strict, param)?,
            GrammarSpec::JsonObject => schema::compile_object(self.factory()?, param)?,
            GrammarSpec::Syntax { lark, schemas, ignored } => {
                let mut compiled = schema::compile_syntax(self.factory()?, lark, schemas, param)?;
                compiled.ignored.extend_from_slice(ignored);
                compiled
            }
        };
        let source = Source::Schema(Box::new(Mutex::new(schema.prototype)));
        let mut grammar = CompiledGrammar::new(source, schema.ignored, &self.vocabulary);
        grammar.is_bounded = spec.has_schema();
        Ok(grammar)
    }

    fn compile_gbnf(&self, text: &str, param: &str) -> Result<CompiledGrammar> {
        let grammar = gbnf::parse(text, param, self.vocabulary.as_ref())?;
        let refuse = |rule: gbnf::RuleId, message: String| {
            let place = gbnf::Fault { offset: grammar.rules[rule].offset, message };
            Error::invalid(param, place.describe(text))
        };
        let program = Program::new(&grammar).map_err(|rule| {
            refuse(rule, format!("the grammar needs too many states; allowed: {}", program::MAX_STATES))
        })?;
        let automaton = Automaton::new(Arc::new(program), self.max_mask_ms);
        match automaton.overrun() {
            Some(reason) => Err(refuse(grammar.root, format!("the grammar cannot be started: {reason}"))),
            None => Ok(CompiledGrammar::new(Source::Gbnf(Box::new(automaton)), Vec::new(), &self.vocabulary)),
        }
    }

    fn factory(&self) -> Result<&Arc<ParserFactory>> {
        if let Some(factory) = self.factory.get() {
            return Ok(factory);
        }
        let factory = Arc::new(schema::factory(&self.vocabulary, self.max_mask_ms)?);
        Ok(self.factory.get_or_init(|| factory))
    }
}

/// A compiled grammar, shared by its matchers.
pub struct CompiledGrammar {
    source: Source,
    ignored: Vec<String>,
    vocabulary: Arc<Vocabulary>,
    masks: MaskCache,
    /// Whether [bounds] hold.
    is_bounded: bool,
}

/// A reader at the start of the text, to be cloned.
enum Source {
    Gbnf(Box<Automaton>),
    Schema(Box<Mutex<llguidance::Matcher>>),
}

impl Source {
    /// Memory taken, roughly.
    fn bytes(&self, text: usize) -> usize {
        match self {
            Self::Gbnf(automaton) => automaton.program_bytes(),
            Self::Schema(_) => text * SCHEMA_BYTES.0 + SCHEMA_BYTES.1,
        }
    }
}

impl CompiledGrammar {
    fn new(source: Source, ignored: Vec<String>, vocabulary: &Arc<Vocabulary>) -> Self {
        let masks = Cache::new(MASK_ENTRIES, MASK_BYTES);
        Self { source, ignored, vocabulary: Arc::clone(vocabulary), masks, is_bounded: false }
    }

    /// A fresh matcher at the start.
    pub fn matcher(self: &Arc<Self>) -> Result<Matcher> {
        let kind = match &self.source {
            Source::Gbnf(automaton) => Kind::Gbnf(automaton.clone()),
            // A deep copy: what one request makes of the lexer's states is not the others' limit.
            Source::Schema(prototype) => {
                Kind::Schema(Box::new(prototype.lock().unwrap_or_else(PoisonError::into_inner).deep_clone()))
            }
        };
        Ok(Matcher::new(kind, Arc::clone(self), Arc::clone(&self.vocabulary)))
    }

    /// Schema keywords that are accepted but not enforced, with their place (`/properties/a/format`).
    #[must_use]
    pub fn ignored_keywords(&self) -> &[String] {
        &self.ignored
    }
}
