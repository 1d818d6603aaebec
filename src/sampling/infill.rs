//! Infill: candidates that begin alike are joined, and doubt ends the text.

use super::candidates::{Candidate, Candidates};
use crate::tokenizer::Tokenizer;

/// Least probability of a joined candidate.
const THRESHOLD: f32 = 0.2;

/// Joins prefixes, drops the improbable, and leaves an end token where nothing else is left.
pub fn infill(c: &mut Candidates, tokenizer: &Tokenizer) {
    c.sorted_softmax();
    let is_end = |item: &Candidate| tokenizer.is_eog(item.token);
    let (ends, texts): (Vec<&Candidate>, Vec<&Candidate>) = c.items.iter().partition(|item| is_end(item));
    let sum = |items: &[&Candidate]| items.iter().map(|item| item.p).sum::<f32>();
    if 3.0 * sum(&ends) * c.items.len() as f32 > sum(&texts) {
        c.items.retain(is_end);
        return;
    }
    join_prefixes(c, tokenizer);
    keep_probable(c, THRESHOLD, is_end);
    let texts = c.items.iter().filter(|item| !is_end(item)).count();
    if texts == 0 {
        if let Some(end) = tokenizer.eot().or(tokenizer.eos()) {
            c.items = vec![Candidate { token: end, logit: 1.0, p: 1.0 }];
        }
        return;
    }
    keep_probable(c, 1.0 / (texts + 1) as f32, is_end);
}

/// Moves the probability of a token whose text begins another's to the likelier of the two.
fn join_prefixes(c: &mut Candidates, tokenizer: &Tokenizer) {
    for a in 0..c.items.len() {
        for b in 0..c.items.len() {
            let dead = |i: usize| c.items[i].logit == f32::NEG_INFINITY;
            if a == b || dead(a) || dead(b) {
                continue;
            }
            let text = |i: usize| tokenizer.token_bytes(c.items[i].token, false);
            if text(a).is_empty() || !text(b).starts_with(text(a)) {
                continue;
            }
            let (keep, lose) = if c.items[b].p > c.items[a].p { (b, a) } else { (a, b) };
            c.items[keep].p += c.items[lose].p;
            c.items[lose].p = 0.0;
            c.items[lose].logit = f32::NEG_INFINITY;
        }
    }
}

fn keep_probable(c: &mut Candidates, least: f32, is_end: impl Fn(&Candidate) -> bool) {
    c.items.retain(|item| item.p >= least || is_end(item));
    let sum: f32 = c.items.iter().map(|item| item.p).sum();
    c.items.iter_mut().for_each(|item| item.p /= sum);
}
