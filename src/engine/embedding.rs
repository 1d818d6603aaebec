//! Embeddings: vectors of texts instead of their continuation. An input is computed whole in one step
//! and needs neither a slot nor a sampler; requests take turns, so that a long list delays nobody.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::command::Command;
use super::handle::Engine;
use super::sequence::SequenceId;
use crate::config::{Adapters, LoraScale, Normalize, Pooling};
use crate::error::{Error, Result};
use crate::kv_cache::{BLOCK_TOKENS, BlockId, BlockPool};
use crate::models::{SequenceRows, StepInput};
use crate::tokenizer::TokenId;

/// Tokens of a step: more gain the kernels nothing, and delay what waits.
const STEP_TOKENS: usize = 512;

/// Texts to embed; each is a choice of the request.
#[derive(Debug)]
pub struct EmbeddingRequest {
    pub inputs: Vec<Vec<TokenId>>,
    pub normalize: Normalize,
    /// Only so many of a vector's first values, normalized anew.
    pub dimensions: Option<i64>,
    /// Adapters with their weights, as for generation.
    pub lora: Vec<LoraScale>,
}

/// One text of a request.
#[derive(Debug)]
pub(super) struct Input {
    pub id: SequenceId,
    pub tokens: Vec<TokenId>,
    pub normalize: Normalize,
    pub dimensions: Option<usize>,
    pub adapters: Adapters,
}

/// What waits, request by request.
#[derive(Debug, Default)]
pub(super) struct EmbeddingQueue {
    requests: VecDeque<VecDeque<Input>>,
}

impl EmbeddingQueue {
    /// Puts the inputs of a request at the end, which run with `adapters`.
    pub fn push(&mut self, request: u64, asked: EmbeddingRequest, adapters: &Adapters) {
        let EmbeddingRequest { inputs, normalize, dimensions, .. } = asked;
        let dimensions = dimensions.and_then(|n| usize::try_from(n).ok());
        let input = |(choice, tokens)| {
            let id = SequenceId { request, choice };
            Input { id, tokens, normalize, dimensions, adapters: adapters.clone() }
        };
        self.requests.push_back(inputs.into_iter().enumerate().map(input).collect());
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes all inputs of `request` out.
    pub fn abort(&mut self, request: u64) -> Vec<SequenceId> {
        self.drain(|id| id.request == request)
    }

    /// Takes everything out.
    pub fn clear(&mut self) -> Vec<SequenceId> {
        self.drain(|_| true)
    }

    fn drain(&mut self, is_meant: impl Fn(SequenceId) -> bool) -> Vec<SequenceId> {
        let (gone, kept) = std::mem::take(&mut self.requests)
            .into_iter()
            .partition(|inputs| inputs.front().is_some_and(|input| is_meant(input.id)));
        self.requests = kept;
        let gone: VecDeque<VecDeque<Input>> = gone;
        gone.iter().flatten().map(|input| input.id).collect()
    }

    /// Inputs of the next step, one of each request in turn, as many as fit into its tokens and `n_blocks`
    /// blocks; the first may have more tokens than that.
    pub fn take(&mut self, n_blocks: usize) -> Vec<Input> {
        let mut taken = Vec::new();
        let (mut tokens, mut blocks) = (0, 0);
        while let Some(mut inputs) = self.requests.pop_front() {
            let Some(next) = inputs.front() else { continue };
            tokens += next.tokens.len();
            blocks += next.tokens.len().div_ceil(BLOCK_TOKENS);
            if blocks > n_blocks || tokens > STEP_TOKENS && !taken.is_empty() {
                self.requests.push_front(inputs);
                break;
            }
            taken.extend(inputs.pop_front());
            if !inputs.is_empty() {
                self.requests.push_back(inputs);
            }
        }
        taken
    }
}

/// The step that computes `inputs`, on blocks of `pool` that the caller gives back, and the rows that
/// `pooling` wants.
pub(super) fn plan(inputs: &[Input], pooling: Pooling, pool: &mut BlockPool) -> StepInput {
    let mut step = StepInput::default();
    for Input { tokens, adapters, .. } in inputs {
        let (row, n_tokens) = (step.tokens.len(), tokens.len());
        let n_blocks = n_tokens.div_ceil(BLOCK_TOKENS);
        let blocks: Vec<BlockId> = (0..n_blocks).filter_map(|_| pool.allocate()).collect();
        step.tokens.extend_from_slice(tokens);
        step.adapt_last(n_tokens, adapters);
        step.sequences.push(SequenceRows { row, n_tokens, n_past: 0, blocks });
        step.outputs.extend(match pooling {
            Pooling::None | Pooling::Mean => row..row + n_tokens,
            Pooling::Cls | Pooling::Rank => row..row + 1,
            Pooling::Last => row + n_tokens - 1..row + n_tokens,
        });
    }
    step
}

/// What the rows of an input become: one vector, or each row as it is without pooling.
pub(super) fn pool(mut rows: Vec<Vec<f32>>, pooling: Pooling, input: &Input) -> Result<Vec<Vec<f32>>> {
    if let Some(row) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        return Err(Error::Internal(format!("the model's vector of token {row} has a value that is not finite")));
    }
    if pooling == Pooling::Mean {
        rows = vec![mean(&rows)];
    }
    let shorten = |row: &mut Vec<f32>| row.truncate(input.dimensions.unwrap_or(usize::MAX));
    rows.iter_mut().for_each(shorten);
    if !matches!(pooling, Pooling::None | Pooling::Rank) {
        rows.iter_mut().for_each(|row| input.normalize.apply(row));
    }
    Ok(rows)
}

/// The mean of rows of equal width, added up in order.
fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}

impl Engine {
    /// Queues texts to embed and returns the request's id; for each arrives an
    /// [`Event::Embedding`](super::Event::Embedding) or an error through [`Self::drain`].
    pub fn embed(&self, request: EmbeddingRequest) -> Result<u64> {
        self.check_embedding(&request)?;
        let adapters = Adapters::new(&request.lora, self.info().adapters.len())?;
        self.admit(request.inputs.len())?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Embed { id, request: Box::new(request), adapters })?;
        Ok(id)
    }

    /// Tokens that an input may have: they are computed in one step.
    #[must_use]
    pub fn max_embedding_tokens(&self) -> usize {
        self.n_ctx().min(self.n_batch)
    }

    fn check_embedding(&self, request: &EmbeddingRequest) -> Result<()> {
        let info = self.info();
        if self.pooling() == Pooling::Rank && info.n_classes == 0 {
            let message = "the model file asks for rank pooling, but has no classification head";
            return Err(Error::Unsupported(message.into()));
        }
        if request.inputs.is_empty() {
            return Err(Error::invalid("input", "it is empty; at least one text is needed"));
        }
        for (index, tokens) in request.inputs.iter().enumerate() {
            let param = format!("input[{index}]");
            self.check_tokens(&param, tokens)?;
            let (n, n_batch) = (tokens.len(), self.n_batch);
            if n > n_batch {
                let message = format!("it has {n} tokens, which are computed at once; allowed: up to {n_batch} (-b)");
                return Err(Error::invalid(param, message));
            }
        }
        match request.dimensions {
            Some(n) if !usize::try_from(n).is_ok_and(|n| (1..=info.n_embd).contains(&n)) => {
                Err(Error::invalid("dimensions", format!("{n} is out of range; allowed: 1 to {}", info.n_embd)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(lens: &[usize]) -> EmbeddingRequest {
        let inputs = lens.iter().map(|len| vec![1; *len]).collect();
        EmbeddingRequest { inputs, normalize: Normalize::default(), dimensions: None, lora: Vec::new() }
    }

    fn names(inputs: &[Input]) -> Vec<(u64, usize)> {
        inputs.iter().map(|input| (input.id.request, input.id.choice)).collect()
    }

    #[test]
    fn requests_take_turns() {
        let mut queue = EmbeddingQueue::default();
        queue.push(1, request(&[200, 200, 200]), &Adapters::default());
        queue.push(2, request(&[100]), &Adapters::default());
        assert_eq!(names(&queue.take(100)), [(1, 0), (2, 0), (1, 1)]);
        assert_eq!(names(&queue.take(100)), [(1, 2)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_long_input_is_computed_alone_and_waits_for_blocks() {
        let mut queue = EmbeddingQueue::default();
        queue.push(1, request(&[900, 3]), &Adapters::default());
        assert!(queue.take(28).is_empty(), "900 tokens need 29 blocks");
        assert_eq!(names(&queue.take(29)), [(1, 0)]);
        assert_eq!(names(&queue.take(29)), [(1, 1)]);
    }

    #[test]
    fn an_abort_takes_all_inputs_of_its_request() {
        let mut queue = EmbeddingQueue::default();
        queue.push(1, request(&[5; 3]), &Adapters::default());
        queue.push(2, request(&[5; 2]), &Adapters::default());
        assert_eq!(queue.abort(1).len(), 3);
        assert_eq!(queue.abort(1).len(), 0);
        assert_eq!(queue.clear().len(), 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn rows_are_pooled_cut_and_normalized() {
        let input = |dimensions| Input {
            id: SequenceId { request: 1, choice: 0 },
            tokens: vec![1, 2],
            normalize: Normalize::default(),
            dimensions,
            adapters: Adapters::default(),
        };
        let rows = || vec![vec![2.0, 6.0, 1.0], vec![4.0, 2.0, 3.0]];
        assert_eq!(pool(rows(), Pooling::Mean, &input(Some(2))).expect("finite"), [[0.6, 0.8]]);
        assert_eq!(pool(rows(), Pooling::None, &input(None)).expect("finite"), rows());
        assert_eq!(pool(vec![vec![7.0]], Pooling::Rank, &input(None)).expect("finite"), [[7.0]]);
        let message = pool(vec![vec![1.0], vec![f32::NAN]], Pooling::Mean, &input(None)).unwrap_err().to_string();
        assert!(message.contains("token 1"), "{message}");
    }

    proptest! {
        #[test]
        fn every_input_is_taken_once_in_the_order_of_its_request(
            requests in prop::collection::vec(prop::collection::vec(1usize..700, 1..20), 0..6),
        ) {
            let mut queue = EmbeddingQueue::default();
            for (id, lens) in requests.iter().enumerate() {
                queue.push(id as u64, request(lens), &Adapters::default());
            }
            let mut seen = vec![0; requests.len()];
            while !queue.is_empty() {
                let step = queue.take(64);
                prop_assert!(!step.is_empty());
                let tokens: usize = step.iter().map(|input| input.tokens.len()).sum();
                prop_assert!(tokens <= STEP_TOKENS || step.len() == 1);
                for (request, choice) in names(&step) {
                    prop_assert_eq!(seen[request as usize], choice);
                    seen[request as usize] += 1;
                }
            }
            prop_assert_eq!(seen, requests.iter().map(Vec::len).collect::<Vec<_>>());
        }
    }
}
