//! Stages of the chain against their definitions.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::candidates::Candidates;
use super::peaks::Peaks;
use super::rng::Mt19937;
use super::{Sampler, temperature, truncate};
use crate::config::{LogitBias, SamplingParams};
use crate::gguf::GgufFile;
use crate::kernels::Simd;
use crate::tokenizer::Tokenizer;

pub(super) static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/python/rustllm/models/stories260K.gguf");
    let file = GgufFile::open(std::path::Path::new(path)).expect("it is there");
    Arc::new(Tokenizer::from_gguf(file.metadata()).expect("it has a vocabulary"))
});

fn candidates(logits: &[f32]) -> Candidates {
    let mut c = Candidates::default();
    c.reset(logits);
    c
}

fn tokens(c: &Candidates) -> Vec<u32> {
    let mut tokens: Vec<u32> = c.items.iter().map(|item| item.token).collect();
    tokens.sort_unstable();
    tokens
}

/// Tokens by falling logit, with their exact probabilities.
fn ranked(logits: &[f32]) -> Vec<(u32, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let mut all: Vec<(u32, f64)> =
        logits.iter().enumerate().map(|(i, l)| (i as u32, f64::from(l - max).exp() / sum)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn distinct_logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::btree_set(-200i32..200, 2..60)
        .prop_map(|set| set.into_iter().map(|x| x as f32 * 0.05).collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn the_best_of_one_pass_are_those_of_a_sort(
        seed in any::<u32>(), n in 1usize..3000, levels in 1u32..5000, k in 1usize..100,
    ) {
        let mut state = seed | 1;
        let mut random = || { state ^= state << 13; state ^= state >> 17; state ^= state << 5; state };
        // Few levels make many equal logits; one in eight is forbidden.
        let logit = |x: u32| if x.is_multiple_of(8) { f32::NEG_INFINITY } else { (x / 8 % levels) as f32 * 0.01 };
        let logits: Vec<f32> = (0..n).map(|_| logit(random())).collect();
        let (mut all, mut best) = (candidates(&logits), Candidates::default());
        all.keep_best(k);
        for simd in Simd::available() {
            let mut peaks = Peaks::default();
            prop_assert!(peaks.find(&logits, simd));
            best.reset_best(&logits, k, &mut peaks);
            prop_assert_eq!(&best.items, &all.items);
            // Peaks that were found before some logits changed.
            let mut changed = logits.clone();
            let tokens: Vec<usize> = (0..n.min(2)).map(|_| random() as usize % n).collect();
            tokens.iter().for_each(|token| changed[*token] = logit(random()) - 1.0);
            peaks.look_again(&changed, tokens.into_iter(), simd);
            best.reset_best(&changed, k, &mut peaks);
            let mut all = candidates(&changed);
            all.keep_best(k);
            prop_assert_eq!(&best.items, &all.items);
        }
        // The same of some of the tokens only.
        let words: Vec<u32> = (0..n.div_ceil(32)).map(|_| random() & random()).collect();
        let allowed = |token: usize| words[token / 32] >> (token % 32) & 1 == 1;
        let masked = logits.iter().enumerate().map(|(t, logit)| if allowed(t) { *logit } else { f32::NEG_INFINITY });
        let mut all = candidates(&masked.collect::<Vec<_>>());
        all.keep_best(k);
        best.reset_best_allowed(&logits, k, &words);
        prop_assert_eq!(best.items.len(), all.items.len());
        let possible = |c: Candidates| c.items.into_iter().filter(|item| item.logit.is_finite()).collect::<Vec<_>>();
        prop_assert_eq!(possible(best), possible(all));
    }

    #[test]
    fn top_k_keeps_the_k_best(logits in distinct_logits(), k in 1usize..70) {
        let mut c = candidates(&logits);
        truncate::top_k(&mut c, k as i32);
        let mut want: Vec<u32> = ranked(&logits).iter().take(k).map(|(token, _)| *token).collect();
        want.sort_unstable();
        prop_assert_eq!(tokens(&c), want);
    }

    #[test]
    fn top_p_keeps_the_shortest_start_that_reaches_p(logits in distinct_logits(), p in 0.01f32..0.99) {
        let mut c = candidates(&logits);
        truncate::top_p(&mut c, p, 0);
        let sum = |n: usize| ranked(&logits).iter().take(n).map(|(_, p)| p).sum::<f64>();
        let n = c.items.len();
        prop_assert!(sum(n) >= f64::from(p) - 1e-4);
        prop_assert!(sum(n - 1) < f64::from(p) + 1e-4);
    }

    #[test]
    fn min_p_compares_with_the_best_sorted_or_not(logits in distinct_logits(), p in 0.01f32..0.9) {
        let best = ranked(&logits)[0].1;
        let (mut a, mut b) = (candidates(&logits), candidates(&logits));
        b.sort();
        truncate::min_p(&mut a, p, 0);
        truncate::min_p(&mut b, p, 0);
        prop_assert_eq!(tokens(&a), tokens(&b));
        for (token, probability) in ranked(&logits) {
            if (probability / best - f64::from(p)).abs() > 1e-4 {
                prop_assert_eq!(tokens(&a).contains(&token), probability / best > f64::from(p));
            }
        }
    }

    #[test]
    fn every_stage_leaves_a_candidate(logits in distinct_logits(), x in 0.0f32..1.0, keep in 0usize..5) {
        let stages: [fn(&mut Candidates, f32, usize); 5] = [
            |c, x, _| truncate::top_n_sigma(c, x),
            truncate::top_p,
            truncate::typical,
            truncate::min_p,
            |c, x, keep| truncate::xtc(c, 1.0, x / 2.0, keep, &mut Mt19937::new(7)),
        ];
        for stage in stages {
            let mut c = candidates(&logits);
            stage(&mut c, x, keep);
            prop_assert!(!c.items.is_empty());
            prop_assert!(c.items.len() >= keep.min(logits.len()));
        }
    }

    #[test]
    fn temperature_zero_is_greedy(logits in distinct_logits()) {
        let mut c = candidates(&logits);
        temperature::temperature(&mut c, 0.0);
        let possible: Vec<u32> =
            c.items.iter().filter(|i| i.logit > f32::NEG_INFINITY).map(|i| i.token).collect();
        prop_assert_eq!(possible, vec![ranked(&logits)[0].0]);
    }

    #[test]
    fn no_temperature_makes_the_best_impossible(logits in distinct_logits(), offset in -50.0f32..50.0) {
        let logits: Vec<f32> = logits.iter().map(|logit| logit + offset).collect();
        for degree in [f32::MIN_POSITIVE, 1e-38, 1e-30, 1e-3] {
            let mut c = candidates(&logits);
            temperature::temperature(&mut c, degree);
            c.softmax();
            let best = c.items.iter().max_by(|a, b| a.p.total_cmp(&b.p)).expect("there are some");
            prop_assert_eq!(best.token, ranked(&logits)[0].0);
            prop_assert!(c.items.iter().all(|item| item.p.is_finite()));
        }
    }

    /// Keeping a few best from the start, or one, changes nothing.
    #[test]
    fn shortcuts_draw_what_the_whole_chain_draws(
        (temperature, range) in (prop_oneof![Just(0.0f32), Just(-1.0), Just(0.8), Just(1e-38)], prop_oneof![4 => Just(0.0f32), 1 => Just(0.5)]),
        (top_k, top_p, min_p) in (prop_oneof![Just(0i32), Just(1), Just(7), Just(40)], 0.3f32..1.2, prop_oneof![Just(0.0f32), 0.0f32..0.3]),
        (typical, sigma, xtc) in (prop_oneof![3 => Just(1.0f32), 1 => 0.2f32..1.0], prop_oneof![3 => Just(-1.0f32), 1 => 0.5f32..3.0], prop_oneof![3 => Just(0.0f32), 1 => Just(0.5)]),
        (repeat, presence) in (prop_oneof![Just(1.0f32), 0.5f32..2.0], prop_oneof![Just(0.0f32), -1.0f32..1.0]),
        order in Just(SamplingParams::default().samplers).prop_shuffle(), n_stages in 1usize..=9, min_keep in 0usize..3, after in any::<bool>(),
        biases in prop::collection::vec((0u32..512, prop_oneof![Just(f32::NEG_INFINITY), -5.0f32..5.0, Just(3e38f32)]), 0..4),
        seed in any::<u32>(), levels in 2u32..4000, offset in -30.0f32..30.0,
    ) {
        let params = SamplingParams {
            temperature, dynatemp_range: range, top_k, top_p, min_p, typical_p: typical, top_n_sigma: sigma,
            xtc_probability: xtc, xtc_threshold: 0.1, repeat_penalty: repeat, presence_penalty: presence,
            samplers: order[..n_stages].to_vec(), min_keep, seed, n_probs: 3, post_sampling_probs: after,
            logit_bias: biases.into_iter().map(|(token, bias)| LogitBias { token, bias }).collect(),
            ..SamplingParams::default()
        };
        let new = || Sampler::new(&params, 0, &TOKENIZER, &mut None, 512, Simd::best()).expect("they are valid");
        let (mut short, mut whole) = (new(), new());
        whole.shortcut = None;
        let mut state = seed | 1;
        for _ in 0..4 {
            let mut random = || { state ^= state << 13; state ^= state >> 17; state ^= state << 5; state };
            let mut logits: Vec<f32> = (0..512).map(|_| (random() % levels) as f32 * 0.01 + offset).collect();
            let want = whole.sample(&mut logits.clone(), None).expect("it draws");
            let got = short.sample(&mut logits, None).expect("it draws");
            prop_assert_eq!(got.token, want.token);
            prop_assert_eq!(got.prob, want.prob);
            prop_assert_eq!(&got.top, &want.top);
            prop_assert!(got.prob.iter().chain(&got.top).all(|prob| prob.value.is_finite()));
        }
    }

    #[test]
    fn xtc_drops_all_but_the_last_above_the_threshold(logits in distinct_logits(), threshold in 0.02f32..0.5) {
        let mut c = candidates(&logits);
        truncate::xtc(&mut c, 1.0, threshold, 0, &mut Mt19937::new(3));
        let ranked = ranked(&logits);
        prop_assume!(ranked.iter().all(|(_, p)| (p - f64::from(threshold)).abs() > 1e-4));
        let above = ranked.iter().filter(|(_, p)| *p >= f64::from(threshold)).count();
        prop_assert_eq!(c.items.len(), logits.len() - above.saturating_sub(1));
    }
}

/// Alone and among others, in whatever lane.
#[test]
fn what_no_chain_can_work_with_is_seen() {
    for simd in Simd::available() {
        for n in [1, 15, 16, 17, 200, 1025, 1100] {
            let logits = vec![f32::NEG_INFINITY; n];
            assert!(Peaks::default().find(&logits, simd));
            for at in 0..n {
                for wrong in [f32::NAN, -f32::NAN, f32::INFINITY] {
                    let mut logits = logits.clone();
                    logits[at] = wrong;
                    assert!(!Peaks::default().find(&logits, simd), "{simd:?}: {wrong} at {at} of {n}");
                }
            }
        }
    }
}
