//! The extension module `rustllm._rustllm`: one file a class, and nothing but conversion. A
//! method converts, releases the GIL, calls, converts back.

mod engine;
mod errors;
mod gguf;
mod grammar;
mod heap;
mod limits;
mod output;
mod params;
mod stats;
mod tokenizer;

use pyo3::prelude::*;

use crate::config::SAMPLER_NAMES;

#[pymodule]
#[pyo3(name = "_rustllm")]
fn native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("SAMPLERS", SAMPLER_NAMES.map(|(_, name, others, letter)| (letter, name, others.to_vec())).to_vec())?;
    m.add_class::<tokenizer::PyTokenizer>()?;
    m.add_class::<params::PySamplingParams>()?;
    m.add_class::<grammar::PyGrammar>()?;
    m.add_class::<grammar::PyWatch>()?;
    m.add_class::<output::PyOutput>()?;
    m.add_class::<output::PyFinish>()?;
    m.add_class::<output::PyTimings>()?;
    m.add_class::<output::PyTokenProb>()?;
    m.add_class::<engine::PyEngine>()?;
    m.add_function(wrap_pyfunction!(gguf::read_gguf, m)?)?;
    m.add_function(wrap_pyfunction!(limits::measure_limits, m)?)?;
    m.add_function(wrap_pyfunction!(heap::return_large_blocks, m)?)?;
    errors::register(m)
}
