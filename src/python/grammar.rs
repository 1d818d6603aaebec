//! `rustllm._rustllm.Grammar` and `Watch`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::grammar::{CompiledGrammar, GrammarStart, Marker, Thought, Watch};

/// A compiled grammar. Made by `Engine.compile_grammar`.
#[pyclass(name = "Grammar", module = "rustllm._rustllm", frozen)]
pub struct PyGrammar(pub Arc<CompiledGrammar>);

#[pymethods]
impl PyGrammar {
    /// Places of schema keywords that are accepted but not enforced.
    #[getter]
    fn ignored_keywords(&self) -> Vec<String> {
        self.0.ignored_keywords().to_vec()
    }
}

/// What an answer is watched for while it grows.
#[pyclass(name = "Watch", module = "rustllm._rustllm", frozen)]
pub struct PyWatch(pub Arc<Watch>);

#[pymethods]
impl PyWatch {
    #[new]
    #[pyo3(signature = (start = "at_once", *, markers = Vec::new(), thought = None, begun = false, budget = None,
        budget_message = String::new()))]
    fn new(
        start: &str,
        markers: Vec<(Vec<String>, bool)>,
        thought: Option<(String, String)>,
        begun: bool,
        budget: Option<usize>,
        budget_message: String,
    ) -> PyResult<Self> {
        let marker = |(words, at_start)| Marker { words, at_start };
        let start = match start {
            "at_once" => GrammarStart::AtOnce,
            "after_thought" => GrammarStart::AfterThought,
            "at_marker" => GrammarStart::AtMarker(markers.into_iter().map(marker).collect()),
            other => {
                let message = format!("start: {other:?} is unknown; allowed: at_once, after_thought, at_marker");
                return Err(PyValueError::new_err(message));
            }
        };
        let thought = thought.map(|(open, close)| Thought { open, close, begun, budget, message: budget_message });
        let watch = Watch { thought, start };
        watch.validate()?;
        Ok(Self(Arc::new(watch)))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}
