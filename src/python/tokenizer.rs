//! `rustllm.Tokenizer`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gguf::GgufFile;
use crate::tokenizer::{TokenId, Tokenizer};

/// A vocabulary with its algorithm. Thread-safe; encode and decode release the GIL.
#[pyclass(name = "Tokenizer", module = "rustllm._rustllm", frozen)]
pub struct PyTokenizer(pub Arc<Tokenizer>);

impl PyTokenizer {
    fn check(&self, id: TokenId) -> PyResult<()> {
        let size = self.0.vocab_size();
        if (id as usize) < size {
            return Ok(());
        }
        Err(PyValueError::new_err(format!("token id {id} is out of range; allowed: 0 to {}", size - 1)))
    }
}

#[pymethods]
impl PyTokenizer {
    /// Opens the vocabulary of a GGUF file, which needs no tensors.
    #[staticmethod]
    fn from_gguf(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let open = || Tokenizer::from_gguf(GgufFile::open(&path)?.metadata());
        Ok(Self(Arc::new(py.detach(open)?)))
    }

    /// Token ids of `text`.
    #[pyo3(signature = (text, add_special = true, parse_special = false))]
    fn encode(&self, py: Python<'_>, text: &str, add_special: bool, parse_special: bool) -> Vec<TokenId> {
        py.detach(|| self.0.encode(text, add_special, parse_special))
    }

    /// The same as 32-bit numbers side by side, a seventh of what Python's own take.
    #[pyo3(signature = (text, add_special = true, parse_special = false))]
    fn encode_packed<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let ids = py.detach(|| self.0.encode(text, add_special, parse_special));
        PyBytes::new_with(py, ids.len() * size_of::<TokenId>(), |bytes| {
            for (id, place) in ids.iter().zip(bytes.chunks_exact_mut(size_of::<TokenId>())) {
                place.copy_from_slice(&id.to_ne_bytes());
            }
            Ok(())
        })
    }

    /// Token ids of a query and a document side by side.
    fn encode_pair(&self, py: Python<'_>, query: &str, document: &str) -> Vec<TokenId> {
        py.detach(|| self.0.encode_pair(query, document))
    }

    /// Text of `ids`; bytes that are not UTF-8 become U+FFFD.
    #[pyo3(signature = (ids, special = false))]
    fn decode(&self, py: Python<'_>, ids: Vec<TokenId>, special: bool) -> PyResult<String> {
        ids.iter().try_for_each(|id| self.check(*id))?;
        Ok(py.detach(|| String::from_utf8_lossy(&self.0.decode_bytes(&ids, special)).into_owned()))
    }

    /// The bytes that a token stands for.
    #[pyo3(signature = (token, special = true))]
    fn token_bytes(&self, token: TokenId, special: bool) -> PyResult<&[u8]> {
        self.check(token)?;
        Ok(self.0.token_bytes(token, special))
    }

    /// The token's text as the file stores it.
    fn raw_text(&self, token: TokenId) -> PyResult<&str> {
        self.check(token)?;
        Ok(self.0.raw_text(token))
    }

    /// Whether the token ends a generation.
    fn is_eog(&self, token: TokenId) -> bool {
        self.0.is_eog(token)
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    #[getter]
    fn algorithm(&self) -> &'static str {
        self.0.algorithm()
    }

    #[getter]
    fn bos(&self) -> Option<TokenId> {
        self.0.bos()
    }

    #[getter]
    fn eos(&self) -> Option<TokenId> {
        self.0.eos()
    }

    #[getter]
    fn eot(&self) -> Option<TokenId> {
        self.0.eot()
    }

    /// Tokens for filling in the middle, by name.
    #[getter]
    fn fim(&self) -> HashMap<&'static str, TokenId> {
        self.0.fim().collect()
    }

    #[getter]
    fn adds_bos(&self) -> bool {
        self.0.adds_bos()
    }

    #[getter]
    fn adds_eos(&self) -> bool {
        self.0.adds_eos()
    }
}
