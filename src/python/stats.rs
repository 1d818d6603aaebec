//! The engine's counts as a dict.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::engine::Stats;

/// The counts by name; histograms as (sum, list of (bound, observations up to it)).
pub fn to_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    macro_rules! put { ($($name:ident),*) => { $( dict.set_item(stringify!($name), stats.$name)?; )* } }
    put!(prompt_tokens, prompt_seconds, predicted_tokens, predicted_seconds, cache_queries, cache_hits);
    put!(steps, step_slots, max_tokens, preemptions, blocks_used, blocks);
    let ends = PyDict::new(py);
    ends.set_item("stop", stats.ends.stop)?;
    ends.set_item("length", stats.ends.length)?;
    ends.set_item("abort", stats.ends.abort)?;
    ends.set_item("error", stats.ends.error)?;
    dict.set_item("ends", ends)?;
    macro_rules! histograms {
        ($($name:ident),*) => { $( dict.set_item(stringify!($name), (stats.$name.sum(), stats.$name.cumulative()))?; )* }
    }
    histograms!(time_to_first_token, inter_token, queue, prefill, decode, whole, prompt_lengths, answer_lengths);
    Ok(dict)
}
