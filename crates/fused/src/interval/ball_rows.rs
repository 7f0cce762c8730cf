//! Exact bounds of the first stage over ℓ2 and ℓ1 balls: radius ε‖row‖_q, the same for every image.

use tightrope_engine::Norm;

use crate::net::Net;
use crate::net::geometry::patch_offsets;
use crate::net::weights::padded;

/// Dual norms of the first stage's rows and how each input element is scaled.
#[derive(Clone)]
pub struct BallRows {
    norm: Norm,
    /// Input normalisation per padded input element; 0 in the padding.
    pub scale: Vec<f32>,
    /// ‖row‖_q per output, `[position][c_out]`.
    pub norms: Vec<f32>,
}

impl BallRows {
    /// The norms dual to `norm`.
    ///
    /// Over an unclipped ℓ2 ball a convolution of the raw input takes the norm of its whole kernel at every
    /// position, padding included, as the field's tools do: sound, and looser only at the border.
    pub fn new(net: &Net<'_>, norm: Norm, clipped: bool) -> Self {
        let stage = &net.plan.stages[0];
        let whole_kernel = norm == Norm::L2 && !clipped && !stage.normed && net.plan.normalisation.is_none();
        let mut scale = vec![if whole_kernel { 1.0 } else { 0.0 }; net.input_len(0)];
        for e in 0..net.plan.dimension {
            if let Some(place) = net.pixel(e) {
                scale[place] = net.plan.normalisation.as_ref().map_or(1.0, |(scale, _)| scale[e]);
            }
        }
        let mut rows = BallRows { norm, scale, norms: vec![0.0; stage.output.len()] };
        Self::for_each_row(net, |index, channel, entries| {
            let weights = &net.weights.signed[0].forward;
            let value =
                |&(e, place): &(usize, usize)| weights[e * padded(stage.output.c) + channel] * rows.scale[place];
            let total = match rows.norm {
                Norm::L2 => entries.iter().map(|p| value(p) * value(p)).sum::<f32>().sqrt(),
                Norm::L1 => entries.iter().fold(0.0_f32, |m, p| m.max(value(p).abs())),
                Norm::Inf => entries.iter().map(|p| value(p).abs()).sum(),
            };
            rows.norms[index] = total;
        });
        rows
    }

    /// Calls `visit` with every output's index, channel and its (weight element, padded place) pairs,
    /// ordered by channel, then row, then column, as the input's elements are.
    fn for_each_row(net: &Net<'_>, mut visit: impl FnMut(usize, usize, &[(usize, usize)])) {
        let stage = &net.plan.stages[0];
        let row = stage.input_side()[1];
        let offsets = patch_offsets(stage, row);
        let ci = stage.input.c;
        let mut entries = Vec::new();
        for y in 0..stage.output.h {
            for x in 0..stage.output.w {
                let corner = (y * stage.stride[0] * row + x * stage.stride[1]) * ci;
                entries.clear();
                for i in 0..ci {
                    for tap in 0..stage.taps() {
                        let e = tap * ci + i;
                        entries.push((e, corner + offsets[e] as usize));
                    }
                }
                for c in 0..stage.output.c {
                    visit((y * stage.output.w + x) * stage.output.c + c, c, &entries);
                }
            }
        }
    }

    /// Adds the gradient of Σ g·ε·‖row‖_q with respect to the weights to `sums` (`[tap][c_in][c_out padded]`).
    pub fn add_gradient(&self, net: &Net<'_>, epsilon: f32, g: &[f32], sums: &mut [f32]) {
        let stride = padded(net.plan.stages[0].output.c);
        let weights = &net.weights.signed[0].forward;
        Self::for_each_row(net, |index, channel, entries| {
            let (g, norm) = (g[index] * epsilon, self.norms[index]);
            if g == 0.0 || norm == 0.0 {
                return;
            }
            for &(e, place) in entries {
                let value = weights[e * stride + channel] * self.scale[place];
                let target = &mut sums[e * stride + channel];
                match self.norm {
                    Norm::L2 => *target += g * value / norm * self.scale[place],
                    Norm::Inf => *target += g * sign(value) * self.scale[place],
                    Norm::L1 if value.abs() == norm => {
                        // Only the first peak moves the maximum.
                        *target += g * sign(value) * self.scale[place];
                        break;
                    }
                    Norm::L1 => {}
                }
            }
        });
    }
}

fn sign(value: f32) -> f32 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}
