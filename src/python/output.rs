//! `rustllm._rustllm.Output` and its parts.

use std::borrow::Cow;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::engine::{Event, Finish, Output, Timings, TokenReport};
use crate::sampling::TokenProb;
use crate::tokenizer::Tokenizer;

/// One event of one choice of a request.
#[pyclass(name = "Output", module = "rustllm._rustllm", frozen)]
pub struct PyOutput {
    output: Output,
    tokenizer: Arc<Tokenizer>,
}

impl PyOutput {
    /// Wraps an event; the tokenizer spells out the tokens of its probabilities.
    pub fn new(output: Output, tokenizer: &Arc<Tokenizer>) -> Self {
        Self { output, tokenizer: Arc::clone(tokenizer) }
    }

    fn prob(&self, prob: TokenProb) -> PyTokenProb {
        PyTokenProb {
            token: prob.token,
            bytes: self.tokenizer.token_bytes(prob.token, true).to_vec(),
            value: prob.value,
        }
    }
}

#[pymethods]
impl PyOutput {
    #[getter]
    fn request_id(&self) -> u64 {
        self.output.request
    }

    #[getter]
    fn index(&self) -> usize {
        self.output.choice
    }

    #[getter]
    fn id_slot(&self) -> Option<usize> {
        self.output.slot
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.output.event {
            Event::Progress(_) => "progress",
            Event::Prompt(_) => "prompt",
            Event::Tokens(_) => "token",
            Event::Done(_) => "done",
            Event::Embedding(_) => "embedding",
            Event::Error(_) => "error",
        }
    }

    #[getter]
    fn is_last(&self) -> bool {
        matches!(self.output.event, Event::Done(_) | Event::Embedding(_) | Event::Error(_))
    }

    #[getter]
    fn text(&self) -> Cow<'_, str> {
        match &self.output.event {
            Event::Tokens(reports) => match &reports[..] {
                [report] => Cow::Borrowed(&report.text),
                reports => Cow::Owned(reports.iter().map(|report| &*report.text).collect()),
            },
            Event::Done(finish) => Cow::Borrowed(&finish.text),
            Event::Progress(_) | Event::Prompt(_) | Event::Embedding(_) | Event::Error(_) => Cow::Borrowed(""),
        }
    }

    #[getter]
    fn tokens(&self) -> Vec<u32> {
        match &self.output.event {
            Event::Tokens(reports) => reports.iter().map(|report| report.token).collect(),
            _ => Vec::new(),
        }
    }

    #[getter]
    fn probs(&self) -> Vec<(PyTokenProb, Vec<PyTokenProb>)> {
        match &self.output.event {
            Event::Tokens(reports) => {
                let top = |report: &TokenReport| report.top.iter().map(|top| self.prob(*top)).collect();
                let of = |report: &TokenReport| report.prob.map(|prob| (self.prob(prob), top(report)));
                reports.iter().filter_map(of).collect()
            }
            _ => Vec::new(),
        }
    }

    #[getter]
    fn prompt_prob(&self) -> Option<(PyTokenProb, usize, Vec<PyTokenProb>)> {
        match &self.output.event {
            Event::Prompt(ranked) => {
                let top = ranked.top.iter().map(|top| self.prob(*top)).collect();
                Some((self.prob(ranked.prob), ranked.rank, top))
            }
            _ => None,
        }
    }

    #[getter]
    fn progress(&self) -> Option<(usize, usize, usize, f64)> {
        match self.output.event {
            Event::Progress(p) => Some((p.total, p.cache, p.processed, p.ms)),
            _ => None,
        }
    }

    #[getter]
    fn finish(&self) -> Option<PyFinish> {
        match &self.output.event {
            Event::Done(finish) => Some(PyFinish((**finish).clone())),
            _ => None,
        }
    }

    #[getter]
    fn vectors<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        match &self.output.event {
            Event::Embedding(vectors) => vectors
                .iter()
                .map(|vector| PyBytes::new(py, &vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[getter]
    fn timings(&self) -> Option<PyTimings> {
        match &self.output.event {
            Event::Tokens(reports) => reports.last().map(|report| PyTimings(report.timings)),
            Event::Done(finish) => Some(PyTimings(finish.timings)),
            Event::Progress(p) => {
                let prompt_n = p.processed - p.cache;
                Some(PyTimings(Timings { cache_n: p.cache, prompt_n, prompt_ms: p.ms, ..Timings::default() }))
            }
            _ => None,
        }
    }

    #[getter]
    fn error(&self) -> Option<&str> {
        match &self.output.event {
            Event::Error(message) => Some(message),
            _ => None,
        }
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.output)
    }
}

/// A token with its probability.
#[pyclass(name = "TokenProb", module = "rustllm._rustllm", frozen)]
pub struct PyTokenProb {
    #[pyo3(get)]
    token: u32,
    bytes: Vec<u8>,
    #[pyo3(get)]
    value: f32,
}

#[pymethods]
impl PyTokenProb {
    #[getter]
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why and where a choice ended.
#[pyclass(name = "Finish", module = "rustllm._rustllm", frozen)]
pub struct PyFinish(Finish);

#[pymethods]
impl PyFinish {
    #[getter]
    fn stop_type(&self) -> &'static str {
        self.0.stop_type.name()
    }

    #[getter]
    fn stopping_word(&self) -> &str {
        &self.0.stopping_word
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.0.truncated
    }

    #[getter]
    fn has_new_line(&self) -> bool {
        self.0.has_new_line
    }

    #[getter]
    fn tokens_cached(&self) -> usize {
        self.0.tokens_cached
    }

    #[getter]
    fn id_slot(&self) -> usize {
        self.0.slot
    }

    #[getter]
    fn seed(&self) -> u32 {
        self.0.seed
    }
}

/// Counts and durations (milliseconds).
#[pyclass(name = "Timings", module = "rustllm._rustllm", frozen)]
pub struct PyTimings(Timings);

#[pymethods]
impl PyTimings {
    #[getter]
    fn cache_n(&self) -> usize {
        self.0.cache_n
    }

    #[getter]
    fn prompt_n(&self) -> usize {
        self.0.prompt_n
    }

    #[getter]
    fn prompt_ms(&self) -> f64 {
        self.0.prompt_ms
    }

    #[getter]
    fn predicted_n(&self) -> usize {
        self.0.predicted_n
    }

    #[getter]
    fn predicted_ms(&self) -> f64 {
        self.0.predicted_ms
    }
}
