//! `rustllm._rustllm.Grammar`.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::grammar::CompiledGrammar;

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
