//! Bounds of a model's margins in one call.

use std::sync::Arc;

use tightrope_attack::ThreatModel;
use tightrope_engine::{BoundRequest, Bounds, Engine, EngineError, Relaxation, Spec};
use tightrope_fused::Fused;
use tightrope_network::Model;

use crate::Error;

/// The fastest engine of this machine.
///
/// # Errors
/// If the environment variable `TIGHTROPE_ISA` asks for an instruction set that the machine lacks.
pub fn default_engine() -> Result<Arc<dyn Engine<f32>>, Error> {
    Ok(Arc::new(Fused::new()?))
}

/// Lower bounds of the margins z_y − z_j of `inputs` (`[N, d]`, labels `[N]`) under `threat`, `[N, K]`, 0 at the label.
///
/// A sample is certified if all bounds but that at its label are above 0. For many calls on one model, load it once:
/// [`Engine::load`].
///
/// # Errors
/// If inputs and labels do not fit the model, or an input lies outside the data range.
///
/// ```
/// use tightrope::network::{Initialisation, Model, Preset};
/// use tightrope::{Norm, Relaxation, ThreatModel, bound};
///
/// let network = Preset::Mlp.build(&[1, 28, 28], 10, None)?;
/// let theta = Initialisation::Ibp.theta(&network, 7);
/// let model = Model::new(network, theta);
/// let threat = ThreatModel::new(Norm::Inf, 0.01, Some((0.0, 1.0)));
/// let (loose, tight) = (
///     bound(&model, &[0.5; 784], &[3], &threat, Relaxation::Ibp)?,
///     bound(&model, &[0.5; 784], &[3], &threat, Relaxation::CrownMeetIbp)?,
/// );
/// assert!(loose.lower.iter().zip(&tight.lower).all(|(l, t)| *l <= *t + 1e-5));
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn bound(
    model: &Model,
    inputs: &[f32],
    labels: &[usize],
    threat: &ThreatModel,
    relaxation: Relaxation,
) -> Result<Bounds<f32>, Error> {
    let dimension = model.network.input_len();
    EngineError::check_length("inputs", inputs.len(), labels.len() * dimension)?;
    threat.epsilon.check(threat.norm, model.network.input_shape())?;
    let region = threat.region(inputs, dimension)?;
    let spec = Spec::Margins { labels: labels.to_vec() };
    let model = model.frozen()?;
    let at = default_engine()?.load(&model.network, &model.theta, &model.buffers)?;
    Ok(at.bound(&region, &spec, BoundRequest::lower(relaxation))?)
}

#[cfg(test)]
mod tests {
    use tightrope_network::{Layer, Model, NetworkBuilder};

    use crate::{Norm, Radius, Relaxation, ThreatModel, bound};

    #[test]
    fn radii_are_those_of_the_networks_channels() {
        let mut builder = NetworkBuilder::new(&[2, 1, 2]).unwrap();
        let flat = builder.add("flatten", Layer::Flatten, &[builder.input()]).unwrap();
        builder.linear("linear", 2, false, flat).unwrap();
        let model = Model::new(builder.build().unwrap(), vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let margin = |radii: &[f64]| {
            let threat = ThreatModel::new(Norm::Inf, Radius::Channels(radii.to_vec()), None);
            bound(&model, &[0.5; 4], &[0], &threat, Relaxation::Ibp).map(|bounds| bounds.lower[1])
        };
        // Two inputs of each channel.
        assert!((margin(&[0.25, 0.125]).unwrap() - 1.25).abs() < 1e-5);
        assert!(margin(&[0.25, 0.125, 0.5]).unwrap_err().to_string().contains("2 channels"));
    }
}
