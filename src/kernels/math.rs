//! Elementwise functions that must give the same bits wherever they run.

/// eˣ to about 1e-7 relative, in plain multiplications and additions, so that it vectorizes.
/// Below −87 it is 0.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // Cephes' coefficients: eˣ = 2ⁿ · eʳ with |r| ≤ ln 2 / 2.
    let clamped = x.clamp(-87.3, 88.3);
    // Adding 1.5 · 2²³ leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    let scaled = e * f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { scaled }
}

/// eˣ for x ≤ 0 with fused multiply-add: the weights of attention. Below −87 it is 0, so that no
/// result is subnormal.
#[inline(always)]
#[must_use]
pub fn exp_weight(x: f32) -> f32 {
    if x < EXP_WEIGHT_LIMIT {
        return 0.0;
    }
    let n = x.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-EXP_LN2[1], n.mul_add(-EXP_LN2[0], x));
    let p = EXP_POLYNOMIAL.iter().skip(1).fold(EXP_POLYNOMIAL[0], |p, c| p.mul_add(r, *c));
    let e = p.mul_add(r * r, r) + 1.0;
    e * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// Where [`exp_weight`] becomes 0.
pub(super) const EXP_WEIGHT_LIMIT: f32 = -87.0;
/// Added and subtracted, it rounds to the nearest integer.
pub(super) const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, of which the first has few bits.
pub(super) const EXP_LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Cephes' coefficients of (eʳ − 1 − r) / r², highest power first.
pub(super) const EXP_POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// x · sigmoid(x).
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Scales `x` by the inverse of its root mean square and by `weight`, into `out`.
#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    // Eight partial sums by column, then in order: the same bits for every vector width.
    let mut lanes = [0.0f64; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (sum, v) in lanes.iter_mut().zip(chunk) {
            *sum += f64::from(*v) * f64::from(*v);
        }
    }
    for (sum, v) in lanes.iter_mut().zip(rest) {
        *sum += f64::from(*v) * f64::from(*v);
    }
    let squares: f64 = lanes.iter().sum();
    let scale = 1.0 / ((squares / x.len() as f64) as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_librarys() {
        for i in -9000..8800 {
            let x = i as f32 * 0.01;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= want * 3e-7 + 1e-37, "{x}: {got} {want}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        for i in 0..8700 {
            let x = i as f32 * -0.01;
            let (got, want) = (f64::from(exp_weight(x)), f64::from(x).exp());
            assert!((got - want).abs() <= want * 2e-7, "{x}: {got} {want}");
        }
        assert_eq!(exp_weight(0.0), 1.0);
        assert_eq!(exp_weight(f32::NEG_INFINITY), 0.0);
        assert!(exp_weight(f32::NAN).is_nan());
        assert!(exp(f32::NAN).is_nan());
    }
}
