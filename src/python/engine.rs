//! `rustllm._rustllm.Engine`.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;

use super::gguf::tensor_types;
use super::grammar::{PyGrammar, PyWatch};
use super::output::PyOutput;
use super::params::{self, PySamplingParams, extract};
use super::stats;
use super::tokenizer::PyTokenizer;
use crate::config::{CacheType, EngineConfig, Fit, Normalize, Pooling};
use crate::engine::{BenchTest, EmbeddingRequest, Engine, Phase, Request};
use crate::gguf::{LONG_ARRAY, Value};
use crate::grammar::{GrammarSpec, NamedSchema};
use crate::models::Adapter;

/// One model with its engine thread. All methods are thread-safe.
#[pyclass(name = "Engine", module = "rustllm._rustllm", frozen)]
pub struct PyEngine(Engine);

#[pymethods]
impl PyEngine {
    /// Loads a model and starts its thread.
    #[staticmethod]
    #[pyo3(signature = (model, *, n_ctx = 0, fit = true, fit_target = None, fit_ctx = 4096, fit_shortens = None,
        n_parallel = None, kv_unified = None, n_batch = 2048, n_threads = 0, cache_type_k = "f16", cache_type_v = "f16",
        max_queue = 512, max_mask_ms = 100, prefix_cache = true, pooling = None, context_shift = false, lora = None,
        progress = None))]
    #[allow(clippy::too_many_arguments)] // Python keywords; they become one struct at once.
    fn load(
        py: Python<'_>,
        model: PathBuf,
        n_ctx: usize,
        fit: bool,
        fit_target: Option<u64>,
        fit_ctx: usize,
        fit_shortens: Option<bool>,
        n_parallel: Option<usize>,
        kv_unified: Option<bool>,
        n_batch: usize,
        n_threads: usize,
        cache_type_k: &str,
        cache_type_v: &str,
        max_queue: usize,
        max_mask_ms: u32,
        prefix_cache: bool,
        pooling: Option<&str>,
        context_shift: bool,
        lora: Option<Vec<PathBuf>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let config = EngineConfig {
            model,
            n_ctx,
            fit: Fit { enabled: fit, target: fit_target, min_ctx: fit_ctx, shortens: fit_shortens },
            n_parallel,
            kv_unified,
            n_batch,
            n_threads,
            cache_type_k: CacheType::from_name("cache_type_k", cache_type_k)?,
            cache_type_v: CacheType::from_name("cache_type_v", cache_type_v)?,
            max_queue,
            max_mask_ms,
            prefix_cache,
            pooling: pooling.map(Pooling::from_name).transpose()?,
            context_shift,
            lora: lora.unwrap_or_default(),
        };
        let mut failure = None;
        let mut report = |fraction: f32| match &progress {
            None => true,
            Some(callback) => Python::attach(|py| {
                let answer = callback.call1(py, (fraction,)).and_then(|go_on| go_on.is_truthy(py));
                answer.unwrap_or_else(|error| {
                    failure = Some(error);
                    false
                })
            }),
        };
        let loaded = py.detach(|| Engine::load(&config, &mut report));
        match failure {
            Some(error) => Err(error),
            None => Ok(Self(loaded?)),
        }
    }

    #[getter]
    fn tokenizer(&self) -> PyTokenizer {
        PyTokenizer(Arc::clone(self.0.tokenizer()))
    }

    /// Shapes and sizes of the model.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = self.0.info();
        let dict = PyDict::new(py);
        dict.set_item("architecture", &info.architecture)?;
        dict.set_item("n_vocab", info.n_vocab)?;
        dict.set_item("n_ctx_train", info.n_ctx_train)?;
        dict.set_item("n_embd", info.n_embd)?;
        dict.set_item("n_layer", info.n_layer)?;
        dict.set_item("n_head", info.n_head)?;
        dict.set_item("n_head_kv", info.n_head_kv)?;
        dict.set_item("n_params", info.n_params)?;
        dict.set_item("size", info.size)?;
        dict.set_item("types", tensor_types(py, self.0.file())?)?;
        dict.set_item("generates", info.generates)?;
        dict.set_item("n_classes", info.n_classes)?;
        Ok(dict)
    }

    /// One dict for each loaded adapter.
    #[getter]
    fn adapters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let describe = |adapter: &Adapter| {
            let dict = PyDict::new(py);
            dict.set_item("path", adapter.file.path())?;
            dict.set_item("task_name", &adapter.task_name)?;
            dict.set_item("prompt_prefix", &adapter.prompt_prefix)?;
            Ok(dict)
        };
        self.0.info().adapters.iter().map(describe).collect()
    }

    /// The file's metadata, without long arrays.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (key, value) in self.0.file().metadata().iter() {
            if let Some(value) = metadata_value(py, value)? {
                dict.set_item(key, value)?;
            }
        }
        Ok(dict)
    }

    #[getter]
    fn n_ctx(&self) -> usize {
        self.0.n_ctx()
    }

    #[getter]
    fn n_ctx_wanted(&self) -> usize {
        self.0.n_ctx_wanted()
    }

    #[getter]
    fn n_cache_tokens(&self) -> usize {
        self.0.n_cache_tokens()
    }

    #[getter]
    fn n_slots(&self) -> usize {
        self.0.n_slots()
    }

    /// Compiles a grammar for this model's vocabulary.
    #[pyo3(signature = (kind, source, *, param, strict = false))]
    fn compile_grammar(
        &self,
        py: Python<'_>,
        kind: &str,
        source: String,
        param: &str,
        strict: bool,
    ) -> PyResult<PyGrammar> {
        let spec = match kind {
            "gbnf" => GrammarSpec::Gbnf(source),
            "json_schema" => GrammarSpec::JsonSchema { schema: source, strict },
            "json_object" => GrammarSpec::JsonObject,
            other => {
                let message = format!("kind: {other:?} is not a grammar; allowed: gbnf, json_schema, json_object");
                return Err(PyValueError::new_err(message));
            }
        };
        Ok(PyGrammar(py.detach(|| self.0.grammars().compile(&spec, param))?))
    }

    /// Refuses a prompt of these texts where it is certainly longer than the context.
    fn check_texts(&self, py: Python<'_>, texts: Vec<PyBackedStr>) -> PyResult<()> {
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        Ok(py.detach(|| self.0.check_texts(&texts))?)
    }

    /// Compiles a grammar in llguidance's Lark dialect; `schemas` are (name, JSON schema, field of
    /// the request, strict), and `@name` in the grammar stands for one of them. `ignored` are keywords
    /// that the caller does not enforce.
    #[pyo3(signature = (lark, schemas, *, param, ignored = Vec::new()))]
    fn compile_syntax(
        &self,
        py: Python<'_>,
        lark: String,
        schemas: Vec<(String, String, String, bool)>,
        param: &str,
        ignored: Vec<String>,
    ) -> PyResult<PyGrammar> {
        let named = |(name, schema, param, strict)| NamedSchema { name, schema, param, strict };
        let spec = GrammarSpec::Syntax { lark, schemas: schemas.into_iter().map(named).collect(), ignored };
        Ok(PyGrammar(py.detach(|| self.0.grammars().compile(&spec, param))?))
    }

    /// Queues a request and returns its id.
    #[pyo3(signature = (prompt, params, grammar = None, watch = None, *, whole = false))]
    fn submit(
        &self,
        py: Python<'_>,
        prompt: Vec<u32>,
        params: &PySamplingParams,
        grammar: Option<&PyGrammar>,
        watch: Option<&PyWatch>,
        whole: bool,
    ) -> PyResult<u64> {
        let (grammar, watch) = (grammar.map(|g| Arc::clone(&g.0)), watch.map(|w| Arc::clone(&w.0)));
        let request = Request { prompt, params: params.0.clone(), grammar, watch, whole };
        Ok(py.detach(|| self.0.submit(request))?)
    }

    /// How the vectors of a text become one.
    #[getter]
    fn pooling(&self) -> &'static str {
        self.0.pooling().name()
    }

    /// Tokens that a text to embed may have.
    #[getter]
    fn max_embedding_tokens(&self) -> usize {
        self.0.max_embedding_tokens()
    }

    /// Queues texts to embed and returns the request's id.
    #[pyo3(signature = (inputs, *, normalize, dimensions = None, lora = None))]
    fn embed(
        &self,
        py: Python<'_>,
        inputs: Vec<Vec<u32>>,
        normalize: &Bound<'_, PyAny>,
        dimensions: Option<&Bound<'_, PyAny>>,
        lora: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let normalize = Normalize::new(extract("embd_normalize", normalize)?, "embd_normalize")?;
        let dimensions = dimensions.map(|n| extract("dimensions", n)).transpose()?;
        let lora = lora.map_or(Ok(Vec::new()), |pairs| extract("lora", pairs).map(params::lora))?;
        Ok(py.detach(|| self.0.embed(EmbeddingRequest { inputs, normalize, dimensions, lora }))?)
    }

    /// Frees the request's sequences within one step.
    fn abort(&self, request_id: u64) {
        self.0.abort(request_id);
    }

    /// Has the thoughts closed that a request is writing; false where it writes none.
    fn end_thought(&self, py: Python<'_>, request_id: u64) -> PyResult<bool> {
        Ok(py.detach(|| self.0.end_thought(request_id))?)
    }

    /// Readable while outputs are waiting.
    fn fileno(&self) -> i32 {
        self.0.fileno()
    }

    /// The waiting outputs, in order; at most `most` of them.
    #[pyo3(signature = (most = None))]
    fn drain(&self, most: Option<usize>) -> Vec<PyOutput> {
        let outputs = self.0.drain_some(most.unwrap_or(usize::MAX));
        outputs.into_iter().map(|output| PyOutput::new(output, self.0.tokenizer())).collect()
    }

    /// One dict per slot.
    fn slots<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let describe = |slot: crate::engine::SlotState| {
            let dict = PyDict::new(py);
            dict.set_item("id", slot.id)?;
            dict.set_item("n_ctx", self.0.n_ctx())?;
            dict.set_item("is_processing", slot.request.is_some())?;
            dict.set_item("request_id", slot.request)?;
            dict.set_item("n_tokens", slot.n_tokens)?;
            dict.set_item("n_cached", slot.n_cached)?;
            dict.set_item("n_processed", slot.n_processed)?;
            dict.set_item("n_decoded", slot.n_decoded)?;
            dict.set_item("has_new_line", slot.has_new_line)?;
            Ok(dict)
        };
        self.0.slots().into_iter().map(describe).collect()
    }

    /// What was counted since the engine started.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats::to_dict(py, &self.0.stats())
    }

    /// Writes a slot's cache to a file: (tokens, bytes).
    fn save_slot(&self, py: Python<'_>, slot: usize, path: PathBuf) -> PyResult<(usize, u64)> {
        let file = py.detach(|| self.0.save_slot(slot, &path))?;
        Ok((file.n_tokens, file.n_bytes))
    }

    /// Takes a saved file into the cache, for requests of this salt: (tokens, bytes).
    #[pyo3(signature = (slot, path, cache_salt = ""))]
    fn restore_slot(&self, py: Python<'_>, slot: usize, path: PathBuf, cache_salt: &str) -> PyResult<(usize, u64)> {
        let file = py.detach(|| self.0.restore_slot(slot, &path, cache_salt))?;
        Ok((file.n_tokens, file.n_bytes))
    }

    /// Drops what the cache holds of a slot's tokens; returns their number.
    fn erase_slot(&self, py: Python<'_>, slot: usize) -> PyResult<usize> {
        Ok(py.detach(|| self.0.erase_slot(slot))?)
    }

    /// Sequences waiting for a slot.
    fn queue_length(&self) -> usize {
        self.0.queue_length()
    }

    /// False once the engine thread has ended.
    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Log probabilities of tokens[first:], each given all before it.
    fn score(&self, py: Python<'_>, tokens: Vec<u32>, first: usize) -> PyResult<Vec<f32>> {
        Ok(py.detach(|| self.0.score(tokens, first))?)
    }

    /// Logits after the last of `tokens`.
    fn logits(&self, py: Python<'_>, tokens: Vec<u32>) -> PyResult<Vec<f32>> {
        Ok(py.detach(|| self.0.logits(tokens))?)
    }

    /// Measures forward passes over random tokens.
    #[pyo3(signature = (phase, n_tokens, *, n_seq = 1, depth = 0, repeats = 5))]
    fn bench<'py>(
        &self,
        py: Python<'py>,
        phase: &str,
        n_tokens: usize,
        n_seq: usize,
        depth: usize,
        repeats: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let phase = match phase {
            "prefill" => Phase::Prefill,
            "decode" => Phase::Decode,
            other => {
                let message = format!("phase: {other:?} cannot be measured; allowed: prefill, decode");
                return Err(PyValueError::new_err(message));
            }
        };
        let test = BenchTest { phase, n_tokens, n_seq, depth, repeats };
        let run = py.detach(|| self.0.bench(test))?;
        let dict = PyDict::new(py);
        dict.set_item("seconds", run.seconds)?;
        dict.set_item("n_steps", run.n_steps)?;
        dict.set_item("int_ops", run.int_ops)?;
        dict.set_item("float_ops", run.float_ops)?;
        dict.set_item("bytes", run.bytes)?;
        Ok(dict)
    }

    /// Stops the thread. Idempotent.
    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| self.0.shutdown());
    }
}

/// A metadata value as a Python object; `None` where it is a long array.
pub(super) fn metadata_value<'py>(py: Python<'py>, value: &Value) -> PyResult<Option<Bound<'py, PyAny>>> {
    fn array<'py, T: Clone + IntoPyObjectExt<'py>>(py: Python<'py>, items: &[T]) -> PyResult<Option<Bound<'py, PyAny>>>
    where
        Vec<T>: IntoPyObjectExt<'py>,
    {
        (items.len() <= LONG_ARRAY).then(|| items.to_vec().into_bound_py_any(py)).transpose()
    }
    match value {
        Value::Bool(v) => v.into_bound_py_any(py).map(Some),
        Value::U64(v) => v.into_bound_py_any(py).map(Some),
        Value::I64(v) => v.into_bound_py_any(py).map(Some),
        Value::F64(v) => v.into_bound_py_any(py).map(Some),
        Value::String(v) => v.into_bound_py_any(py).map(Some),
        Value::Bools(v) => array(py, v),
        Value::U64s(v) => array(py, v),
        Value::I64s(v) => array(py, v),
        Value::F64s(v) => array(py, v),
        Value::Strings(v) => array(py, v),
    }
}
