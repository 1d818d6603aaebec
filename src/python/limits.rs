//! `rustllm._rustllm.measure_limits`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::kernels::{Limits, Pool, Simd};

/// What the machine can do with `n_threads` threads (0: one a core).
#[pyfunction]
#[pyo3(signature = (n_threads = 0))]
pub fn measure_limits(py: Python<'_>, n_threads: usize) -> PyResult<Bound<'_, PyDict>> {
    let simd = Simd::from_environment()?;
    let limits = py.detach(|| Limits::measure(&Pool::new(n_threads), simd));
    let dict = PyDict::new(py);
    dict.set_item("n_threads", limits.n_threads)?;
    dict.set_item("simd", limits.simd.name())?;
    dict.set_item("read", limits.read)?;
    dict.set_item("int8", limits.int8)?;
    dict.set_item("f32", limits.f32)?;
    Ok(dict)
}
