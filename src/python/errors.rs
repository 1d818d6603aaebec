//! Where the crate's errors become Python exceptions.

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{create_exception, types::PyModule};

use crate::error::Error;

create_exception!(rustllm._rustllm, InvalidRequestError, PyValueError, "A request is outside what is allowed.");
create_exception!(
    rustllm._rustllm,
    ContextExceededError,
    InvalidRequestError,
    "The prompt does not fit the context of one sequence."
);
create_exception!(rustllm._rustllm, QueueFullError, PyRuntimeError, "The waiting queue is at its cap.");
create_exception!(rustllm._rustllm, ModelError, PyRuntimeError, "A model file cannot be loaded.");
create_exception!(rustllm._rustllm, UnsupportedError, PyRuntimeError, "The model does not have what is asked for.");
create_exception!(rustllm._rustllm, EngineClosedError, PyRuntimeError, "The engine is shut down.");

/// Adds the exception classes to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add("InvalidRequestError", py.get_type::<InvalidRequestError>())?;
    m.add("ContextExceededError", py.get_type::<ContextExceededError>())?;
    m.add("QueueFullError", py.get_type::<QueueFullError>())?;
    m.add("ModelError", py.get_type::<ModelError>())?;
    m.add("UnsupportedError", py.get_type::<UnsupportedError>())?;
    m.add("EngineClosedError", py.get_type::<EngineClosedError>())
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidRequest { param, .. } => {
                with_fields(InvalidRequestError::new_err(message), |value| value.setattr("param", param))
            }
            Error::ContextExceeded { n_prompt, n_ctx, .. } => {
                with_fields(ContextExceededError::new_err(message), |value| {
                    value.setattr("param", "prompt")?;
                    value.setattr("n_prompt", n_prompt)?;
                    value.setattr("n_ctx", n_ctx)
                })
            }
            Error::QueueFull { .. } => QueueFullError::new_err(message),
            Error::Unsupported(_) => UnsupportedError::new_err(message),
            Error::Closed => EngineClosedError::new_err(message),
            Error::Config { .. } => PyValueError::new_err(message),
            Error::Io { .. } | Error::Write { .. } => PyOSError::new_err(message),
            Error::Gguf { .. } => ModelError::new_err(message),
            Error::Internal(_) => PyRuntimeError::new_err(message),
        }
    }
}

fn with_fields(error: PyErr, set: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) -> PyErr {
    Python::attach(|py| match set(error.value(py).as_any()) {
        Ok(()) => error,
        Err(other) => other,
    })
}
