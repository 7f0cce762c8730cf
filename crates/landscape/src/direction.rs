//! Directions in the space of θ: along a gradient, at random with the scale of the weights, and towards another network.

use tightrope_network::Network;
use tightrope_noise::{Purpose, Stream};

use crate::LandscapeError;

/// ∇L scaled to the length of θ, so that a step t changes θ by the share |t| of its length. L rises with small t > 0.
///
/// # Errors
/// If the gradient is 0 or no number, or θ is 0: then there is no direction, or no scale.
pub fn along_gradient(gradient: &[f32], theta: &[f32]) -> Result<Vec<f32>, LandscapeError> {
    let (length, scale) = (norm(gradient), norm(theta));
    if !(length > 0.0 && length.is_finite() && scale > 0.0) {
        let problem = format!("the gradient has length {length} and θ {scale}: no direction; choose another");
        return Err(LandscapeError::Usage(problem));
    }
    Ok(gradient.iter().map(|&g| (f64::from(g) / length * scale) as f32).collect())
}

/// Gaussian numbers, number `index` of `seed`, scaled filter by filter to the length of the weights' filter (Li et al. 2018,
/// arXiv 1712.09913). A filter is what makes one output: a row of a matrix, or a kernel with all its input channels. Biases
/// and trainable affine layers stay as they are.
pub fn random(network: &Network, theta: &[f32], seed: u64, index: u64) -> Vec<f32> {
    let stream = Stream::new(seed, Purpose::Landscape, index, 0);
    let mut direction = vec![0.0_f32; theta.len()];
    stream.gaussian(0, &mut direction);
    for info in network.parameters().iter() {
        let range = info.range();
        let filter = if info.shape.len() > 1 { info.len() / info.shape[0].max(1) } else { 0 };
        if filter == 0 {
            direction[range].fill(0.0);
            continue;
        }
        for (filter, weights) in direction[range.clone()].chunks_mut(filter).zip(theta[range].chunks(filter)) {
            let scale = norm(weights) / norm(filter).max(f64::MIN_POSITIVE);
            filter.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
    }
    direction
}

/// `other` − `theta`: the other network lies at t = 1.
///
/// # Errors
/// If the lengths differ, or the two are the same.
pub fn towards(theta: &[f32], other: &[f32]) -> Result<Vec<f32>, LandscapeError> {
    if theta.len() != other.len() {
        let problem = format!(
            "the other network has {} parameters, this one {}; choose one of the same architecture",
            other.len(),
            theta.len()
        );
        return Err(LandscapeError::Usage(problem));
    }
    let difference: Vec<f32> =
        theta.iter().zip(other).map(|(&from, &to)| (f64::from(to) - f64::from(from)) as f32).collect();
    if norm(&difference) == 0.0 {
        return Err(LandscapeError::Usage("the other network has the same parameters: no direction".into()));
    }
    Ok(difference)
}

/// The ℓ2 norm.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// The cosine of the angle between two directions.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    product / (norm(a) * norm(b))
}

#[cfg(test)]
mod tests {
    use tightrope_network::{Initialisation, Preset};

    use super::{along_gradient, cosine, norm, random, towards};

    #[test]
    fn random_directions_have_the_norms_of_the_filters_and_leave_biases() {
        let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
        let theta = Initialisation::Default.theta(&network, 3);
        let direction = random(&network, &theta, 7, 0);
        for info in network.parameters().iter() {
            let (own, weights) = (&direction[info.range()], &theta[info.range()]);
            if info.shape.len() == 1 {
                assert!(own.iter().all(|&value| value == 0.0), "{}", info.name);
                continue;
            }
            let filter = info.len() / info.shape[0];
            for (own, weights) in own.chunks(filter).zip(weights.chunks(filter)) {
                assert!((norm(own) / norm(weights) - 1.0).abs() < 1e-5, "{}", info.name);
            }
        }
        // Another index or seed is another direction, nearly at a right angle.
        for other in [random(&network, &theta, 7, 1), random(&network, &theta, 8, 0)] {
            assert!(cosine(&direction, &other).abs() < 0.2);
        }
        assert_eq!(direction, random(&network, &theta, 7, 0));
    }

    #[test]
    fn gradients_get_the_length_of_theta_and_differences_reach_the_other() {
        let theta = [3.0, -4.0];
        assert_eq!(along_gradient(&[0.0, 0.5], &theta).unwrap(), [0.0, 5.0]);
        assert_eq!(towards(&theta, &[3.5, 0.0]).unwrap(), [0.5, 4.0]);
        let refused = |result: Result<Vec<f32>, _>, part: &str| {
            let message = result.map_err(|error: crate::LandscapeError| error.to_string()).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        refused(along_gradient(&[0.0, 0.0], &theta), "no direction");
        refused(along_gradient(&[f32::NAN, 0.0], &theta), "no direction");
        refused(towards(&theta, &theta), "same parameters");
        refused(towards(&theta, &[1.0]), "1 parameters, this one 2");
    }
}
