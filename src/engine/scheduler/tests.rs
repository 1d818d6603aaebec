//! Plans of made-up steps.

use super::*;
use proptest::prelude::*;

fn sequence(request: u64, choice: usize, prompt: std::ops::Range<u32>) -> Sequence {
    Sequence::new(SequenceId { request, choice }, prompt.collect())
}

fn scheduler(n_slots: usize, n_batch: usize, n_blocks: usize) -> Scheduler {
    Scheduler::new(n_slots, n_batch, BlockPool::new(n_blocks, true))
}

/// One step with a made-up token for each sequence that is sampled.
fn step(scheduler: &mut Scheduler) -> StepPlan {
    let plan = scheduler.schedule();
    scheduler.commit(&plan, Duration::ZERO);
    for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
        scheduler.append(chunk.slot, 7);
    }
    plan
}

fn sizes(plan: &StepPlan) -> Vec<usize> {
    plan.chunks.iter().map(|chunk| chunk.n_tokens).collect()
}

#[test]
fn a_prompt_is_computed_in_chunks_and_then_decodes() {
    let mut s = scheduler(1, 32, 16);
    s.submit(sequence(1, 0, 0..70));
    assert_eq!((0..5).map(|_| sizes(&step(&mut s))).collect::<Vec<_>>(), [[32], [32], [6], [1], [1]]);
    assert_eq!(s.sequence(0).map(Sequence::n_generated), Some(3));
}

#[test]
fn a_slot_tells_what_it_took_from_the_cache_and_what_it_computed() {
    let mut s = scheduler(1, 32, 16);
    s.submit(sequence(1, 0, 0..70));
    let counts = |s: &Scheduler| s.sequence(0).map(|x| (x.n_taken(), x.n_cached, x.n_processed()));
    let steps: Vec<_> = (0..4)
        .map(|_| {
            step(&mut s);
            counts(&s)
        })
        .collect();
    assert_eq!(steps, [(32, 0, 32), (64, 0, 64), (71, 0, 70), (72, 0, 70)].map(Some));
    s.finish(0);
    s.submit(sequence(2, 0, 0..70));
    step(&mut s);
    assert_eq!(counts(&s), Some((71, 69, 1)), "all but the last token came from the cache");
}

#[test]
fn a_new_request_joins_a_running_batch() {
    let mut s = scheduler(2, 512, 64);
    s.submit(sequence(1, 0, 0..10));
    step(&mut s);
    s.submit(sequence(2, 0, 1000..1300));
    assert_eq!(sizes(&step(&mut s)), [1, Pace::default().chunk()], "the stream keeps its pace");
}

#[test]
fn choices_wait_for_the_shared_prompt_and_reuse_it() {
    let mut s = scheduler(3, 64, 64);
    (0..3).for_each(|choice| s.submit(sequence(1, choice, 0..100)));
    assert_eq!(sizes(&step(&mut s)), [64]);
    assert_eq!(sizes(&step(&mut s)), [36]);
    let plan = step(&mut s);
    assert_eq!(sizes(&plan), [1, 1, 1], "both take 99 tokens from the first");
    assert_eq!(plan.copies.len(), 2);
}

#[test]
fn who_goes_on_from_a_copy_that_was_not_made_is_named() {
    let mut s = scheduler(3, 64, 64);
    s.submit(sequence(1, 0, 0..40));
    step(&mut s);
    s.submit(sequence(2, 0, 500..510));
    s.submit(sequence(3, 0, 0..40));
    let plan = s.schedule();
    assert_eq!(plan.copies.len(), 1);
    assert_eq!(s.take_back_copies(&plan), [2]);
    (0..3).for_each(|slot| drop(s.finish(slot)));
    assert_eq!(s.pool().in_use(), 0);
}

#[test]
fn out_of_blocks_the_youngest_is_preempted_and_comes_back() {
    let mut s = scheduler(2, 512, 4);
    s.submit(sequence(1, 0, 0..33));
    s.submit(sequence(2, 0, 1000..1031));
    step(&mut s);
    while s.n_waiting() == 0 {
        step(&mut s);
    }
    assert_eq!(s.sequence(0).map(|x| x.id.request), Some(1), "the elder goes on");
    let before = s.sequence(0).map_or(0, Sequence::n_generated);
    step(&mut s);
    assert_eq!(s.sequence(0).map_or(0, Sequence::n_generated), before + 1);
    s.abort(1);
    let plan = step(&mut s);
    assert_eq!(plan.admitted, [(0, SequenceId { request: 2, choice: 0 })]);
    assert_eq!(s.sequence(0).map(|x| x.n_cached), Some(0), "what it reuses of itself is not a cached prompt");
}

#[test]
fn a_shift_computes_what_is_left_behind_the_kept_blocks() {
    let mut s = scheduler(1, 64, 8);
    s.submit(sequence(1, 0, 0..90));
    (0..10).for_each(|_| drop(step(&mut s)));
    let before = s.sequence(0).map(|x| (x.tokens.clone(), x.n_generated())).expect("it runs");
    s.shift(0, 40, 30);
    let shifted = s.sequence(0).expect("it goes on");
    assert_eq!(shifted.tokens, [&before.0[..40], &before.0[70..]].concat());
    assert_eq!((shifted.n_computed, shifted.n_generated()), (32, before.1), "one whole block was kept");
    assert!(!shifted.is_decoding());
    let pending = shifted.n_pending();
    assert_eq!(sizes(&step(&mut s)), [pending]);
    assert_eq!(sizes(&step(&mut s)), [1]);
    assert_eq!(s.sequence(0).map(|x| (x.n_generated(), x.n_processed())), Some((before.1 + 2, 90)));
    s.abort(1);
    assert_eq!(s.pool().in_use(), 0);
}

#[test]
fn a_slot_remembers_what_it_ran_last_until_that_is_erased() {
    let mut s = scheduler(2, 64, 16);
    s.submit(sequence(1, 0, 0..40));
    step(&mut s);
    step(&mut s);
    s.finish(0);
    assert_eq!(s.history(0).tokens.len(), 41, "the last token drawn is not computed");
    assert_eq!(s.erase(0), 41);
    assert_eq!((s.erase(0), s.history(1).tokens.len()), (0, 0));
    s.submit(sequence(2, 0, 0..40));
    step(&mut s);
    assert_eq!(s.sequence(0).map(|x| x.n_cached), Some(0));
}

/// A sequence whose prompt is scored from its first token on.
fn scored(request: u64, tokens: std::ops::Range<u32>) -> Sequence {
    let mut x = sequence(request, 0, tokens);
    x.score_from = Some(0);
    x
}

/// One step, and the scored rows of `request` in it.
fn scored_rows(s: &mut Scheduler, request: u64) -> Vec<usize> {
    let plan = s.schedule();
    let own = plan.chunks.iter().filter_map(|chunk| Some((s.sequence(chunk.slot)?, chunk.n_tokens)));
    let rows = own.filter(|(x, _)| x.id.request == request).flat_map(|(x, n)| x.scored_rows(n)).collect();
    s.commit(&plan, Duration::ZERO);
    plan.chunks.iter().filter(|chunk| chunk.samples).for_each(|chunk| s.append(chunk.slot, 7));
    rows
}

#[test]
fn a_scored_prompt_is_computed_whole_and_few_rows_at_a_time() {
    let mut s = scheduler(3, 512, 64);
    s.submit(sequence(1, 0, 0..200));
    step(&mut s);
    s.finish(0);
    for request in 2..4 {
        s.submit(scored(request, 0..200));
    }
    let steps: Vec<Vec<usize>> = (0..4).map(|_| scored_rows(&mut s, 2)).collect();
    assert!(steps.iter().all(|rows| rows.len() <= SCORE_ROWS));
    assert_eq!(steps.concat(), (0..199).collect::<Vec<_>>(), "though all of it was in the cache");
    assert_eq!(s.sequence(0).map(|x| (x.n_cached, x.score_from)), Some((0, None)));
    let others: Vec<usize> = (0..10).flat_map(|_| scored_rows(&mut s, 3)).collect();
    // It shared the steps' rows with the first one's end.
    assert_eq!(others.last(), Some(&198));
    assert!(scored_rows(&mut s, 2).is_empty(), "the answer is not scored");
}

#[test]
fn a_scored_prompt_that_was_preempted_goes_on_where_it_was() {
    let mut s = scheduler(2, 16, 6);
    s.submit(sequence(1, 0, 0..60));
    s.submit(scored(2, 1000..1120));
    let mut rows = Vec::new();
    while s.n_preempted() == 0 {
        rows.extend(scored_rows(&mut s, 2));
        assert!(rows.len() < 119, "it is preempted before its end");
    }
    s.finish(0);
    let before = rows.len();
    assert!(before > 32);
    while s.sequence(0).is_none_or(|x| x.score_from.is_some()) {
        rows.extend(scored_rows(&mut s, 2));
    }
    assert_eq!(rows, (0..119).collect::<Vec<_>>(), "each row once");
}

#[test]
fn an_abort_frees_everything_at_once() {
    let mut s = scheduler(1, 16, 8);
    (0..2).for_each(|choice| s.submit(sequence(1, choice, 0..40)));
    step(&mut s);
    assert_eq!(s.abort(1).len(), 2);
    assert!(s.is_idle());
    assert_eq!(s.pool().in_use(), 0);
}

proptest! {
    #[test]
    fn every_request_ends_and_every_block_comes_back(
        requests in prop::collection::vec((1usize..80, 1usize..60, 0usize..12, any::<bool>()), 1..14),
        n_slots in 1usize..5, n_batch in 1usize..70,
    ) {
        // Five blocks are one sequence's longest context here.
        let mut s = scheduler(n_slots, n_batch, 5);
        let mut goals = std::collections::HashMap::new();
        let mut pending = requests.into_iter().enumerate();
        for _ in 0..20_000 {
            if let Some((id, (len, goal, overlap, abort))) = pending.next() {
                let start = (overlap * 3) as u32;
                s.submit(sequence(id as u64, 0, start..start + len as u32));
                goals.insert(id as u64, goal);
                if abort { s.abort(id as u64 / 2); }
            } else if s.is_idle() {
                break;
            }
            let plan = step(&mut s);
            prop_assert!(sizes(&plan).iter().sum::<usize>() <= n_batch.max(1) + n_slots);
            for slot in 0..n_slots {
                if s.sequence(slot).is_some_and(|x| x.n_generated() >= goals[&x.id.request]) {
                    s.finish(slot);
                }
            }
        }
        prop_assert!(s.is_idle());
        prop_assert_eq!(s.pool().in_use(), 0);
    }
}
