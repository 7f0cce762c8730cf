//! The ReLU relaxation of a tile at one position, and its adjoint.
//!
//! The two planes of a tile are P and Q, where A_L = P − Q and A_U = P + Q are the coefficients of the lower and upper
//! bounds: Q is zero, and costs nothing, wherever no unstable neuron lies between the rows and the position. A position
//! is *spread* if its coefficients come with a Q; after the relaxation unstable neurons always have one. With one plane
//! only A_L is walked.

use crate::backward::rows::lines::{Coefficient, LinesAt};
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

/// A tile's constants in registers, `[plane][T]`.
#[derive(Clone, Copy)]
struct Constants<S: Lanes>([[S::V; 2]; 2]);

impl<S: Lanes> Constants<S> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the machine is the caller's word.
        unsafe { Constants([[S::zero(); 2]; 2]) }
    }

    #[inline(always)]
    unsafe fn add_to(self, values: &mut RowValues) {
        for v in 0..2 {
            for t in 0..2 {
                // SAFETY: two vectors per plane; the machine is the caller's word.
                unsafe {
                    let place = values[v].as_mut_ptr().add(t * WIDTH);
                    S::store_any(place, S::add(S::load_any(place), self.0[v][t]));
                }
            }
        }
    }

    /// (P, Q) to (P − Q, P + Q).
    #[inline(always)]
    unsafe fn joined(self) -> Self {
        // SAFETY: the machine is the caller's word.
        unsafe {
            let [p, q] = self.0;
            Constants([[S::sub(p[0], q[0]), S::sub(p[1], q[1])], [S::add(p[0], q[0]), S::add(p[1], q[1])]])
        }
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        let mut sum = self;
        for v in 0..2 {
            for t in 0..2 {
                // SAFETY: the machine is the caller's word.
                sum.0[v][t] = unsafe { S::add(self.0[v][t], other.0[v][t]) };
            }
        }
        sum
    }
}

/// The relaxation of coefficients without a Q at one position, from `rows` (`[channel][stride]`) to `spot`
/// (`[channel][P][T][16]`); both may be the same memory, then with the same stride.
///
/// The constants gain what intercepts and biases give. Of stably active neurons only the first plane is written.
///
/// # Safety
/// The machine has `S`; the lists name channels of rows, spot and lines.
#[inline(always)]
pub unsafe fn relax_rows<S: Lanes, const P: usize, const T: usize>(
    rows: *const f32,
    stride: usize,
    spot: *mut f32,
    lines: LinesAt,
    live: &[u16],
    unstable: usize,
    constants: &mut RowValues,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = Constants::<S>::zero();
        // What stays in place need not be written: whoever reads it next would wait for it.
        let moves = !std::ptr::eq(rows, spot);
        for &channel in live.get_unchecked(..unstable) {
            let channel = usize::from(channel);
            let [m, d, e, g] =
                lines.several::<S, _>([Coefficient::M, Coefficient::D, Coefficient::E, Coefficient::G], channel);
            for t in 0..T {
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                let size = S::abs(a);
                let place = spot.add((channel * P * T + t) * WIDTH);
                sums.0[0][t] = S::fma(a, e, sums.0[0][t]);
                if P == 2 {
                    S::store(place, S::mul(a, m));
                    S::store(place.add(T * WIDTH), S::mul(size, d));
                    sums.0[1][t] = S::fma(size, g, sums.0[1][t]);
                } else {
                    // Not fused: where λ_l = 0 the two products are equal and must cancel exactly, because the
                    // adjoint reads the sign of the result.
                    S::store(place, S::sub(S::mul(a, m), S::mul(size, d)));
                    sums.0[0][t] = S::fnma(size, g, sums.0[0][t]);
                }
            }
        }
        for &channel in live.get_unchecked(unstable..) {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            for t in 0..T {
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                if moves {
                    S::store(spot.add((channel * P * T + t) * WIDTH), a);
                }
                sums.0[0][t] = S::fma(a, bias, sums.0[0][t]);
            }
        }
        (if P == 2 { sums.joined() } else { sums }).add_to(constants);
    }
}

/// The relaxation at a spread position, in place: both planes of all live neurons come and go as P and Q.
///
/// # Safety
/// As [`relax_rows`].
#[inline(always)]
pub unsafe fn relax_spread<S: Lanes, const T: usize>(
    spot: *mut f32,
    lines: LinesAt,
    live: &[u16],
    unstable: usize,
    constants: &mut RowValues,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let half = S::splat(0.5);
        let mut sums = Constants::<S>::zero();
        for &channel in live.get_unchecked(..unstable) {
            let channel = usize::from(channel);
            let [m, d, e, g] =
                lines.several::<S, _>([Coefficient::M, Coefficient::D, Coefficient::E, Coefficient::G], channel);
            // Halved, so that P and Q are the sum and the difference of what follows: an exact operation.
            let (m, d) = (S::mul(m, half), S::mul(d, half));
            for t in 0..T {
                let place = spot.add((2 * channel * T + t) * WIDTH);
                let (p, q) = (S::load(place), S::load(place.add(T * WIDTH)));
                let (a, b) = (S::sub(p, q), S::add(p, q));
                let (a_size, b_size) = (S::abs(a), S::abs(b));
                // Not fused: where λ_l = 0 the two products are equal and must cancel exactly, because the
                // adjoint reads the sign of the result.
                let low = S::sub(S::mul(a, m), S::mul(a_size, d));
                let high = S::add(S::mul(b, m), S::mul(b_size, d));
                S::store(place, S::add(low, high));
                S::store(place.add(T * WIDTH), S::sub(high, low));
                sums.0[0][t] = S::fnma(a_size, g, S::fma(a, e, sums.0[0][t]));
                sums.0[1][t] = S::fma(b_size, g, S::fma(b, e, sums.0[1][t]));
            }
        }
        let mut linear = Constants::<S>::zero();
        for &channel in live.get_unchecked(unstable..) {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            for v in 0..2 {
                for t in 0..T {
                    let a = S::load(spot.add(((2 * channel + v) * T + t) * WIDTH));
                    linear.0[v][t] = S::fma(a, bias, linear.0[v][t]);
                }
            }
        }
        sums.plus(linear.joined()).add_to(constants);
    }
}

/// Cotangents on (A_L, A_U) = (P − Q, P + Q) to those on (P, Q).
pub fn split(g: &RowValues) -> RowValues {
    let mut planes = [[0.0; TALL]; 2];
    for lane in 0..TALL {
        planes[0][lane] = g[0][lane] + g[1][lane];
        planes[1][lane] = g[1][lane] - g[0][lane];
    }
    planes
}

/// The cotangents that a relaxation's adjoint reads.
#[derive(Clone, Copy)]
pub struct RelaxCotangents<'a> {
    /// On the rows' minima and maxima.
    pub rows: &'a RowValues,
    /// The same for P and Q.
    pub planes: &'a RowValues,
    /// Where the sums of λ_u and μ_u of the position's neurons are, `[channel][2][16]`.
    pub neurons: *mut f32,
}

/// Adjoint of the relaxation of the rows themselves: `spot` holds the cotangents of P and Q (or A_L), `sink` gains those
/// of the rows.
///
/// # Safety
/// The machine has `S`; the lists name channels of rows, sink, spot, lines and neurons.
#[inline(always)]
pub unsafe fn rows_adjoint<S: Lanes, const P: usize, const T: usize>(
    rows: *const f32,
    sink: *mut f32,
    [stride, sink_stride]: [usize; 2],
    spot: *const f32,
    lines: LinesAt,
    live: &[u16],
    unstable: usize,
    given: RelaxCotangents<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let (half, rise) = (S::splat(0.5), lines.rise::<S>());
        let g_of = |v: usize, t: usize| S::load_any(given.rows[v].as_ptr().add(t * WIDTH));
        for &channel in live.get_unchecked(..unstable) {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            let [lower, upper, intercept] = lines
                .several::<S, _>([Coefficient::LowerSlope, Coefficient::UpperSlope, Coefficient::Intercept], channel);
            let sums = given.neurons.add(channel * 2 * WIDTH);
            let (mut slope, mut height) = (S::load(sums), S::load(sums.add(WIDTH)));
            for t in 0..T {
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                let place = spot.add((channel * P * T + t) * WIDTH);
                let mut low = S::load(place);
                let mut high = S::zero();
                if P == 2 {
                    let (p, q) = (low, S::load(place.add(T * WIDTH)));
                    low = S::mul(S::sub(p, q), half);
                    high = S::mul(S::add(p, q), half);
                }
                low = S::fma(g_of(0, t), bias, low);
                let (negative, positive) = (S::min(a, S::zero()), S::max(a, S::zero()));
                slope = S::fma(low, S::fma(rise, positive, negative), slope);
                height = S::fma(g_of(0, t), negative, height);
                let bent = S::fma(low, upper, S::mul(g_of(0, t), intercept));
                let mut result = S::where_negative(a, bent, S::mul(low, lower));
                if P == 2 {
                    high = S::fma(g_of(1, t), bias, high);
                    slope = S::fma(high, S::fma(rise, negative, positive), slope);
                    height = S::fma(g_of(1, t), positive, height);
                    let bent = S::fma(high, upper, S::mul(g_of(1, t), intercept));
                    result = S::add(result, S::where_positive(a, bent, S::mul(high, lower)));
                }
                let target = sink.add(channel * sink_stride + t * WIDTH);
                S::store(target, S::add(S::load(target), result));
            }
            S::store(sums, slope);
            S::store(sums.add(WIDTH), height);
        }
        for &channel in live.get_unchecked(unstable..) {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            for t in 0..T {
                // P = a and no Q: the constants of both bounds hold a·b.
                let g = S::load_any(given.planes[0].as_ptr().add(t * WIDTH));
                let low = S::load(spot.add((channel * P * T + t) * WIDTH));
                let target = sink.add(channel * sink_stride + t * WIDTH);
                S::store(target, S::add(S::load(target), S::fma(g, bias, low)));
            }
        }
    }
}

/// Adjoint of a later relaxation, in place on `spot`: cotangents of the results to those of the coefficients; `kept` are
/// the results. Without `spread` the coefficients had no Q, and zero stands for its cotangent.
///
/// # Safety
/// As [`rows_adjoint`].
#[inline(always)]
pub unsafe fn relax_adjoint<S: Lanes, const P: usize, const T: usize>(
    kept: *const f32,
    spot: *mut f32,
    spread: bool,
    lines: LinesAt,
    live: &[u16],
    unstable: usize,
    given: RelaxCotangents<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let half = S::splat(0.5);
        for &channel in live.get_unchecked(..unstable) {
            let channel = usize::from(channel);
            let [lower, upper, intercept] = lines
                .several::<S, _>([Coefficient::LowerSlope, Coefficient::UpperSlope, Coefficient::Intercept], channel);
            let line = [lower, upper, intercept, lines.bias::<S>(channel), lines.rise::<S>()];
            let inverse = S::div(S::splat(1.0), upper);
            let sums = given.neurons.add(channel * 2 * WIDTH);
            let mut neuron = [S::load(sums), S::load(sums.add(WIDTH))];
            for t in 0..T {
                let g_of = |v: usize| S::load_any(given.rows[v].as_ptr().add(t * WIDTH));
                let at = (channel * P * T + t) * WIDTH;
                let (first, first_kept) = (S::load(spot.add(at)), S::load(kept.add(at)));
                if P == 1 {
                    let on = bound_adjoint::<S, false>(first, first_kept, g_of(0), line, inverse, &mut neuron);
                    S::store(spot.add(at), on);
                    continue;
                }
                let second_at = at + T * WIDTH;
                let (second, second_kept) = (S::load(spot.add(second_at)), S::load(kept.add(second_at)));
                let low = S::mul(half, S::sub(first, second));
                let high = S::mul(half, S::add(first, second));
                let (low_kept, high_kept) = (S::sub(first_kept, second_kept), S::add(first_kept, second_kept));
                let low = bound_adjoint::<S, false>(low, low_kept, g_of(0), line, inverse, &mut neuron);
                let high = bound_adjoint::<S, true>(high, high_kept, g_of(1), line, inverse, &mut neuron);
                S::store(spot.add(at), S::add(low, high));
                S::store(spot.add(second_at), if spread { S::sub(high, low) } else { S::zero() });
            }
            S::store(sums, neuron[0]);
            S::store(sums.add(WIDTH), neuron[1]);
        }
        for &channel in live.get_unchecked(unstable..) {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            for v in 0..P {
                for t in 0..T {
                    let place = spot.add(((channel * P + v) * T + t) * WIDTH);
                    let g = S::load_any(given.planes[v].as_ptr().add(t * WIDTH));
                    let on = if v == 0 || spread { S::fma(g, bias, S::load(place)) } else { S::zero() };
                    S::store(place, on);
                }
            }
        }
    }
}

/// The cotangent of one bound's coefficient, from that of its relaxation; `neuron` gains those of λ_u and μ_u.
#[inline(always)]
unsafe fn bound_adjoint<S: Lanes, const UPPER: bool>(
    cotangent: S::V,
    result: S::V,
    g: S::V,
    [lower, upper, intercept, bias, rise]: [S::V; 5],
    inverse: S::V,
    neuron: &mut [S::V; 2],
) -> S::V {
    // SAFETY: the machine is the caller's word.
    unsafe {
        let cotangent = S::fma(g, bias, cotangent);
        // The coefficient had the sign of the result, and the upper line where that sign calls for it.
        let (low_part, high_part) = (S::min(result, S::zero()), S::max(result, S::zero()));
        let (bent_part, rest) = if UPPER { (high_part, low_part) } else { (low_part, high_part) };
        let bent_part = S::mul(bent_part, inverse);
        // Parallel lines have this slope on both sides.
        let on_slope = S::fma(rise, S::mul(rest, inverse), bent_part);
        neuron[0] = S::fma(cotangent, on_slope, neuron[0]);
        neuron[1] = S::fma(g, bent_part, neuron[1]);
        let bent = S::fma(cotangent, upper, S::mul(g, intercept));
        let straight = S::mul(cotangent, lower);
        if UPPER { S::where_positive(result, bent, straight) } else { S::where_negative(result, bent, straight) }
    }
}
