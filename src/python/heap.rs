//! `rustllm._rustllm.return_large_blocks`.

use pyo3::prelude::*;

use crate::kernels::heap;

/// Has the allocator give large blocks back when they are freed.
#[pyfunction]
pub fn return_large_blocks() {
    heap::return_large_blocks();
}
