//! Which LoRA adapters a request runs with, and how strongly.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Adapters that an engine may load. Each costs memory and, where it is used, time.
pub const MAX_ADAPTERS: usize = 256;

/// Beyond any scale that leaves a model's answers of use, far from overflow.
const MAX_SCALE: f32 = 1e4;

/// A loaded adapter, by its number, with its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraScale {
    pub id: i64,
    pub scale: f32,
}

/// Refuses lists that no engine could serve.
pub(super) fn validate(scales: &[LoraScale]) -> Result<()> {
    if scales.len() > MAX_ADAPTERS {
        return Err(Error::invalid("lora", format!("it has {} entries; allowed: up to {MAX_ADAPTERS}", scales.len())));
    }
    match scales.iter().position(|one| one.scale.is_nan() || one.scale.abs() > MAX_SCALE) {
        Some(index) => {
            let message = format!("{} is out of range; allowed: -{MAX_SCALE} to {MAX_SCALE}", scales[index].scale);
            Err(Error::invalid(format!("lora[{index}].scale"), message))
        }
        None => Ok(()),
    }
}

/// The adapters that change something, by ascending number: two lists that mean the same are equal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Adapters(Arc<[(usize, f32)]>);

impl Adapters {
    /// What `scales` ask of an engine that has loaded `n_adapters`. Of several scales for one adapter the
    /// last counts, as in llama-server; those that are not named are off.
    pub fn new(scales: &[LoraScale], n_adapters: usize) -> Result<Self> {
        validate(scales)?;
        let mut all = vec![0.0; n_adapters];
        for (index, one) in scales.iter().enumerate() {
            let Some(slot) = usize::try_from(one.id).ok().and_then(|id| all.get_mut(id)) else {
                return Err(Error::invalid(format!("lora[{index}].id"), unknown(one.id, n_adapters)));
            };
            *slot = one.scale;
        }
        Ok(Self(all.into_iter().enumerate().filter(|(_, scale)| *scale != 0.0).collect()))
    }

    /// Whether the model runs as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Numbers and scales, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f32)> {
        self.0.iter().copied()
    }

    /// Words that are equal for equal adapters, and for no others.
    #[must_use]
    pub fn key(&self) -> Vec<u64> {
        self.iter().map(|(id, scale)| (id as u64) << 32 | u64::from(scale.to_bits())).collect()
    }
}

fn unknown(id: i64, n_adapters: usize) -> String {
    match n_adapters {
        0 => format!("{id} is not an adapter; none is loaded (--lora)"),
        n => format!("{id} is not an adapter; allowed: 0 to {}", n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales(pairs: &[(i64, f32)]) -> Vec<LoraScale> {
        pairs.iter().map(|(id, scale)| LoraScale { id: *id, scale: *scale }).collect()
    }

    #[test]
    fn lists_that_mean_the_same_are_equal() {
        let adapters = |pairs| Adapters::new(&scales(pairs), 3).expect("known adapters");
        let one = adapters(&[(2, 0.5), (0, 1.0)]);
        assert_eq!(one.iter().collect::<Vec<_>>(), [(0, 1.0), (2, 0.5)]);
        assert_eq!(adapters(&[(0, 3.0), (1, 0.0), (2, 0.5), (0, 1.0)]), one);
        assert_eq!(adapters(&[(0, 1.0), (2, 0.5)]).key(), one.key());
        assert_ne!(adapters(&[(0, 1.0), (1, 0.5)]).key(), one.key());
        assert!(adapters(&[(1, -0.0)]).is_empty() && adapters(&[]).key().is_empty());
    }

    #[test]
    fn what_is_not_loaded_is_named() {
        let refused = |pairs, n| Adapters::new(&scales(pairs), n).expect_err("it is refused").to_string();
        assert_eq!(refused(&[(0, 1.0)], 0), "lora[0].id: 0 is not an adapter; none is loaded (--lora)");
        assert_eq!(refused(&[(1, 1.0), (2, 0.0)], 2), "lora[1].id: 2 is not an adapter; allowed: 0 to 1");
        assert_eq!(refused(&[(-1, 1.0)], 2), "lora[0].id: -1 is not an adapter; allowed: 0 to 1");
    }
}
