//! ℓ2 bounds of a convolution that reads the input: centre ± ε‖kernel‖₂, the same radius at every position.
//!
//! This is what the field's reference tool (auto_LiRPA) takes for the first convolution. It is exact
//! where the window lies inside the image and looser, though sound, where it covers zero padding.

use tightrope_network::{Layer, NodeId};

use super::affine::{Map, MapGradients, Weights};
use super::interval::Pair;
use super::lanes::{dot, sum};
use super::plan::Plan;
use crate::{Ball, Norm, Real, Region};

/// The ball of `region` if node `id` is bounded this way: an unclipped ℓ2 ball and a convolution of the input.
pub(super) fn ball_for<'r, T: Real>(plan: &Plan<T>, region: &'r Region<T>, id: NodeId) -> Option<&'r Ball<T>> {
    let node = plan.network.node(id);
    let first = matches!(node.layer, Layer::Conv2d(_)) && node.inputs == [0];
    region.ball.as_ref().filter(|ball| first && ball.norm == Norm::L2 && !region.clipped)
}

/// ‖kernel‖₂ per output channel.
fn norms<T: Real>(map: &Map<T>, channels: usize) -> Vec<T> {
    map.kernels(channels).map(|kernel| dot(kernel, kernel).sqrt()).collect()
}

/// Bounds of node `id`, `[batch, n]`.
pub(super) fn bounds<T: Real>(plan: &Plan<T>, ball: &Ball<T>, id: NodeId, batch: usize) -> Pair<T> {
    let (map, node) = (plan.map(id), plan.network.node(id));
    let mut center = map.apply(Weights::Signed, &ball.center, batch);
    map.add_bias(&mut center);
    let radii: Vec<T> = norms(map, node.shape[0]).into_iter().map(|norm| ball.epsilon * norm).collect();
    let radius = |i: usize| radii[i / (node.shape[1] * node.shape[2]) % node.shape[0]];
    Pair {
        lower: center.iter().enumerate().map(|(i, &c)| c - radius(i)).collect(),
        upper: center.iter().enumerate().map(|(i, &c)| c + radius(i)).collect(),
    }
}

/// Pulls cotangents on centre and radius of node `id` back to the weights, the ball's centre and, per sample, ε.
pub(super) fn backward<T: Real>(
    plan: &Plan<T>,
    ball: &Ball<T>,
    id: NodeId,
    (g_center, g_radius): (&[T], &[T]),
    weights: Option<&mut MapGradients<T>>,
    (center, epsilon): (&mut [T], &mut [T]),
) {
    let (map, node) = (plan.map(id), plan.network.node(id));
    let norms = norms(map, node.shape[0]);
    let batch = epsilon.len();
    let mut per_channel = vec![T::ZERO; norms.len()];
    let planes = g_radius.chunks_exact(node.shape[1] * node.shape[2]).map(sum);
    for (index, g) in planes.enumerate() {
        let channel = index % norms.len();
        per_channel[channel] += g;
        epsilon[index / norms.len()] += g * norms[channel];
    }
    if let Some(weights) = weights {
        weights.add_weight(id, map, Weights::Signed, &ball.center, g_center, batch);
        weights.add_bias(id, map, None, g_center);
        let factor = |(&g, &norm): (&T, &T)| if norm > T::ZERO { g * ball.epsilon / norm } else { T::ZERO };
        let factors: Vec<T> = per_channel.iter().zip(&norms).map(factor).collect();
        weights.add_kernels(id, map, &factors);
    }
    map.transpose(Weights::Signed, g_center, batch, center);
}
