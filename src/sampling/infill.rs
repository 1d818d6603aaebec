//! Infill: candidates that begin alike are joined, and doubt ends the text.

use super::candidates::{Candidate, Candidates};
use crate::tokenizer::Tokenizer;

/// Least probability of a joined candidate.
const THRESHOLD: f32 = 0.2;

/// Joins prefixes, drops the improbable, and leaves an end token where nothing else is left. Where `may_end` is false
/// a grammar forbids that, and the likeliest text stays.
pub fn infill(c: &mut Candidates, tokenizer: &Tokenizer, may_end: bool) {
    c.sorted_softmax();
    let is_end = |item: &Candidate| tokenizer.is_eog(item.token);
    let (ends, texts): (Vec<&Candidate>, Vec<&Candidate>) = c.items.iter().partition(|item| is_end(item));
    let sum = |items: &[&Candidate]| items.iter().map(|item| item.p).sum::<f32>();
    if 3.0 * sum(&ends) * c.items.len() as f32 > sum(&texts) {
        c.items.retain(is_end);
        return;
    }
    let likeliest = c.items[0];
    join_prefixes(c, tokenizer);
    keep_probable(c, THRESHOLD, is_end);
    let texts = c.items.iter().filter(|item| !is_end(item)).count();
    if texts == 0 {
        match tokenizer.eot().or(tokenizer.eos()) {
            Some(end) if may_end => c.items = vec![Candidate { token: end, logit: 1.0, p: 1.0 }],
            // What is forbidden has no probability, and no sum has been a number since.
            _ if !c.items.iter().any(|item| item.p > 0.0) => c.items = vec![likeliest],
            _ => {}
        }
        return;
    }
    keep_probable(c, 1.0 / (texts + 1) as f32, is_end);
}

/// Moves the probability of a token whose text begins another's to the likelier of the two.
fn join_prefixes(c: &mut Candidates, tokenizer: &Tokenizer) {
    for (a, b) in prefix_pairs(&c.items, tokenizer) {
        let (a, b) = (a as usize, b as usize);
        let dead = |i: usize| c.items[i].logit == f32::NEG_INFINITY;
        if dead(a) || dead(b) {
            continue;
        }
        let (keep, lose) = if c.items[b].p > c.items[a].p { (b, a) } else { (a, b) };
        c.items[keep].p += c.items[lose].p;
        c.items[lose].p = 0.0;
        c.items[lose].logit = f32::NEG_INFINITY;
    }
}

/// Places (a, b), ascending, of which a's text is not empty and begins b's. A chain without top-k has the whole
/// vocabulary here, too much to try every pair: in alphabetical order what begins a text stands before it, and all
/// that begin one begin each other.
fn prefix_pairs(items: &[Candidate], tokenizer: &Tokenizer) -> Vec<(u32, u32)> {
    let text = |place: u32| tokenizer.token_bytes(items[place as usize].token, false);
    let mut places: Vec<u32> = (0..items.len() as u32).filter(|place| !text(*place).is_empty()).collect();
    places.sort_unstable_by_key(|place| text(*place));
    let (mut begins, mut pairs) = (Vec::<u32>::new(), Vec::new());
    for b in places {
        while begins.last().is_some_and(|a| !text(b).starts_with(text(*a))) {
            begins.pop();
        }
        for a in begins.iter().copied() {
            pairs.push((a, b));
            if text(a).len() == text(b).len() {
                pairs.push((b, a));
            }
        }
        begins.push(b);
    }
    pairs.sort_unstable();
    pairs
}

fn keep_probable(c: &mut Candidates, least: f32, is_end: impl Fn(&Candidate) -> bool) {
    c.items.retain(|item| item.p >= least || is_end(item));
    let sum: f32 = c.items.iter().map(|item| item.p).sum();
    c.items.iter_mut().for_each(|item| item.p /= sum);
}

#[cfg(test)]
mod tests {
    use super::super::tests::TOKENIZER;
    use super::*;
    use proptest::prelude::*;

    fn candidates(logits: &[f32]) -> Candidates {
        let mut c = Candidates::default();
        c.reset(logits);
        c
    }

    proptest! {
        #[test]
        fn pairs_are_those_of_a_search(order in prop::sample::subsequence((0u32..512).collect::<Vec<_>>(), 1..512).prop_shuffle()) {
            let items: Vec<Candidate> = order.iter().map(|token| Candidate { token: *token, logit: 0.0, p: 0.0 }).collect();
            let text = |item: &Candidate| TOKENIZER.token_bytes(item.token, false);
            let mut slow = Vec::new();
            for (a, first) in items.iter().enumerate().filter(|(_, item)| !text(item).is_empty()) {
                let begun = items.iter().enumerate().filter(|(b, second)| a != *b && text(second).starts_with(text(first)));
                slow.extend(begun.map(|(b, _)| (a as u32, b as u32)));
            }
            prop_assert_eq!(prefix_pairs(&items, &TOKENIZER), slow);
        }

        /// Where a text may not end, a text is left.
        #[test]
        fn what_may_not_end_goes_on(logits in prop::collection::vec(-3.0f32..3.0, 512)) {
            let mut logits = logits;
            for token in TOKENIZER.eog_tokens() {
                logits[*token as usize] = f32::NEG_INFINITY;
            }
            let mut c = candidates(&logits);
            infill(&mut c, &TOKENIZER, false);
            prop_assert!(!c.items.is_empty());
            prop_assert!(c.items.iter().any(|item| !TOKENIZER.is_eog(item.token)), "{:?}", c.items);
        }
    }

    #[test]
    fn doubt_ends_a_text() {
        let mut c = candidates(&[0.0; 512]);
        infill(&mut c, &TOKENIZER, true);
        assert!(c.items.iter().all(|item| TOKENIZER.is_eog(item.token)), "{:?}", c.items);
    }
}
