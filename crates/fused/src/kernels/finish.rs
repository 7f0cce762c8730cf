//! What becomes of finished sums: bias and ReLU, and their adjoints, for points and for intervals.
//!
//! Maps are `[position][channel][VP][16]`.

use crate::kernels::product::Finish;
use crate::simd::lanes::{Lanes, WIDTH};

/// W c + b, then the ReLU if `RECTIFY`.
#[derive(Clone, Copy)]
pub struct Activate<const RECTIFY: bool> {
    pub channels: usize,
    pub bias: *const f32,
    pub target: *mut f32,
}

impl<S: Lanes, const VP: usize, const RECTIFY: bool> Finish<S, 1, VP> for Activate<RECTIFY> {
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [sums]: [[S::V; VP]; 1]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * self.channels + output;
            let bias = S::splat(*self.bias.add(output));
            for v in 0..VP {
                let value = S::add(sums[v], bias);
                let value = if RECTIFY { S::max(S::zero(), value) } else { value };
                S::store(self.target.add((element * VP + v) * WIDTH), value);
            }
        }
    }
}

/// W c + b as it is, also added to the channel's lanes.
#[derive(Clone, Copy)]
pub struct Collected {
    pub activate: Activate<false>,
    /// `[band][channel][16]`.
    pub sums: *mut f32,
}

impl<S: Lanes, const VP: usize> Finish<S, 1, VP> for Collected {
    #[inline]
    unsafe fn in_band(self, band: usize) -> Self {
        // SAFETY: the caller's lanes hold all bands.
        Self { sums: unsafe { self.sums.add(band * self.activate.channels * WIDTH) }, ..self }
    }
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [sums]: [[S::V; VP]; 1]) {
        // SAFETY: maps and lanes hold the output.
        unsafe {
            let Activate { channels, bias, target } = self.activate;
            let element = position * channels + output;
            let bias = S::splat(*bias.add(output));
            let lanes = self.sums.add(output * WIDTH);
            let mut total = S::load(lanes);
            for v in 0..VP {
                let value = S::add(sums[v], bias);
                S::store(target.add((element * VP + v) * WIDTH), value);
                total = S::add(total, value);
            }
            S::store(lanes, total);
        }
    }
}

/// The adjoint of the ReLU: sums where the activation is positive, else 0, also added to the bias's lanes.
#[derive(Clone, Copy)]
pub struct Masked {
    pub channels: usize,
    pub activation: *const f32,
    pub target: *mut f32,
    /// `[band][channel][16]`.
    pub bias: *mut f32,
}

impl<S: Lanes, const VP: usize> Finish<S, 1, VP> for Masked {
    #[inline]
    unsafe fn in_band(self, band: usize) -> Self {
        // SAFETY: the caller's lanes hold all bands.
        Self { bias: unsafe { self.bias.add(band * self.channels * WIDTH) }, ..self }
    }
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [sums]: [[S::V; VP]; 1]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * self.channels + output;
            let bias = self.bias.add(output * WIDTH);
            let mut total = S::load(bias);
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let value = S::where_positive(S::load(self.activation.add(place)), sums[v], S::zero());
                S::store(self.target.add(place), value);
                total = S::add(total, value);
            }
            S::store(bias, total);
        }
    }
}

/// As [`Masked`], and each cotangent times its distance from the channel's mean before the batch norm is added to
/// lanes of its own.
#[derive(Clone, Copy)]
pub struct MaskedCentred {
    pub masked: Masked,
    /// The map before the batch norm.
    pub raw: *const f32,
    /// Per channel.
    pub mean: *const f32,
    /// `[band][channel][16]`.
    pub centred: *mut f32,
}

impl<S: Lanes, const VP: usize> Finish<S, 1, VP> for MaskedCentred {
    #[inline]
    unsafe fn in_band(self, band: usize) -> Self {
        // SAFETY: the caller's lanes hold all bands.
        unsafe {
            let masked = Finish::<S, 1, VP>::in_band(self.masked, band);
            Self { masked, centred: self.centred.add(band * self.masked.channels * WIDTH), ..self }
        }
    }
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [sums]: [[S::V; VP]; 1]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let Masked { channels, activation, target, bias } = self.masked;
            let element = position * channels + output;
            let (bias, centred) = (bias.add(output * WIDTH), self.centred.add(output * WIDTH));
            let mean = S::splat(*self.mean.add(output));
            let (mut total, mut product) = (S::load(bias), S::load(centred));
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let value = S::where_positive(S::load(activation.add(place)), sums[v], S::zero());
                S::store(target.add(place), value);
                total = S::add(total, value);
                product = S::fma(value, S::sub(S::load(self.raw.add(place)), mean), product);
            }
            S::store(bias, total);
            S::store(centred, product);
        }
    }
}

/// W c + b ∓ |W| r.
#[derive(Clone, Copy)]
pub struct Ends {
    pub channels: usize,
    pub bias: *const f32,
    pub lower: *mut f32,
    pub upper: *mut f32,
}

impl<S: Lanes, const VP: usize> Finish<S, 2, VP> for Ends {
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [center, radius]: [[S::V; VP]; 2]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * self.channels + output;
            let bias = S::splat(*self.bias.add(output));
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let value = S::add(center[v], bias);
                S::store(self.lower.add(place), S::sub(value, radius[v]));
                S::store(self.upper.add(place), S::add(value, radius[v]));
            }
        }
    }
}

/// Centre and radius of max(0, W c + b ∓ |W| r); with `ENDS` also the argument's ends.
#[derive(Clone, Copy)]
pub struct Rectified<const ENDS: bool> {
    pub ends: Ends,
    pub center: *mut f32,
    pub radius: *mut f32,
    /// Factor of the upper end where the argument's ends differ in sign.
    pub shrinkage: f32,
}

impl<S: Lanes, const VP: usize, const ENDS: bool> Finish<S, 2, VP> for Rectified<ENDS> {
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [center, radius]: [[S::V; VP]; 2]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * self.ends.channels + output;
            let (bias, half) = (S::splat(*self.ends.bias.add(output)), S::splat(0.5));
            let shrinkage = S::splat(self.shrinkage);
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let value = S::add(center[v], bias);
                let (lower, upper) = (S::sub(value, radius[v]), S::add(value, radius[v]));
                if ENDS {
                    S::store(self.ends.lower.add(place), lower);
                    S::store(self.ends.upper.add(place), upper);
                }
                let positive = S::max(S::zero(), upper);
                let upper = S::where_negative(lower, S::mul(shrinkage, positive), positive);
                let lower = S::max(S::zero(), lower);
                S::store(self.center.add(place), S::mul(S::add(lower, upper), half));
                S::store(self.radius.add(place), S::mul(S::sub(upper, lower), half));
            }
        }
    }
}

/// As [`Rectified`] with ends, for W c + b ∓ ε‖row‖, met with the ends that are there already if `clipped`.
#[derive(Clone, Copy)]
pub struct RectifiedBall {
    pub rectified: Rectified<true>,
    /// ‖row‖ per position and output.
    pub norms: *const f32,
    pub epsilon: f32,
    pub clipped: bool,
}

impl<S: Lanes, const VP: usize> Finish<S, 1, VP> for RectifiedBall {
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [sums]: [[S::V; VP]; 1]) {
        let Rectified { ends, center, radius, shrinkage } = self.rectified;
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * ends.channels + output;
            let (bias, half) = (S::splat(*ends.bias.add(output)), S::splat(0.5));
            let reach = S::splat(self.epsilon * *self.norms.add(element));
            let shrinkage = S::splat(shrinkage);
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let value = S::add(sums[v], bias);
                let (mut lower, mut upper) = (S::sub(value, reach), S::add(value, reach));
                if self.clipped {
                    lower = S::max(lower, S::load(ends.lower.add(place)));
                    upper = S::min(upper, S::load(ends.upper.add(place)));
                }
                S::store(ends.lower.add(place), lower);
                S::store(ends.upper.add(place), upper);
                let positive = S::max(S::zero(), upper);
                let upper = S::where_negative(lower, S::mul(shrinkage, positive), positive);
                let lower = S::max(S::zero(), lower);
                S::store(center.add(place), S::mul(S::add(lower, upper), half));
                S::store(radius.add(place), S::mul(S::sub(upper, lower), half));
            }
        }
    }
}

/// The adjoint of [`Rectified`]: from cotangents on the activation's centre and radius to those on W c + b and |W| r.
///
/// The activation tells which ends the ReLU let through: the lower one where centre − radius is positive, the
/// upper one where the centre is, shrunk where the lower one was not.
#[derive(Clone, Copy)]
pub struct IntervalMasked<const ADD: bool> {
    pub channels: usize,
    pub center: *const f32,
    pub radius: *const f32,
    /// Written; with `ADD` they hold further cotangents on the lower and upper end before.
    pub g_value: *mut f32,
    pub g_reach: *mut f32,
    /// `[band][channel][16]`.
    pub bias: *mut f32,
    /// That of [`Rectified`].
    pub shrinkage: f32,
}

impl<S: Lanes, const VP: usize, const ADD: bool> Finish<S, 2, VP> for IntervalMasked<ADD> {
    #[inline]
    unsafe fn in_band(self, band: usize) -> Self {
        // SAFETY: the caller's lanes hold all bands.
        Self { bias: unsafe { self.bias.add(band * self.channels * WIDTH) }, ..self }
    }
    #[inline(always)]
    unsafe fn finish(self, position: usize, output: usize, [g_center, g_radius]: [[S::V; VP]; 2]) {
        // SAFETY: the maps hold the output.
        unsafe {
            let element = position * self.channels + output;
            let (half, shrinkage) = (S::splat(0.5), S::splat(self.shrinkage));
            let bias = self.bias.add(output * WIDTH);
            let mut total = S::load(bias);
            for v in 0..VP {
                let place = (element * VP + v) * WIDTH;
                let (center, radius) = (S::load(self.center.add(place)), S::load(self.radius.add(place)));
                let low = S::mul(S::sub(g_center[v], g_radius[v]), half);
                let high = S::mul(S::add(g_center[v], g_radius[v]), half);
                let is_active = S::sub(center, radius);
                let high = S::where_positive(is_active, high, S::mul(shrinkage, high));
                let mut low = S::where_positive(is_active, low, S::zero());
                let mut high = S::where_positive(center, high, S::zero());
                if ADD {
                    low = S::add(S::load(self.g_value.add(place)), low);
                    high = S::add(S::load(self.g_reach.add(place)), high);
                }
                let value = S::add(low, high);
                S::store(self.g_value.add(place), value);
                S::store(self.g_reach.add(place), S::sub(high, low));
                total = S::add(total, value);
            }
            S::store(bias, total);
        }
    }
}
