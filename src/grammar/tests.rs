//! Grammars from the outside: what is refused, what is served, and that both engines agree with
//! slower ways to the same answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A toy vocabulary: every byte, words and joints that cross character and token borders, then
/// two EOG tokens and one special token.
struct Toy {
    compiler: GrammarCompiler,
    tokens: Vec<Vec<u8>>,
    eog: [TokenId; 2],
    think: TokenId,
}

fn toy() -> Toy {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    let words = [
        "aa", "aaa", "ab", "abc", "yes", "no", " ", "  ", "\n\n", "- ", "\",\"", "{\"", "\":",
        "true", "false", "null", "red", "green", "42", "10", "é", "日本", "name", "age", "],",
        "}}", ", ", "[1", "foo", "foooooo",
    ];
    tokens.extend(words.iter().map(|w| w.as_bytes().to_vec()));
    // Tokens that begin and end within a character.
    tokens.push(b"\xA9a".to_vec());
    tokens.push(b"b\xC3".to_vec());
    let think = tokens.len() as TokenId;
    tokens.push(b"<think>".to_vec());
    let eog = [think + 1, think + 2];
    tokens.push(b"</s>".to_vec());
    tokens.push(b"<|im_end|>".to_vec());
    Toy {
        compiler: GrammarCompiler::from_vocab(tokens.clone(), &[think], &eog),
        tokens,
        eog,
        think,
    }
}

fn gbnf(text: &str) -> GrammarSpec {
    GrammarSpec::Gbnf(text.into())
}

fn schema(value: &Value) -> GrammarSpec {
    GrammarSpec::JsonSchema {
        schema: value.to_string(),
        strict: false,
    }
}

impl Toy {
    fn matcher(&self, spec: &GrammarSpec) -> Matcher {
        self.compiler
            .compile(spec, "grammar")
            .unwrap_or_else(|e| panic!("{spec:?}: {e}"))
            .matcher()
            .unwrap()
    }

    /// The refusal of `spec`, within a second.
    fn refusal(&self, spec: &GrammarSpec) -> String {
        let start = Instant::now();
        let error = self
            .compiler
            .compile(spec, "the_field")
            .err()
            .map(|e| e.to_string());
        let shown: String = format!("{spec:?}").chars().take(200).collect();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{shown} took {:?}",
            start.elapsed()
        );
        let error = error.unwrap_or_else(|| panic!("{shown} was accepted"));
        assert!(error.starts_with("the_field: "), "{error}");
        assert!(error.len() < 1000, "{error}");
        error
    }

    /// Feeds `text` byte by byte: how many bytes are accepted, and the matcher after them.
    fn feed(&self, spec: &GrammarSpec, text: &str) -> (usize, Matcher) {
        let mut matcher = self.matcher(spec);
        for (i, byte) in text.bytes().enumerate() {
            if !matcher.allows(TokenId::from(byte)) {
                return (i, matcher);
            }
            matcher.accept(TokenId::from(byte)).unwrap();
        }
        (text.len(), matcher)
    }

    fn accepts(&self, spec: &GrammarSpec, text: &str) -> bool {
        let (read, mut matcher) = self.feed(spec, text);
        read == text.len() && matcher.is_accepting()
    }

    fn accepts_prefix(&self, spec: &GrammarSpec, text: &str) -> bool {
        self.feed(spec, text).0 == text.len()
    }

    /// Walks tokens that `choose` picks among the allowed ones until EOG; checks on the way that
    /// the mask and `allows` agree and that EOG is allowed exactly where the text may end.
    fn walk(
        &self,
        spec: &GrammarSpec,
        mut choose: impl FnMut(usize, usize) -> usize,
    ) -> Option<Vec<u8>> {
        let mut matcher = self.matcher(spec);
        let mut text = Vec::new();
        for step in 0..400 {
            let single: Vec<bool> = (0..self.tokens.len())
                .map(|t| matcher.allows(t as TokenId))
                .collect();
            let mask = matcher.mask().unwrap().clone();
            let allowed: Vec<usize> = (0..self.tokens.len())
                .filter(|&t| mask.is_allowed(t as TokenId))
                .collect();
            for (token, &single) in single.iter().enumerate() {
                assert_eq!(
                    single,
                    mask.is_allowed(token as TokenId),
                    "token {:?} after {:?}",
                    self.tokens[token],
                    String::from_utf8_lossy(&text)
                );
            }
            for eog in self.eog {
                assert_eq!(mask.is_allowed(eog), matcher.is_accepting());
            }
            let token = allowed[choose(step, allowed.len()) % allowed.len()] as TokenId;
            matcher.accept(token).unwrap();
            if self.eog.contains(&token) {
                assert!(matcher.is_finished());
                return Some(text);
            }
            text.extend_from_slice(&self.tokens[token as usize]);
        }
        None
    }
}

#[test]
fn bad_grammars_are_refused_with_their_place() {
    let toy = toy();
    let cases = [
        ("", "no rule \"root\""),
        ("foo ::= \"a\"", "no rule \"root\""),
        (
            "root ::= this is (not valid GBNF",
            "line 1, column 33: expected an element, '|', or ')' to close the '(' of line 1, column 18",
        ),
        (
            "root ::= \"a\"\nfoo ::= \"b\" bar",
            "line 2, column 13: the rule \"bar\" is not defined",
        ),
        ("root ::= root \"a\" | \"a\"", "\"root\" is left-recursive"),
        (
            "root ::= a\na ::= b? a\nb ::= \"b\"",
            "\"a\" is left-recursive",
        ),
        (
            "root ::= x\nx ::= empty y\ny ::= \"\" x \"a\"\nempty ::= \"\" | \" \"",
            "is left-recursive",
        ),
        ("root ::= (\"a\"? root)*", "\"root\" is left-recursive"),
        (
            "root ::= \"a\"{3,2}",
            "line 1, column 13: the repetition \"{3,2}\" ends below its start",
        ),
        (
            "root ::= \"a\"{1,1000000000}",
            "1000000000 repetitions are too many",
        ),
        ("root ::= \"a\"{99999999999999999999999}", "too many"),
        ("root ::= \"a\"{,3}", "expected a number"),
        ("root ::= \"a\"{3", "expected ',' or '}'"),
        (
            "root ::= \"abc",
            "line 1, column 10: this string has no closing",
        ),
        (
            "root ::= [abc",
            "line 1, column 10: this class has no closing",
        ),
        ("root ::= \"abc\\", "no closing"),
        ("root ::= [z-a]", "ends below its start"),
        ("root ::= []", "empty"),
        ("root ::= \"\\q\"", "\\q is not an escape"),
        ("root ::= \"\\x4\"", "needs 2 hexadecimal digits"),
        ("root ::= \"\\U00110000\"", "above U+10FFFF"),
        ("root ::= \"\\uD800\"", "surrogate"),
        ("root ::= *", "nothing stands before"),
        ("root ::= \"a\" | * ", "nothing stands before"),
        ("root ::= )", "expected"),
        ("root = \"a\"", "expected \"::=\""),
        (
            "root ::= \"é\" é",
            "line 1, column 14: expected an element, '|', or a new line, found 'é'",
        ),
        ("root ::= <nothing>", "is not one token"),
        ("root ::= <[99999]>", "is not one token"),
        ("root ::= !x", "expected '<'"),
        ("root ::= <think", "no closing '>'"),
    ];
    for (text, expected) in cases {
        let error = toy.refusal(&gbnf(text));
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn huge_grammars_are_refused_or_bounded() {
    let toy = toy();
    assert!(
        toy.refusal(&gbnf(&format!("root ::= {}", "(".repeat(60_000))))
            .contains("nested too deep")
    );
    assert!(
        toy.refusal(&gbnf(&format!(
            "root ::= {}\"a\"{}",
            "(".repeat(60_000),
            ")".repeat(60_000)
        )))
        .contains("nested too deep")
    );
    assert!(
        toy.refusal(&gbnf(&" ".repeat(2 << 20)))
            .contains("allowed: 1048576")
    );
    toy.refusal(&gbnf(&format!("root ::= {}", "( \"a\" | ".repeat(300))));
    toy.refusal(&gbnf(&format!("root ::= {}", "\"ab\" ".repeat(100_000))));
    let start = Instant::now();
    // A hundred thousand stars, and repetitions of repetitions, are served.
    assert!(toy.accepts(
        &gbnf(&format!("root ::= \"a\"{}", "*".repeat(40_000))),
        "aaaa"
    ));
    assert!(toy.accepts_prefix(
        &gbnf("root ::= (((\"a\"{10000}){10000}){10000}){10000}"),
        "aaaaaaaaaaa"
    ));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn ambiguous_grammars_are_bounded_work() {
    let toy = toy();
    let start = Instant::now();
    let text = "a".repeat(300);
    for grammar in [
        "root ::= (\"a\"? \"a\"? \"a\"?)*",
        "root ::= ((\"a\"*)*)*",
        "root ::= \"a\" root \"b\"? | \"a\" root \"c\"? | \"a\"",
        "root ::= \"a\" root root | \"a\" | \"aa\"",
        "root ::= x x x x x x x x\nx ::= \"a\" x | \"a\" \"a\" x | \"\"",
    ] {
        let mut matcher = toy.matcher(&gbnf(grammar));
        for byte in text.bytes() {
            matcher.mask().unwrap();
            matcher.accept(TokenId::from(byte)).unwrap();
        }
        assert!(matcher.is_accepting(), "{grammar}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn gbnf_says_what_llama_cpp_says() {
    let toy = toy();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("root ::= \"a\"{5,5}", &["aaaaa"], &["aaaa", "aaaaaa", ""]),
        ("root ::= \"ab\"*", &["", "ab", "abab"], &["a", "abb"]),
        ("root ::= \"ab\"{2,}", &["abab", "ababab"], &["ab", "aba"]),
        (
            "root ::= [a-c]{0,2} \"x\"?",
            &["", "ab", "cx", "x"],
            &["abc", "xx", "d"],
        ),
        (
            "root ::= \"a\"+ # comment ::= (\n  # another\nb ::= \"b\"",
            &["a", "aaa"],
            &["", "b"],
        ),
        (
            "# first\n\nroot ::= (\n  \"a\" # x\n  | \"b\"\n\n  \"c\"\n)\n",
            &["a", "bc"],
            &["b"],
        ),
        (
            "root ::= \"a\" |\n  \"b\" |\n  \"\"",
            &["a", "b", ""],
            &["ab"],
        ),
        ("root ::= [^\\n\"]+", &["aé日", " "], &["a\n", "\"", ""]),
        (
            "root ::= [\\x41-\\x43\\u00e9\\U0001F600\\]\\[\\\\-]+",
            &["ABC", "é😀", "][\\-"],
            &["D", "a"],
        ),
        (
            "root ::= \"\\t\\r\\n\\\\\\\"\\x41\"",
            &["\t\r\n\\\"A"],
            &["t"],
        ),
        ("root ::= .", &["a", "é", "日", "😀", "\n"], &["", "ab"]),
        ("root ::= \"\" \"a\"", &["a"], &[""]),
        ("root ::= \"a\"{0} \"b\"", &["b"], &["ab"]),
        (
            "root ::= \"a\"{2}{3}",
            &["aaaaaa"],
            &["aaaa", "aaaaa", "aaaaaaa"],
        ),
        ("root ::= a_b\na_b ::= \"x\"\r\n", &["x"], &["a"]),
        ("root ::= \"a\"\nroot ::= \"b\"", &["b"], &["a"]),
        (
            "root ::= e\ne ::= t ((\"+\" | \"-\") t)*\nt ::= [0-9] | \"(\" e \")\"",
            &["1", "(1+2)-3", "((4))"],
            &["(1", "1+", "+1"],
        ),
        (
            "root ::= \"(\" root \")\" root | \"\"",
            &["", "(())()"],
            &["(", ")("],
        ),
        (
            "root ::= a b\na ::= \"x\"?\nb ::= \"y\"?",
            &["", "x", "y", "xy"],
            &["yx"],
        ),
    ];
    for (grammar, yes, no) in cases {
        for text in *yes {
            assert!(
                toy.accepts(&gbnf(grammar), text),
                "{grammar:?} should accept {text:?}"
            );
        }
        for text in *no {
            assert!(
                !toy.accepts(&gbnf(grammar), text),
                "{grammar:?} should not accept {text:?}"
            );
        }
    }
}

#[test]
fn token_references_match_tokens_not_text() {
    let toy = toy();
    for grammar in [
        "root ::= <think> \"a\"",
        &format!("root ::= <[{}]> \"a\"", toy.think),
    ] {
        let mut matcher = toy.matcher(&gbnf(grammar));
        assert!(matcher.allows(toy.think) && !matcher.allows(TokenId::from(b'<')));
        assert_eq!(matcher.mask().unwrap().num_set(), 1);
        matcher.accept(toy.think).unwrap();
        matcher.accept(TokenId::from(b'a')).unwrap();
        assert!(matcher.is_finished());
    }
    // `!<think>*` may be left at any token; the letters of the word are text, the token is not.
    let spec = gbnf("root ::= <think> !<think>* <think> \"ab\"*");
    let mut matcher = toy.matcher(&spec);
    matcher.accept(toy.think).unwrap();
    for byte in b"<think>" {
        assert!(matcher.mask().unwrap().is_allowed(TokenId::from(*byte)));
        matcher.accept(TokenId::from(*byte)).unwrap();
    }
    matcher.accept(toy.think).unwrap();
    assert!(matcher.is_accepting() && !matcher.allows(toy.think));
    assert!(
        !toy.accepts(&gbnf("root ::= .*"), "\u{0}"),
        "as in llama.cpp, no token starts with a zero byte"
    );
    assert!(!toy.matcher(&gbnf("root ::= .*")).allows(toy.think));
}

#[test]
fn the_end_is_where_the_grammar_ends() {
    let toy = toy();
    let mut matcher = toy.matcher(&gbnf("root ::= \"ab\" \"c\"?"));
    assert!(
        !matcher.is_accepting()
            && !matcher.allows(toy.eog[0])
            && matcher.accept(toy.eog[0]).is_err()
    );
    for byte in b"ab" {
        matcher.accept(TokenId::from(*byte)).unwrap();
    }
    assert!(matcher.is_accepting() && !matcher.is_finished());
    assert!(matcher.allows(toy.eog[0]) && matcher.allows(toy.eog[1]));
    assert!(
        matcher.accept(TokenId::from(b'x')).is_err(),
        "a refused token"
    );
    matcher.accept(TokenId::from(b'c')).unwrap();
    assert!(matcher.is_finished());
    let only_eog = matcher.mask().unwrap();
    assert_eq!(only_eog.num_set(), 2);
    matcher.accept(toy.eog[1]).unwrap();
    assert!(matcher.is_finished() && !matcher.allows(TokenId::from(b'c')));
    assert!(matcher.accept(TokenId::MAX).is_err() && !matcher.allows(TokenId::MAX));
}

#[test]
fn bad_schemas_are_refused_with_their_place() {
    let toy = toy();
    let deep = format!("{}true{}", "{\"items\":".repeat(5000), "}".repeat(5000));
    let many: serde_json::Map<String, Value> =
        (0..10_000).map(|i| (format!("p{i}"), json!({}))).collect();
    let alternation: String = (0..100_000).map(|i| format!("a{i}|")).collect();
    let chain: serde_json::Map<String, Value> = (0..5000)
        .map(|i| {
            (
                format!("d{i}"),
                json!({"$ref": format!("#/$defs/d{}", i + 1)}),
            )
        })
        .collect();
    let cases = [
        (json!({"type": 123}), "at /type: 123 is no type"),
        (json!({"type": "hiccup"}), "at /type: \"hiccup\" is no type"),
        (
            json!({"properties": {"a/b": {"type": ["string", 5]}}}),
            "at /properties/a~1b/type",
        ),
        (
            json!(123),
            "at the root: a schema is an object or a boolean, not 123",
        ),
        (json!("x"), "at the root"),
        (json!(null), "at the root"),
        (json!({"$ref": "#"}), "at the root: nothing finite"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "nothing finite",
        ),
        (
            json!({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}),
            "nothing finite",
        ),
        (
            json!({"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}),
            "nothing finite",
        ),
        (
            json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
            "nothing finite",
        ),
        (
            json!({"$ref": "https://example.com/schema.json"}),
            "at /$ref: \"https://example.com/schema.json\" is not within this schema",
        ),
        (json!({"$ref": "other.json#/a"}), "at /$ref"),
        (
            json!({"$ref": "#/nowhere"}),
            "at /$ref: \"#/nowhere\" is not in this schema",
        ),
        (json!({"$ref": 5}), "at /$ref"),
        (
            json!({"type": "array", "minItems": 1_000_000_000}),
            "at /minItems: 1000000000 is out of range",
        ),
        (
            json!({"type": "array", "maxItems": 1_000_000_000}),
            "at /maxItems",
        ),
        (
            json!({"type": "string", "maxLength": 1_000_000_000}),
            "at /maxLength",
        ),
        (json!({"type": "string", "minLength": -1}), "at /minLength"),
        (
            json!({"type": "object", "minProperties": 1e9}),
            "at /minProperties",
        ),
        (
            json!({"type": "object", "properties": many}),
            "at /properties: 10000 properties; allowed: 2000",
        ),
        (json!({"enum": (0..100_000).collect::<Vec<_>>()}), ""),
        (json!({"enum": []}), "at /enum"),
        (json!({"anyOf": []}), "at /anyOf"),
        (json!({"anyOf": {"type": "string"}}), "at /anyOf"),
        (json!({"properties": [1]}), "at /properties"),
        (json!({"required": "a"}), "at /required"),
        (json!({"items": "a"}), "at /items"),
        (json!({"items": [{"type": 1}]}), "at /items/0/type"),
        (json!({"type": "string", "pattern": "(a"}), "at /pattern"),
        (
            json!({"type": "string", "pattern": "a(?<!b)c"}),
            "at /pattern",
        ),
        (json!({"type": "string", "pattern": alternation}), "allowed"),
        (json!({"type": "string", "pattern": 5}), "at /pattern"),
        (json!({"minimum": "5"}), "at /minimum"),
        (json!({"multipleOf": 0}), "at /multipleOf"),
        (json!({"$ref": "#/$defs/d0", "$defs": chain}), ""),
        (json!(false), ""),
        (
            json!({"type": "string", "minLength": 5, "maxLength": 2}),
            "",
        ),
        (json!({"type": "integer", "minimum": 5, "maximum": 4}), ""),
        (
            json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
            "",
        ),
        (
            json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
            "",
        ),
    ];
    for (value, expected) in &cases {
        let error = toy.refusal(&schema(value));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    for text in [deep.as_str(), &"[".repeat(100_000), "", "{", "{\"a\": 1} x"] {
        toy.refusal(&GrammarSpec::JsonSchema {
            schema: text.into(),
            strict: false,
        });
    }
}

#[test]
fn heavy_patterns_are_bounded() {
    let toy = toy();
    for pattern in [
        "(a+)+$",
        "^(a|a)*b$",
        "^(.*a){20}$",
        "^.{0,1000}x.{0,1000}$",
    ] {
        let start = Instant::now();
        let spec = schema(&json!({"type": "string", "pattern": pattern}));
        if let Ok(grammar) = toy.compiler.compile(&spec, "json_schema") {
            let mut matcher = grammar.matcher().unwrap();
            for byte in b"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                if matcher.mask().is_err() || matcher.accept(TokenId::from(*byte)).is_err() {
                    break;
                }
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{pattern}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn heavy_schemas_and_grammars_are_bounded() {
    let toy = toy();
    toy.compiler
        .compile(&GrammarSpec::JsonObject, "json_schema")
        .unwrap();
    let names = |n: usize, value: Value| {
        (0..n)
            .map(|i| (format!("p{i}"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
    };
    let patterns: serde_json::Map<_, _> = (0..300)
        .map(|i| (format!("^(a|b)*{i}$"), json!({})))
        .collect();
    let choices = |n: usize| {
        (0..n)
            .map(|i| json!({"const": format!("v{i}")}))
            .collect::<Vec<_>>()
    };
    let objects: Vec<Value> = (0..60)
        .map(|i| json!({"properties": names(30, json!({"type": "string"})), "title": i}))
        .collect();
    let schemas = [
        json!({"type": "object", "properties": names(2000, json!({"type": "string"}))}),
        json!({"type": "object", "properties": names(2000, json!({"type": "string"})), "required": names(2000, json!(0)).keys().collect::<Vec<_>>()}),
        json!({"allOf": [{"anyOf": choices(300)}, {"anyOf": choices(300)}, {"anyOf": choices(300)}]}),
        json!({"anyOf": choices(4000), "type": "object", "properties": names(1000, json!({}))}),
        json!({"allOf": objects}),
        json!({"patternProperties": patterns}),
        json!({"properties": names(300, json!({"type": "string", "pattern": "^(a|ab){1,50}(b|ba){1,50}$"}))}),
        json!({"properties": (0..300).map(|i| (format!("p{i}"), json!({"type": "string", "pattern": format!("(a{{0,{i}}}b?){{1,50}}")}))).collect::<serde_json::Map<_, _>>()}),
        json!({"enum": (0..5000).map(|i| format!("value number {i}")).collect::<Vec<_>>()}),
        json!({"type": "string", "minLength": 100_000}),
        json!({"type": "array", "items": {"type": "array", "items": {"type": "string", "maxLength": 100_000}, "minItems": 10_000}, "minItems": 10_000}),
        json!({"type": "number", "multipleOf": 0.000_000_1, "minimum": -1e300, "maximum": 1e300}),
        json!({"type": "integer", "multipleOf": 99_999_999, "minimum": -1e15, "maximum": 1e15}),
        json!({"type": "integer", "multipleOf": 997, "minimum": -1e15, "maximum": 1e15}),
        json!({"type": "number", "multipleOf": 0.25, "minimum": 0.5, "maximum": 1e6}),
        json!({"allOf": [{"type": "integer", "multipleOf": 997}, {"multipleOf": 991}]}),
    ];
    let class: String = (0..80_000u32)
        .map(|i| char::from_u32(0x1_0000 + 2 * i).unwrap())
        .collect();
    let grammars = [
        format!("root ::= [{class}]{{10000}}"),
        format!("root ::= {}", "\"a\"{10000} ".repeat(1000)),
        format!(
            "root ::= {}",
            (0..20_000).map(|i| format!("r{i} | ")).collect::<String>()
                + "\"x\"\n"
                + &(0..20_000)
                    .map(|i| format!("r{i} ::= \"{i}\"\n"))
                    .collect::<String>()
        ),
        (0..20_000)
            .map(|i| format!("r{i} ::= r{} | \"a\"\n", i + 1))
            .collect::<String>()
            + "r20000 ::= \"b\"\nroot ::= r0",
    ];
    let specs = schemas
        .iter()
        .map(schema)
        .chain(grammars.iter().map(|text| gbnf(text)));
    for spec in specs {
        let shown: String = format!("{spec:?}").chars().take(160).collect();
        let start = Instant::now();
        let outcome = toy.compiler.compile(&spec, "grammar").and_then(|grammar| {
            let mut matcher = grammar.matcher()?;
            matcher.mask()?;
            Ok(())
        });
        let took = start.elapsed();
        println!(
            "{took:?} {:?} {shown}",
            outcome.as_ref().err().map(ToString::to_string)
        );
        assert!(took < Duration::from_secs(1), "{took:?} {shown}");
    }
}

#[test]
fn schemas_of_real_clients_are_served() {
    let toy = toy();
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "c": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["v"], "additionalProperties": false}}});
    assert!(toy.accepts(&schema(&tree), r#"{"v":1,"c":[{"v":2}]}"#));
    let union = json!({"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "integer"}]});
    assert!(toy.accepts(&schema(&union), "42"));
    assert!(toy.accepts(&schema(&json!(true)), "[1, {\"a\": null}]"));
    assert!(toy.accepts(&schema(&json!({})), "\"x\""));
    assert!(toy.accepts(&schema(&json!({"const": "foooooo"})), "\"foooooo\""));
    assert!(!toy.accepts_prefix(&schema(&json!({"const": "42"})), "42"));
    assert!(toy.accepts_prefix(&schema(&json!({"items": [{"type": "integer"}]})), "[10"));
    assert!(toy.accepts(&GrammarSpec::JsonObject, "{\"a\": [1, 2]}"));
    for start in ["[", " ", "\"", "1"] {
        assert!(
            !toy.accepts_prefix(&GrammarSpec::JsonObject, start),
            "{start:?}"
        );
    }
    assert!(
        !toy.accepts_prefix(&GrammarSpec::JsonObject, "{  "),
        "white space is bounded"
    );
}

#[test]
fn unenforced_keywords_are_reported_or_refused() {
    let toy = toy();
    let value = json!({"type": "object", "properties": {"a": {"type": "string", "format": "iri"}, "b": {"type": "array", "uniqueItems": true, "items": {"not": {"const": 1}}}}, "minProperties": 1, "title": "x"});
    let grammar = toy
        .compiler
        .compile(&schema(&value), "json_schema")
        .unwrap();
    assert_eq!(
        grammar.ignored_keywords(),
        [
            "/minProperties",
            "/properties/a/format",
            "/properties/b/uniqueItems",
            "/properties/b/items/not"
        ]
    );
    let strict = GrammarSpec::JsonSchema {
        schema: value.to_string(),
        strict: true,
    };
    assert!(
        toy.refusal(&strict)
            .contains("/minProperties cannot be enforced")
    );
}

#[test]
fn objects_that_name_their_properties_are_closed_where_that_is_safe() {
    let toy = toy();
    let named = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let extra = r#"{"a":1,"b":2}"#;
    assert!(toy.accepts(&schema(&named), r#"{"a":1}"#) && !toy.accepts(&schema(&named), extra));
    let open = [
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": true}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a", "b"]}),
        json!({"allOf": [named, {"type": "object", "properties": {"b": {"type": "integer"}}}]}),
        json!({"type": "object", "properties": {"b": {"type": "integer"}}, "$ref": "#/$defs/n", "$defs": {"n": named}}),
        json!({"type": "object"}),
    ];
    for value in &open {
        assert!(
            toy.accepts(&schema(value), extra) || toy.accepts(&schema(value), r#"{"b":2,"a":1}"#),
            "{value}"
        );
    }
}

#[test]
fn a_schema_cannot_set_options() {
    let toy = toy();
    let value = json!({"type": "array", "x-guidance": {"whitespace_flexible": true, "item_separator": ";", "lenient": false}});
    assert!(toy.accepts(&schema(&value), "[1,2]") && !toy.accepts_prefix(&schema(&value), "[1;"));
    assert!(!toy.accepts_prefix(&schema(&value), "[   "));
}

#[test]
fn the_cache_is_bounded() {
    let toy = toy();
    for i in 0..10_000 {
        toy.compiler
            .compile(&gbnf(&format!("root ::= \"{i}\"")), "grammar")
            .unwrap();
    }
    assert!(toy.compiler.inner.compiled.size().0 <= CACHE_ENTRIES);
    let spec = gbnf("root ::= \"same\"");
    let first = toy.compiler.compile(&spec, "grammar").unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &toy.compiler.compile(&spec, "grammar").unwrap()
    ));
}

/// The recorded requests with a grammar or a schema: all compile, and the recorded answers of
/// GBNF grammars are accepted (schemas are compared by validity elsewhere: no text is recorded).
#[test]
fn recorded_requests_compile_and_their_answers_are_accepted() {
    let toy = toy();
    let mut counts = HashMap::new();
    for line in include_str!("../../tests/data/grammar-requests.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if let Some(text) = case["grammar"].as_str() {
            let spec = gbnf(text);
            let answer = case["text"].as_str().unwrap();
            let (read, mut matcher) = toy.feed(&spec, answer);
            assert_eq!(read, answer.len(), "{line}");
            if case["finish"] == "eos" {
                assert!(matcher.is_accepting(), "{line}");
            }
            *counts.entry("grammar").or_insert(0) += 1;
        } else {
            let grammar = toy
                .compiler
                .compile(&schema(&case["schema"]), "json_schema")
                .unwrap();
            assert!(grammar.ignored_keywords().is_empty());
            *counts.entry("schema").or_insert(0) += 1;
        }
    }
    assert!(
        counts["grammar"] >= 5 && counts["schema"] >= 5,
        "{counts:?}"
    );
}

/// A checker of answers for the keywords that the schemas below use.
fn valid(schema: &Value, value: &Value, root: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return schema.as_bool().unwrap_or(false);
    };
    let each = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(|s| valid(s, value, root))
            .collect::<Vec<_>>()
    };
    keywords
        .iter()
        .all(|(keyword, wanted)| match keyword.as_str() {
            "$ref" => valid(
                root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(),
                value,
                root,
            ),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "anyOf" | "oneOf" => each(wanted).contains(&true),
            "allOf" => !each(wanted).contains(&false),
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
                "number" => value.is_number(),
                _ => value.is_null(),
            },
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| valid(wanted, item, root))),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= wanted.as_f64().unwrap()),
            "required" => value.as_object().is_none_or(|map| {
                wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| map.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|map| {
                map.iter()
                    .all(|(name, item)| wanted.get(name).is_none_or(|s| valid(s, item, root)))
            }),
            "additionalProperties" => {
                let named = |name: &String| {
                    keywords
                        .get("properties")
                        .is_some_and(|map| map.get(name).is_some())
                };
                value.as_object().is_none_or(|map| {
                    map.iter()
                        .all(|(name, item)| named(name) || valid(wanted, item, root))
                })
            }
            _ => true,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn walks_through_schemas_end_in_valid_answers(choices in prop::collection::vec(any::<usize>(), 400)) {
        let toy = toy();
        let schemas = [
            json!({"type": "boolean"}),
            json!({"enum": ["red", 1, null, [true], {"a": "b"}]}),
            json!({"type": "array", "items": {"type": "integer", "minimum": -3, "maximum": 120}, "minItems": 1, "maxItems": 3}),
            json!({"type": "string", "minLength": 2, "maxLength": 8}),
            json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": false}),
            json!({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/n"}], "$defs": {"n": {"type": "object", "properties": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "boolean"}]}}, "required": ["n"], "additionalProperties": false}}}),
            json!({"type": "object", "properties": {"a": {"allOf": [{"type": "number", "minimum": 0}, {"maximum": 1}]}}, "additionalProperties": {"type": "boolean"}, "required": ["a"]}),
        ];
        let mut ended = 0;
        for value in &schemas {
            let Some(text) = toy.walk(&schema(value), |step, n| choices[step] % n) else { continue };
            let answer: Value = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(&text)));
            prop_assert!(valid(value, &answer, value), "{value}: {answer}");
            ended += 1;
        }
        prop_assert!(ended >= 4);
    }
}

/// The slow way: all places where `rule` can end in `text` when it starts at `at`.
fn ends(grammar: &gbnf::Grammar, rule: usize, text: &[u32], at: usize) -> Vec<usize> {
    let mut all = Vec::new();
    for sequence in &grammar.rules[rule].alternatives {
        let mut here = vec![at];
        for element in sequence {
            here = repeated(grammar, element, text, here);
        }
        all.extend(here);
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn repeated(
    grammar: &gbnf::Grammar,
    element: &gbnf::Element,
    text: &[u32],
    from: Vec<usize>,
) -> Vec<usize> {
    let once = |at: usize| match &element.atom {
        gbnf::Atom::Chars(set) => text
            .get(at)
            .filter(|&&c| set.contains(c))
            .map(|_| at + 1)
            .into_iter()
            .collect(),
        gbnf::Atom::Token { .. } => Vec::new(),
        gbnf::Atom::Rule(rule) => ends(grammar, *rule, text, at),
    };
    let mut current: std::collections::BTreeSet<usize> = from.into_iter().collect();
    let mut all: std::collections::BTreeSet<usize> = if element.min == 0 {
        current.clone()
    } else {
        Default::default()
    };
    // More turns than characters add nothing: a turn that reads nothing changes nothing.
    let most = element
        .max
        .unwrap_or(u32::MAX)
        .min(element.min + text.len() as u32 + 1);
    for turn in 1..=most {
        current = current.iter().flat_map(|&at| once(at)).collect();
        if turn >= element.min {
            all.extend(&current);
        }
    }
    all.into_iter().collect()
}

/// Random expressions over a, b, é and the rules x and y.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("\"a\"".to_owned()),
        Just("\"b\"".to_owned()),
        Just("\"ab\"".to_owned()),
        Just("\"\"".to_owned()),
        Just("[^a]".to_owned()),
        Just("[ab]".to_owned()),
        Just("\"é\"".to_owned()),
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just(".".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let suffix = prop::sample::select(vec![
            "*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}", "{2,3}",
        ]);
        prop_oneof![
            (inner.clone(), suffix).prop_map(|(e, s)| format!("({e}){s}")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|list| list.join(" ")),
            prop::collection::vec(inner, 2..4).prop_map(|list| format!("({})", list.join(" | "))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_automaton_agrees_with_the_slow_matcher(
        root in expression(), x in expression(), y in expression(),
        probes in prop::collection::vec("[abé]{0,6}", 12),
    ) {
        let toy = toy();
        let source = format!("root ::= {root}\nx ::= {x}\ny ::= \"b\" {y} | \"a\"");
        let parsed = gbnf::parse(&source, "grammar", toy.compiler.inner.vocabulary.as_ref());
        prop_assume!(parsed.is_ok());
        let grammar = parsed.unwrap();
        for probe in &probes {
            let text: Vec<u32> = probe.chars().map(u32::from).collect();
            let expected = ends(&grammar, grammar.root, &text, 0).contains(&text.len());
            let accepted = toy.accepts(&gbnf(&source), probe);
            prop_assert_eq!(accepted, expected, "{}\n{:?}", source, probe);
        }
    }

    #[test]
    fn walks_through_grammars_end_where_the_slow_matcher_ends(
        root in expression(), choices in prop::collection::vec(any::<usize>(), 400),
    ) {
        let toy = toy();
        let source = format!("root ::= {root}\nx ::= \"a\" x? | \"é\"\ny ::= \"b\" root? \"a\"");
        let spec = gbnf(&source);
        // A walk that never may end, or that cannot begin, shows nothing.
        prop_assume!(toy.compiler.compile(&spec, "grammar").is_ok());
        let walked = toy.walk(&spec, |step, n| if step > 12 { n - 1 } else { choices[step] % n });
        if let Some(text) = walked {
            let text = String::from_utf8(text).expect("grammars match whole characters");
            let grammar = gbnf::parse(&source, "grammar", toy.compiler.inner.vocabulary.as_ref()).unwrap();
            let chars: Vec<u32> = text.chars().map(u32::from).collect();
            prop_assert!(ends(&grammar, grammar.root, &chars, 0).contains(&chars.len()), "{}\n{:?}", source, text);
        }
    }
}
