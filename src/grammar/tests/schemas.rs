//! Schemas: what is refused, what is served, what their answers look like.

use super::*;

#[test]
fn bad_schemas_are_refused_with_their_place() {
    let toy = toy();
    let deep = format!("{}true{}", "{\"items\":".repeat(5000), "}".repeat(5000));
    let many: serde_json::Map<String, Value> = (0..10_000).map(|i| (format!("p{i}"), json!({}))).collect();
    let alternation: String = (0..100_000).map(|i| format!("a{i}|")).collect();
    let chain: serde_json::Map<String, Value> =
        (0..5000).map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}))).collect();
    let required = |part: Value| json!({"type": "object", "properties": {"a": part}, "required": ["a"]});
    let one = |i: u8| json!({"type": "object", "properties": {format!("p{i}"): {"type": "string"}}});
    let alternatives = json!({"anyOf": (0..8).map(one).collect::<Vec<_>>()});
    let crowded = json!({"type": "string", "format": "email", "pattern": "@", "minLength": 3});
    let cases = [
        (json!({"type": 123}), "at /type: 123 is no type"),
        (json!({"type": "hiccup"}), "at /type: \"hiccup\" is no type"),
        (json!({"properties": {"a/b": {"type": ["string", 5]}}}), "at /properties/a~1b/type"),
        (json!(123), "at the root: a schema is an object or a boolean, not 123"),
        (json!("x"), "at the root"),
        (json!(true), "at the root: true is no use"),
        (json!(null), "at the root"),
        (json!({"$ref": "#"}), "at the root: nothing finite"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "nothing finite",
        ),
        (json!({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}), "nothing finite"),
        (json!({"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}), "nothing finite"),
        (json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}), "nothing finite"),
        (
            json!({"$ref": "https://example.com/schema.json"}),
            "at /$ref: \"https://example.com/schema.json\" is not within this schema",
        ),
        (json!({"$ref": "other.json#/a"}), "at /$ref"),
        (json!({"$ref": "#/nowhere"}), "at /$ref: \"#/nowhere\" is not in this schema"),
        (json!({"$ref": 5}), "at /$ref"),
        (json!({"type": "array", "minItems": 1_000_000_000}), "at /minItems: 1000000000 is out of range"),
        (json!({"type": "array", "maxItems": 1_000_000_000}), "at /maxItems"),
        (json!({"type": "string", "maxLength": 1_000_000_000}), "at /maxLength"),
        (json!({"type": "string", "minLength": -1}), "at /minLength"),
        (json!({"type": "object", "minProperties": 1e9}), "at /minProperties"),
        (json!({"type": "object", "properties": many}), "at /properties: 10000 properties; allowed: 2000"),
        (json!({"enum": (0..100_000).collect::<Vec<_>>()}), ""),
        (json!({"enum": []}), "at /enum"),
        (json!({"anyOf": []}), "at /anyOf"),
        (json!({"anyOf": {"type": "string"}}), "at /anyOf"),
        (json!({"properties": [1]}), "at /properties"),
        (json!({"required": "a"}), "at /required"),
        (json!({"items": "a"}), "at /items"),
        (json!({"items": [{"type": 1}]}), "at /items/0/type"),
        (json!({"type": "string", "pattern": "(a"}), "at /pattern"),
        (json!({"type": "string", "pattern": "a(?<!b)c"}), "at /pattern"),
        (json!({"type": "string", "pattern": alternation}), "allowed"),
        (json!({"type": "string", "pattern": 5}), "at /pattern"),
        (json!({"minimum": "5"}), "at /minimum"),
        (json!({"multipleOf": 0}), "at /multipleOf"),
        (json!({"$ref": "#/$defs/d0", "$defs": chain}), ""),
        (json!(false), ""),
        (json!({"type": "string", "minLength": 5, "maxLength": 2}), "at the root: nothing satisfies"),
        (json!({"type": "integer", "minimum": 5, "maximum": 4}), "at the root: nothing satisfies"),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), "at the root: nothing satisfies"),
        (
            json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
            "at /properties/a: nothing satisfies",
        ),
        (required(json!({"allOf": vec![alternatives; 8]})), "at /properties/a: the alternatives in it are too many"),
        (required(crowded), "at /properties/a: pattern, format and lengths of a string are too much"),
    ];
    for (value, expected) in &cases {
        let error = toy.refusal(&schema(value));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    for text in [deep.as_str(), &"[".repeat(100_000), "", "{", "{\"a\": 1} x"] {
        toy.refusal(&GrammarSpec::JsonSchema { schema: text.into(), strict: false });
    }
}

#[test]
fn heavy_patterns_are_bounded() {
    let toy = toy();
    for pattern in ["(a+)+$", "^(a|a)*b$", "^(.*a){20}$", "^.{0,1000}x.{0,1000}$"] {
        let start = ThreadTime::now();
        let spec = schema(&json!({"type": "string", "pattern": pattern}));
        if let Ok(grammar) = toy.compiler.compile(&spec, "json_schema") {
            let mut matcher = grammar.matcher().unwrap();
            for byte in b"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                if matcher.mask().is_err() || matcher.accept(TokenId::from(*byte)).is_err() {
                    break;
                }
            }
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{pattern}: {:?}", start.elapsed());
    }
}

#[test]
fn heavy_schemas_and_grammars_are_bounded() {
    let toy = toy();
    toy.compiler.compile(&GrammarSpec::JsonObject, "json_schema").unwrap();
    let names =
        |n: usize, value: Value| (0..n).map(|i| (format!("p{i}"), value.clone())).collect::<serde_json::Map<_, _>>();
    let patterns: serde_json::Map<_, _> = (0..300).map(|i| (format!("^(a|b)*{i}$"), json!({}))).collect();
    let choices = |n: usize| (0..n).map(|i| json!({"const": format!("v{i}")})).collect::<Vec<_>>();
    let objects: Vec<Value> =
        (0..60).map(|i| json!({"properties": names(30, json!({"type": "string"})), "title": i})).collect();
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
    let class: String = (0..80_000u32).map(|i| char::from_u32(0x1_0000 + 2 * i).unwrap()).collect();
    let grammars = [
        format!("root ::= [{class}]{{10000}}"),
        format!("root ::= {}", "\"a\"{10000} ".repeat(1000)),
        format!(
            "root ::= {}",
            (0..20_000).map(|i| format!("r{i} | ")).collect::<String>()
                + "\"x\"\n"
                + &(0..20_000).map(|i| format!("r{i} ::= \"{i}\"\n")).collect::<String>()
        ),
        (0..20_000).map(|i| format!("r{i} ::= r{} | \"a\"\n", i + 1)).collect::<String>()
            + "r20000 ::= \"b\"\nroot ::= r0",
    ];
    let specs = schemas.iter().map(schema).chain(grammars.iter().map(|text| gbnf(text)));
    for spec in specs {
        let shown: String = format!("{spec:?}").chars().take(160).collect();
        let start = ThreadTime::now();
        let outcome = toy.compiler.compile(&spec, "grammar").and_then(|grammar| {
            let mut matcher = grammar.matcher()?;
            matcher.mask()?;
            Ok(())
        });
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?} {shown}");
        let refused = outcome.err().map(|error| error.to_string());
        assert!(refused.is_none_or(|error| error.starts_with("grammar: ") && error.len() < 1000));
    }
}

#[test]
fn schemas_of_real_clients_are_served() {
    let toy = toy();
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "c": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["v"], "additionalProperties": false}}});
    assert!(toy.accepts(&schema(&tree), r#"{"v":1,"c":[{"v":2}]}"#));
    let union = json!({"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "integer"}]});
    assert!(toy.accepts(&schema(&union), "42"));
    assert!(toy.accepts(&schema(&json!({})), "[1, {\"a\": null}]"));
    assert!(toy.accepts(&schema(&json!({})), "\"x\""));
    assert!(toy.accepts(&schema(&json!({"const": "foooooo"})), "\"foooooo\""));
    assert!(!toy.accepts_prefix(&schema(&json!({"const": "42"})), "42"));
    assert!(toy.accepts_prefix(&schema(&json!({"items": [{"type": "integer"}]})), "[10"));
    assert!(toy.accepts(&GrammarSpec::JsonObject, "{\"a\": [1, 2]}"));
    for start in ["[", " ", "\"", "1"] {
        assert!(!toy.accepts_prefix(&GrammarSpec::JsonObject, start), "{start:?}");
    }
    assert!(!toy.accepts_prefix(&GrammarSpec::JsonObject, "{  "), "white space is bounded");
}

#[test]
fn unenforced_keywords_are_reported_or_refused() {
    let toy = toy();
    let value = json!({"type": "object", "properties": {"a": {"type": "string", "format": "iri"}, "b": {"type": "array", "uniqueItems": true, "items": {"not": {"const": 1}}}}, "minProperties": 1, "title": "x"});
    let grammar = toy.compiler.compile(&schema(&value), "json_schema").unwrap();
    assert_eq!(
        grammar.ignored_keywords(),
        ["/minProperties", "/properties/a/format", "/properties/b/uniqueItems", "/properties/b/items/not"]
    );
    let strict = GrammarSpec::JsonSchema { schema: value.to_string(), strict: true };
    assert!(toy.refusal(&strict).contains("/minProperties cannot be enforced"));
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
        assert!(toy.accepts(&schema(value), extra) || toy.accepts(&schema(value), r#"{"b":2,"a":1}"#), "{value}");
    }
}

#[test]
fn a_schema_cannot_set_options() {
    let toy = toy();
    let value =
        json!({"type": "array", "x-guidance": {"whitespace_flexible": true, "item_separator": ";", "lenient": false}});
    assert!(toy.accepts(&schema(&value), "[1,2]") && !toy.accepts_prefix(&schema(&value), "[1;"));
    assert!(!toy.accepts_prefix(&schema(&value), "[   "));
}

/// A checker of answers for the keywords that the schemas below use.
fn valid(schema: &Value, value: &Value, root: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return schema.as_bool().unwrap_or(false);
    };
    let each = |list: &Value| list.as_array().unwrap().iter().map(|s| valid(s, value, root)).collect::<Vec<_>>();
    keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
        "$ref" => valid(root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), value, root),
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
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| valid(wanted, item, root))),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
        "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= wanted.as_f64().unwrap()),
        "required" => value
            .as_object()
            .is_none_or(|map| wanted.as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))),
        "properties" => value
            .as_object()
            .is_none_or(|map| map.iter().all(|(name, item)| wanted.get(name).is_none_or(|s| valid(s, item, root)))),
        "additionalProperties" => {
            let named = |name: &String| keywords.get("properties").is_some_and(|map| map.get(name).is_some());
            value.as_object().is_none_or(|map| map.iter().all(|(name, item)| named(name) || valid(wanted, item, root)))
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

#[test]
fn numbers_end_where_they_can() {
    let toy = toy();
    let digits = |n: usize| "1".repeat(n);
    let zeros = "0".repeat(20);
    let cases = [
        (json!({"type": "integer"}), digits(20), true),
        (json!({"type": "integer"}), digits(21), false),
        (json!({"type": "integer", "minimum": 5}), digits(21), false),
        (json!({"type": "number"}), format!("-{}.{}e-12", digits(20), digits(20)), true),
        (json!({"type": "number"}), format!("0.{zeros}1"), false),
        (json!({"type": "number"}), "1e123".into(), false),
        (json!({"type": "number", "multipleOf": 0.5}), format!("0.5{zeros}"), false),
        // Above an excluded zero a number cannot end in zeros.
        (json!({"type": "number", "exclusiveMinimum": 0}), format!("0.{zeros}1"), true),
        (json!({"type": "number", "exclusiveMinimum": 0}), format!("0.{zeros}0"), false),
        (json!({"type": "number", "exclusiveMinimum": 0}), format!("0.{zeros}11"), false),
        (json!({"type": "object"}), format!("{{\"a\": [{}, {}]}}", digits(20), digits(20)), true),
        (json!({"type": "object"}), format!("{{\"a\": [{}", digits(21)), false),
        (json!({"type": "object"}), format!("{{\"{}\": \"{}\"}}", digits(30), digits(30)), true),
        (json!({"type": "string", "pattern": "^[0-9]{25,30}$"}), format!("\"{}\"", digits(30)), true),
        (json!({"type": "string", "pattern": "^[0-9]{25}$"}), format!("\"{zeros}10000\""), true),
    ];
    for (value, text, fits) in cases {
        assert_eq!(toy.accepts_prefix(&schema(&value), &text), fits, "{value}: {text}");
    }
    let any = GrammarSpec::Syntax {
        lark: "start: @args /[0-9]*/".into(),
        schemas: vec![NamedSchema {
            name: "args".into(),
            schema: "{\"type\": \"null\"}".into(),
            param: "tools".into(),
            strict: false,
        }],
        ignored: Vec::new(),
    };
    assert!(!toy.accepts_prefix(&any, &format!("null{}", digits(21))));
    let spelled = GrammarSpec::Syntax { lark: "start: /[0-9]*/".into(), schemas: Vec::new(), ignored: Vec::new() };
    assert!(toy.accepts_prefix(&spelled, &digits(50)));
    assert!(toy.accepts_prefix(&gbnf("root ::= [0-9]*"), &digits(50)));
}

#[test]
fn nesting_ends_where_it_can() {
    let toy = toy();
    let most = super::super::bounds::MAX_DEPTH;
    let node = json!({"type": "object", "properties": {"n": {"anyOf": [{"$ref": "#"}, {"type": "boolean"}]}}, "required": ["n"]});
    let lists = |n: usize| format!("{{\"a\":{}", "[".repeat(n));
    let cases = [
        (json!({"type": "object"}), lists(most - 1), true),
        (json!({"type": "object"}), lists(most), false),
        (json!({"type": "object"}), format!("{}\"[[\"", lists(most - 1)), true),
        (node.clone(), format!("{}true", "{\"n\":".repeat(most)), true),
        (node, "{\"n\":".repeat(most + 1), false),
    ];
    for (value, text, fits) in cases {
        assert_eq!(toy.accepts_prefix(&schema(&value), &text), fits, "{value}: {text}");
    }
    let mut deep = json!({"const": 1});
    for _ in 0..most + 5 {
        deep = json!({"type": "object", "properties": {"n": deep}, "required": ["n"]});
    }
    assert!(toy.accepts_prefix(&schema(&deep), &"{\"n\":".repeat(most + 5)));
}

#[test]
fn formats_are_what_they_say_and_end() {
    let toy = toy();
    let cases = [
        ("date", "2024-02-29", true),
        ("date", "2000-02-29", true),
        ("date", "2023-02-29", false),
        ("date", "1900-02-29", false),
        ("date", "0000-01-01", false),
        ("date", "0001-12-31", true),
        ("date", "2024-04-31", false),
        ("date", "2024-04-30x", false),
        ("time", "23:59:59Z", true),
        ("time", "23:59:60Z", false),
        ("time", "23:59:59", false),
        ("time", "01:02:03.123456789+05:30", true),
        ("time", "01:02:03.1234567890Z", false),
        ("date-time", "2024-02-29T01:02:03.5z", true),
        ("date-time", "2023-02-29T01:02:03Z", false),
        ("date-time", "2024-02-29", false),
        ("email", "a@b.example", true),
        ("email", &format!("{}@b.example", "a".repeat(250)), false),
        ("uri", &format!("a:{}", "b".repeat(1998)), true),
        ("uri", &format!("a:{}", "b".repeat(1999)), false),
    ];
    for (format, text, fits) in cases {
        let spec = schema(&json!({"type": "string", "format": format}));
        assert_eq!(toy.accepts(&spec, &format!("\"{text}\"")), fits, "{format}: {text}");
    }
    let longer = schema(&json!({"type": "string", "format": "email", "maxLength": 260}));
    assert!(toy.accepts(&longer, &format!("\"{}@b.example\"", "a".repeat(250))));
    let both = schema(&json!({"type": "string", "format": "date", "pattern": "^2024"}));
    assert!(toy.accepts(&both, "\"2024-01-01\""));
    assert!(!toy.accepts(&both, "\"2023-01-01\""));
}
