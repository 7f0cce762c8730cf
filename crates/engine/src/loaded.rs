//! The handle of a network with its numbers in place.

use std::ops::Range;
use std::sync::Arc;

use tightrope_network::{Network, NodeId};

use crate::{
    BatchPass, BoundRequest, Bounds, Charges, Cotangents, Domain, EngineError, Gradients, MemberLoss, MemberOutput,
    MemberRequest, OutwardInterval, Perturbation, Real, Region, Spec, Tape, Trace, Wants,
};

/// A network at one θ and, for networks with batch norms, given statistics in its buffers, ready to be evaluated, bounded and differentiated: what [`crate::Engine::load`] returns.
///
/// Whatever an engine prepares for θ (packed weights, a copy on a device) is prepared once and lives as long as θ stays.
/// Tensors pass as flat row-major slices; a batch of inputs is `[N, d]`. Results do not depend on the number of threads,
/// nor on what was evaluated before. All methods fail with [`EngineError`] on arguments that do not fit.
pub trait Loaded<T: Real>: Send + Sync {
    /// The network.
    fn network(&self) -> &Network;

    /// θ, `[|θ|]`, to be shared: whoever holds it keeps it as it is, and the handle copies it when it is changed.
    fn theta(&self) -> &Arc<Vec<T>>;

    /// The buffers, laid out as [`Network::buffers`]: the statistics that batch norms use everywhere but in
    /// [`Loaded::forward_batch`].
    fn buffers(&self) -> &[T];

    /// A handle of the same network and θ with other buffers; what was prepared for θ is shared.
    ///
    /// # Errors
    /// If the length is not that of the network's buffers.
    fn with_buffers(&self, buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError>;

    /// A handle of another network by the same engine, for parts of this one ([`Network::split_at`]) that are run alone.
    ///
    /// # Errors
    /// As [`crate::Engine::load`].
    fn load(&self, network: &Network, theta: &[T], buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError>;

    /// Changes θ where it lies, the buffers stay; tapes of the old one must not be used any more. What a step of an
    /// optimiser writes is so written once.
    ///
    /// # Errors
    /// If the engine cannot prepare the new θ.
    fn change(&mut self, edit: &mut dyn FnMut(&mut [T])) -> Result<(), EngineError>;

    /// Puts another θ in place, as [`Loaded::change`].
    ///
    /// # Errors
    /// If the length is not that of the network's parameters; θ then stays as it is.
    fn update(&mut self, theta: &[T]) -> Result<(), EngineError> {
        EngineError::check_length("θ", theta.len(), self.theta().len())?;
        self.change(&mut |own| own.copy_from_slice(theta))
    }

    /// Logits `[N, K]`.
    ///
    /// # Errors
    /// If the inputs are no multiple of the input size.
    fn forward(&self, inputs: &[T]) -> Result<Vec<T>, EngineError>;

    /// Logits and a tape for [`Loaded::vjp`].
    ///
    /// # Errors
    /// As [`Loaded::forward`].
    fn forward_taped(&self, inputs: &[T]) -> Result<(Vec<T>, Tape), EngineError>;

    /// Logits, the statistics of the batch that its batch norms took in place of the buffers, and a tape for
    /// [`Loaded::vjp`] through which gradients flow into the statistics, too. A handle with these statistics as buffers
    /// gives the same logits.
    ///
    /// Training on bounds over the batch's statistics is: this pass; the bounds of a handle with its statistics; the pull
    /// back of theirs, with the gradient of the buffers; and that as cotangents on the statistics in the pull back of
    /// this pass.
    ///
    /// # Errors
    /// As [`Loaded::forward`], or if there is no input but a batch norm.
    fn forward_batch(&self, inputs: &[T]) -> Result<BatchPass<T>, EngineError>;

    /// Bounds of `spec` over each sample's region.
    ///
    /// # Errors
    /// If the region or the specification do not fit the network, or the region is none.
    fn bound(&self, region: &Region<T>, spec: &Spec<T>, request: BoundRequest) -> Result<Bounds<T>, EngineError>;

    /// As [`Loaded::bound`], with a tape for [`Loaded::vjp`].
    ///
    /// # Errors
    /// As [`Loaded::bound`].
    fn bound_taped(
        &self,
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<(Bounds<T>, Tape), EngineError>;

    /// Pulls cotangents back through a tape made by this engine for the same network, θ and buffers.
    ///
    /// The derivative goes through every intermediate bound; the choice of the lower slope (0 or 1) and of stable neurons
    /// is piecewise constant.
    ///
    /// # Errors
    /// If the tape is another engine's or another network's, or the cotangents do not fit it.
    fn vjp(&self, tape: &Tape, cotangents: &Cotangents<T>, wants: Wants) -> Result<Gradients<T>, EngineError>;

    /// The derivatives of Σ `lower`·(lower bounds) with respect to the coefficients of the specification, `[N, R, K]`, from a
    /// tape of [`Loaded::bound_taped`]: what a specification that itself depends on θ pulls back through. Intermediate
    /// bounds do not depend on it.
    ///
    /// # Errors
    /// If the tape is of no bounds, or another engine's or network's, or the cotangents do not fit it.
    fn vjp_spec(&self, tape: &Tape, lower: &[T]) -> Result<Vec<T>, EngineError>;

    /// The losses at θ + σδ and at θ − σδ of each member pair, in order of `pairs`. Batch norms take the statistics of the
    /// clean inputs at the member's own θ, for the bounds as well; the buffers where the request has no inputs.
    ///
    /// `loss` gets what `request` asks for, member by member, from several threads and in any order; the members' weights
    /// are regenerated from their address and never stored together. θ itself stays.
    ///
    /// # Errors
    /// As [`Loaded::forward`] and [`Loaded::bound`].
    fn members(
        &self,
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
        request: &MemberRequest<'_, T>,
        loss: &MemberLoss<'_, T>,
    ) -> Result<Vec<[f64; 2]>, EngineError>;

    /// Lower bounds of `rows` (`[count, n]` on the output of node `start`) over `domain`.
    ///
    /// With `trace` the coefficients are kept. With `charges` the second result bounds the rounding error of each value;
    /// see [`Charges`].
    ///
    /// # Panics
    /// If rows, domain or charges do not fit the network; callers derive all of them from it.
    fn substitute(
        &self,
        domain: &Domain<'_, T>,
        start: NodeId,
        rows: Vec<T>,
        count: usize,
        trace: Option<&mut Trace<T>>,
        charges: Option<&Charges<T>>,
    ) -> (Vec<T>, Vec<T>);

    /// The relaxed values of all nodes up to `last`, `[count, n]` each, run forwards from `points` (`[count, d]`, the
    /// minimisers) along the lines that the rows of `trace` have chosen in `domain`: from them follow the derivatives of
    /// the bounds with respect to slopes and multipliers.
    ///
    /// # Panics
    /// As [`Loaded::substitute`].
    fn relaxed(&self, domain: &Domain<'_, T>, last: NodeId, trace: &Trace<T>, points: Vec<T>) -> Vec<Vec<T>>;

    /// Outward-rounded bounds of the values of `node` over `sets` boxes, from those of all nodes before it by interval
    /// arithmetic.
    ///
    /// # Panics
    /// If `before` does not hold the nodes that `node` reads.
    fn enclose(&self, node: NodeId, before: &[OutwardInterval<T>], sets: usize) -> OutwardInterval<T>;

    /// W x and b of an affine `node` whose input is `input`; none for other nodes.
    ///
    /// # Panics
    /// If `input` does not fit the node.
    fn summands(&self, node: NodeId, input: &[T]) -> Option<[Vec<T>; 2]>;
}

/// [`Loaded::members`] one member after the other on a handle of its own, which ends up at the last one.
///
/// # Errors
/// As [`Loaded::members`].
pub fn members_in_turn<T: Real>(
    at: &mut dyn Loaded<T>,
    perturbation: Perturbation<'_>,
    pairs: Range<u64>,
    request: &MemberRequest<'_, T>,
    loss: &MemberLoss<'_, T>,
) -> Result<Vec<[f64; 2]>, EngineError> {
    let theta = at.theta().to_vec();
    let mut delta = vec![0.0_f32; theta.len()];
    let mut member = theta.clone();
    let mut losses = Vec::new();
    for pair in pairs {
        perturbation.stream(pair).gaussian(0, &mut delta);
        perturbation.stretch(0, &mut delta);
        let mut both = [0.0; 2];
        for (value, sign) in both.iter_mut().zip([1.0_f32, -1.0]) {
            let scale = sign * perturbation.sigma;
            member.iter_mut().zip(theta.iter().zip(&delta)).for_each(|(m, (&t, &d))| *m = t + T::from_f32(scale * d));
            at.update(&member)?;
            let (logits, own) = match request.inputs {
                Some(inputs) if !at.buffers().is_empty() => {
                    let BatchPass { logits, statistics, tape: _ } = at.forward_batch(inputs)?;
                    (Some(logits), Some(at.with_buffers(&statistics)?))
                }
                Some(inputs) => (Some(at.forward(inputs)?), None),
                None => (None, None),
            };
            let at = own.as_deref().unwrap_or(at);
            let bounds = request.bounds.map(|(region, spec, how)| at.bound(region, spec, how)).transpose()?;
            *value = loss(MemberOutput { logits: logits.as_deref(), bounds: bounds.as_ref() });
        }
        losses.push(both);
    }
    Ok(losses)
}
