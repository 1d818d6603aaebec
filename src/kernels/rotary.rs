//! Rotation of heads by tables of cosines and sines.

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKind {
    /// Neighbours: (0, 1), (2, 3) …
    Normal,
    /// Halves: (0, n/2), (1, n/2 + 1) …
    Neox,
}

/// The rotations of all rows of a step. Each element of a head is multiplied by its cosine, its
/// partner by its sine, which has the sign of the rotation.
#[derive(Debug, Clone, Copy)]
pub struct Rotations<'a> {
    pub kind: RopeKind,
    /// Elements of a head that are rotated, an even number; those after them stay as they are.
    pub n_dims: usize,
    /// `[row][n_dims]`
    pub cos: &'a [f32],
    /// `[row][n_dims]`
    pub sin: &'a [f32],
}

impl Rotations<'_> {
    /// Rotates one head of row `row` into `out`.
    #[inline(always)]
    pub fn rotate(&self, row: usize, head: &[f32], out: &mut [f32]) {
        let n = self.n_dims;
        let (cos, sin) = (&self.cos[row * n..][..n], &self.sin[row * n..][..n]);
        match self.kind {
            RopeKind::Normal => {
                let pairs = head[..n].as_chunks::<2>().0.iter().zip(out[..n].as_chunks_mut::<2>().0);
                let table = cos.as_chunks::<2>().0.iter().zip(sin.as_chunks::<2>().0);
                for ((x, out), (cos, sin)) in pairs.zip(table) {
                    *out = [x[0] * cos[0] + x[1] * sin[0], x[1] * cos[1] + x[0] * sin[1]];
                }
            }
            RopeKind::Neox => {
                let (low, high) = head[..n].split_at(n / 2);
                let (out_low, out_high) = out[..n].split_at_mut(n / 2);
                for i in 0..n / 2 {
                    out_low[i] = low[i] * cos[i] + high[i] * sin[i];
                    out_high[i] = high[i] * cos[i + n / 2] + low[i] * sin[i + n / 2];
                }
            }
        }
        out[n..head.len()].copy_from_slice(&head[n..]);
    }
}
