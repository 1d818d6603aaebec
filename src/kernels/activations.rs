//! Rows of activations as the matrix products read them: int8 per 32 columns, or f32.
//!
//! Rows are grouped into panels of 8, what remains into one panel of 4, 2 and 1 rows each. In a
//! panel the rows lie side by side, so that the operands of one instruction come from one run:
//! four int8 columns of each row (`[unit][four][row]`), or one f32 column (`[column][row]`).
//! What is stored of a row depends on its own values alone.

use std::cell::Cell;

use super::Simd;
#[cfg(target_arch = "x86_64")]
use super::dispatch::Set;
use super::packed::UNIT;
use super::pool::{Parts, Pool};
use super::prefetch;
use super::quantize::Quantized;
#[cfg(target_arch = "x86_64")]
use super::quantize_panel::quantize_panel;

/// Most rows of a panel.
pub const PANEL: usize = 8;

/// What a unit of a row has beside its int8 values.
pub const FIELDS: usize = 5;
/// The scale, f32.
pub const SCALE: usize = 0;
/// The negative sum of the int8 values, i32; then those of its two halves.
pub const NEGATIVE_SUM: usize = 1;
/// Scale times sum, f32: what a weight's min is multiplied with.
pub const SCALED_SUM: usize = 4;

/// Which forms of the rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forms {
    pub quants: bool,
    pub floats: bool,
}

impl Forms {
    /// What either asks for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { quants: self.quants || other.quants, floats: self.floats || other.floats }
    }
}

/// `m` rows of `k` values. The buffers are kept from one use to the next.
#[derive(Debug, Default)]
pub struct Activations {
    pub m: usize,
    pub k: usize,
    /// int8 rows in panels.
    pub quants: Vec<i8>,
    /// `[unit][field][row]` for each panel, the bits of f32 or i32.
    pub meta: Vec<u32>,
    /// f32 rows in panels.
    pub floats: Vec<f32>,
    has: Option<Forms>,
}

/// A group of rows: the first one and their number, 8, 4, 2 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    pub row: usize,
    pub width: usize,
}

/// The panels of `m` rows, in order.
pub fn panels(m: usize) -> impl ExactSizeIterator<Item = Panel> {
    (0..n_panels(m)).map(move |index| panel(m, index))
}

/// How many panels `m` rows have.
#[must_use]
pub fn n_panels(m: usize) -> usize {
    m / PANEL + (m % PANEL).count_ones() as usize
}

/// Panel `index` of `m` rows.
#[must_use]
pub fn panel(m: usize, index: usize) -> Panel {
    let full = m / PANEL;
    if index < full {
        return Panel { row: index * PANEL, width: PANEL };
    }
    let mut row = full * PANEL;
    let mut width = PANEL / 2;
    let mut before = index - full;
    loop {
        if m & width != 0 {
            if before == 0 {
                return Panel { row, width };
            }
            before -= 1;
            row += width;
        }
        width /= 2;
    }
}

/// The panel that holds `row` of `m`.
fn panel_of(m: usize, row: usize) -> Panel {
    panels(m % PANEL)
        .map(|panel| Panel { row: panel.row + m / PANEL * PANEL, ..panel })
        .find(|panel| (panel.row..panel.row + panel.width).contains(&row))
        .unwrap_or(Panel { row: row / PANEL * PANEL, width: PANEL })
}

thread_local! {
    /// Rows before they are stored, kept from one piece to the next.
    static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Activations {
    /// Takes `m` rows of `k` values, as `source` writes each of them, in the wanted forms. For
    /// int8, `k` divides by 32.
    pub fn fill(
        &mut self,
        (m, k): (usize, usize),
        forms: Forms,
        pool: &Pool,
        simd: Simd,
        source: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let writer = self.writer((m, k), forms, simd);
        let piece = if m <= PANEL { m } else { PANEL };
        pool.run(m.div_ceil(piece.max(1)), &|index| {
            let rows = index * piece..m.min((index + 1) * piece);
            let mut memory = ROWS.take();
            memory.resize(memory.len().max(rows.len() * k), 0.0);
            let values = &mut memory[..rows.len() * k];
            simd.run(
                #[inline(always)]
                || {
                    for (row, values) in rows.clone().zip(values.chunks_exact_mut(k)) {
                        source(row, values);
                    }
                    if rows.len() == PANEL {
                        let panel = Panel { row: rows.start, width: PANEL };
                        // SAFETY: each panel is written by one piece only.
                        unsafe { writer.put_panel(panel, values) }
                        return;
                    }
                    for (row, values) in rows.zip(values.chunks_exact(k)) {
                        let panel = panel_of(m, row);
                        // SAFETY: each row is written by one piece only.
                        unsafe { writer.put_row(panel, row - panel.row, values) }
                    }
                },
            );
            ROWS.set(memory);
        });
    }

    /// Makes room for `m` rows of `k` values, which the writer then puts there.
    pub fn writer(&mut self, (m, k): (usize, usize), forms: Forms, simd: Simd) -> Writer {
        assert!(!forms.quants || k.is_multiple_of(UNIT), "{k} columns do not divide into units");
        (self.m, self.k, self.has) = (m, k, Some(forms));
        if forms.quants {
            self.quants.resize(self.quants.len().max(m * k), 0);
            self.meta.resize(self.meta.len().max(m * k / UNIT * FIELDS), 0);
        }
        if forms.floats {
            self.floats.resize(self.floats.len().max(m * k), 0.0);
        }
        Writer {
            k,
            forms,
            simd,
            quants: Parts(self.quants.as_mut_ptr()),
            meta: Parts(self.meta.as_mut_ptr()),
            floats: Parts(self.floats.as_mut_ptr()),
        }
    }

    /// Whether all forms of `forms` are there.
    #[must_use]
    pub fn has(&self, forms: Forms) -> bool {
        self.has.is_some_and(|has| has.quants >= forms.quants && has.floats >= forms.floats)
    }
}

/// Writes rows of [`Activations`] from several threads.
pub struct Writer {
    k: usize,
    forms: Forms,
    simd: Simd,
    quants: Parts<i8>,
    meta: Parts<u32>,
    floats: Parts<f32>,
}

impl Writer {
    /// Puts all rows of a panel of eight.
    ///
    /// # Safety
    /// As for [`Self::put_row`], for all of them; the panel has eight.
    #[inline(always)]
    pub unsafe fn put_panel(&self, panel: Panel, values: &[f32]) {
        let k = self.k;
        let rows: [&[f32]; PANEL] = std::array::from_fn(|row| &values[row * k..(row + 1) * k]);
        let units = rows.map(|row| row.as_chunks::<UNIT>());
        for unit in 0..k / UNIT {
            // SAFETY: passed on.
            unsafe { self.put_units(panel, unit, units.map(|(units, _)| &units[unit])) }
        }
        for (at, (_, rest)) in units.iter().enumerate() {
            // SAFETY: passed on.
            unsafe { self.put_floats(panel, at, k / UNIT * UNIT, rest) }
        }
    }

    /// Puts 32 columns of all rows of a panel of eight.
    ///
    /// # Safety
    /// As for [`Self::put_row`], for this unit of all of them; the panel has eight.
    #[inline(always)]
    pub unsafe fn put_units(&self, panel: Panel, unit: usize, rows: [&[f32; UNIT]; PANEL]) {
        debug_assert_eq!(panel.width, PANEL);
        #[cfg(target_arch = "x86_64")]
        if self.forms.quants && self.simd.set() == Set::Avx512 {
            for (at, values) in rows.iter().enumerate() {
                // SAFETY: passed on.
                unsafe { self.put_floats(panel, at, unit * UNIT, *values) }
            }
            // SAFETY: values of this type name what the processor has; the panel has these places.
            unsafe {
                let quants = self.quants.0.add(panel.row * self.k + unit * UNIT * PANEL);
                let meta = self.meta.0.add((panel.row * (self.k / UNIT) + unit * PANEL) * FIELDS);
                quantize_panel(rows, quants, meta);
            }
            return;
        }
        for (at, values) in rows.into_iter().enumerate() {
            // SAFETY: passed on.
            unsafe { self.put_unit(panel, at, unit, values) }
        }
    }

    /// Puts a whole row at place `at` of `panel`.
    ///
    /// # Safety
    /// The panel must be one of the rows that the writer was made for, the activations must live,
    /// and no other thread may write this row.
    #[inline(always)]
    pub unsafe fn put_row(&self, panel: Panel, at: usize, values: &[f32]) {
        let (units, rest) = values.as_chunks::<UNIT>();
        for (unit, values) in units.iter().enumerate() {
            // SAFETY: passed on.
            unsafe { self.put_unit(panel, at, unit, values) }
        }
        // SAFETY: passed on.
        unsafe { self.put_floats(panel, at, units.len() * UNIT, rest) }
    }

    /// Puts 32 columns of one row.
    ///
    /// # Safety
    /// As for [`Self::put_row`], for this unit of the row.
    #[inline(always)]
    pub unsafe fn put_unit(&self, panel: Panel, at: usize, unit: usize, values: &[f32; UNIT]) {
        // SAFETY: passed on.
        unsafe { self.put_floats(panel, at, unit * UNIT, values) }
        if !self.forms.quants {
            return;
        }
        let Panel { row, width } = panel;
        let quantized = Quantized::new(values, self.simd);
        // SAFETY: the panel has `width · k` int8 values from `row · k` on, and `FIELDS · width`
        // fields for each unit; `at < width`.
        unsafe {
            let quants = self.quants.0.add(row * self.k + unit * UNIT * width).cast::<[i8; 4]>();
            for (four, values) in quantized.values.as_chunks::<4>().0.iter().enumerate() {
                *quants.add(four * width + at) = *values;
            }
            let meta = self.meta.0.add((row * (self.k / UNIT) + unit * width) * FIELDS);
            for (field, bits) in fields(&quantized).into_iter().enumerate() {
                *meta.add(field * width + at) = bits;
            }
        }
    }

    /// Asks for the memory of a unit of all rows of `panel`, before it is written.
    #[inline(always)]
    pub fn prefetch(&self, panel: Panel, unit: usize) {
        let Panel { row, width } = panel;
        let lines = |start: *const u8, bytes: usize| {
            (0..bytes).step_by(64).for_each(|line| prefetch::for_writing(start.wrapping_add(line)));
        };
        if self.forms.quants {
            lines(self.quants.0.wrapping_add(row * self.k + unit * UNIT * width).cast(), UNIT * width);
            let meta = (row * (self.k / UNIT) + unit * width) * FIELDS;
            lines(self.meta.0.wrapping_add(meta).cast(), FIELDS * width * size_of::<u32>());
        }
        if self.forms.floats {
            let floats = row * self.k + unit * UNIT * width;
            lines(self.floats.0.wrapping_add(floats).cast(), UNIT * width * size_of::<f32>());
        }
    }

    /// Puts columns from `column` on of one row, as floats where these are wanted.
    ///
    /// # Safety
    /// As for [`Self::put_row`], for these columns.
    #[inline(always)]
    pub unsafe fn put_floats(&self, panel: Panel, at: usize, column: usize, values: &[f32]) {
        if !self.forms.floats {
            return;
        }
        // SAFETY: the panel has `width · k` floats from `row · k` on.
        unsafe {
            let floats = self.floats.0.add(panel.row * self.k + column * panel.width + at);
            for (i, value) in values.iter().enumerate() {
                *floats.add(i * panel.width) = *value;
            }
        }
    }
}

#[inline(always)]
fn fields(quantized: &Quantized) -> [u32; FIELDS] {
    let [low, high] = quantized.sums;
    let all = low + high;
    [quantized.scale.to_bits(), -all as u32, -low as u32, -high as u32, (quantized.scale * all as f32).to_bits()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In any number of rows, with values of any size and none.
        #[test]
        fn rows_are_stored_alike_by_every_path(
            m in 1usize..20, units in 1usize..5, seed in any::<u64>(), odd in prop::collection::vec(any::<u32>(), 4),
        ) {
            let (k, forms) = (units * UNIT, Forms { quants: true, floats: true });
            let mut state = seed | 1;
            let mut random = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
            let values: Vec<f32> = (0..m * k)
                .map(|_| match random() % 400 {
                    0 => f32::from_bits(odd[(random() % 4) as usize]),
                    1 => [f32::NAN, f32::INFINITY, -0.0, f32::MAX, 1e-30, 1e-38][(random() % 6) as usize],
                    _ => (random() >> 40) as f32 / (1u64 << 23) as f32 - 1.0,
                })
                .map(|value| if seed.is_multiple_of(3) { value * 1e-31 } else { value })
                .collect();
            let fill = |simd| {
                let mut a = Activations::default();
                a.fill((m, k), forms, &Pool::new(1), simd, |row, out| out.copy_from_slice(&values[row * k..][..k]));
                a
            };
            let want = fill(Simd::SCALAR);
            for simd in Simd::available() {
                let got = fill(simd);
                prop_assert_eq!(&got.quants, &want.quants, "{:?}", simd);
                let bits = |a: &Activations| a.floats.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&got), bits(&want), "{:?}", simd);
                prop_assert_eq!(&got.meta, &want.meta, "{:?}", simd);
            }
        }
    }

    #[test]
    fn panels_cover_all_rows_in_order() {
        for m in 0..40 {
            let mut next = 0;
            for panel in panels(m) {
                assert_eq!(panel.row, next);
                assert!([1, 2, 4, 8].contains(&panel.width));
                for row in panel.row..panel.row + panel.width {
                    assert_eq!(panel_of(m, row), panel);
                }
                next += panel.width;
            }
            assert_eq!(next, m);
        }
    }
}
