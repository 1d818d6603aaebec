//! Samplers that drop candidates.

use super::candidates::Candidates;
use super::rng::Mt19937;

/// Keeps the `k` most probable; k ≤ 0 is off.
pub fn top_k(c: &mut Candidates, k: i32) {
    if let Ok(k @ 1..) = usize::try_from(k) {
        c.keep_best(k);
    }
}

/// Keeps the most probable until their probabilities sum to `p` (Holtzman et al. 2019).
pub fn top_p(c: &mut Candidates, p: f32, min_keep: usize) {
    if p >= 1.0 {
        return;
    }
    // The probabilities are summed before the sort, in the candidates' order.
    c.softmax();
    c.sort();
    let mut sum = 0.0f32;
    let enough = |(i, p_i): (usize, f32)| {
        sum += p_i;
        sum >= p && i + 1 >= min_keep
    };
    let n = c.items.iter().map(|item| item.p).enumerate().position(enough).map_or(c.items.len(), |i| i + 1);
    c.items.truncate(n);
}

/// Keeps those at least `p` times as probable as the best one.
pub fn min_p(c: &mut Candidates, p: f32, min_keep: usize) {
    if p <= 0.0 {
        return;
    }
    let least = c.max_logit() + p.ln();
    if !c.sorted {
        let n = c.items.iter().filter(|item| item.logit >= least).count();
        if n > 0 && n >= min_keep {
            return c.items.retain(|item| item.logit >= least);
        }
        c.sort();
    }
    let drop = |(i, logit): (usize, f32)| i > 0 && logit < least && i >= min_keep;
    let n = c.items.iter().map(|item| item.logit).enumerate().position(drop);
    c.items.truncate(n.unwrap_or(c.items.len()));
}

/// Keeps those whose information is closest to the expected one (Meister et al. 2022).
pub fn typical(c: &mut Candidates, p: f32, min_keep: usize) {
    if p >= 1.0 {
        return;
    }
    c.sorted_softmax();
    let entropy: f32 = c.items.iter().fold(0.0, |sum, item| sum + -item.p * item.p.ln());
    let mut order: Vec<(f32, usize)> =
        c.items.iter().enumerate().map(|(i, item)| ((-item.p.ln() - entropy).abs(), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0f32;
    let enough = |(at, (_, i)): (usize, &(f32, usize))| {
        sum += c.items[*i].p;
        sum > p && at + 1 >= min_keep
    };
    let n = order.iter().enumerate().position(enough).map_or(order.len(), |at| at + 1);
    c.items = order[..n].iter().map(|(_, i)| c.items[*i]).collect();
    c.sorted = false;
}

/// Drops logits more than `n` standard deviations below the best.
pub fn top_n_sigma(c: &mut Candidates, n: f32) {
    if n <= 0.0 || c.items.len() <= 1 {
        return;
    }
    let finite = || c.items.iter().map(|item| item.logit).filter(|logit| *logit != f32::NEG_INFINITY);
    let count = finite().count() as f32;
    let max = finite().fold(f32::NEG_INFINITY, f32::max);
    let mean = if count > 0.0 { finite().sum::<f32>() / count } else { 0.0 };
    // Squares are taken in f64 and summed in f32.
    let squares = finite().fold(0.0f32, |sum, logit| (f64::from(sum) + f64::from(logit - mean).powi(2)) as f32);
    let deviation = if count > 0.0 { f64::from(squares / count).sqrt() as f32 } else { 0.0 };
    let least = max - n * deviation;
    c.items.iter_mut().filter(|item| item.logit < least).for_each(|item| item.logit = f32::NEG_INFINITY);
    c.sorted_softmax();
}

/// With probability `probability`, drops all but the least of those above `threshold`.
pub fn xtc(c: &mut Candidates, probability: f32, threshold: f32, min_keep: usize, rng: &mut Mt19937) {
    if probability <= 0.0 || threshold > 0.5 || c.items.len() < 2 || rng.next_f32() > probability {
        return;
    }
    c.sorted_softmax();
    let above = c.items.iter().take_while(|item| item.p >= threshold).count();
    let last = above.saturating_sub(1);
    if last > 0 && c.items.len() - last >= min_keep {
        c.items.drain(..last);
    }
}
