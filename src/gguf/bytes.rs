//! A cursor over hostile bytes: every read is checked against what is left.

use std::path::Path;

use super::metadata::Value;
use crate::error::{Error, Result};

/// Longest key or tensor name. The format's description caps keys at 65,535 bytes; real ones
/// stay far below a kilobyte.
const MAX_NAME_BYTES: u64 = 65_535;

/// Reads little-endian values from the header of the file at `path`.
pub(super) struct Bytes<'a> {
    pub data: &'a [u8],
    pub at: usize,
    path: &'a Path,
}

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8], path: &'a Path) -> Self {
        Self { data, at: 0, path }
    }

    pub fn error(&self, field: &str, message: impl Into<String>) -> Error {
        Error::Gguf { path: self.path.to_owned(), field: field.to_owned(), message: message.into() }
    }

    fn left(&self) -> usize {
        self.data.len() - self.at
    }

    pub fn take(&mut self, n: usize, field: &str) -> Result<&'a [u8]> {
        let slice = self.data.get(self.at..).and_then(|rest| rest.get(..n)).ok_or_else(|| {
            let message = format!(
                "the file ends at byte {} where {n} more bytes are needed at byte {}",
                self.data.len(),
                self.at
            );
            self.error(field, message)
        })?;
        self.at += n;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N]> {
        Ok(self.take(N, field)?.try_into().expect("take returns as many bytes as asked for"))
    }

    pub fn u32(&mut self, field: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub fn u64(&mut self, field: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A count of things that take at least `least` bytes each, so that it is bounded by the file.
    pub fn count(&mut self, least: usize, field: &str) -> Result<usize> {
        let count = self.u64(field)?;
        let most = (self.left() / least.max(1)) as u64;
        if count > most {
            return Err(
                self.error(field, format!("the count {count} is more than the rest of the file can hold ({most})"))
            );
        }
        Ok(count as usize)
    }

    /// A key or a tensor name.
    pub fn name(&mut self, field: &str) -> Result<String> {
        let at = self.at;
        let name = self.string(field)?;
        if name.is_empty() || name.len() as u64 > MAX_NAME_BYTES {
            let message = format!("the name at byte {at} has {} bytes; allowed: 1 to {MAX_NAME_BYTES}", name.len());
            return Err(self.error(field, message));
        }
        Ok(name)
    }

    fn string(&mut self, field: &str) -> Result<String> {
        let n = self.count(1, field)?;
        let bytes = self.take(n, field)?;
        // Vocabularies of real models contain tokens that are not UTF-8; they are kept readable.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A value of GGUF type `ty`.
    pub fn value(&mut self, ty: u32, key: &str) -> Result<Value> {
        Ok(match ty {
            0 => Value::U64(u64::from(self.array::<1>(key)?[0])),
            1 => Value::I64(i64::from(i8::from_le_bytes(self.array(key)?))),
            2 => Value::U64(u64::from(u16::from_le_bytes(self.array(key)?))),
            3 => Value::I64(i64::from(i16::from_le_bytes(self.array(key)?))),
            4 => Value::U64(u64::from(self.u32(key)?)),
            5 => Value::I64(i64::from(i32::from_le_bytes(self.array(key)?))),
            6 => Value::F64(f64::from(f32::from_le_bytes(self.array(key)?))),
            7 => Value::Bool(self.bool(key)?),
            8 => Value::String(self.string(key)?),
            9 => self.array_value(key)?,
            10 => Value::U64(self.u64(key)?),
            11 => Value::I64(i64::from_le_bytes(self.array(key)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(key)?)),
            other => return Err(self.error(key, format!("value type {other} is unknown; known: 0 to 12"))),
        })
    }

    fn bool(&mut self, key: &str) -> Result<bool> {
        match self.array::<1>(key)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error(key, format!("{other} is not a bool; allowed: 0, 1"))),
        }
    }

    fn array_value(&mut self, key: &str) -> Result<Value> {
        let ty = self.u32(key)?;
        let width = match ty {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(self.error(key, "arrays of arrays are not supported")),
            other => return Err(self.error(key, format!("array type {other} is unknown; known: 0 to 12"))),
        };
        let n = self.count(width, key)?;
        match ty {
            7 => (0..n).map(|_| self.bool(key)).collect::<Result<_>>().map(Value::Bools),
            8 => (0..n).map(|_| self.string(key)).collect::<Result<_>>().map(Value::Strings),
            6 => Ok(Value::F64s(self.numbers(n, key, |b: [u8; 4]| f64::from(f32::from_le_bytes(b)))?)),
            12 => Ok(Value::F64s(self.numbers(n, key, f64::from_le_bytes)?)),
            0 => Ok(Value::U64s(self.numbers(n, key, |b: [u8; 1]| u64::from(b[0]))?)),
            2 => Ok(Value::U64s(self.numbers(n, key, |b| u64::from(u16::from_le_bytes(b)))?)),
            4 => Ok(Value::U64s(self.numbers(n, key, |b| u64::from(u32::from_le_bytes(b)))?)),
            10 => Ok(Value::U64s(self.numbers(n, key, u64::from_le_bytes)?)),
            1 => Ok(Value::I64s(self.numbers(n, key, |b| i64::from(i8::from_le_bytes(b)))?)),
            3 => Ok(Value::I64s(self.numbers(n, key, |b| i64::from(i16::from_le_bytes(b)))?)),
            5 => Ok(Value::I64s(self.numbers(n, key, |b| i64::from(i32::from_le_bytes(b)))?)),
            _ => Ok(Value::I64s(self.numbers(n, key, i64::from_le_bytes)?)),
        }
    }

    fn numbers<const N: usize, T>(&mut self, n: usize, key: &str, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let bytes = self.take(n * N, key)?;
        Ok(bytes.chunks_exact(N).map(|chunk| read(chunk.try_into().expect("chunks have N bytes"))).collect())
    }
}
