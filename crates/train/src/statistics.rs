//! Statistics of batch norms for evaluation: running ones, and population ones over the training set.

use tightrope_engine::Loaded;
use tightrope_network::Network;

use crate::TrainError;

/// Takes the `statistics` of a minibatch of so many samples into the running ones: r ← (1−m)·r + m·s with the layer's
/// momentum m, variances as unbiased estimates n/(n−1)·v of n values.
pub(crate) fn advance(network: &Network, buffers: &mut [f32], statistics: &[f32], samples: usize) {
    let layout = network.buffers();
    for (id, norm) in network.batch_norms() {
        let n = (samples * network.node(id).len() / norm.channels) as f64;
        // A single value has the variance 0 either way.
        let unbiased = n / (n - 1.0).max(1.0);
        for (buffer, factor) in [(norm.mean, 1.0), (norm.variance, unbiased)] {
            let new = layout.slice(statistics, buffer);
            for (running, &value) in layout.slice_mut(buffers, buffer).iter_mut().zip(new) {
                let (old, value) = (f64::from(*running), factor * f64::from(value));
                *running = (old + norm.momentum * (value - old)) as f32;
            }
        }
    }
}

/// Mean and variance of every batch norm over all of `batches`, each normalised by its own statistics as in training
/// ("precise" batch norm, Wu and Johnson 2021): those of the first norm are exact, while later ones see what minibatches
/// make of the norms before, not what the statistics found here would. `stop` is asked before each batch; after a yes there are none.
///
/// # Errors
/// If the engine refuses.
pub(crate) fn population(
    at: &dyn Loaded<f32>,
    batches: impl Iterator<Item = Vec<f32>>,
    mut stop: impl FnMut() -> bool,
) -> Result<Option<Vec<f32>>, TrainError> {
    let network = at.network();
    let layout = network.buffers();
    // Σ mean and Σ (variance + mean²), weighted by samples.
    let mut moments = vec![0.0_f64; layout.total()];
    let mut samples = 0.0;
    for inputs in batches {
        if stop() {
            return Ok(None);
        }
        let weight = (inputs.len() / network.input_len()) as f64;
        let statistics = at.forward_batch(&inputs)?.statistics;
        samples += weight;
        for (_, norm) in network.batch_norms() {
            let (mean, variance) = (layout.slice(&statistics, norm.mean), layout.slice(&statistics, norm.variance));
            let sums = layout.slice_mut(&mut moments, norm.mean).iter_mut();
            sums.zip(mean).for_each(|(sum, &m)| *sum += weight * f64::from(m));
            let sums = layout.slice_mut(&mut moments, norm.variance).iter_mut();
            let square = |(&m, &v): (&f32, &f32)| f64::from(v) + f64::from(m).powi(2);
            sums.zip(mean.iter().zip(variance).map(square)).for_each(|(sum, second)| *sum += weight * second);
        }
    }
    let mut buffers: Vec<f32> = moments.iter().map(|sum| (sum / samples) as f32).collect();
    for (_, norm) in network.batch_norms() {
        let means = layout.slice(&moments, norm.mean).iter();
        let seconds = layout.slice(&moments, norm.variance).iter();
        let variances = means.zip(seconds).map(|(mean, second)| second / samples - (mean / samples).powi(2));
        let targets = layout.slice_mut(&mut buffers, norm.variance).iter_mut();
        targets.zip(variances).for_each(|(target, variance)| *target = variance.max(0.0) as f32);
    }
    Ok(Some(buffers))
}
