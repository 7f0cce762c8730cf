//! σ in units of each layer's weights, so that one σ fits layers of any fan-in.

use tightrope_network::Network;

/// The root mean square of the weights of every element's layer, `[|θ|]`; biases take that of the weights beside them.
///
/// Initialisations scale weights by the fan-in, in IBP's by its square root once more: noise of one absolute size that a
/// first convolution does not feel drowns a wide layer behind it. Mean and variance of weights differ little in what they
/// tell here, as weights have nearly no mean, but those of normalisations do.
pub fn relative_scales(network: &Network, theta: &[f32]) -> Vec<f32> {
    let mut scales = vec![1.0; theta.len()];
    for node in network.nodes() {
        let parameters = node.layer.parameters();
        let ranges = parameters.iter().map(|id| network.parameters().get(id).range());
        let Some(first) = parameters.iter().next() else { continue };
        let weights = &theta[network.parameters().get(parameters.weight.unwrap_or(first)).range()];
        let squares: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
        let scale = (squares / weights.len().max(1) as f64).sqrt() as f32;
        ranges.for_each(|range| scales[range].fill(scale));
    }
    scales
}
