//! Random parameters.

use tightrope_network::Network;

use super::rng::{Rng, draws};

/// Gaussian weights that keep activations near 1; batch-norm factors of either sign.
pub fn gaussian(rng: &Rng, network: &Network) -> Vec<f64> {
    let gain = rng.between(0.8, 1.6);
    let mut theta = Vec::new();
    for info in network.parameters().iter() {
        let fan_in: usize = info.shape[1..].iter().product();
        let factor = info.shape.len() == 1 && info.name.ends_with("weight");
        theta.extend((0..info.len()).map(|_| match (factor, info.shape.len()) {
            (true, _) => rng.sign() * rng.between(0.4, 1.4),
            (false, 1) => 0.3 * rng.normal(),
            _ => gain * rng.normal() / (fan_in as f64).sqrt(),
        }));
    }
    theta
}

/// Means near 0 and variances near 1 for the batch norms of `network`, laid out as its buffers.
pub fn statistics(rng: &Rng, network: &Network) -> Vec<f64> {
    let mut buffers = vec![0.0; network.buffers().total()];
    for (_, norm) in network.batch_norms() {
        network.buffers().slice_mut(&mut buffers, norm.mean).fill_with(|| 0.4 * rng.normal());
        network.buffers().slice_mut(&mut buffers, norm.variance).fill_with(|| rng.between(0.2, 2.0));
    }
    buffers
}

/// Uniform parameters in f32: weights of variance 1/(number of inputs), all others within 0.2 of `bias`, so that a large
/// one switches every unit on or off.
pub fn uniform(network: &Network, seed: u64, bias: f32) -> Vec<f32> {
    let mut theta = Vec::new();
    for (index, info) in network.parameters().iter().enumerate() {
        let fan: usize = info.shape[1..].iter().product::<usize>().max(1);
        if info.shape.len() == 1 {
            let values = draws(seed, index as u64, info.len(), -0.2, 0.2);
            theta.extend(values.into_iter().map(|v| v + bias));
        } else {
            let scale = (3.0 / fan as f32).sqrt();
            theta.extend(draws(seed, index as u64, info.len(), -scale, scale));
        }
    }
    theta
}
