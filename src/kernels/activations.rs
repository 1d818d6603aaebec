//! Rows of activations, as f32 and as int8 per 32 columns.

use super::pool::Pool;

/// Columns that share a scale.
pub const GROUP: usize = 32;

/// `m` rows of `k` values, ready for [`super::gemm`]. Each row depends on its own values only.
#[derive(Debug)]
pub struct Activations {
    pub m: usize,
    pub k: usize,
    pub values: Vec<f32>,
    /// int8 rows; empty unless asked for.
    pub quants: Vec<i8>,
    /// One scale per 32 columns.
    pub scales: Vec<f32>,
    /// One sum of int8 values per 16 columns.
    pub sums: Vec<i32>,
}

impl Activations {
    /// Takes `values` (m rows of k), quantized as well if `quantize`; then k divides by 32.
    #[must_use]
    pub fn new(values: Vec<f32>, k: usize, quantize: bool, pool: &Pool) -> Self {
        let m = values.len() / k;
        let mut this = Self { m, k, values, quants: Vec::new(), scales: Vec::new(), sums: Vec::new() };
        if quantize {
            this.quantize(pool);
        }
        this
    }

    fn quantize(&mut self, pool: &Pool) {
        let groups = self.k / GROUP;
        let mut rows: Vec<Row> = Vec::new();
        self.quants = vec![0; self.m * self.k];
        self.scales = vec![0.0; self.m * groups];
        self.sums = vec![0; self.m * groups * 2];
        let quants = self.quants.chunks_exact_mut(self.k);
        let scales = self.scales.chunks_exact_mut(groups);
        let sums = self.sums.chunks_exact_mut(groups * 2);
        for ((values, quants), (scales, sums)) in self.values.chunks_exact(self.k).zip(quants).zip(scales.zip(sums)) {
            rows.push(Row { values, quants, scales, sums });
        }
        pool.run_chunks(&mut rows, 4, &|_, rows| rows.iter_mut().for_each(Row::quantize));
    }
}

struct Row<'a> {
    values: &'a [f32],
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Row<'_> {
    fn quantize(&mut self) {
        let quants = self.quants.chunks_exact_mut(GROUP);
        let groups =
            self.values.chunks_exact(GROUP).zip(quants).zip(self.scales.iter_mut().zip(self.sums.chunks_exact_mut(2)));
        for ((values, quants), (scale, sums)) in groups {
            let max = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
            for (x, q) in values.iter().zip(quants.iter_mut()) {
                // Adding and taking away 1.5 · 2²³ rounds to the nearest even integer without a
                // library call; |x · inverse| ≤ 127, so it is exact.
                *q = ((x * inverse + 12_582_912.0) - 12_582_912.0) as i8;
            }
            // A NaN or an infinity must not vanish in the integers: it spoils its group visibly.
            *scale = if values.iter().all(|x| x.is_finite()) { max / 127.0 } else { f32::NAN };
            for (sum, half) in sums.iter_mut().zip(quants.chunks_exact(16)) {
                *sum = half.iter().map(|q| i32::from(*q)).sum();
            }
        }
    }
}
