//! The triangle relaxation of one stage for a packet: sixteen images in lanes.
//!
//! Per neuron and image: the upper line's slope λ_u and intercept μ_u. The lower slope needs no memory: λ_l = 1 where
//! λ_u > ½ and 0 elsewhere, which is u > −l for unstable neurons, and right for stable ones, whose λ_u is 0 or 1.

use crate::backward::rows::lines::NARROW;
use crate::net::geometry::Live;
use crate::net::plan::Stage;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Lines of one stage.
#[derive(Default)]
pub struct PacketLines {
    /// `[position][channel][λ_u, μ_u][16]`.
    pub line: Buffer,
    /// Channels that are active or unstable in some image.
    pub live: Live,
}

impl PacketLines {
    /// Lines for bounds `[position][channel][16]`.
    ///
    /// # Safety
    /// The machine has `S`; the bounds hold the stage's map.
    pub unsafe fn build<S: Lanes>(&mut self, stage: &Stage, lower: &[f32], upper: &[f32]) {
        let (channels, positions) = (stage.output.c, stage.output.positions());
        let line = self.line.at_least(channels * positions * 2 * WIDTH).as_mut_ptr();
        self.live.channels = channels;
        self.live.list.clear();
        self.live.list.resize(channels * positions, 0);
        self.live.count.resize(positions, 0);
        self.live.unstable.resize(positions, 0);
        // SAFETY: all maps hold the stage's neurons.
        unsafe {
            S::run(|| {
                for position in 0..positions {
                    let list = &mut self.live.list[position * channels..][..channels];
                    let mut count = 0;
                    for c in 0..channels {
                        let i = position * channels + c;
                        let l = S::load(lower.as_ptr().add(i * WIDTH));
                        let u = S::load(upper.as_ptr().add(i * WIDTH));
                        let one = S::splat(1.0);
                        let slope = S::div(u, S::sub(u, l));
                        let slope = S::where_negative(l, S::where_positive(u, slope, S::zero()), one);
                        let intercept = S::mul(S::sub(S::zero(), l), slope);
                        let intercept = S::where_negative(l, intercept, S::zero());
                        // Bounds that overflowed or are NaN must not pass for stable: l − l is then NaN, which shows in
                        // every bound.
                        let check = S::add(S::sub(l, l), S::sub(u, u));
                        let finite = S::positive_mask(S::max(S::splat(1.0), check)) == u16::MAX;
                        S::store(line.add(2 * i * WIDTH), S::add(slope, check));
                        S::store(line.add((2 * i + 1) * WIDTH), intercept);
                        list[count] = c as u16;
                        count += usize::from(S::positive_mask(slope) != 0 || !finite);
                    }
                    self.live.count[position] = count as u16;
                    self.live.unstable[position] = count as u16;
                }
            });
        }
    }

    /// Cotangents of the bounds from the lines' `[λ_u, μ_u]` cotangents in `neurons`, added to what is there if `add`:
    /// nothing for stable neurons, whose cotangents in `neurons` may be anything; see [`crate::backward::rows::lines::pull_back`] for the formulas.
    ///
    /// # Safety
    /// As [`PacketLines::build`], for all five maps.
    pub unsafe fn pull_back<S: Lanes>(
        stage: &Stage,
        [lower, upper]: [&[f32]; 2],
        neurons: &[f32],
        [g_lower, g_upper]: [&mut [f32]; 2],
        add: bool,
    ) {
        // SAFETY: all maps hold the stage's neurons.
        unsafe {
            S::run(|| {
                for i in 0..stage.output.len() {
                    let l = S::load(lower.as_ptr().add(i * WIDTH));
                    let u = S::load(upper.as_ptr().add(i * WIDTH));
                    let slope = S::load(neurons.as_ptr().add(2 * i * WIDTH));
                    let intercept = S::load(neurons.as_ptr().add((2 * i + 1) * WIDTH));
                    let inverse = S::div(S::splat(1.0), S::max(S::sub(u, l), S::splat(NARROW)));
                    let (high, low) = (S::mul(u, inverse), S::mul(S::sub(S::zero(), l), inverse));
                    let on_lower = S::fnma(S::mul(high, high), intercept, S::mul(S::mul(high, inverse), slope));
                    let on_upper = S::fma(S::mul(low, low), intercept, S::mul(S::mul(low, inverse), slope));
                    for (on, target) in [(on_lower, &mut *g_lower), (on_upper, &mut *g_upper)] {
                        let on = S::where_negative(l, S::where_positive(u, on, S::zero()), S::zero());
                        let place = target.as_mut_ptr().add(i * WIDTH);
                        S::store(place, if add { S::add(S::load(place), on) } else { on });
                    }
                }
            });
        }
    }
}
