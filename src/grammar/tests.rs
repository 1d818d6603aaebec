//! Grammars from the outside: what is refused, what is served, and that both engines agree with
//! slower ways to the same answer.

mod schemas;
mod slow;
mod syntax;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
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
        "aa", "aaa", "ab", "abc", "yes", "no", " ", "  ", "\n\n", "- ", "\",\"", "{\"", "\":", "true", "false", "null",
        "red", "green", "42", "10", "é", "日本", "name", "age", "],", "}}", ", ", "[1", "foo", "foooooo",
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
    Toy { compiler: GrammarCompiler::from_vocab(tokens.clone(), &[think], &eog), tokens, eog, think }
}

fn gbnf(text: &str) -> GrammarSpec {
    GrammarSpec::Gbnf(text.into())
}

fn schema(value: &Value) -> GrammarSpec {
    GrammarSpec::JsonSchema { schema: value.to_string(), strict: false }
}

impl Toy {
    fn matcher(&self, spec: &GrammarSpec) -> Matcher {
        self.compiler.compile(spec, "grammar").unwrap_or_else(|e| panic!("{spec:?}: {e}")).matcher().unwrap()
    }

    /// The refusal of `spec`, within a second.
    fn refusal(&self, spec: &GrammarSpec) -> String {
        let start = ThreadTime::now();
        let error = self.compiler.compile(spec, "the_field").err().map(|e| e.to_string());
        let shown: String = format!("{spec:?}").chars().take(200).collect();
        assert!(start.elapsed() < Duration::from_secs(1), "{shown} took {:?}", start.elapsed());
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
    fn walk(&self, spec: &GrammarSpec, mut choose: impl FnMut(usize, usize) -> usize) -> Option<Vec<u8>> {
        let mut matcher = self.matcher(spec);
        let mut text = Vec::new();
        for step in 0..400 {
            let single: Vec<bool> = (0..self.tokens.len()).map(|t| matcher.allows(t as TokenId)).collect();
            let mask = matcher.mask().unwrap().clone();
            let allowed: Vec<usize> = (0..self.tokens.len()).filter(|&t| mask.is_allowed(t as TokenId)).collect();
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
        ("root ::= \"a\"\nfoo ::= \"b\" bar", "line 2, column 13: the rule \"bar\" is not defined"),
        ("root ::= root \"a\" | \"a\"", "\"root\" is left-recursive"),
        ("root ::= a\na ::= b? a\nb ::= \"b\"", "\"a\" is left-recursive"),
        ("root ::= x\nx ::= empty y\ny ::= \"\" x \"a\"\nempty ::= \"\" | \" \"", "is left-recursive"),
        ("root ::= (\"a\"? root)*", "\"root\" is left-recursive"),
        ("root ::= \"a\"{3,2}", "line 1, column 13: the repetition \"{3,2}\" ends below its start"),
        ("root ::= \"a\"{1,1000000000}", "1000000000 repetitions are too many"),
        ("root ::= \"a\"{99999999999999999999999}", "too many"),
        ("root ::= \"a\"{,3}", "expected a number"),
        ("root ::= \"a\"{3", "expected ',' or '}'"),
        ("root ::= \"abc", "line 1, column 10: this string has no closing"),
        ("root ::= [abc", "line 1, column 10: this class has no closing"),
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
        ("root ::= \"é\" é", "line 1, column 14: expected an element, '|', or a new line, found 'é'"),
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
    assert!(toy.refusal(&gbnf(&format!("root ::= {}", "(".repeat(60_000)))).contains("nested too deep"));
    assert!(
        toy.refusal(&gbnf(&format!("root ::= {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000))))
            .contains("nested too deep")
    );
    assert!(toy.refusal(&gbnf(&" ".repeat(2 << 20))).contains("allowed: 1048576"));
    toy.refusal(&gbnf(&format!("root ::= {}", "( \"a\" | ".repeat(300))));
    toy.refusal(&gbnf(&format!("root ::= {}", "\"ab\" ".repeat(100_000))));
    let start = ThreadTime::now();
    // A hundred thousand stars, and repetitions of repetitions, are served.
    assert!(toy.accepts(&gbnf(&format!("root ::= \"a\"{}", "*".repeat(40_000))), "aaaa"));
    assert!(toy.accepts_prefix(&gbnf("root ::= (((\"a\"{10000}){10000}){10000}){10000}"), "aaaaaaaaaaa"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn ambiguous_grammars_are_bounded_work() {
    let toy = toy();
    let start = ThreadTime::now();
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
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn gbnf_says_what_llama_cpp_says() {
    let toy = toy();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("root ::= \"a\"{5,5}", &["aaaaa"], &["aaaa", "aaaaaa", ""]),
        ("root ::= \"ab\"*", &["", "ab", "abab"], &["a", "abb"]),
        ("root ::= \"ab\"{2,}", &["abab", "ababab"], &["ab", "aba"]),
        ("root ::= [a-c]{0,2} \"x\"?", &["", "ab", "cx", "x"], &["abc", "xx", "d"]),
        ("root ::= \"a\"+ # comment ::= (\n  # another\nb ::= \"b\"", &["a", "aaa"], &["", "b"]),
        ("# first\n\nroot ::= (\n  \"a\" # x\n  | \"b\"\n\n  \"c\"\n)\n", &["a", "bc"], &["b"]),
        ("root ::= \"a\" |\n  \"b\" |\n  \"\"", &["a", "b", ""], &["ab"]),
        ("root ::= [^\\n\"]+", &["aé日", " "], &["a\n", "\"", ""]),
        ("root ::= [\\x41-\\x43\\u00e9\\U0001F600\\]\\[\\\\-]+", &["ABC", "é😀", "][\\-"], &["D", "a"]),
        ("root ::= \"\\t\\r\\n\\\\\\\"\\x41\"", &["\t\r\n\\\"A"], &["t"]),
        ("root ::= .", &["a", "é", "日", "😀", "\n"], &["", "ab"]),
        ("root ::= \"\" \"a\"", &["a"], &[""]),
        ("root ::= \"a\"{0} \"b\"", &["b"], &["ab"]),
        ("root ::= \"a\"{2}{3}", &["aaaaaa"], &["aaaa", "aaaaa", "aaaaaaa"]),
        ("root ::= a_b\na_b ::= \"x\"\r\n", &["x"], &["a"]),
        ("root ::= \"a\"\nroot ::= \"b\"", &["b"], &["a"]),
        (
            "root ::= e\ne ::= t ((\"+\" | \"-\") t)*\nt ::= [0-9] | \"(\" e \")\"",
            &["1", "(1+2)-3", "((4))"],
            &["(1", "1+", "+1"],
        ),
        ("root ::= \"(\" root \")\" root | \"\"", &["", "(())()"], &["(", ")("]),
        ("root ::= a b\na ::= \"x\"?\nb ::= \"y\"?", &["", "x", "y", "xy"], &["yx"]),
    ];
    for (grammar, yes, no) in cases {
        for text in *yes {
            assert!(toy.accepts(&gbnf(grammar), text), "{grammar:?} should accept {text:?}");
        }
        for text in *no {
            assert!(!toy.accepts(&gbnf(grammar), text), "{grammar:?} should not accept {text:?}");
        }
    }
}

#[test]
fn token_references_match_tokens_not_text() {
    let toy = toy();
    for grammar in ["root ::= <think> \"a\"", &format!("root ::= <[{}]> \"a\"", toy.think)] {
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
    assert!(!toy.accepts(&gbnf("root ::= .*"), "\u{0}"), "as in llama.cpp, no token starts with a zero byte");
    assert!(!toy.matcher(&gbnf("root ::= .*")).allows(toy.think));
}

#[test]
fn the_end_is_where_the_grammar_ends() {
    let toy = toy();
    let mut matcher = toy.matcher(&gbnf("root ::= \"ab\" \"c\"?"));
    assert!(!matcher.is_accepting() && !matcher.allows(toy.eog[0]) && matcher.accept(toy.eog[0]).is_err());
    for byte in b"ab" {
        matcher.accept(TokenId::from(*byte)).unwrap();
    }
    assert!(matcher.is_accepting() && !matcher.is_finished());
    assert!(matcher.allows(toy.eog[0]) && matcher.allows(toy.eog[1]));
    assert!(matcher.accept(TokenId::from(b'x')).is_err(), "a refused token");
    matcher.accept(TokenId::from(b'c')).unwrap();
    assert!(matcher.is_finished());
    let only_eog = matcher.mask().unwrap();
    assert_eq!(only_eog.num_set(), 2);
    matcher.accept(toy.eog[1]).unwrap();
    assert!(matcher.is_finished() && !matcher.allows(TokenId::from(b'c')));
    assert!(matcher.accept(TokenId::MAX).is_err() && !matcher.allows(TokenId::MAX));
}

#[test]
fn the_cache_is_bounded() {
    let toy = toy();
    for i in 0..10_000 {
        toy.compiler.compile(&gbnf(&format!("root ::= \"{i}\"")), "grammar").unwrap();
    }
    assert!(toy.compiler.inner.compiled.size().0 <= CACHE_ENTRIES);
    let spec = gbnf("root ::= \"same\"");
    let first = toy.compiler.compile(&spec, "grammar").unwrap();
    assert!(Arc::ptr_eq(&first, &toy.compiler.compile(&spec, "grammar").unwrap()));
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
            let grammar = toy.compiler.compile(&schema(&case["schema"]), "json_schema").unwrap();
            assert!(grammar.ignored_keywords().is_empty());
            *counts.entry("schema").or_insert(0) += 1;
        }
    }
    assert!(counts["grammar"] >= 5 && counts["schema"] >= 5, "{counts:?}");
}

/// A vocabulary of 128,000 tokens, as models have them: words with and without a space, with quotes
/// and brackets, numbers and characters beyond ASCII.
fn large() -> GrammarCompiler {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    let (ends, middles) =
        (["", " ", "\"", " \"", "{\"", "(", "日", "é"], ["qu", "ar", "to", "in", "x", "er", "0", "12"]);
    for i in 0..127_744usize {
        let middle: String = (0..1 + i % 5).map(|k| middles[(i >> (3 * k + 3)) % 8]).collect();
        tokens.push(format!("{}{middle}{}", ends[i % 8], i / 32_768).into_bytes());
    }
    GrammarCompiler::from_vocab(tokens, &[], &[])
}

#[test]
fn masks_of_large_vocabularies_take_less_than_a_millisecond() {
    let compiler = large();
    let json = r#"root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [1-9] [0-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}"#;
    let text = r#"{"name": "Once upon a time", "list": [1, 2.5, -3e10, true], "deep": {"a": [[], {"é": "x\"y"}]}}"#;
    let compiled = compiler.compile(&gbnf(json), "grammar").unwrap();
    let mut matcher = compiled.matcher().unwrap();
    let mut times = Vec::new();
    for byte in text.bytes() {
        let start = ThreadTime::now();
        matcher.walked_mask();
        times.push(start.elapsed());
        matcher.accept(TokenId::from(byte)).unwrap();
    }
    assert!(matcher.is_finished() || matcher.is_accepting());
    times.sort_unstable();
    assert!(times[times.len() / 2] < Duration::from_millis(1), "{times:?}");
}
