//! Log probabilities of a prompt's tokens: those that generating the same text reports, to the bit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustllm::config::{EngineConfig, SamplingParams};
use rustllm::engine::{Engine, Event, Request};
use rustllm::sampling::{Ranked, TokenProb};

fn model(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    path.exists().then_some(path)
}

/// The model that comes with the package, and SmolLM2 where `make models` has put it.
fn engines() -> Vec<Engine> {
    let names = ["python/rustllm/models/stories260K.gguf", ".models/SmolLM2-135M-Instruct.Q4_1.gguf"];
    let load = |path| {
        let config =
            EngineConfig { model: path, n_ctx: 2048, n_parallel: Some(3), n_threads: 2, ..EngineConfig::default() };
        Engine::load(&config, &mut |_| true).expect("the model loads")
    };
    names.into_iter().filter_map(model).map(load).collect()
}

fn submit(engine: &Engine, prompt: &[u32], change: impl FnOnce(&mut SamplingParams)) -> u64 {
    let mut params = SamplingParams { temperature: 0.0, n_probs: 3, ignore_eos: true, ..SamplingParams::default() };
    change(&mut params);
    let request = Request { prompt: prompt.to_vec(), params, grammar: None, watch: None, whole: false };
    engine.submit(request).expect("it is accepted")
}

/// What came of one choice.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    prompt: Vec<Ranked>,
    tokens: Vec<(TokenProb, Vec<TokenProb>)>,
    cached: usize,
}

/// Waits for all choices of these requests.
fn answers(engine: &Engine, n_choices: usize) -> HashMap<(u64, usize), Answer> {
    let mut found: HashMap<(u64, usize), Answer> = HashMap::new();
    let mut ended = 0;
    while ended < n_choices {
        std::thread::yield_now();
        for output in engine.drain() {
            let answer = found.entry((output.request, output.choice)).or_default();
            match output.event {
                Event::Prompt(ranked) => {
                    assert!(answer.tokens.is_empty(), "the prompt comes before the answer");
                    answer.prompt.push(*ranked);
                }
                Event::Tokens(reports) => answer
                    .tokens
                    .extend(reports.into_iter().map(|report| (report.prob.expect("n_probs is set"), report.top))),
                Event::Done(finish) => {
                    answer.cached = finish.timings.cache_n;
                    ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    found
}

fn alone(engine: &Engine, prompt: &[u32], change: impl FnOnce(&mut SamplingParams)) -> Answer {
    let id = submit(engine, prompt, change);
    answers(engine, 1).remove(&(id, 0)).expect("it was answered")
}

/// Longer than a chunk of scored rows and than a partition of attention's keys.
fn prompt(engine: &Engine, seed: u32) -> Vec<u32> {
    let n_vocab = engine.info().n_vocab as u32;
    (0..300).map(|i: u32| (i.wrapping_mul(7919) + seed * 131) % n_vocab).collect()
}

fn pairs(scored: &[Ranked]) -> Vec<(TokenProb, Vec<TokenProb>)> {
    scored.iter().map(|ranked| (ranked.prob, ranked.top.clone())).collect()
}

#[test]
fn a_prompt_has_the_probabilities_of_the_same_text_generated() {
    for engine in engines() {
        let start = prompt(&engine, 1);
        let plain = alone(&engine, &start, |params| params.n_predict = 80);
        let drawn: Vec<u32> = plain.tokens.iter().map(|(own, _)| own.token).collect();
        let text = [&start[..], &drawn].concat();
        // All of it is in the cache by now, and has to be computed again.
        let scored = alone(&engine, &text, |params| (params.prompt_logprobs, params.n_predict) = (Some(3), 0));
        assert_eq!(scored.prompt.iter().map(|ranked| ranked.prob.token).collect::<Vec<_>>(), text[1..]);
        assert_eq!(pairs(&scored.prompt[start.len() - 1..]), plain.tokens, "greedy tokens, to the bit");
        assert!(scored.prompt[start.len() - 1..].iter().all(|ranked| ranked.rank == 1));
        assert_eq!((scored.cached, scored.tokens.len()), (0, 0));
    }
}

#[test]
fn places_are_those_of_the_logits() {
    for engine in engines() {
        let text = prompt(&engine, 2);
        let scored = alone(&engine, &text, |params| (params.prompt_logprobs, params.n_predict) = (Some(2), 1)).prompt;
        let by_score = engine.score(text.clone(), 1).expect("it is scored");
        assert_eq!(by_score.len(), scored.len());
        for (ranked, score) in scored.iter().zip(by_score) {
            // What is reported is the logarithm of a sum in f32, as with the tokens of an answer.
            assert!((ranked.prob.value - score).abs() < 1e-3, "{ranked:?} {score}");
            assert_eq!(ranked.top.len(), 2);
        }
        for position in [0, 1, 63, 64, 200, 298] {
            let logits = engine.logits(text[..=position].to_vec()).expect("logits");
            let own = logits[text[position + 1] as usize];
            let ranked = &scored[position];
            assert_eq!(ranked.rank, logits.iter().filter(|logit| **logit >= own).count(), "at {position}");
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits");
            assert_eq!(ranked.top[0].token as usize, best, "at {position}");
        }
    }
}

#[test]
fn scoring_changes_no_answer_and_no_company_changes_scores() {
    for engine in engines() {
        let text = prompt(&engine, 3);
        let plain = alone(&engine, &text, |params| params.n_predict = 20);
        let scored = |params: &mut SamplingParams| (params.prompt_logprobs, params.n_predict) = (Some(1), 20);
        let first = alone(&engine, &text, scored);
        assert_eq!((&first.tokens, first.prompt.len()), (&plain.tokens, text.len() - 1));
        // Beside each other and beside others, some of which share the prompt.
        let ids = [submit(&engine, &text, scored), submit(&engine, &text, scored)];
        submit(&engine, &prompt(&engine, 4), |params| params.n_predict = 60);
        let plain_twice = submit(&engine, &text, |params| (params.n, params.n_predict) = (2, 20));
        let mut found = answers(&engine, 5);
        for id in ids {
            assert_eq!(found.remove(&(id, 0)).expect("it was answered"), first);
        }
        for choice in 0..2 {
            let other = found.remove(&(plain_twice, choice)).expect("it was answered");
            assert_eq!((other.tokens, other.prompt.len()), (plain.tokens.clone(), 0));
        }
    }
}

#[test]
fn only_the_first_choice_reports_the_prompt() {
    for engine in engines() {
        let text = prompt(&engine, 5);
        let id = submit(&engine, &text, |params| {
            (params.prompt_logprobs, params.n, params.n_predict) = (Some(0), 3, 4);
        });
        let found = answers(&engine, 3);
        let reported = |choice| found[&(id, choice)].prompt.len();
        assert_eq!([0, 1, 2].map(reported), [text.len() - 1, 0, 0]);
        assert_eq!([1, 2].map(|choice| found[&(id, choice)].cached), [text.len() - 1; 2], "they share the prompt");
        assert!(found[&(id, 0)].prompt.iter().all(|ranked| ranked.top.is_empty()));
        assert_eq!(found[&(id, 0)].tokens, found[&(id, 2)].tokens);
    }
}

#[test]
fn a_prompt_of_one_token_has_none() {
    for engine in engines() {
        let answer = alone(&engine, &[1], |params| (params.prompt_logprobs, params.n_predict) = (Some(1), 2));
        assert_eq!((answer.prompt.len(), answer.tokens.len()), (0, 2));
    }
}
