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

/// The Gaussian error linear unit in its tanh form (Hendrycks and Gimpel 2016), which is what GGUF's
/// encoders are computed with: x · sigmoid(2 √(2/π) (x + 0.044715 x³)).
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769;
    // Far below, the sigmoid is as small as f32 goes, and only the bound makes the product small.
    x.max(-30.0) / (1.0 + exp(-TWICE_ROOT * (x + 0.044_715 * x * x * x)))
}

/// x · sigmoid(x).
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Scales `x` by the inverse of its root mean square and by `weight`, into `out`.
#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = inverse_rms(x, eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
}

/// Adds what [`rms_norm`] gives to `out`.
#[inline(always)]
pub fn add_rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = inverse_rms(x, eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out += x * scale * w;
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let squares = sum_by_lanes(x, |v| f64::from(v) * f64::from(v));
    1.0 / ((squares / x.len() as f64) as f32 + eps).sqrt()
}

/// Takes the mean from `x`, scales it by the inverse of its standard deviation and by `weight`, and adds
/// `bias`, in place.
#[inline(always)]
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = x.len() as f64;
    let mean = sum_by_lanes(x, f64::from) / n;
    let variance = sum_by_lanes(x, |v| (f64::from(v) - mean) * (f64::from(v) - mean)) / n;
    let (mean, scale) = (mean as f32, 1.0 / (variance as f32 + eps).sqrt());
    for ((x, w), b) in x.iter_mut().zip(weight).zip(bias) {
        *x = (*x - mean) * scale * w + b;
    }
}

/// The sum of `term` over `x`: eight partial sums by column, then in order.
#[inline(always)]
fn sum_by_lanes(x: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (sum, v) in lanes.iter_mut().zip(chunk) {
            *sum += term(*v);
        }
    }
    for (sum, v) in lanes.iter_mut().zip(rest) {
        *sum += term(*v);
    }
    lanes.iter().sum()
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

    #[test]
    fn gelu_is_the_tanh_form() {
        for i in -2000..2000 {
            let x = i as f32 * 0.01;
            let wide = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
            let want = 0.5 * wide * (1.0 + inner.tanh());
            assert!((f64::from(gelu(x)) - want).abs() <= 2e-6 * want.abs().max(0.1), "{x}: {} {want}", gelu(x));
        }
        assert!(gelu(f32::MIN).abs() < 1e-36);
        assert_eq!(gelu(f32::MAX), f32::MAX);
        assert!(gelu(f32::NAN).is_nan());
    }

    #[test]
    fn layer_norm_is_that_of_f64() {
        for n in [1usize, 7, 8, 30, 384] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 3.0 + 5.0).collect();
            let weight: Vec<f32> = (0..n).map(|i| 1.0 + 0.1 * (i as f32).cos()).collect();
            let bias: Vec<f32> = (0..n).map(|i| (i as f32 * 0.3).sin()).collect();
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n as f64;
            let mut got = x.clone();
            layer_norm(&mut got, &weight, &bias, 1e-5);
            for i in 0..n {
                let want = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i]);
                let want = want + f64::from(bias[i]);
                assert!((f64::from(got[i]) - want).abs() < 3e-6, "{n}, {i}: {} {want}", got[i]);
            }
        }
    }
}
