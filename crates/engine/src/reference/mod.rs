//! The reference engine: plain readable Rust, generic over f32 and f64, for every layer kind and graph.
//!
//! `affine` holds the three primitives of each linear layer; `concrete`, `interval` and `backward` are
//! the domains composed from them; `bounds` composes the domains into the named relaxations.
//! A batch is cut into groups whose size does not depend on the machine; groups run in parallel and
//! are summed in order, so results are the same for any number of threads.

mod affine;
mod backward;
mod batch;
mod bounds;
mod concrete;
mod enclosure;
mod errors;
mod gemm;
mod interval;
mod kernel_norm;
mod lanes;
mod plan;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tightrope_network::{Network, NodeId};

use crate::{
    BatchPass, BoundRequest, Bounds, Charges, Cotangents, Domain, Engine, EngineError, Gradients, Intermediate,
    LayerBounds, LayerCotangent, Loaded, MemberLoss, MemberRequest, OutwardInterval, Perturbation, Real, Region,
    RegionGradient, Relaxation, Spec, Support, Tape, Trace, Wants, members_in_turn,
};
use affine::MapGradients;
pub(crate) use affine::windows;
use batch::BatchTape;
use bounds::Group;
pub(crate) use interval::Pair;
use plan::Plan;

/// The reference engine; the oracle that faster engines are tested against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// Samples per group for passes that treat a group as one batch.
const BATCHED_GROUP: usize = 16;
/// Number of gradient accumulators a batch is spread over; bounds their memory.
const ACCUMULATORS: usize = 16;

/// Samples of a group, and the values of every node.
type CleanGroup<T> = (usize, Vec<Vec<T>>);

/// What a clean pass leaves behind: each group's node values.
struct CleanTape<T> {
    signature: Signature,
    groups: Vec<CleanGroup<T>>,
}

/// What a bound pass leaves behind.
struct BoundTape<T> {
    signature: Signature,
    groups: Vec<Group<T>>,
    rows: usize,
}

/// Tells networks of different shape apart: the nodes' sizes and the lengths of θ and of the buffers.
#[derive(PartialEq, Eq)]
struct Signature(Vec<usize>, [usize; 2]);

impl Signature {
    fn of(network: &Network) -> Self {
        let lengths = [network.parameters().total(), network.buffers().total()];
        Signature(network.nodes().iter().map(|node| node.len()).collect(), lengths)
    }

    fn check(&self, network: &Network) -> Result<(), EngineError> {
        if *self == Signature::of(network) {
            return Ok(());
        }
        Err(EngineError::Usage("this tape was recorded with another network; record it anew".into()))
    }
}

fn group_size(relaxation: Relaxation) -> usize {
    match relaxation.intermediate() {
        Intermediate::Interval => BATCHED_GROUP,
        Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable => 1,
    }
}

fn batch_of<T>(network: &Network, inputs: &[T]) -> Result<usize, EngineError> {
    let d = network.input_len();
    if !inputs.len().is_multiple_of(d) {
        return Err(EngineError::Usage(format!(
            "{} input values are no multiple of the network's input size {d} ({:?})",
            inputs.len(),
            network.input_shape()
        )));
    }
    Ok(inputs.len() / d)
}

fn slice_spec<T: Real>(spec: &Spec<T>, classes: usize, first: usize, count: usize) -> Spec<T> {
    match spec {
        Spec::Logits => Spec::Logits,
        Spec::Margins { labels } => Spec::Margins { labels: labels[first..first + count].to_vec() },
        Spec::Matrix { rows, matrix, offset } => {
            let size = rows * classes;
            let shared = matrix.len() == size;
            let matrix = if shared { matrix.clone() } else { matrix[first * size..(first + count) * size].to_vec() };
            Spec::Matrix { rows: *rows, matrix, offset: offset.clone() }
        }
    }
}

fn bound_groups<T: Real>(
    plan: &Plan<T>,
    region: &Region<T>,
    spec: &Spec<T>,
    request: BoundRequest,
) -> Result<Vec<Group<T>>, EngineError> {
    let classes = plan.network.output_len();
    EngineError::check_length("a sample of the region", region.dimension(), plan.network.input_len())?;
    region.check()?;
    spec.check(region.batch(), classes)?;
    request.check()?;
    if request.climbs().is_some() && region.ball.is_some() {
        let problem = "slopes are optimised over boxes alone; ask for the ℓ∞ norm, or for bounds without them";
        return Err(EngineError::Usage(problem.into()));
    }
    if let Some(node) = request.until {
        if node == 0 || node >= plan.network.nodes().len() {
            return Err(EngineError::Usage(format!("the network has no layer {node} to bound")));
        }
        if *spec != Spec::Logits {
            return Err(EngineError::Usage(
                "a node's bounds are those of its elements; give the specification of logits".into(),
            ));
        }
    }
    let size = group_size(request.relaxation);
    let groups = (0..region.batch().div_ceil(size)).into_par_iter().map(|index| {
        let first = index * size;
        let count = size.min(region.batch() - first);
        Group::new(plan, region.slice(first, count), slice_spec(spec, classes, first, count), request)
    });
    Ok(groups.collect())
}

fn collect_bounds<T: Real>(plan: &Plan<T>, groups: &[Group<T>], spec: &Spec<T>, request: BoundRequest) -> Bounds<T> {
    let rows = match request.until {
        Some(node) => plan.network.node(node).len(),
        None => spec.rows(plan.network.output_len()),
    };
    let mut bounds = Bounds { rows, lower: Vec::new(), upper: request.upper.then(Vec::new), layers: Vec::new() };
    if request.layers {
        let last = request.until.unwrap_or_else(|| plan.network.output());
        let empty = |&node| LayerBounds { node, lower: Vec::new(), upper: Vec::new() };
        bounds.layers = plan.pre_activations.iter().filter(|&&node| node < last).map(empty).collect();
    }
    for group in groups {
        bounds.lower.extend_from_slice(&group.lower);
        if let Some(upper) = &mut bounds.upper {
            upper.extend_from_slice(&group.upper);
        }
        for (layer, (_, pair)) in bounds.layers.iter_mut().zip(group.layers(plan)) {
            layer.lower.extend_from_slice(&pair.lower);
            layer.upper.extend_from_slice(&pair.upper);
        }
    }
    bounds
}

/// Runs `work` on every group, with one weight-gradient accumulator per slot, and sums the slots in order.
///
/// Group g always belongs to slot g mod [`ACCUMULATORS`], whatever the number of threads.
fn accumulate<T: Real, R: Send>(
    plan: &Plan<T>,
    groups: usize,
    wants: Wants,
    work: impl Fn(usize, Option<&mut MapGradients<T>>) -> R + Sync,
) -> (Gradients<T>, Vec<R>) {
    let wanted = wants.theta || wants.buffers;
    let slots: Vec<(Option<MapGradients<T>>, Vec<R>)> = (0..ACCUMULATORS.min(groups))
        .into_par_iter()
        .map(|slot| {
            let mut gradient = wanted.then(|| MapGradients::new(&plan.maps));
            let results = (slot..groups).step_by(ACCUMULATORS).map(|group| work(group, gradient.as_mut())).collect();
            (gradient, results)
        })
        .collect();
    let mut total = wanted.then(|| MapGradients::new(&plan.maps));
    let mut results: Vec<Option<R>> = (0..groups).map(|_| None).collect();
    for (slot, (gradient, slot_results)) in slots.into_iter().enumerate() {
        if let (Some(total), Some(gradient)) = (&mut total, &gradient) {
            total.add(gradient);
        }
        for (index, result) in slot_results.into_iter().enumerate() {
            results[slot + index * ACCUMULATORS] = Some(result);
        }
    }
    let (theta, buffers) = total.map(|total| total.into_gradients(&plan.maps, &plan.network)).unzip();
    let gradients = Gradients {
        theta: theta.filter(|_| wants.theta),
        buffers: buffers.filter(|_| wants.buffers),
        input: None,
        region: None,
    };
    (gradients, results.into_iter().flatten().collect())
}

fn clean_vjp<T: Real>(
    plan: &Plan<T>,
    tape: &CleanTape<T>,
    cotangents: &Cotangents<T>,
    wants: Wants,
) -> Result<Gradients<T>, EngineError> {
    let classes = plan.network.output_len();
    let batch: usize = tape.groups.iter().map(|(count, _)| count).sum();
    EngineError::check_length("logit cotangent", cotangents.lower.len(), batch * classes)?;
    if !cotangents.upper.is_empty() || !cotangents.layers.is_empty() || !cotangents.buffers.is_empty() {
        return Err(EngineError::Usage("a clean pass has cotangents on its logits only".into()));
    }
    let (gradients, inputs) = accumulate(plan, tape.groups.len(), wants, |index, weights| {
        let (count, values) = &tape.groups[index];
        let first = index * BATCHED_GROUP * classes;
        let g = &cotangents.lower[first..first + count * classes];
        concrete::backward(plan, values, g, *count, weights, wants.input)
    });
    Ok(Gradients { input: wants.input.then(|| inputs.concat()), ..gradients })
}

/// The cotangents of samples `first .. first + count`.
fn slice_cotangents<T: Real>(
    cotangents: &Cotangents<T>,
    rows: usize,
    batch: usize,
    first: usize,
    count: usize,
) -> Cotangents<T> {
    let slice = |values: &[T]| {
        let n = values.len() / batch;
        values[first * n..(first + count) * n].to_vec()
    };
    debug_assert!(cotangents.lower.is_empty() || cotangents.lower.len() == batch * rows);
    Cotangents {
        lower: slice(&cotangents.lower),
        upper: slice(&cotangents.upper),
        layers: cotangents
            .layers
            .iter()
            .map(|layer| LayerCotangent { node: layer.node, lower: slice(&layer.lower), upper: slice(&layer.upper) })
            .collect(),
        buffers: Vec::new(),
    }
}

fn bound_vjp<T: Real>(
    plan: &Plan<T>,
    tape: &BoundTape<T>,
    cotangents: &Cotangents<T>,
    wants: Wants,
) -> Result<Gradients<T>, EngineError> {
    let batch: usize = tape.groups.iter().map(Group::batch).sum();
    EngineError::check_length("cotangent of the lower bounds", cotangents.lower.len(), batch * tape.rows)?;
    if !cotangents.upper.is_empty() {
        EngineError::check_length("cotangent of the upper bounds", cotangents.upper.len(), batch * tape.rows)?;
    }
    if !cotangents.buffers.is_empty() {
        return Err(EngineError::Usage("bounds have no statistics of their own, so no cotangents on them".into()));
    }
    for layer in &cotangents.layers {
        if !plan.pre_activations.contains(&layer.node) {
            return Err(EngineError::Usage(format!("node {} is no pre-activation and has no bounds", layer.node)));
        }
        let n = plan.network.node(layer.node).len();
        EngineError::check_length("cotangent of a layer's lower bounds", layer.lower.len(), batch * n)?;
        EngineError::check_length("cotangent of a layer's upper bounds", layer.upper.len(), batch * n)?;
    }
    let firsts: Vec<usize> = tape
        .groups
        .iter()
        .scan(0, |first, group| {
            let this = *first;
            *first += group.batch();
            Some(this)
        })
        .collect();
    let (gradients, regions) = accumulate(plan, tape.groups.len(), wants, |index, weights| {
        let group = &tape.groups[index];
        let own = slice_cotangents(cotangents, tape.rows, batch, firsts[index], group.batch());
        group.backward(plan, &own, weights, wants)
    });
    let region = wants.input.then(|| {
        let mut gradient = RegionGradient { center: Vec::new(), radius: Vec::new() };
        for group in regions {
            gradient.center.extend(group.center);
            gradient.radius.extend(group.radius);
        }
        gradient
    });
    Ok(Gradients { region, ..gradients })
}

fn bound_on_spec<T: Real>(plan: &Plan<T>, tape: &BoundTape<T>, lower: &[T]) -> Result<Vec<T>, EngineError> {
    let batch: usize = tape.groups.iter().map(Group::batch).sum();
    EngineError::check_length("cotangent of the lower bounds", lower.len(), batch * tape.rows)?;
    let firsts = tape.groups.iter().scan(0, |first, group| Some(std::mem::replace(first, *first + group.batch())));
    let firsts: Vec<usize> = firsts.collect();
    let found: Vec<Vec<T>> = (tape.groups.par_iter().zip(firsts))
        .map(|(group, first)| group.on_spec(plan, &lower[first * tape.rows..(first + group.batch()) * tape.rows]))
        .collect();
    Ok(found.concat())
}

impl<T: Real> Engine<T> for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn supports(&self, _: &Network, _: &BoundRequest) -> Support {
        Support::Own
    }

    fn load(&self, network: &Network, theta: &[T], buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError> {
        T::load_reference(network, theta, buffers)
    }
}

/// [`Engine::load`] for the crate's own types.
pub(crate) fn load<T: Real>(network: &Network, theta: &[T], buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError> {
    Ok(Box::new(LoadedReference::new(Arc::new(network.clone()), theta, buffers)?))
}

/// A network with its maps in place.
struct LoadedReference<T> {
    theta: Arc<Vec<T>>,
    buffers: Vec<T>,
    plan: Plan<T>,
}

impl<T: Real> LoadedReference<T> {
    fn new(network: Arc<Network>, theta: &[T], buffers: &[T]) -> Result<Self, EngineError> {
        let plan = Plan::new(network, theta, buffers)?;
        Ok(LoadedReference { plan, theta: Arc::new(theta.to_vec()), buffers: buffers.to_vec() })
    }

    /// The clean pass of each group of samples.
    fn clean_groups(&self, inputs: &[T]) -> Result<Vec<CleanGroup<T>>, EngineError> {
        batch_of(&self.plan.network, inputs)?;
        let d = self.plan.network.input_len();
        let groups = inputs.par_chunks(BATCHED_GROUP * d).map(|chunk| {
            let count = chunk.len() / d;
            (count, concrete::forward(&self.plan, chunk, count))
        });
        Ok(groups.collect())
    }
}

impl<T: Real> Loaded<T> for LoadedReference<T> {
    fn network(&self) -> &Network {
        &self.plan.network
    }

    fn theta(&self) -> &Arc<Vec<T>> {
        &self.theta
    }

    fn buffers(&self) -> &[T] {
        &self.buffers
    }

    fn load(&self, network: &Network, theta: &[T], buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError> {
        Reference.load(network, theta, buffers)
    }

    fn change(&mut self, edit: &mut dyn FnMut(&mut [T])) -> Result<(), EngineError> {
        edit(Arc::make_mut(&mut self.theta).as_mut_slice());
        self.plan = Plan::new(Arc::clone(&self.plan.network), &self.theta, &self.buffers)?;
        Ok(())
    }

    fn with_buffers(&self, buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError> {
        let plan = self.plan.with_buffers(&self.theta, buffers)?;
        Ok(Box::new(LoadedReference { theta: Arc::clone(&self.theta), buffers: buffers.to_vec(), plan }))
    }

    fn forward(&self, inputs: &[T]) -> Result<Vec<T>, EngineError> {
        batch_of(&self.plan.network, inputs)?;
        let d = self.plan.network.input_len();
        let logits: Vec<Vec<T>> = inputs
            .par_chunks(BATCHED_GROUP * d)
            .map(|chunk| concrete::forward(&self.plan, chunk, chunk.len() / d).pop().unwrap_or_default())
            .collect();
        Ok(logits.concat())
    }

    fn forward_taped(&self, inputs: &[T]) -> Result<(Vec<T>, Tape), EngineError> {
        let groups = self.clean_groups(inputs)?;
        let output = self.plan.network.output();
        let logits = groups.iter().flat_map(|(_, values)| values[output].iter().copied()).collect();
        let tape = CleanTape { signature: Signature::of(&self.plan.network), groups };
        Ok((logits, Tape(Box::new(tape))))
    }

    fn forward_batch(&self, inputs: &[T]) -> Result<BatchPass<T>, EngineError> {
        if self.buffers.is_empty() {
            let (logits, tape) = self.forward_taped(inputs)?;
            return Ok(BatchPass { logits, statistics: Vec::new(), tape });
        }
        batch::forward(&self.plan, &self.theta, inputs)
    }

    fn bound(&self, region: &Region<T>, spec: &Spec<T>, request: BoundRequest) -> Result<Bounds<T>, EngineError> {
        let groups = bound_groups(&self.plan, region, spec, request)?;
        Ok(collect_bounds(&self.plan, &groups, spec, request))
    }

    fn bound_taped(
        &self,
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<(Bounds<T>, Tape), EngineError> {
        request.check_taped()?;
        let groups = bound_groups(&self.plan, region, spec, request)?;
        let bounds = collect_bounds(&self.plan, &groups, spec, request);
        let tape = BoundTape { signature: Signature::of(&self.plan.network), groups, rows: bounds.rows };
        Ok((bounds, Tape(Box::new(tape))))
    }

    fn vjp(&self, tape: &Tape, cotangents: &Cotangents<T>, wants: Wants) -> Result<Gradients<T>, EngineError> {
        if let Some(tape) = tape.0.downcast_ref::<CleanTape<T>>() {
            tape.signature.check(&self.plan.network)?;
            clean_vjp(&self.plan, tape, cotangents, wants)
        } else if let Some(tape) = tape.0.downcast_ref::<BoundTape<T>>() {
            tape.signature.check(&self.plan.network)?;
            bound_vjp(&self.plan, tape, cotangents, wants)
        } else if let Some(tape) = tape.0.downcast_ref::<BatchTape<T>>() {
            batch::vjp(&self.plan, &self.theta, tape, cotangents, wants)
        } else {
            Err(EngineError::Usage("this tape was recorded by another engine or in another precision".into()))
        }
    }

    fn vjp_spec(&self, tape: &Tape, lower: &[T]) -> Result<Vec<T>, EngineError> {
        match tape.0.downcast_ref::<BoundTape<T>>() {
            Some(tape) => {
                tape.signature.check(&self.plan.network)?;
                bound_on_spec(&self.plan, tape, lower)
            }
            None => Err(EngineError::Usage("this tape is of no bounds of this engine in this precision".into())),
        }
    }

    fn members(
        &self,
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
        request: &MemberRequest<'_, T>,
        loss: &MemberLoss<'_, T>,
    ) -> Result<Vec<[f64; 2]>, EngineError> {
        let mut own = LoadedReference::new(Arc::clone(&self.plan.network), &self.theta, &self.buffers)?;
        members_in_turn(&mut own, perturbation, pairs, request, loss)
    }

    fn substitute(
        &self,
        domain: &Domain<'_, T>,
        start: NodeId,
        rows: Vec<T>,
        count: usize,
        trace: Option<&mut Trace<T>>,
        charges: Option<&Charges<T>>,
    ) -> (Vec<T>, Vec<T>) {
        domain.bound(&self.plan, start, rows, count, trace, charges)
    }

    fn relaxed(&self, domain: &Domain<'_, T>, last: NodeId, trace: &Trace<T>, points: Vec<T>) -> Vec<Vec<T>> {
        domain.relaxed(&self.plan, last, trace, points)
    }

    fn enclose(&self, node: NodeId, before: &[OutwardInterval<T>], sets: usize) -> OutwardInterval<T> {
        enclosure::enclose(&self.plan, &self.theta, node, before, sets)
    }

    fn summands(&self, node: NodeId, input: &[T]) -> Option<[Vec<T>; 2]> {
        let map = self.plan.maps[node].as_ref()?;
        let mut bias = vec![T::ZERO; map.outputs];
        map.add_bias(&mut bias);
        Some([map.apply(affine::Weights::Signed, input, 1), bias])
    }
}
