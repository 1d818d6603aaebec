//! Any sampling parameters on any logits: refused by the name of a field, or each draw is a token of the vocabulary
//! with sound probabilities, and the same again for the same seed.
use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use rustllm::config::{LogitBias, Mirostat, SamplerKind, SamplingParams};
use rustllm::gguf::GgufFile;
use rustllm::kernels::Simd;
use rustllm::sampling::Sampler;
use rustllm::tokenizer::Tokenizer;

static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let path = crate::model::EMBEDDED;
    let file = GgufFile::open(path).expect("the embedded model opens");
    Arc::new(Tokenizer::from_gguf(file.metadata()).expect("its vocabulary is whole"))
});

/// Draws of each sampler.
const DRAWS: usize = 6;

/// Names of stages that parameters can ask for.
const STAGES: [&str; 11] = [
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
    "adaptive_p",
    "infill",
];

fn params(u: &mut Unstructured) -> Result<SamplingParams> {
    let mirostats = [Mirostat::Off, Mirostat::Off, Mirostat::V1, Mirostat::V2];
    let stages: Vec<SamplerKind> = STAGES.iter().filter_map(|name| SamplerKind::from_name(name)).collect();
    let mut biases = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        biases.push(LogitBias { token: u.int_in_range(0..=600)?, bias: u.arbitrary()? });
    }
    let mut samplers = Vec::new();
    for _ in 0..u.int_in_range(0..=8)? {
        samplers.push(*u.choose(&stages)?);
    }
    Ok(SamplingParams {
        seed: u.arbitrary()?,
        temperature: number(u)?,
        dynatemp_range: number(u)?,
        dynatemp_exponent: number(u)?,
        top_k: u.arbitrary()?,
        top_p: number(u)?,
        min_p: number(u)?,
        top_n_sigma: number(u)?,
        xtc_probability: number(u)?,
        xtc_threshold: number(u)?,
        typical_p: number(u)?,
        adaptive_target: number(u)?,
        adaptive_decay: number(u)?,
        repeat_last_n: u.int_in_range(-2..=600)?,
        repeat_penalty: number(u)?,
        presence_penalty: number(u)?,
        frequency_penalty: number(u)?,
        dry_multiplier: number(u)?,
        dry_base: number(u)?,
        dry_allowed_length: u.int_in_range(-1..=9)?,
        dry_penalty_last_n: u.int_in_range(-2..=600)?,
        mirostat: *u.choose(&mirostats)?,
        mirostat_tau: number(u)?,
        mirostat_eta: number(u)?,
        logit_bias: biases,
        ignore_eos: u.arbitrary()?,
        samplers,
        n_probs: u.int_in_range(0..=20)?,
        post_sampling_probs: u.arbitrary()?,
        min_keep: u.int_in_range(0..=9)?,
        ..SamplingParams::default()
    })
}

/// A number of a usual size, or any.
fn number(u: &mut Unstructured) -> Result<f32> {
    if u.ratio(3, 4)? { Ok(f32::from(u.arbitrary::<i8>()?) / 64.0) } else { u.arbitrary() }
}

fn logits(u: &mut Unstructured, n: usize) -> Result<Vec<f32>> {
    let (spread, offset) = (f32::from(u.arbitrary::<u8>()?) / 8.0, f32::from(u.arbitrary::<i8>()?));
    let mut row: Vec<f32> = (0..n).map(|i| ((i * 7919) % 997) as f32 / 997.0 * spread + offset).collect();
    for _ in 0..u.int_in_range(0..=6)? {
        row[u.int_in_range(0..=n - 1)?] = u.arbitrary()?;
    }
    Ok(row)
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let n = TOKENIZER.vocab_size();
    let (Ok(params), Ok(row)) = (params(&mut u), logits(&mut u, n)) else { return };
    if let Err(error) = params.validate().and_then(|()| params.validate_for(n)) {
        let error = error.to_string();
        assert!(error.split_once(": ").is_some_and(|(field, _)| !field.contains(' ')), "{error} names a field");
        return;
    }
    let draw = || {
        let mut sampler = Sampler::new(&params, 0, &TOKENIZER, &mut None, 512, Simd::best())
            .expect("accepted parameters make a sampler");
        (0..DRAWS)
            .map(|_| sampler.sample(&mut row.clone(), None).map_err(|error| error.to_string()))
            .collect::<Vec<_>>()
    };
    let drawn = draw();
    assert_eq!(drawn, draw(), "the same seed gives the same tokens");
    for sampled in drawn.into_iter().flatten() {
        assert!((sampled.token as usize) < n);
        assert!(sampled.top.len() <= params.n_probs);
        assert_eq!(sampled.prob.is_some(), params.n_probs > 0);
        assert!(sampled.prob.iter().chain(&sampled.top).all(|prob| prob.value.is_finite()), "{sampled:?}");
    }
}
