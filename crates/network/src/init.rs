//! Weight initialisation.

use tightrope_noise::{Purpose, Stream};

use crate::layers::Layer;
use crate::network::Network;
use crate::parameters::ParameterId;

/// How θ starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Weights and biases uniform in ±1/√n_in (the default of common frameworks).
    Default,
    /// Weights N(0, 2π/n_in²) and zero biases for all but the last linear layer (Shi et al. 2021), which starts as [`Initialisation::Default`].
    Ibp,
}

impl Initialisation {
    /// A fresh θ for `network`; the same seed gives the same bits everywhere.
    pub fn theta(self, network: &Network, seed: u64) -> Vec<f32> {
        let layout = network.parameters();
        let mut theta = vec![0.0; layout.total()];
        let stream = Stream::new(seed, Purpose::Init, 0, 0);
        let last = network.nodes().iter().rposition(|node| matches!(node.layer, Layer::Linear(_) | Layer::Conv2d(_)));
        for (id, node) in network.nodes().iter().enumerate() {
            let (weight, bias, fan_in) = match &node.layer {
                Layer::Conv2d(conv) => {
                    (conv.weight, conv.bias, conv.in_channels / conv.groups * conv.kernel[0] * conv.kernel[1])
                }
                Layer::Linear(linear) => (linear.weight, linear.bias, linear.in_features),
                Layer::Affine(affine) => {
                    if let Some(weight) = affine.weight {
                        layout.slice_mut(&mut theta, weight).fill(1.0);
                    }
                    continue;
                }
                _ => continue,
            };
            let mut fill = |id: ParameterId, gaussian: bool, scale: f32| {
                let offset = layout.get(id).offset as u64;
                let values = layout.slice_mut(&mut theta, id);
                if gaussian {
                    stream.gaussian(offset, values);
                    values.iter_mut().for_each(|value| *value *= scale);
                } else {
                    stream.uniform(offset, values);
                    values.iter_mut().for_each(|value| *value = (2.0 * *value - 1.0) * scale);
                }
            };
            if self == Initialisation::Ibp && Some(id) != last {
                fill(weight, true, std::f32::consts::TAU.sqrt() / fan_in as f32);
            } else {
                let bound = 1.0 / (fan_in as f32).sqrt();
                fill(weight, false, bound);
                if let Some(bias) = bias {
                    fill(bias, false, bound);
                }
            }
        }
        theta
    }
}
