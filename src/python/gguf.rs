//! `rustllm._rustllm.read_gguf`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::engine::metadata_value;
use crate::gguf::GgufFile;

/// What a model file holds, whether or not the engine can run it: `metadata` (without long
/// arrays), `n_tensors`, `n_params`, `size` in bytes, and `types`, the number of tensors of each.
#[pyfunction]
pub fn read_gguf(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let file = py.detach(|| GgufFile::open(path))?;
    let metadata = PyDict::new(py);
    for (key, value) in file.metadata().iter() {
        if let Some(value) = metadata_value(py, value)? {
            metadata.set_item(key, value)?;
        }
    }
    let found = PyDict::new(py);
    found.set_item("metadata", metadata)?;
    found.set_item("n_tensors", file.tensors().len())?;
    found.set_item("n_params", file.tensors().iter().map(|tensor| tensor.n_elements() as u64).sum::<u64>())?;
    found.set_item("size", file.tensors().iter().map(|tensor| tensor.bytes as u64).sum::<u64>())?;
    found.set_item("types", tensor_types(py, &file)?)?;
    Ok(found)
}

/// How many tensors of each type a file has.
pub(super) fn tensor_types<'py>(py: Python<'py>, file: &GgufFile) -> PyResult<Bound<'py, PyDict>> {
    let types = PyDict::new(py);
    for tensor in file.tensors() {
        let seen = types.get_item(tensor.ty.name())?.map_or(Ok(0), |count| count.extract::<usize>())?;
        types.set_item(tensor.ty.name(), seen + 1)?;
    }
    Ok(types)
}
