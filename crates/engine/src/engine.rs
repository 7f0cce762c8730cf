//! The one trait that everything above the numerics speaks to.

use std::any::Any;
use std::ops::Range;

use tightrope_network::{Layer, Network, Node, NodeId};
use tightrope_noise::{Purpose, Stream};

use crate::{EngineError, Real, Region, Relaxation, Spec, certified_cross_entropy, cross_entropy};

/// What a taped computation left behind for [`Engine::vjp`]; its content is the engine's own.
pub struct Tape(pub Box<dyn Any + Send + Sync>);

/// What to bound and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRequest {
    /// Bounding method.
    pub relaxation: Relaxation,
    /// Also bound the specification from above.
    pub upper: bool,
    /// Also return the bounds of every pre-activation.
    pub layers: bool,
}

impl BoundRequest {
    /// Lower bounds of the specification only.
    pub fn lower(relaxation: Relaxation) -> Self {
        BoundRequest { relaxation, upper: false, layers: false }
    }
}

/// Bounds of one pre-activation node over a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerBounds<T> {
    /// The node.
    pub node: NodeId,
    /// Lower bounds `[N, n]`.
    pub lower: Vec<T>,
    /// Upper bounds `[N, n]`.
    pub upper: Vec<T>,
}

/// Bounds of a specification over a batch of regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds<T> {
    /// Rows per sample R.
    pub rows: usize,
    /// Lower bounds `[N, R]`.
    pub lower: Vec<T>,
    /// Upper bounds `[N, R]` if requested.
    pub upper: Option<Vec<T>>,
    /// Bounds of the pre-activations in network order if requested: those that the relaxation of
    /// each ReLU used (IBP's for `crown-ibp`).
    pub layers: Vec<LayerBounds<T>>,
}

/// Lower slopes λ_l of the ReLUs after one pre-activation node over a batch, or a gradient with respect to them.
///
/// One slope serves all rows that are bounded (α-CROWN with slopes per neuron; Xu et al. 2021). It matters only where
/// the neuron is unstable.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSlopes<T> {
    /// The node, one of [`Network::pre_activations`].
    pub node: NodeId,
    /// λ_l in [0, 1], `[N, n]`.
    pub lower: Vec<T>,
}

impl<T: Real> LayerSlopes<T> {
    /// Checks that `slopes` name pre-activations of `network`, each once, with a value in [0, 1] for each neuron of each
    /// of `batch` samples, and that `relaxation` has slopes.
    ///
    /// # Errors
    /// [`EngineError::Usage`] with what is wrong.
    pub fn check(
        slopes: &[LayerSlopes<T>],
        network: &Network,
        batch: usize,
        relaxation: Relaxation,
    ) -> Result<(), EngineError> {
        if relaxation == Relaxation::Ibp && !slopes.is_empty() {
            return Err(EngineError::Usage("ibp has no slopes; use crown-ibp, crown or one of its variants".into()));
        }
        let nodes = network.pre_activations();
        for (index, layer) in slopes.iter().enumerate() {
            if !nodes.contains(&layer.node) {
                return Err(EngineError::Usage(format!("node {} is no pre-activation and has no slopes", layer.node)));
            }
            let has_no_slopes = |node: &&Node| {
                let is_other = matches!(node.layer, Layer::Activation(_)) && node.layer != Layer::RELU;
                is_other && node.inputs == [layer.node]
            };
            if let Some(reader) = network.nodes().iter().find(has_no_slopes) {
                return Err(EngineError::Usage(format!(
                    "node {} is read by `{}`, which is no ReLU and has no slopes to choose",
                    layer.node, reader.name
                )));
            }
            if slopes[..index].iter().any(|other| other.node == layer.node) {
                return Err(EngineError::Usage(format!("node {} has slopes twice", layer.node)));
            }
            EngineError::check_length("a layer's slopes", layer.lower.len(), batch * network.node(layer.node).len())?;
            let outside = layer.lower.iter().position(|&slope| !(slope >= T::ZERO && slope <= T::ONE));
            if let Some(index) = outside {
                return Err(EngineError::Usage(format!(
                    "slope {index} of node {} is {}; slopes lie in [0, 1]",
                    layer.node,
                    layer.lower[index].to_f64()
                )));
            }
        }
        Ok(())
    }
}

/// Cotangents on one pre-activation node's bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCotangent<T> {
    /// The node, one of [`Network::pre_activations`].
    pub node: NodeId,
    /// On the lower bounds `[N, n]`.
    pub lower: Vec<T>,
    /// On the upper bounds `[N, n]`.
    pub upper: Vec<T>,
}

/// Cotangents to pull back through a tape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cotangents<T> {
    /// On the logits `[N, K]` (clean tape) or the lower bounds `[N, R]` (bound tape).
    pub lower: Vec<T>,
    /// On the upper bounds `[N, R]`; empty for none.
    pub upper: Vec<T>,
    /// On pre-activation bounds; those not named have none.
    pub layers: Vec<LayerCotangent<T>>,
}

impl<T> Cotangents<T> {
    /// A cotangent on the logits or lower bounds alone.
    pub fn on_lower(lower: Vec<T>) -> Self {
        Cotangents { lower, upper: Vec::new(), layers: Vec::new() }
    }
}

/// Which gradients a pull-back shall return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// With respect to θ.
    pub theta: bool,
    /// With respect to the input (clean tape) or the region (bound tape).
    pub input: bool,
    /// With respect to the lower slopes (tape of a bound with slopes, or of one that chose them itself).
    pub slopes: bool,
}

impl Wants {
    /// Parameters only.
    pub const THETA: Wants = Wants { theta: true, input: false, slopes: false };
    /// Input or region only.
    pub const INPUT: Wants = Wants { theta: false, input: true, slopes: false };
    /// Lower slopes only.
    pub const SLOPES: Wants = Wants { theta: false, input: false, slopes: true };
}

/// Gradient with respect to a region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionGradient<T> {
    /// With respect to the centre (of the box, and of the ball where there is one), `[N, d]`.
    pub center: Vec<T>,
    /// With respect to the box radius per pixel, `[N, d]`; for an unclipped ball the gradient with
    /// respect to its one ε stands in element 0 of each sample.
    pub radius: Vec<T>,
}

/// Gradients asked for by [`Wants`], summed over the batch for θ, per sample otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[|θ|]`.
    pub theta: Option<Vec<T>>,
    /// `[N, d]`, from a clean tape.
    pub input: Option<Vec<T>>,
    /// From a bound tape.
    pub region: Option<RegionGradient<T>>,
    /// From a bound tape, one for each pre-activation in network order; 0 for stable neurons, whose lines are exact.
    pub slopes: Option<Vec<LayerSlopes<T>>>,
}

/// The addressed perturbations θ ± σ·δ_pair of one training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// Seed of the run.
    pub seed: u64,
    /// Training step.
    pub step: u64,
    /// Standard deviation σ.
    pub sigma: f32,
}

impl Perturbation {
    /// δ of `member`, unscaled, element `index` of θ being draw `index`.
    pub fn stream(&self, member: u64) -> Stream {
        Stream::new(self.seed, Purpose::Smoothing, self.step, member)
    }
}

/// The minibatch and loss that every member of a population is evaluated on: (1 − w)·natural + w·certified cross-entropy.
#[derive(Clone, Copy, Debug)]
pub struct PopulationBatch<'a, T> {
    /// Clean inputs `[N, d]` for the natural part.
    pub inputs: &'a [T],
    /// Regions for the certified part.
    pub region: &'a Region<T>,
    /// Labels.
    pub labels: &'a [usize],
    /// Relaxation of the certified part.
    pub relaxation: Relaxation,
    /// Weight w of the certified part, in [0, 1].
    pub robust_weight: f64,
}

/// An implementation of forward passes, bounds and their derivatives in precision `T`.
///
/// Tensors pass as flat row-major slices; a batch of inputs is `[N, d]`. Results do not depend on
/// the number of threads. All methods fail with [`EngineError`] on arguments that do not fit.
pub trait Engine<T: Real>: Send + Sync {
    /// The name in logs and on the command line.
    fn name(&self) -> &'static str;

    /// Logits `[N, K]`.
    fn forward(&self, network: &Network, theta: &[T], inputs: &[T]) -> Result<Vec<T>, EngineError>;

    /// Logits and a tape for [`Engine::vjp`].
    fn forward_taped(&self, network: &Network, theta: &[T], inputs: &[T]) -> Result<(Vec<T>, Tape), EngineError>;

    /// Bounds of `spec` over each sample's region.
    fn bound(
        &self,
        network: &Network,
        theta: &[T],
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<Bounds<T>, EngineError>;

    /// As [`Engine::bound`], with a tape for [`Engine::vjp`].
    fn bound_taped(
        &self,
        network: &Network,
        theta: &[T],
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<(Bounds<T>, Tape), EngineError>;

    /// As [`Engine::bound_taped`], with lower slopes for the ReLUs of the given nodes instead of the relaxation's own
    /// choice (0 or 1); not for [`Relaxation::Ibp`]. Bounds are sound for all slopes in [0, 1].
    fn bound_with_slopes(
        &self,
        network: &Network,
        theta: &[T],
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
        slopes: &[LayerSlopes<T>],
    ) -> Result<(Bounds<T>, Tape), EngineError>;

    /// Pulls cotangents back through a tape made by this engine with the same network and θ.
    ///
    /// The derivative goes through every intermediate bound; the choice of the lower slope (0 or 1)
    /// and of stable neurons is piecewise constant. Gradients with respect to slopes need a tape of a bound other than
    /// [`Relaxation::Ibp`]'s.
    fn vjp(
        &self,
        network: &Network,
        theta: &[T],
        tape: &Tape,
        cotangents: &Cotangents<T>,
        wants: Wants,
    ) -> Result<Gradients<T>, EngineError>;

    /// Mean losses (at θ + σδ, at θ − σδ) of each member pair, in order of `pairs`.
    fn population_loss(
        &self,
        network: &Network,
        theta: &[T],
        perturbation: Perturbation,
        pairs: Range<u64>,
        batch: &PopulationBatch<'_, T>,
    ) -> Result<Vec<[f64; 2]>, EngineError> {
        let mut delta = vec![0.0_f32; theta.len()];
        let mut losses = Vec::new();
        for pair in pairs {
            perturbation.stream(pair).gaussian(0, &mut delta);
            let mut both = [0.0; 2];
            for (loss, sign) in both.iter_mut().zip([1.0_f32, -1.0]) {
                let scale = sign * perturbation.sigma;
                let member: Vec<T> = theta.iter().zip(&delta).map(|(&t, &d)| t + T::from_f32(scale * d)).collect();
                *loss = mixed_loss(self, network, &member, batch)?;
            }
            losses.push(both);
        }
        Ok(losses)
    }
}

/// (1 − w)·natural + w·certified mean cross-entropy at `theta`.
fn mixed_loss<T: Real, E: Engine<T> + ?Sized>(
    engine: &E,
    network: &Network,
    theta: &[T],
    batch: &PopulationBatch<'_, T>,
) -> Result<f64, EngineError> {
    let mean = |losses: &[T]| losses.iter().map(|l| l.to_f64()).sum::<f64>() / losses.len() as f64;
    let weight = batch.robust_weight;
    let mut loss = 0.0;
    if weight < 1.0 {
        let logits = engine.forward(network, theta, batch.inputs)?;
        loss += (1.0 - weight) * mean(&cross_entropy(&logits, batch.labels).per_sample);
    }
    if weight > 0.0 {
        let spec = Spec::Margins { labels: batch.labels.to_vec() };
        let bounds = engine.bound(network, theta, batch.region, &spec, BoundRequest::lower(batch.relaxation))?;
        loss += weight * mean(&certified_cross_entropy(&bounds.lower, batch.labels).per_sample);
    }
    Ok(loss)
}
