//! The key-value part of a GGUF file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A metadata value. Integers and floats are widened; arrays are flat.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    /// Any unsigned integer.
    U64(u64),
    /// Any signed integer.
    I64(i64),
    /// f32 and f64.
    F64(f64),
    String(String),
    Bools(Vec<bool>),
    U64s(Vec<u64>),
    I64s(Vec<i64>),
    F64s(Vec<f64>),
    Strings(Vec<String>),
}

/// Elements of an array up to which it says something about a model; longer ones are its vocabulary.
pub const LONG_ARRAY: usize = 64;

impl Value {
    /// Elements of an array; 1 of anything else.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bools(v) => v.len(),
            Self::U64s(v) => v.len(),
            Self::I64s(v) => v.len(),
            Self::F64s(v) => v.len(),
            Self::Strings(v) => v.len(),
            Self::Bool(_) | Self::U64(_) | Self::I64(_) | Self::F64(_) | Self::String(_) => 1,
        }
    }

    /// Whether it is an array without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::U64(_) | Self::I64(_) => "integer",
            Self::F64(_) => "float",
            Self::String(_) => "string",
            Self::Bools(_) => "array of bool",
            Self::U64s(_) | Self::I64s(_) => "array of integers",
            Self::F64s(_) => "array of floats",
            Self::Strings(_) => "array of strings",
        }
    }
}

/// Keys and values with the file's path, so that errors can name it.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    path: PathBuf,
    values: HashMap<String, Value>,
}

impl Metadata {
    /// The metadata of the file at `path`.
    #[must_use]
    pub fn new(path: &Path, values: HashMap<String, Value>) -> Self {
        Self { path: path.to_owned(), values }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// `Ok(None)` when the key is absent; an error naming file, key and type when it has another.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "bool", |value| match value {
            Value::Bool(v) => Some(*v),
            _ => None,
        })
    }

    /// An integer that is not negative, whatever its width.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "integer that is not negative", |value| match value {
            Value::U64(v) => Some(*v),
            Value::I64(v) => u64::try_from(*v).ok(),
            _ => None,
        })
    }

    /// [`Self::u64`] as a size.
    pub fn usize(&self, key: &str) -> Result<Option<usize>> {
        match self.u64(key)? {
            None => Ok(None),
            Some(v) => usize::try_from(v).map(Some).map_err(|_| self.error(key, format!("{v} is too large"))),
        }
    }

    /// A finite float.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "finite float", |value| match value {
            Value::F64(v) if (*v as f32).is_finite() => Some(*v as f32),
            _ => None,
        })
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "string", |value| match value {
            Value::String(v) => Some(v.as_str()),
            _ => None,
        })
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "array of strings", |value| match value {
            Value::Strings(v) => Some(v.as_slice()),
            _ => None,
        })
    }

    /// An array of floats.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.typed(key, "array of floats", |value| match value {
            Value::F64s(v) => Some(v.iter().map(|x| *x as f32).collect()),
            _ => None,
        })
    }

    /// Integers of any width and sign.
    pub fn i64s(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.typed(key, "array of integers", |value| match value {
            Value::I64s(v) => Some(v.clone()),
            Value::U64s(v) => v.iter().map(|x| i64::try_from(*x).ok()).collect(),
            _ => None,
        })
    }

    /// Absent is an error that names the file and the key.
    pub fn require<T>(&self, key: &str, value: Result<Option<T>>) -> Result<T> {
        value?.ok_or_else(|| self.error(key, "the key is missing"))
    }

    /// An [`Error::Gguf`] about `field` of this file.
    pub fn error(&self, field: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Gguf { path: self.path.clone(), field: field.into(), message: message.into() }
    }

    /// Drops the vocabulary's arrays, of which [`LONG_ARRAY`] says which are long.
    pub(super) fn forget_vocabulary(&mut self) {
        self.values.retain(|key, value| !key.starts_with("tokenizer.") || value.len() <= LONG_ARRAY);
        self.values.shrink_to_fit();
    }

    /// All keys with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn typed<'a, T>(&'a self, key: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let shown = match value {
                Value::U64(v) => format!("{v}"),
                Value::I64(v) => format!("{v}"),
                Value::F64(v) => format!("{v}"),
                other => other.type_name().to_owned(),
            };
            self.error(key, format!("{shown} is not allowed here; expected: {wanted}"))
        })
    }
}
