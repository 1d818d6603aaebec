//! How the vectors of a text's tokens become its embedding.

use crate::error::{Error, Result};

/// Which vectors are taken, as GGUF numbers it and llama-server names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Each token's, as they are.
    #[default]
    None,
    /// The mean of all.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The first token's, turned into a score by the model's classification head.
    Rank,
}

impl Pooling {
    const ALL: [(Self, &'static str); 5] =
        [(Self::None, "none"), (Self::Mean, "mean"), (Self::Cls, "cls"), (Self::Last, "last"), (Self::Rank, "rank")];

    /// Parses llama-server's name.
    pub fn from_name(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(|row| row.1).join(", ");
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| Error::Config {
            field: "pooling",
            message: format!("{name:?} is not a pooling; allowed: {}", known()),
        })
    }

    /// GGUF's number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).map(|row| row.0)
    }

    /// llama-server's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What a pooled vector is divided by, by llama-server's number: −1 nothing, 0 the largest magnitude over
/// 32760, p the p-norm, of which 2 is the Euclidean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalize(i32);

impl Default for Normalize {
    fn default() -> Self {
        Self(2)
    }
}

impl Normalize {
    /// Refuses numbers below −1, by the name of the field that holds them.
    pub fn new(number: i64, field: &str) -> Result<Self> {
        match i32::try_from(number) {
            Ok(number) if number >= -1 => Ok(Self(number)),
            _ => {
                let allowed =
                    format!("-1 (none), 0 (largest magnitude), 1 (taxicab), 2 (euclidean), up to {}", i32::MAX);
                Err(Error::invalid(field, format!("{number} is out of range; allowed: {allowed}")))
            }
        }
    }

    /// Scales `vector` in place; one of zeros stays as it is.
    pub fn apply(self, vector: &mut [f32]) {
        let largest = vector.iter().fold(0.0f64, |largest, x| largest.max(f64::from(x.abs())));
        if self.0 < 0 || largest == 0.0 {
            return;
        }
        let divisor = match self.0 {
            0 => largest / 32_760.0,
            1 => vector.iter().map(|x| f64::from(x.abs())).sum(),
            2 => vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt(),
            // Relative to the largest, so that no power overflows.
            p => {
                let sum: f64 = vector.iter().map(|x| (f64::from(x.abs()) / largest).powi(p)).sum();
                largest * sum.powf(1.0 / f64::from(p))
            }
        };
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / divisor) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn poolings_have_names_and_numbers() {
        for (number, (pooling, name)) in Pooling::ALL.into_iter().enumerate() {
            assert_eq!(Pooling::from_number(number as u64), Some(pooling));
            assert_eq!(Pooling::from_name(name).ok(), Some(pooling));
            assert_eq!(pooling.name(), name);
        }
        assert_eq!(Pooling::from_number(5), None);
        let message = Pooling::from_name("max").map_err(|error| error.to_string()).unwrap_err();
        assert_eq!(message, "pooling: \"max\" is not a pooling; allowed: none, mean, cls, last, rank");
    }

    #[test]
    fn norms_by_number() {
        let by = |number: i64| {
            let mut vector = [3.0f32, -4.0, 0.0];
            Normalize::new(number, "n").expect("it is allowed").apply(&mut vector);
            vector
        };
        assert_eq!(by(-1), [3.0, -4.0, 0.0]);
        assert_eq!(by(0), [24_570.0, -32_760.0, 0.0]);
        assert_eq!(by(1), [3.0 / 7.0, -4.0 / 7.0, 0.0]);
        assert_eq!(by(2), [0.6, -0.8, 0.0]);
        let cubic = 91.0f64.cbrt();
        assert_eq!(by(3), [(3.0 / cubic) as f32, (-4.0 / cubic) as f32, 0.0]);
        assert_eq!(by(i64::from(i32::MAX))[1], -1.0);
        for number in [-2, i64::from(i32::MAX) + 1, i64::MIN] {
            let message = Normalize::new(number, "embd_normalize").unwrap_err().to_string();
            assert!(message.starts_with(&format!("embd_normalize: {number} is out of range")), "{message}");
        }
    }

    proptest! {
        #[test]
        fn the_norm_becomes_one(
            values in prop::collection::vec(prop_oneof![-1e30f32..1e30, -1.0f32..1.0], 1..40), p in 1i64..40,
        ) {
            let mut vector = values.clone();
            Normalize::new(p, "n").expect("it is allowed").apply(&mut vector);
            let norm = vector.iter().map(|x| f64::from(x.abs()).powi(p as i32)).sum::<f64>().powf(1.0 / p as f64);
            prop_assert!((norm - 1.0).abs() < 1e-5 || values.iter().all(|x| *x == 0.0), "{norm}");
        }

        #[test]
        fn zeros_stay(n in 0usize..20, number in -1i64..9) {
            let mut vector = vec![0.0; n];
            Normalize::new(number, "n").expect("it is allowed").apply(&mut vector);
            prop_assert!(vector.iter().all(|x| *x == 0.0));
        }
    }
}
