//! The key-value part of a GGUF file.

use crate::error::Result;

/// A metadata value. Arrays are stored flat by element type.
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

/// Keys and values with the file's path, so that errors can name it.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    // to be written
}

#[allow(unused_variables)]
impl Metadata {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> { todo!() }
    /// `Ok(None)` when the key is absent, an error naming file, key and type when it has another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> { todo!() }
    pub fn u64(&self, key: &str) -> Result<Option<u64>> { todo!() }
    pub fn usize(&self, key: &str) -> Result<Option<usize>> { todo!() }
    pub fn f32(&self, key: &str) -> Result<Option<f32>> { todo!() }
    pub fn str(&self, key: &str) -> Result<Option<&str>> { todo!() }
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>> { todo!() }
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> { todo!() }
    /// Integers of any width and sign, as i64.
    pub fn i64s(&self, key: &str) -> Result<Option<Vec<i64>>> { todo!() }
    /// Absent is an error that names the file and the key.
    pub fn require<'a, T>(&'a self, key: &str, value: Result<Option<T>>) -> Result<T> { todo!() }
    /// An [`crate::Error::Gguf`] about `field` of this file.
    pub fn error(&self, field: impl Into<String>, message: impl Into<String>) -> crate::Error { todo!() }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> { std::iter::empty() }
}
