//! Rotary position embedding (Su et al. 2021) with the scalings that GGUF files name.

use std::f32::consts::PI;

pub use crate::kernels::rotary::{RopeKind, Rotations};

/// How positions beyond the training context are treated.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    /// All frequencies divided by the factor.
    Linear(f32),
    /// Each frequency divided by its own factor (Llama 3; LongRoPE, Ding et al. 2024), and all rotated
    /// elements multiplied by `magnitude`.
    Factors {
        factors: Vec<f32>,
        magnitude: f32,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        factor: f32,
        original_context: usize,
        beta_fast: f32,
        beta_slow: f32,
        attention_factor: f32,
    },
}

/// Frequencies of a model.
#[derive(Debug, Clone)]
pub struct Rope {
    pub kind: RopeKind,
    frequencies: Vec<f32>,
    magnitude: f32,
}

/// Cosines and sines of the rows of a step, computed once for all layers.
#[derive(Debug)]
pub struct RopeTable {
    kind: RopeKind,
    n_dims: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// Rotates the first `n_dims` elements of a head with base frequency `base`.
    #[must_use]
    pub fn new(kind: RopeKind, n_dims: usize, base: f32, scaling: &RopeScaling) -> Self {
        let plain = |i: usize| base.powf(-2.0 * i as f32 / n_dims as f32);
        let frequency = |i: usize| match scaling {
            RopeScaling::None => plain(i),
            RopeScaling::Linear(factor) => plain(i) / factor,
            RopeScaling::Factors { factors, .. } => plain(i) / factors.get(i).copied().unwrap_or(1.0),
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                // The pair whose wavelength makes `turns` turns over the original context.
                let pair = |turns: f32| {
                    n_dims as f32 * (*original_context as f32 / (turns * 2.0 * PI)).ln() / (2.0 * base.ln())
                };
                let low = pair(*beta_fast).floor().max(0.0);
                let high = pair(*beta_slow).ceil().min(n_dims as f32 - 1.0);
                let ramp = ((i as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                plain(i) / factor * ramp + plain(i) * (1.0 - ramp)
            }
        };
        let frequencies = (0..n_dims / 2).map(frequency).collect();
        let magnitude = match scaling {
            RopeScaling::None | RopeScaling::Linear(_) => 1.0,
            RopeScaling::Factors { magnitude, .. } => *magnitude,
            RopeScaling::Yarn { factor, attention_factor, .. } => attention_factor * (1.0 + 0.1 * factor.ln()),
        };
        Self { kind, frequencies, magnitude }
    }

    /// The table for rows at `positions`.
    #[must_use]
    pub fn table(&self, positions: impl Iterator<Item = usize>) -> RopeTable {
        let n_dims = 2 * self.frequencies.len();
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for position in positions {
            let start = cosines.len();
            cosines.resize(start + n_dims, 0.0);
            sines.resize(start + n_dims, 0.0);
            for (i, frequency) in self.frequencies.iter().enumerate() {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                let (a, b) = match self.kind {
                    RopeKind::Normal => (2 * i, 2 * i + 1),
                    RopeKind::Neox => (i, i + n_dims / 2),
                };
                cosines[start + a] = cos * self.magnitude;
                cosines[start + b] = cos * self.magnitude;
                sines[start + a] = -sin * self.magnitude;
                sines[start + b] = sin * self.magnitude;
            }
        }
        RopeTable { kind: self.kind, n_dims, cos: cosines, sin: sines }
    }
}

impl RopeTable {
    /// The table as kernels read it.
    #[must_use]
    pub fn rotations(&self) -> Rotations<'_> {
        Rotations { kind: self.kind, n_dims: self.n_dims, cos: &self.cos, sin: &self.sin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_depend_on_distance_only() {
        for kind in [RopeKind::Normal, RopeKind::Neox] {
            let rope = Rope::new(kind, 8, 10_000.0, &RopeScaling::None);
            let table = rope.table([3, 10, 103, 110].into_iter());
            let rotated = |row: usize, seed: f32| {
                let head: Vec<f32> = (0..8).map(|i| (i as f32 + seed).sin()).collect();
                let mut out = vec![0.0; 8];
                table.rotations().rotate(row, &head, &mut out);
                out
            };
            let dot = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let near = dot(rotated(0, 1.0), rotated(1, 2.0));
            let far = dot(rotated(2, 1.0), rotated(3, 2.0));
            assert!((near - far).abs() < 1e-4, "{kind:?}: {near} {far}");
        }
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_stretches_slow_ones() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 2048,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
        };
        let (yarn, plain) =
            (Rope::new(RopeKind::Neox, 64, 1e4, &scaling), Rope::new(RopeKind::Neox, 64, 1e4, &RopeScaling::None));
        assert_eq!(yarn.frequencies[0], plain.frequencies[0]);
        assert_eq!(yarn.frequencies[31], plain.frequencies[31] / 4.0);
        assert!((yarn.magnitude - 1.138_629_4).abs() < 1e-6);
    }
}
