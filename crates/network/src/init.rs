//! Weight initialisation.

use tightrope_noise::{Purpose, Stream};

use crate::layers::{LayerParameters, Start};
use crate::layout::ParameterId;
use crate::network::Network;

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
        let last = network.nodes().iter().rposition(|node| node.layer.fan_in().is_some());
        for (id, node) in network.nodes().iter().enumerate() {
            let LayerParameters { weight, bias } = node.layer.parameters();
            let fan_in = match node.layer.start() {
                None => continue,
                Some(Start::Identity) => {
                    if let Some(weight) = weight {
                        layout.slice_mut(&mut theta, weight).fill(1.0);
                    }
                    continue;
                }
                Some(Start::Random { fan_in }) => fan_in,
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
                weight.into_iter().for_each(|id| fill(id, true, std::f32::consts::TAU.sqrt() / fan_in as f32));
            } else {
                weight.into_iter().chain(bias).for_each(|id| fill(id, false, 1.0 / (fan_in as f32).sqrt()));
            }
        }
        theta
    }
}
