//! The network under attack, the samples, and the concrete replay of counterexamples.

use std::borrow::Cow;

use tightrope_engine::{Engine, EngineError, Loaded, Real};
use tightrope_network::{Model, Network, Weights};

use crate::ThreatModel;

/// A model, loaded for attacks and bounds and for replays.
pub struct Target<'a> {
    /// Structure.
    pub network: &'a Network,
    /// The model in f32, for attacks and bounds.
    pub single: Box<dyn Loaded<f32>>,
    /// The model's exact numbers.
    pub weights: Cow<'a, Weights>,
    /// The model in f64, for replays.
    double: Box<dyn Loaded<f64>>,
}

/// Samples of a data set.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// Indices in the data set `[N]`; random starts are addressed by them, whatever the batching.
    pub indices: &'a [u64],
    /// Inputs `[N, d]`.
    pub inputs: &'a [f32],
    /// Labels `[N]`.
    pub labels: &'a [usize],
}

impl Samples<'_> {
    /// An error about a position in the batch as one about the sample's index in the data set.
    pub fn locate(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Region { sample, problem } => {
                EngineError::Region { sample: self.indices[sample] as usize, problem }
            }
            other => other,
        }
    }
}

impl<'a> Target<'a> {
    /// `single` attacks and bounds; `double` replays counterexamples.
    ///
    /// # Errors
    /// If θ does not fit the network.
    pub fn new(model: &'a Model, single: &dyn Engine<f32>, double: &dyn Engine<f64>) -> Result<Self, EngineError> {
        let (network, weights) = (&model.network, model.weights());
        let buffers: Vec<f64> = model.buffers.iter().map(|&value| f64::from(value)).collect();
        let double = double.load(network, weights.theta(), &buffers)?;
        Ok(Target { network, single: single.load(network, &model.theta, &model.buffers)?, weights, double })
    }

    /// Logits `[N, K]` of `inputs [N, d]` in f32.
    ///
    /// # Errors
    /// If the inputs are no multiple of the input size.
    pub fn logits(&self, inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.single.forward(inputs)
    }

    /// The f32 margin of a confirmed counterexample: `point` lies in the exact set around `x`, and
    /// both the f32 and the f64 network, run on it alone, do not put `label` strictly first.
    ///
    /// # Errors
    /// If `x` or `point` is no input of the network.
    pub fn replay(
        &self,
        threat: &ThreatModel,
        x: &[f32],
        point: &[f32],
        label: usize,
    ) -> Result<Option<f32>, EngineError> {
        if !threat.contains(x, point) {
            return Ok(None);
        }
        let single = margin(&self.logits(point)?, label).0;
        let exact: Vec<f64> = point.iter().map(|&v| f64::from(v)).collect();
        let double = margin(&self.double.forward(&exact)?, label).0;
        Ok((single <= 0.0 && double <= 0.0).then_some(single))
    }

    /// Fails unless the samples fit the network.
    ///
    /// # Errors
    /// What does not fit: a length, or a label.
    pub fn check(&self, samples: &Samples<'_>) -> Result<(), EngineError> {
        let needed = samples.labels.len() * self.network.input_len();
        EngineError::check_length("inputs", samples.inputs.len(), needed)?;
        EngineError::check_length("sample indices", samples.indices.len(), samples.labels.len())?;
        let classes = self.network.output_len();
        match samples.labels.iter().position(|&label| label >= classes) {
            Some(sample) => Err(EngineError::Label { sample, label: samples.labels[sample], classes }),
            None => Ok(()),
        }
    }
}

/// min over j ≠ label of z_label − z_j, and the j of the minimum (the label itself if it is the only class).
pub fn margin<T: Real>(logits: &[T], label: usize) -> (T, usize) {
    let mut best = (T::INFINITY, label);
    for (j, &z) in logits.iter().enumerate().filter(|(j, _)| *j != label) {
        let margin = logits[label] - z;
        // NaN compares false with everything; it never counts as an advance.
        if margin < best.0 {
            best = (margin, j);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn margin_is_to_the_strongest_rival() {
        assert_eq!(margin(&[1.0, 3.0, 2.5], 1), (0.5, 2));
        assert_eq!(margin(&[1.0, 3.0, 2.5], 0), (-2.0, 1));
        assert_eq!(margin(&[1.0_f32], 0), (f32::INFINITY, 0));
    }
}
