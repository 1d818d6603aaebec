//! Schemas within a larger syntax, special tokens in it, and starting behind a text.

use super::*;

fn named(schema: &Value, strict: bool) -> NamedSchema {
    NamedSchema { name: "args".into(), schema: schema.to_string(), param: "tools[0]".into(), strict }
}

fn call(lark: &str) -> GrammarSpec {
    let schema = json!({"type": "object", "properties": {"age": {"enum": [10, 42]}}, "required": ["age"]});
    GrammarSpec::Syntax { lark: lark.into(), schemas: vec![named(&schema, false)], ignored: Vec::new() }
}

#[test]
fn a_schema_is_a_part_of_a_text() {
    let toy = toy();
    let spec = call("start: \"<call>\" @args \"</call>\"");
    assert!(toy.accepts(&spec, "<call>{\"age\": 42}</call>"));
    assert!(toy.accepts_prefix(&spec, "<call>{\"age\":10"));
    for text in ["{\"age\": 42}", "<call>{\"age\": 43", "<call>{}", "<call>{\"age\": 42}<"] {
        let whole = toy.accepts(&spec, text);
        assert!(!whole, "{text}");
    }
}

#[test]
fn special_tokens_stand_for_themselves_only() {
    let toy = toy();
    let mut matcher = toy.matcher(&call(&format!("start: \"a\" <[{}]> @args", toy.think)));
    assert!(!matcher.allows(toy.think));
    matcher.accept(TokenId::from(b'a')).unwrap();
    assert!(matcher.allows(toy.think));
    assert!(!matcher.allows(TokenId::from(b'<')));
    let mask = matcher.mask().unwrap();
    assert!(mask.is_allowed(toy.think));
    assert!(!mask.is_allowed(TokenId::from(b'<')));
    matcher.accept(toy.think).unwrap();
    assert!(matcher.allows(TokenId::from(b'{')));
}

#[test]
fn a_grammar_can_start_behind_a_text_or_at_its_start_again() {
    let toy = toy();
    for spec in [call("start: \"ab\" @args"), gbnf("root ::= \"ab{\" \"x\"")] {
        let mut matcher = toy.matcher(&spec);
        assert!(!matcher.begin_with(b"ac").unwrap());
        assert!(matcher.allows(TokenId::from(b'a')));
        assert!(matcher.begin_with(b"").unwrap());
        assert!(matcher.begin_with(b"ab{").unwrap());
        assert!(!matcher.allows(TokenId::from(b'a')));
    }
}

#[test]
fn bad_schemas_name_their_own_field() {
    let toy = toy();
    let cases = [
        (json!({"type": "hiccup"}), false, "tools[0]: schema, at /type"),
        (json!({"type": "object", "not": {}}), true, "tools[0]: the keyword at /not cannot be enforced"),
    ];
    for (schema, strict, expected) in cases {
        let spec = GrammarSpec::Syntax {
            lark: "start: @args".into(),
            schemas: vec![named(&schema, strict)],
            ignored: Vec::new(),
        };
        let error = toy.compiler.compile(&spec, "tools").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with(expected), "{error}");
    }
    let spec = GrammarSpec::Syntax {
        lark: "start: @args".into(),
        schemas: vec![named(&json!({"type": "object", "not": {}}), false)],
        ignored: vec!["tools[1]/pattern".into()],
    };
    let grammar = toy.compiler.compile(&spec, "tools").unwrap();
    assert_eq!(grammar.ignored_keywords(), ["tools[0]/not", "tools[1]/pattern"]);
}
