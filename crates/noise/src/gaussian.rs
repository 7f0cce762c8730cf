//! Box–Muller in branch-free single precision, with its own polynomials so that every machine gives the same bits.
//!
//! Only additions, multiplications, divisions, square roots and integer operations are used (all
//! correctly rounded by IEEE 754, none fused), so a vector implementation that keeps the order of
//! operations returns the same values as this one.

use std::f32::consts::TAU;

/// Two independent standard normal values from two random words.
///
/// `first` gives the radius √(−2 ln u) with u in (0, 1] (24 bits, so |z| ≤ 5.77), `second` the angle.
#[inline(always)]
pub fn box_muller(first: u32, second: u32) -> (f32, f32) {
    let uniform = ((first >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
    let radius = (-2.0 * ln(uniform)).sqrt();
    let (sine, cosine) = sin_cos_turns(second);
    (radius * cosine, radius * sine)
}

/// Natural logarithm of a normal positive number, relative error below 2⁻²².
///
/// x = m·2ᵉ with m in [√½, √2); ln m = 2 artanh((m−1)/(m+1)) by its odd series.
#[inline(always)]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = ((shifted as i32) >> 23) as f32;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let tail = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    let high = 0.693_359_4_f32;
    let low = -2.121_944_4e-4_f32;
    exponent * high + (2.0 * s + (2.0 * s * tail + exponent * low))
}

/// Sine and cosine of 2π·word/2³², absolute error below 2⁻²².
///
/// The word's top three bits choose the octant, the rest an angle in [−π/4, π/4].
#[inline(always)]
fn sin_cos_turns(word: u32) -> (f32, f32) {
    let quadrant = word.wrapping_add(0x2000_0000) >> 30;
    let remainder = word.wrapping_sub(quadrant << 30) as i32;
    let x = remainder as f32 * (TAU / 4_294_967_296.0);
    let z = x * x;
    let sine = x + x * z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z * (1.0 / 362_880.0))));
    let cosine = 1.0 + z * (-0.5 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40_320.0))));
    let swap = quadrant & 1 == 1;
    let (a, b) = if swap { (cosine, sine) } else { (sine, cosine) };
    let sine = if quadrant & 2 == 2 { -a } else { a };
    let cosine = if (quadrant + 1) & 2 == 2 { -b } else { b };
    (sine, cosine)
}

#[cfg(test)]
mod tests {
    use super::{ln, sin_cos_turns};

    #[test]
    fn logarithm_matches_double_precision() {
        for i in 1..=200_000_u32 {
            let x = (i * 83) as f32 / 16_777_216.0;
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() <= 3e-7 * exact.abs().max(1e-6), "{x}");
        }
    }

    #[test]
    fn sine_and_cosine_match_double_precision() {
        for i in 0..400_000_u32 {
            let word = i.wrapping_mul(10_737);
            let angle = f64::from(word) / 4_294_967_296.0 * std::f64::consts::TAU;
            let (sine, cosine) = sin_cos_turns(word);
            assert!((f64::from(sine) - angle.sin()).abs() < 3e-7, "{word}");
            assert!((f64::from(cosine) - angle.cos()).abs() < 3e-7, "{word}");
        }
    }
}
