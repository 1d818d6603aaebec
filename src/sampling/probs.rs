//! Probabilities that are reported with a token.

use super::TokenProb;
use super::candidates::Candidates;
use crate::tokenizer::TokenId;

/// Log probabilities over all raw logits: of `token`, and of the `n` best.
pub fn before(logits: &[f32], token: TokenId, n: usize) -> (TokenProb, Vec<TokenProb>) {
    let mut all = Candidates::default();
    all.reset(logits);
    let max = all.max_logit();
    let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
    // The logarithm of an f32 probability, which is −∞ once that is 0; JSON has no −∞.
    let value = |logit: f32| ((logit - max).exp() / sum).ln().max(f32::MIN);
    all.keep_best(n);
    let top = all.items.iter().map(|item| TokenProb { token: item.token, value: value(item.logit) }).collect();
    (TokenProb { token, value: value(logits[token as usize]) }, top)
}

/// Probabilities after the chain: of `token`, and of the `n` best that are left.
pub fn after(candidates: &Candidates, token: TokenId, n: usize) -> (Option<TokenProb>, Vec<TokenProb>) {
    let mut items: Vec<TokenProb> =
        candidates.items.iter().map(|item| TokenProb { token: item.token, value: item.p }).collect();
    items.sort_by(|a, b| b.value.total_cmp(&a.value));
    let own = items.iter().find(|item| item.token == token).copied();
    items.truncate(n);
    items.retain(|item| item.value > 0.0);
    (own, items)
}
