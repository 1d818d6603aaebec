//! `rustllm.SamplingParams`.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::config::{LogitBias, LoraScale, Mirostat, SamplingParams};
use crate::error::Error;

/// Calls a macro with the names of all numbers with a fraction.
macro_rules! float_fields {
    ($callback:ident) => {
        $callback!(
            temperature,
            dynatemp_range,
            dynatemp_exponent,
            top_p,
            min_p,
            top_n_sigma,
            xtc_probability,
            xtc_threshold,
            typical_p,
            adaptive_target,
            adaptive_decay,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            dry_multiplier,
            dry_base,
            mirostat_tau,
            mirostat_eta
        )
    };
}

/// Calls a macro with the names of all other fields whose Python value is the Rust one.
macro_rules! plain_fields {
    ($callback:ident) => {
        $callback!(
            n_predict,
            n,
            seed,
            top_k,
            repeat_last_n,
            dry_allowed_length,
            dry_penalty_last_n,
            dry_sequence_breakers,
            ignore_eos,
            n_probs,
            prompt_logprobs,
            post_sampling_probs,
            min_keep,
            stop,
            stop_token_ids,
            include_stop_str_in_output,
            min_tokens,
            preserved_tokens,
            cache_prompt,
            cache_salt,
            n_keep,
            n_discard,
            t_max_predict_ms,
            return_progress,
            id_slot
        )
    };
}

/// How one request is sampled; keywords have llama-server's names and defaults.
#[pyclass(name = "SamplingParams", module = "rustllm._rustllm", frozen)]
pub struct PySamplingParams(pub SamplingParams);

#[pymethods]
impl PySamplingParams {
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut params = SamplingParams::default();
        for (key, value) in fields.into_iter().flatten() {
            set(&mut params, &key.extract::<String>()?, &value)?;
        }
        params.validate()?;
        Ok(Self(params))
    }

    /// All fields by name.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let p = &self.0;
        let dict = PyDict::new(py);
        macro_rules! put { ($($name:ident),*) => { $( dict.set_item(stringify!($name), &p.$name)?; )* } }
        float_fields!(put);
        plain_fields!(put);
        let mirostat = match p.mirostat {
            Mirostat::Off => 0,
            Mirostat::V1 => 1,
            Mirostat::V2 => 2,
        };
        dict.set_item("mirostat", mirostat)?;
        dict.set_item("samplers", p.samplers.iter().map(|kind| kind.name()).collect::<Vec<_>>())?;
        dict.set_item("lora", p.lora.iter().map(|one| (one.id, one.scale)).collect::<Vec<_>>())?;
        dict.set_item("logit_bias", p.logit_bias.iter().map(|b| (b.token, b.bias)).collect::<Vec<_>>())?;
        Ok(dict)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("SamplingParams(**{})", self.as_dict(py)?.repr()?))
    }
}

/// Sets one field; a value of another type or size is refused by its name.
fn set(params: &mut SamplingParams, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    macro_rules! floats {
        ($($name:ident),*) => {
            match key {
                $( stringify!($name) => { params.$name = extract_f32(key, value)?; return Ok(()); } )*
                _ => {}
            }
        };
    }
    macro_rules! fields {
        ($($name:ident),*) => {
            match key {
                $( stringify!($name) => params.$name = extract(key, value)?, )*
                "mirostat" => params.mirostat = mirostat(extract(key, value)?)?,
                "samplers" => if !value.is_none() {
                    params.samplers = SamplingParams::samplers_of(&extract::<Vec<String>>(key, value)?)?;
                },
                "lora" => params.lora = lora(extract(key, value)?),
                "logit_bias" => params.logit_bias = logit_bias(extract(key, value)?),
                _ => return Err(Error::invalid(key, "it is not a sampling parameter").into()),
            }
        };
    }
    float_fields!(floats);
    plain_fields!(fields);
    Ok(())
}

/// The value as the field's type; `True` is not 1.
pub(super) fn extract<'py, T: FromPyObjectOwned<'py> + 'static>(key: &str, value: &Bound<'py, PyAny>) -> PyResult<T> {
    let is_bool_field = std::any::TypeId::of::<T>() == std::any::TypeId::of::<bool>();
    let got = || format!("{} of type {}", shorten(value), value.get_type());
    if value.is_instance_of::<PyBool>() && !is_bool_field {
        return Err(Error::invalid(key, format!("{} is not a value for this field", got())).into());
    }
    value.extract().map_err(|error: T::Error| {
        let reason: PyErr = error.into();
        let is_too_large = reason.is_instance_of::<PyOverflowError>(value.py());
        match SamplingParams::allowed(key).filter(|_| is_too_large) {
            Some(allowed) => out_of_range(key, value, &allowed),
            None => Error::invalid(key, format!("{} is not a value for this field ({reason})", got())).into(),
        }
    })
}

/// A number as an f32: one that is finite as Python has it must be so here, too.
fn extract_f32(key: &str, value: &Bound<'_, PyAny>) -> PyResult<f32> {
    let number: f32 = extract(key, value)?;
    let is_too_large = number.is_infinite() && value.extract::<f64>().is_ok_and(f64::is_finite);
    match SamplingParams::allowed(key).filter(|_| is_too_large) {
        Some(allowed) => Err(out_of_range(key, value, &allowed)),
        None => Ok(number),
    }
}

fn out_of_range(key: &str, value: &Bound<'_, PyAny>, allowed: &str) -> PyErr {
    Error::invalid(key, format!("{} is out of range; allowed: {allowed}", shorten(value))).into()
}

fn shorten(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| String::new(), |repr| repr.to_string());
    if text.chars().count() <= 60 { text } else { text.chars().take(60).collect::<String>() + "…" }
}

fn mirostat(version: i64) -> PyResult<Mirostat> {
    match version {
        0 => Ok(Mirostat::Off),
        1 => Ok(Mirostat::V1),
        2 => Ok(Mirostat::V2),
        other => Err(Error::invalid("mirostat", format!("{other} is out of range; allowed: 0 (off), 1, 2")).into()),
    }
}

/// Pairs of an adapter's number and its weight.
pub(super) fn lora(pairs: Vec<(i64, f32)>) -> Vec<LoraScale> {
    pairs.into_iter().map(|(id, scale)| LoraScale { id, scale }).collect()
}

fn logit_bias(pairs: Vec<(u32, f32)>) -> Vec<LogitBias> {
    pairs.into_iter().map(|(token, bias)| LogitBias { token, bias }).collect()
}
