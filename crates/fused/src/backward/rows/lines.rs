//! The triangle relaxation of ReLU for one image and stage, in the form the walks consume.
//!
//! For l < 0 < u: upper line λ_u z + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l z with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018), or λ_l = λ_u (Singh et al. 2018). Stable neurons are
//! exact, and exact stability is what makes the walks fast: stably inactive neurons leave the lists altogether.
//!
//! A coefficient a turns into a·m ∓ |a|·d with m = (λ_l+λ_u)/2 and d = (λ_u−λ_l)/2 (lower and upper
//! bound), and the constants grow by a·e ∓ |a|·g with e = m·b + μ_u/2, g = d·b + μ_u/2: the stage's
//! bias b is taken along. No branch on the sign of a is left.

use crate::net::geometry::Live;
use crate::net::plan::Stage;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Below this width the derivative of the upper line is taken as if the interval were this wide.
pub const NARROW: f32 = 1e-12;

/// One coefficient of a neuron's lines; its number is its row in the lines of a position.
#[derive(Clone, Copy)]
pub enum Coefficient {
    M,
    D,
    E,
    G,
    LowerSlope,
    UpperSlope,
    Intercept,
}

/// Rows of a position.
const COEFFICIENTS: usize = 7;

/// Lines of one stage for one image.
#[derive(Default)]
pub struct Lines {
    /// `[position][coefficient][channel padded]`; entries of stably inactive neurons are never read.
    line: Buffer,
    /// The stage's biases, padded: one row serves all positions, and stays in the first-level cache.
    bias: Buffer,
    /// Channels of the stage, padded.
    row: usize,
    /// ∂λ_l/∂λ_u: 1 of parallel lines, else 0.
    rise: f32,
    pub live: Live,
}

/// The lines of one position.
#[derive(Clone, Copy)]
pub struct LinesAt {
    line: *const f32,
    bias: *const f32,
    row: usize,
    rise: f32,
}

impl LinesAt {
    /// A coefficient of a channel's lines in all lanes.
    ///
    /// # Safety
    /// The machine has `S`; the stage has the channel.
    #[inline(always)]
    pub unsafe fn get<S: Lanes>(self, coefficient: Coefficient, channel: usize) -> S::V {
        // SAFETY: a position has a row for each coefficient.
        unsafe { S::splat(*self.line.add(coefficient as usize * self.row + channel)) }
    }

    /// A channel's bias in all lanes.
    ///
    /// # Safety
    /// As [`LinesAt::get`].
    #[inline(always)]
    pub unsafe fn bias<S: Lanes>(self, channel: usize) -> S::V {
        // SAFETY: there is one for each channel.
        unsafe { S::splat(*self.bias.add(channel)) }
    }

    /// ∂λ_l/∂λ_u in all lanes.
    ///
    /// # Safety
    /// The machine has `S`.
    #[inline(always)]
    pub unsafe fn rise<S: Lanes>(self) -> S::V {
        // SAFETY: the machine is the caller's word.
        unsafe { S::splat(self.rise) }
    }

    /// Several of them. (A loop: an array's `map` may stay a call, out of reach of the instruction set.)
    ///
    /// # Safety
    /// As [`LinesAt::get`].
    #[inline(always)]
    pub unsafe fn several<S: Lanes, const N: usize>(self, coefficients: [Coefficient; N], channel: usize) -> [S::V; N] {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut values = [S::zero(); N];
            for i in 0..N {
                values[i] = self.get::<S>(coefficients[i], channel);
            }
            values
        }
    }
}

/// True if the neuron's ReLU is relaxed.
pub fn is_unstable(lower: f32, upper: f32) -> bool {
    lower < 0.0 && upper > 0.0
}

impl Lines {
    /// The lines of a position of the stage that they were built for.
    pub fn at(&self, position: usize) -> LinesAt {
        let line = self.line[position * COEFFICIENTS * self.row..].as_ptr();
        LinesAt { line, bias: self.bias.as_ptr(), row: self.row, rise: self.rise }
    }

    /// Lines for bounds `[position][channel padded]` and biases per channel, padded; with λ_l = λ_u if `parallel`.
    ///
    /// Neurons whose bounds overflowed or are NaN must not pass for stable: they get lines, with NaN slopes that show
    /// in every bound.
    ///
    /// # Safety
    /// The machine has `S`; bounds and biases are aligned and hold the stage.
    pub unsafe fn build<S: Lanes>(&mut self, stage: &Stage, bias: &[f32], [lower, upper]: [&[f32]; 2], parallel: bool) {
        let (channels, positions) = (stage.output.c, stage.output.positions());
        let row = padded(channels);
        self.row = row;
        self.rise = f32::from(u8::from(parallel));
        self.bias.at_least(row)[..row].copy_from_slice(&bias[..row]);
        let line = self.line.at_least(positions * COEFFICIENTS * row).as_mut_ptr();
        self.live.channels = channels;
        // One entry more, so that the branch-free pushes below may write past the last one.
        self.live.list.resize(channels * positions + 1, 0);
        self.live.unstable.resize(positions, 0);
        self.live.count.resize(positions, 0);
        // SAFETY: all maps hold the stage, in whole vectors.
        unsafe {
            S::run(|| {
                for position in 0..positions {
                    let list = self.live.list.as_mut_ptr().add(position * channels);
                    let line = line.add(position * COEFFICIENTS * row);
                    let (lower, upper) = (lower.as_ptr().add(position * row), upper.as_ptr().add(position * row));
                    let mut count = 0;
                    for start in (0..channels).step_by(WIDTH) {
                        let (l, u) = (S::load(lower.add(start)), S::load(upper.add(start)));
                        let slope = match parallel {
                            true => S::div(u, S::sub(u, l)),
                            false => S::where_positive(S::add(u, l), S::splat(1.0), S::zero()),
                        };
                        let bias = S::load(bias.as_ptr().add(start));
                        let unstable = lines_of::<S>(l, u, slope, bias, line.add(start), row);
                        for c in start..channels.min(start + WIDTH) {
                            *list.add(count) = c as u16;
                            count += usize::from(unstable >> (c - start) & 1);
                        }
                    }
                    *self.live.unstable.get_unchecked_mut(position) = count as u16;
                    for start in (0..channels).step_by(WIDTH) {
                        let (l, u) = (S::load(lower.add(start)), S::load(upper.add(start)));
                        let active = !S::negative_mask(l) & finite_mask::<S>(l, u);
                        for c in start..channels.min(start + WIDTH) {
                            *list.add(count) = c as u16;
                            count += usize::from(active >> (c - start) & 1);
                        }
                    }
                    *self.live.count.get_unchecked_mut(position) = count as u16;
                }
            });
        }
    }
}

/// The lanes in which both ends are finite.
#[inline(always)]
unsafe fn finite_mask<S: Lanes>(lower: S::V, upper: S::V) -> u16 {
    // SAFETY: the machine is the caller's word.
    unsafe { S::positive_mask(S::add(S::splat(1.0), not_finite::<S>(lower, upper))) }
}

/// 0, or NaN where an end is not finite.
#[inline(always)]
unsafe fn not_finite<S: Lanes>(lower: S::V, upper: S::V) -> S::V {
    // SAFETY: the machine is the caller's word.
    unsafe { S::add(S::sub(lower, lower), S::sub(upper, upper)) }
}

/// Stores the lines of sixteen channels with lower slope `slope` where unstable, coefficients `row` apart; returns the lanes that
/// need them.
#[inline(always)]
unsafe fn lines_of<S: Lanes>(l: S::V, u: S::V, slope: S::V, bias: S::V, line: *mut f32, row: usize) -> u16 {
    // SAFETY: the caller gives room for all coefficients.
    unsafe {
        let (one, half) = (S::splat(1.0), S::splat(0.5));
        let check = not_finite::<S>(l, u);
        let unstable = |x: S::V, y: S::V| S::where_negative(l, S::where_positive(u, x, y), y);
        let upper = S::add(unstable(S::div(u, S::sub(u, l)), one), check);
        let lower = unstable(slope, one);
        let intercept = S::add(unstable(S::mul(S::sub(S::zero(), l), upper), S::zero()), check);
        let (m, d) = (S::mul(half, S::add(lower, upper)), S::mul(half, S::sub(upper, lower)));
        let height = S::mul(half, intercept);
        let values = [
            (Coefficient::M, m),
            (Coefficient::D, d),
            (Coefficient::E, S::fma(m, bias, height)),
            (Coefficient::G, S::fma(d, bias, height)),
            (Coefficient::LowerSlope, lower),
            (Coefficient::UpperSlope, upper),
            (Coefficient::Intercept, intercept),
        ];
        for (coefficient, value) in values {
            S::store(line.add(coefficient as usize * row), value);
        }
        S::negative_mask(l) & S::positive_mask(u) | !finite_mask::<S>(l, u)
    }
}

/// Carries cotangents on λ_u and μ_u of an unstable neuron to its bounds (l, u).
///
/// ∂λ/∂l = u/(u−l)², ∂λ/∂u = −l/(u−l)², ∂μ/∂l = −u²/(u−l)², ∂μ/∂u = l²/(u−l)².
pub fn pull_back(lower: f32, upper: f32, slope: f32, intercept: f32) -> (f32, f32) {
    let width = (upper - lower).max(NARROW);
    let (high, low) = (upper / width, -lower / width);
    (high / width * slope - high * high * intercept, low / width * slope + low * low * intercept)
}
