//! The triangle relaxation of ReLU for one image and stage, in the form the walks consume.
//!
//! For l < 0 < u: upper line λ_u z + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l z with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018). Stable neurons are exact, and
//! exact stability is what makes the walks fast: stably inactive neurons leave the lists altogether.
//!
//! A coefficient a turns into a·m ∓ |a|·d with m = (λ_l+λ_u)/2 and d = (λ_u−λ_l)/2 (lower and upper
//! bound), and the constants grow by a·e ∓ |a|·g with e = m·b + μ_u/2, g = d·b + μ_u/2: the stage's
//! bias b is taken along. No branch on the sign of a is left.

use crate::geometry::Live;
use crate::plan::Stage;
use crate::weights::padded;

/// Below this width the derivative of the upper line is taken as if the interval were this wide.
pub const NARROW: f32 = 1e-12;

/// Line coefficients of one neuron, side by side because a walk broadcasts them one after the other.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Line {
    pub m: f32,
    pub d: f32,
    pub e: f32,
    pub g: f32,
    pub lower_slope: f32,
    pub upper_slope: f32,
    pub intercept: f32,
    pub bias: f32,
}

/// Lines of one stage for one image.
#[derive(Default)]
pub struct Lines {
    /// `[position][channel]`; entries of stably inactive neurons are stale and never read.
    pub line: Vec<Line>,
    pub live: Live,
}

/// True if the neuron's ReLU is relaxed.
pub fn is_unstable(lower: f32, upper: f32) -> bool {
    lower < 0.0 && upper > 0.0
}

/// Unstable neurons, and those whose bounds overflowed or are NaN: these must not pass for stable, so
/// they get lines, with NaN slopes that show in every bound.
fn needs_line(lower: f32, upper: f32) -> bool {
    is_unstable(lower, upper) || !(lower.is_finite() && upper.is_finite())
}

impl Lines {
    /// Lines for bounds `[position][channel padded]` and biases per channel.
    pub fn build(&mut self, stage: &Stage, bias: &[f32], lower: &[f32], upper: &[f32]) {
        let (channels, positions) = (stage.output.c, stage.output.positions());
        let row = padded(channels);
        self.line.resize(channels * positions, Line::default());
        self.live.channels = channels;
        // One entry more, so that the branch-free pushes below may write past the last one.
        self.live.list.resize(channels * positions + 1, 0);
        self.live.unstable.resize(positions, 0);
        self.live.count.resize(positions, 0);
        for position in 0..positions {
            let lower = &lower[position * row..][..channels];
            let upper = &upper[position * row..][..channels];
            let list = &mut self.live.list[position * channels..][..channels + 1];
            let mut count = 0;
            for c in 0..channels {
                list[count] = c as u16;
                count += usize::from(needs_line(lower[c], upper[c]));
            }
            let unstable = count;
            for c in 0..channels {
                list[count] = c as u16;
                count += usize::from(lower[c] >= 0.0 && !needs_line(lower[c], upper[c]));
            }
            self.live.unstable[position] = unstable as u16;
            self.live.count[position] = count as u16;
            let lines = &mut self.line[position * channels..][..channels];
            for (c, line) in lines.iter_mut().enumerate() {
                let (l, u, b) = (lower[c], upper[c], bias[c]);
                let unstable = needs_line(l, u);
                // The quotient of a stable neuron is computed and thrown away: cheaper than a branch.
                let slope = if unstable { u / (u - l) } else { 1.0 };
                let low = if !unstable || u > -l { 1.0 } else { 0.0 };
                let slope = if l.is_finite() && u.is_finite() { slope } else { f32::NAN };
                let intercept = if unstable { -l * slope } else { 0.0 };
                let (m, d) = (0.5 * (low + slope), 0.5 * (slope - low));
                *line = Line {
                    m,
                    d,
                    e: m * b + 0.5 * intercept,
                    g: d * b + 0.5 * intercept,
                    lower_slope: low,
                    upper_slope: slope,
                    intercept,
                    bias: b,
                };
            }
        }
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
