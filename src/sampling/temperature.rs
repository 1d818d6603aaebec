//! Temperature, fixed or following the entropy.

use super::candidates::Candidates;

/// Divides logits by `temperature`; only the best one stays possible at 0 or below, and where it would become
/// infinite, of either sign.
pub fn temperature(c: &mut Candidates, temperature: f32) {
    if temperature > 0.0 && (c.max_logit() / temperature).is_finite() {
        return c.items.iter_mut().for_each(|item| item.logit /= temperature);
    }
    let mut best = 0;
    for i in 1..c.items.len() {
        if c.items[i].logit > c.items[best].logit {
            best = i;
        }
    }
    let others = c.items.iter_mut().enumerate().filter(|(i, _)| *i != best);
    others.for_each(|(_, item)| item.logit = f32::NEG_INFINITY);
}

/// Temperature between `base - range` and `base + range`, by the entropy of the candidates.
pub fn dynamic(c: &mut Candidates, base: f32, range: f32, exponent: f32) {
    if range <= 0.0 {
        return temperature(c, base);
    }
    if c.items.len() <= 1 {
        return;
    }
    let (low, high) = ((base - range).max(0.0), base + range);
    let most = -(1.0 / c.items.len() as f32).ln();
    c.sorted_softmax();
    let terms = c.items.iter().filter(|item| item.p > 0.0);
    let entropy = terms.fold(0.0f32, |sum, item| sum - item.p * item.p.ln());
    temperature(c, low + (high - low) * (entropy / most).powf(exponent));
}
