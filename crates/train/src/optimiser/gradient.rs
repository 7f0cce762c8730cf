//! Regularisation and clipping of a gradient.

use std::ops::Range;

use tightrope_network::{Layer, Network};

/// Where in θ the weights of the convolutions and linear layers stand (no biases, no affine layers).
pub fn weight_ranges(network: &Network) -> Vec<Range<usize>> {
    let weight = |layer: &Layer| layer.fan_in().and(layer.parameters().weight);
    network
        .nodes()
        .iter()
        .filter_map(|node| weight(&node.layer))
        .map(|id| network.parameters().get(id).range())
        .collect()
}

/// Adds the subgradient λ·sign(θ) of λ‖θ‖₁ over `weights`; 0 at 0.
pub fn add_l1(gradient: &mut [f32], theta: &[f32], weights: &[Range<usize>], lambda: f64) {
    if lambda == 0.0 {
        return;
    }
    for range in weights {
        for (g, &t) in gradient[range.clone()].iter_mut().zip(&theta[range.clone()]) {
            if t != 0.0 {
                *g += (lambda as f32).copysign(t);
            }
        }
    }
}

/// Scales `gradient` down to Euclidean norm `limit` if it is longer (0 for no limit) and returns the norm it had.
pub fn clip_norm(gradient: &mut [f32], limit: f64) -> f64 {
    let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    if limit > 0.0 && norm > limit {
        let scale = (limit / norm) as f32;
        gradient.iter_mut().for_each(|g| *g *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use tightrope_network::Preset;

    use super::{add_l1, clip_norm, weight_ranges};

    #[test]
    fn clipping_keeps_the_direction_and_limits_the_norm() {
        let mut gradient = [3.0, -4.0];
        assert_eq!(clip_norm(&mut gradient, 10.0), 5.0);
        assert_eq!(gradient, [3.0, -4.0]);
        assert_eq!(clip_norm(&mut gradient, 1.0), 5.0);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] + 0.8).abs() < 1e-6);
        assert_eq!(clip_norm(&mut [3.0, -4.0], 0.0), 5.0);
        assert!(clip_norm(&mut [f32::NAN], 1.0).is_nan());
    }

    #[test]
    fn l1_acts_on_weights_only() {
        let network = Preset::Mlp.build(&[1, 2, 2], 3, None).unwrap();
        let weights = weight_ranges(&network);
        assert_eq!(weights.len(), 3);
        let total = network.parameters().total();
        let mut theta = vec![-2.0_f32; total];
        theta[0] = 0.0;
        theta[1] = 5.0;
        let mut gradient = vec![1.0_f32; total];
        add_l1(&mut gradient, &theta, &weights, 0.25);
        assert_eq!(gradient[..3], [1.0, 1.25, 0.75]);
        let bias = network.parameters().find("1.bias").unwrap().range();
        assert!(gradient[bias].iter().all(|&g| g == 1.0));
    }
}
