//! Lower slopes that the caller gives, and gradients with respect to lower slopes.
//!
//! Such gradients need the coefficients before each relaxation: where λ_l = 0 nothing is left of them after it. Walks
//! keep those coefficients only if slopes are asked for, and margins then have rows in lanes.

use tightrope_engine::LayerSlopes;

use crate::backward::rows::lines::LinesAt;
use crate::backward::rows::tile::RowValues;
use crate::net::Net;
use crate::net::exchange::{add_planes, image_len, to_planes};
use crate::net::plan::Plan;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// What a job knows and wants about slopes.
#[derive(Clone, Copy, Default)]
pub struct SlopeRequest<'a> {
    /// Given slopes, per pre-activation; those that are not there are the relaxation's own.
    pub given: &'a [LayerSlopes<f32>],
    /// True if the adjoint shall find their gradient.
    pub wanted: bool,
}

impl SlopeRequest<'_> {
    /// The given slopes of a stage and sample, `[position][channel padded]`.
    pub fn of_image(&self, plan: &Plan, index: usize, sample: usize) -> Option<Buffer> {
        let stage = &plan.stages[index];
        let layer = self.given.iter().find(|layer| layer.node == stage.node)?;
        let mut image = Buffer::zeroed(image_len(stage.output));
        add_planes(stage.output, &layer.lower[sample * stage.output.len()..][..stage.output.len()], &mut image);
        Some(image)
    }
}

/// Gradients of the slopes of one chunk, per hidden stage `[image][channel][height][width]`.
pub type ChunkSlopes = Vec<Vec<f32>>;

/// Chunks' gradients in order.
pub fn join(plan: &Plan, mut chunks: Vec<(usize, ChunkSlopes)>) -> Vec<LayerSlopes<f32>> {
    chunks.sort_by_key(|(index, _)| *index);
    let layer = |index: usize| LayerSlopes {
        node: plan.stages[index].node,
        lower: chunks.iter().flat_map(|(_, stages)| &stages[index]).copied().collect(),
    };
    (0..plan.hidden()).map(layer).collect()
}

/// Appends one image's sums over rows, `[position][channel][16]` for unstable neurons, as planes.
///
/// # Safety
/// The machine has `S`; the sums hold the stage.
pub unsafe fn store<S: Lanes>(
    net: &Net<'_>,
    index: usize,
    unstable: impl Fn(usize) -> Vec<usize>,
    parts: &[&Buffer],
    planes: &mut Vec<f32>,
) {
    let grid = net.plan.stages[index].output;
    let row = image_len(grid) / grid.positions();
    let mut image = Buffer::zeroed(image_len(grid));
    for position in 0..grid.positions() {
        for channel in unstable(position) {
            let place = (position * grid.c + channel) * WIDTH;
            for part in parts {
                // SAFETY: the caller's sums hold the stage.
                image[position * row + channel] += unsafe { S::run(|| S::sum(S::load(part.as_ptr().add(place)))) };
            }
        }
    }
    to_planes(grid, &image, planes);
}

/// The coefficients that a relaxation got: the first plane of each channel, and the second if `spread`.
#[derive(Clone, Copy)]
pub struct Before {
    pub coefficients: *const f32,
    /// From channel to channel.
    pub stride: usize,
    pub spread: bool,
}

/// Adds the cotangents of λ_l at one position to `sums`, `[channel][16]`; `spot` holds those of the results, P and Q (or
/// A_L), `rows` those of the minima and maxima.
///
/// A_L' = min(A_L, 0)·λ_u + max(A_L, 0)·λ_l and A_U' = max(A_U, 0)·λ_u + min(A_U, 0)·λ_l; the constants hold A'·b.
///
/// # Safety
/// The machine has `S`; `unstable` names channels of coefficients, spot, lines and sums.
#[inline(always)]
pub unsafe fn slope_adjoint<S: Lanes, const P: usize, const T: usize>(
    before: Before,
    spot: *const f32,
    lines: LinesAt,
    unstable: &[u16],
    rows: &RowValues,
    sums: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let half = S::splat(0.5);
        for &channel in unstable {
            let channel = usize::from(channel);
            let bias = lines.bias::<S>(channel);
            let mut sum = S::load(sums.add(channel * WIDTH));
            for t in 0..T {
                let from = before.coefficients.add(channel * before.stride + t * WIDTH);
                let place = spot.add((channel * P * T + t) * WIDTH);
                let (p, g_p) = (S::load(from), S::load(place));
                let (mut low, mut g_low) = (p, g_p);
                if P == 2 {
                    let q = if before.spread { S::load(from.add(T * WIDTH)) } else { S::zero() };
                    let g_q = S::load(place.add(T * WIDTH));
                    let g_high = S::mul(half, S::add(g_p, g_q));
                    (low, g_low) = (S::sub(p, q), S::mul(half, S::sub(g_p, g_q)));
                    let on_high = S::load_any(rows[1].as_ptr().add(t * WIDTH));
                    sum = S::fma(S::fma(on_high, bias, g_high), S::min(S::add(p, q), S::zero()), sum);
                }
                let on_low = S::load_any(rows[0].as_ptr().add(t * WIDTH));
                sum = S::fma(S::fma(on_low, bias, g_low), S::max(low, S::zero()), sum);
            }
            S::store(sums.add(channel * WIDTH), sum);
        }
    }
}
