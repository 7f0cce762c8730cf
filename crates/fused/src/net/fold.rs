//! Per-channel affine layers folded into the stage before them.

use tightrope_network::{Affine, ParameterId, ParameterLayout};

/// A per-channel affine layer folded into a stage.
#[derive(Clone, Debug)]
pub struct Fold {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub weight: Option<ParameterId>,
    pub bias: Option<ParameterId>,
}

impl Fold {
    /// The fold of `affine`.
    pub fn new(affine: &Affine) -> Self {
        Fold {
            scale: affine.scale.iter().map(|&s| s as f32).collect(),
            shift: affine.shift.iter().map(|&s| s as f32).collect(),
            weight: affine.weight,
            bias: affine.bias,
        }
    }
}

/// Factor and summand per output channel of some folded affine layers, for `channels` channels.
pub fn folded(folds: &[Fold], channels: usize, layout: &ParameterLayout, theta: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut scale, mut shift) = (vec![1.0; channels], vec![0.0; channels]);
    for fold in folds {
        for c in 0..channels {
            let weight = fold.weight.map_or(1.0, |id| layout.slice(theta, id)[c]);
            let bias = fold.bias.map_or(0.0, |id| layout.slice(theta, id)[c]);
            scale[c] *= weight * fold.scale[c];
            shift[c] = weight * (fold.scale[c] * shift[c] + fold.shift[c]) + bias;
        }
    }
    (scale, shift)
}

/// Carries the gradient of the folded factors and summands to the affine layers' parameters.
pub fn unfold(
    folds: &[Fold],
    layout: &ParameterLayout,
    theta: &[f32],
    mut g_scale: Vec<f32>,
    mut g_shift: Vec<f32>,
    gradient: &mut [f32],
) {
    for last in (0..folds.len()).rev() {
        let (scale, shift) = folded(&folds[..last], g_scale.len(), layout, theta);
        let fold = &folds[last];
        for c in 0..g_scale.len() {
            let weight = fold.weight.map_or(1.0, |id| layout.slice(theta, id)[c]);
            if let Some(id) = fold.weight {
                layout.slice_mut(gradient, id)[c] +=
                    g_scale[c] * fold.scale[c] * scale[c] + g_shift[c] * (fold.scale[c] * shift[c] + fold.shift[c]);
            }
            if let Some(id) = fold.bias {
                layout.slice_mut(gradient, id)[c] += g_shift[c];
            }
            g_scale[c] *= weight * fold.scale[c];
            g_shift[c] *= weight * fold.scale[c];
        }
    }
}
