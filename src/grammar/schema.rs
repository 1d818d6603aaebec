//! JSON schemas, alone or within a larger syntax, by llguidance.
//!
//! [`compile`] parses the text, has [`super::schema_check`] refuse what is wrong or too much and
//! list what cannot be enforced, and hands the rest to llguidance with limits on every step.

use std::sync::Arc;
use std::thread;

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::{JsonCompileOptions, ParserFactory};
use serde_json::{Value, json};
use toktrie::InferenceCapabilities;

use super::NamedSchema;
use super::mask::Vocabulary;
use super::schema_check::{self, Report};
use super::schema_format;
use super::schema_place;
use crate::error::{Error, Result};

/// Bytes of schema text.
pub const MAX_TEXT: usize = 1 << 18;
/// llguidance recurses over schemas, references and properties; [`schema_check`] caps the depth,
/// and this stack is several times what the deepest one needs.
const COMPILE_STACK: usize = 256 << 20;
/// Between two parts of a JSON text: nothing, a space, or a line break with a short indent, as
/// llama.cpp has it. Unbounded white space would let a model stall in it.
const WHITESPACE: &str = r"\x20|\x0A[\x20\x09]{0,20}";

/// Said of a schema that allows no first token.
const NOTHING: &str = "no token can begin";

/// A schema ready to be matched.
pub struct Compiled {
    /// A matcher at the start, to be cloned.
    pub prototype: llguidance::Matcher,
    /// Keywords that are not enforced, as JSON pointers.
    pub ignored: Vec<String>,
}

/// llguidance for one vocabulary. Building it takes tens of milliseconds, so it is done once.
pub fn factory(vocabulary: &Vocabulary, max_mask_ms: u32) -> Result<ParserFactory> {
    let slices =
        [r#"[^"\\\x00-\x1F\x7F]{1,10}"#, r#"[^"\\\x00-\x1F\x7F]{1,30}"#, r#"[^"\\\x00-\x1F\x7F]+"#].map(String::from);
    let mut factory = ParserFactory::new(vocabulary.env(), InferenceCapabilities::default(), &slices)
        .map_err(|e| Error::Internal(format!("the vocabulary cannot be used for schemas: {e}")))?;
    factory.quiet();
    *factory.limits_mut() = limits(max_mask_ms);
    Ok(factory)
}

/// Bounds on llguidance's work: a second for a schema, `max_mask_ms` for a mask. It counts in units of its own, of
/// which these are as many as take so long at most.
fn limits(max_mask_ms: u32) -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: u64::from(max_mask_ms) * 2000,
        step_max_items: max_mask_ms as usize * 500,
        max_lexer_states: 50_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// Compiles any JSON object.
pub fn compile_object(factory: &Arc<ParserFactory>, param: &str) -> Result<Compiled> {
    build(factory, |factory| prototype(factory, json!({"type": "object"})), Vec::new(), param)
}

/// Compiles `text`. `strict` refuses keywords that cannot be enforced.
pub fn compile(factory: &Arc<ParserFactory>, text: &str, strict: bool, param: &str) -> Result<Compiled> {
    let (schema, ignored) = prepare(text, strict, param)?;
    build(factory, |factory| prototype(factory, schema), ignored, param)
}

/// Compiles `lark`, in which `@name` stands for the schema of that name. The text is the
/// program's own, so whatever is wrong is put down to the schemas.
pub fn compile_syntax(
    factory: &Arc<ParserFactory>,
    lark: &str,
    schemas: &[NamedSchema],
    param: &str,
) -> Result<Compiled> {
    let mut grammar = TopLevelGrammar::from_lark(lark.to_owned());
    let mut all_ignored = Vec::new();
    for NamedSchema { name, schema, param, strict } in schemas {
        let (schema, ignored) = prepare(schema, *strict, param)?;
        all_ignored.extend(ignored.into_iter().map(|pointer| format!("{param}{pointer}")));
        let mut named = GrammarWithLexer::from_json_schema(with_options(schema));
        named.name = Some(name.clone());
        grammar.grammars.push(named);
    }
    build(factory, |factory| matcher(factory, grammar), all_ignored, param)
}

/// The schema that llguidance gets for `text`, and the keywords in it that are not enforced.
fn prepare(text: &str, strict: bool, param: &str) -> Result<(Value, Vec<String>)> {
    if text.len() > MAX_TEXT {
        return Err(Error::invalid(param, format!("the schema has {} bytes; allowed: {MAX_TEXT}", text.len())));
    }
    let mut schema: Value =
        serde_json::from_str(text).map_err(|e| Error::invalid(param, format!("the schema is not JSON: {e}")))?;
    let Report { ignored, closable, formats } =
        schema_check::check(&schema).map_err(|fault| Error::invalid(param, fault.to_string()))?;
    if schema.is_boolean() {
        // A schema in a schema may say everything or nothing; whoever asks for it means something else.
        return Err(Error::invalid(param, format!("at the root: {schema} is no use; an object is needed")));
    }
    if let (true, Some(first)) = (strict, ignored.first()) {
        return Err(Error::invalid(param, format!("the keyword at {first} cannot be enforced, which strict asks for")));
    }
    for pointer in &closable {
        if let Some(Value::Object(object)) = schema.pointer_mut(pointer) {
            object.insert("additionalProperties".into(), Value::Bool(false));
        }
    }
    for pointer in &formats {
        if let Some(Value::Object(object)) = schema.pointer_mut(pointer) {
            schema_format::bound(object);
        }
    }
    Ok((schema, ignored))
}

/// Runs llguidance on a stack of its own size; a panic there is an error here.
fn build(
    factory: &Arc<ParserFactory>,
    work: impl FnOnce(&ParserFactory) -> std::result::Result<llguidance::Matcher, String> + Send + 'static,
    ignored: Vec<String>,
    param: &str,
) -> Result<Compiled> {
    let factory = Arc::clone(factory);
    let thread = thread::Builder::new().name("schema".into()).stack_size(COMPILE_STACK);
    let thread = thread.spawn(move || work(&factory));
    let thread = thread.map_err(|e| Error::Internal(format!("no thread for a schema: {e}")))?;
    let built = thread.join().unwrap_or_else(|_| Err("the schema cannot be compiled".into()));
    let prototype = built.map_err(|message| Error::invalid(param, message))?;
    Ok(Compiled { prototype, ignored })
}

/// A matcher at the start; the error names the place of the part that is at fault.
fn prototype(factory: &ParserFactory, schema: Value) -> std::result::Result<llguidance::Matcher, String> {
    matcher(factory, alone(schema.clone())).map_err(|message| {
        let Some(fault) = fault_of_a_part(&message) else {
            return message;
        };
        let fault_of = |part| matcher(factory, alone(part)).err().and_then(|message| fault_of_a_part(&message));
        let (pointer, fault) = schema_place::narrow(&schema, fault, fault_of);
        let place = if pointer.is_empty() { "the root" } else { &pointer };
        format!("schema, at {place}: {fault}")
    })
}

/// What a message of llguidance, which has no place, says of some part of a schema.
fn fault_of_a_part(message: &str) -> Option<String> {
    if message == NOTHING {
        return Some(schema_place::UNSATISFIABLE.to_owned());
    }
    if let Some(reason) = message.strip_prefix("Unsatisfiable schema") {
        return Some(format!("{}{reason}", schema_place::UNSATISFIABLE));
    }
    let known = [
        ("schema too large", "the alternatives in it are too many when they are combined"),
        ("Unable to determine if regex is empty", "pattern, format and lengths of a string are too much together"),
    ];
    known.iter().find(|(start, _)| message.starts_with(start)).map(|(_, fault)| (*fault).to_owned())
}

/// The grammar of a schema alone.
fn alone(schema: Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(with_options(schema))
}

/// A schema with our options for it. `x-guidance` in it would set llguidance's; ours replace it.
fn with_options(mut schema: Value) -> Value {
    options().apply_to(&mut schema);
    schema
}

fn matcher(factory: &ParserFactory, grammar: TopLevelGrammar) -> std::result::Result<llguidance::Matcher, String> {
    let parser = factory.create_parser(grammar).map_err(|e| first_line(&e.to_string()))?;
    let mut matcher = llguidance::Matcher::new(Ok(parser));
    let mask = matcher.compute_mask().map_err(|e| first_line(&e.to_string()))?;
    if mask.is_zero() {
        return Err(NOTHING.into());
    }
    Ok(matcher)
}

fn options() -> JsonCompileOptions {
    JsonCompileOptions {
        whitespace_pattern: Some(WHITESPACE.into()),
        coerce_one_of: true,
        lenient: true,
        ..JsonCompileOptions::default()
    }
}

/// llguidance's errors may bring its state along; the first line is the message.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(500).collect()
}
