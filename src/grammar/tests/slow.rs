//! The automaton beside a slow, obvious matcher.

use super::*;

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
        let suffix = prop::sample::select(vec!["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}", "{2,3}"]);
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
        for probe in &probes {
            let expected = reference::accepts(&toy.compiler, &source, probe);
            prop_assume!(expected.is_some());
            let expected = expected.unwrap();
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
            let expected = reference::accepts(&toy.compiler, &source, &text);
            prop_assume!(expected.is_some());
            prop_assert_eq!(expected, Some(true), "{}\n{:?}", source, text);
        }
    }
}

/// Random expressions in which the classes of the slices, escapes and partial characters occur too.
fn wide_expression() -> impl Strategy<Value = String> {
    let class =
        prop::sample::select(vec!["[a-z]", "[a-zA-Z ]", "[^\"\\\\\\x7F\\x00-\\x1F]", "[^\\n]", "[à-ü]", "[0-9a-f]"]);
    let repeat = prop::sample::select(vec!["", "*", "+", "{0,3}", "{2,25}"]);
    let classes = (class, repeat).prop_map(|(class, repeat)| format!("{class}{repeat}"));
    prop::collection::vec(prop_oneof![expression(), classes], 1..4).prop_map(|list| list.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The walk over the trie, with its slices and remembered steps, beside each token by itself in a
    /// reader that has never walked. Vocabularies are random; so is the way through the grammar.
    #[test]
    fn masks_are_what_the_tokens_say_one_by_one(
        root in wide_expression(), x in expression(),
        words in prop::collection::vec("[abcé日\"\\\\ \\n0Z]{1,6}", 1..40),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 0..40),
        choices in prop::collection::vec(any::<usize>(), 12),
        forgets: bool,
    ) {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        tokens.extend(words.into_iter().map(String::into_bytes).chain(pieces));
        let eog = tokens.len() as TokenId;
        tokens.push(b"</s>".to_vec());
        let compiler = GrammarCompiler::from_vocab(tokens.clone(), &[], &[eog]);
        let source = format!("root ::= {root}\nx ::= {x}\ny ::= \"b\" root? | \"a\"");
        let compiled = compiler.compile(&gbnf(&source), "grammar");
        prop_assume!(compiled.is_ok());
        let compiled = compiled.unwrap();
        let mut walker = compiled.matcher().unwrap();
        let mut taken: Vec<TokenId> = Vec::new();
        for choice in choices {
            if forgets {
                walker.remember_nothing();
            }
            let mask = walker.walked_mask();
            let mut fresh = compiled.matcher().unwrap();
            taken.iter().for_each(|&token| fresh.accept(token).unwrap());
            let one_by_one: Vec<TokenId> = (0..eog).filter(|&token| fresh.allows(token)).collect();
            let walked: Vec<TokenId> = (0..eog).filter(|&token| mask.is_allowed(token)).collect();
            prop_assert_eq!(&walked, &one_by_one, "{} after {:?}", &source, &taken);
            prop_assert_eq!(walker.is_accepting(), fresh.is_accepting());
            let Some(&token) = walked.get(choice % walked.len().max(1)) else { break };
            walker.accept(token).unwrap();
            taken.push(token);
        }
    }
}
