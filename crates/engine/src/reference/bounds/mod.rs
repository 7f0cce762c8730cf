//! Bounds of one group of samples: the domains composed into the named relaxations, and the adjoint of the whole.

mod adjoint;
mod ascent;

use tightrope_network::{Layer, Node, NodeId};

use super::backward::{ErrorBox, Set, Walk};
use super::errors::Errors;
use super::interval::{Intervals, Pair};
use super::kernel_norm;
use super::plan::Plan;
use crate::{BoundRequest, Final, Intermediate, LowerSlope, NodeLines, Real, Region, Spec};

/// Where the bounds of a node that lines are made from come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// As the relaxation says.
    Relaxation(Intermediate),
    /// The bounds of an activation's input, mapped.
    Image,
}

/// One group of samples with everything its adjoint needs.
pub(super) struct Group<T> {
    region: Region<T>,
    spec: Spec<T>,
    request: BoundRequest,
    intervals: Intervals<T>,
    /// Bounds that replace interval arithmetic where a ball allows exact ones, by node.
    known: Vec<Option<Pair<T>>>,
    /// Bounds that lines are made from, `[batch, n]`, by node.
    bounded: Vec<Option<Pair<T>>>,
    /// Error terms that are kept as a box, for relaxations that do so.
    errors: Errors<T>,
    pub(super) lower: Vec<T>,
    pub(super) upper: Vec<T>,
}

/// ±unit vectors: the lower (even) and upper (odd) rows of the given neurons.
fn unit_rows<T: Real>(neurons: &[(usize, bool)], n: usize) -> Vec<T> {
    let mut rows = vec![T::ZERO; neurons.len() * n];
    for (row, &(neuron, is_upper)) in rows.chunks_exact_mut(n).zip(neurons) {
        row[neuron] = if is_upper { -T::ONE } else { T::ONE };
    }
    rows
}

impl<T: Real> Group<T> {
    /// Bounds `spec` over `region`; the specification must be the group's own (labels or matrices sliced).
    pub(super) fn new(plan: &Plan<T>, region: Region<T>, spec: Spec<T>, request: BoundRequest) -> Self {
        let count = plan.maps.len();
        let mut group = Group {
            intervals: Intervals::default(),
            known: (0..count).map(|_| None).collect(),
            bounded: (0..count).map(|_| None).collect(),
            errors: Errors::none(request.relaxation.lower_slope()),
            lower: Vec::new(),
            upper: Vec::new(),
            region,
            spec,
            request,
        };
        if group.region.ball.is_some() {
            for id in group.to_bound(plan).filter(|&id| plan.is_affine[id]) {
                group.known[id] = Some(group.bound_over_ball(plan, id));
            }
        }
        let needed = group.needed_intervals(plan);
        let shrinkage = T::from_f64(request.shrinkage);
        group.intervals = Intervals::forward(plan, &group.region, &needed, &group.known, shrinkage);
        let nodes: Vec<NodeId> = group.to_bound(plan).collect();
        for id in nodes {
            group.extend_errors(plan, id);
            let bounds = group.bound_node(plan, id);
            group.bounded[id] = Some(bounds);
        }
        group.extend_errors(plan, plan.elision_node(group.last(plan)));
        group.bound_spec(plan);
        group
    }

    /// Bounds of an affine node over a ball.
    fn bound_over_ball(&self, plan: &Plan<T>, id: NodeId) -> Pair<T> {
        let batch = self.region.batch();
        if let Some(ball) = kernel_norm::ball_for(plan, &self.region, id) {
            return kernel_norm::bounds(plan, ball, id, batch);
        }
        let mut pair = Pair::zeros(batch * plan.network.node(id).len());
        for sample in 0..batch {
            self.walk_neurons(plan, sample, &[], id, |_| true, &mut pair);
        }
        pair
    }

    /// The node whose values the specification's rows stand on.
    fn last(&self, plan: &Plan<T>) -> NodeId {
        self.request.until.unwrap_or_else(|| plan.network.output())
    }

    /// The nodes before it whose bounds give the lines of others.
    fn to_bound<'s>(&self, plan: &'s Plan<T>) -> impl DoubleEndedIterator<Item = NodeId> + use<'s, T> {
        let last = self.last(plan);
        plan.bounded.iter().copied().filter(move |&id| id < last)
    }

    fn needed_intervals(&self, plan: &Plan<T>) -> Vec<bool> {
        let all_up_to = match self.request.relaxation.last() {
            Final::Interval => plan.elision_node(self.last(plan)) + 1,
            Final::Backward => self.to_bound(plan).max().map_or(0, |id| id + 1),
        };
        (0..plan.maps.len())
            .map(|id| match self.request.relaxation.intermediate() {
                Intermediate::Backward => self.is_exact(plan, id),
                Intermediate::Interval | Intermediate::Intersection | Intermediate::BackwardIfUnstable => {
                    id < all_up_to
                }
            })
            .collect()
    }

    /// True for affine nodes whose interval bounds are exact; over balls the interval pass is given exact ones.
    fn is_exact(&self, plan: &Plan<T>, id: NodeId) -> bool {
        if self.region.ball.is_some() { plan.is_affine[id] } else { plan.interval_is_exact[id] }
    }

    /// Where the bounds of a node come from: exact intervals serve every relaxation.
    fn origin(&self, plan: &Plan<T>, id: NodeId) -> Origin {
        match self.request.relaxation.intermediate() {
            _ if self.is_exact(plan, id) => Origin::Relaxation(Intermediate::Interval),
            Intermediate::Interval => Origin::Relaxation(Intermediate::Interval),
            Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable
                if plan.is_image(id) =>
            {
                Origin::Image
            }
            intermediate @ (Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable) => {
                Origin::Relaxation(intermediate)
            }
        }
    }

    /// Takes the error terms that are kept as a box on to node `last`.
    fn extend_errors(&mut self, plan: &Plan<T>, last: NodeId) {
        if self.request.relaxation.boxes_errors() {
            let lines = self.batch_lines(plan);
            self.errors.extend(plan, &lines, last);
        }
    }

    /// Those at the node where walks that start at `start` leave them, for one sample; none at affine functions of the input,
    /// whose walks are over before the first error.
    fn error_box(&self, plan: &Plan<T>, start: NodeId, sample: usize) -> Option<ErrorBox<'_, T>> {
        let node = if start == self.last(plan) { plan.elision_node(start) } else { start };
        if plan.is_affine[node] {
            return None;
        }
        let radii = self.errors.of(node, sample, plan.network.node(node).len())?;
        Some(ErrorBox { node, radii })
    }

    /// Lines along which rows are followed, of one sample, for the nodes whose inputs are bounded so far.
    fn walk_lines(&self, plan: &Plan<T>, sample: usize) -> Vec<Option<NodeLines<T>>> {
        let mut lines = self.lines(plan, sample);
        if self.request.relaxation.boxes_errors() {
            lines.iter_mut().flatten().for_each(NodeLines::centre);
        }
        lines
    }

    /// The rule that makes lines; none without lines.
    fn rule(&self) -> Option<LowerSlope> {
        self.request.relaxation.lower_slope()
    }

    /// Lines of every sample.
    fn batch_lines(&self, plan: &Plan<T>) -> Vec<Vec<Option<NodeLines<T>>>> {
        (0..self.region.batch()).map(|sample| self.lines(plan, sample)).collect()
    }

    /// Lines of one sample for the nodes whose inputs are bounded so far.
    fn lines(&self, plan: &Plan<T>, sample: usize) -> Vec<Option<NodeLines<T>>> {
        let Some(rule) = self.rule() else { return Vec::new() };
        let of = |(id, node): (NodeId, &Node)| {
            let pair = self.bounded[*node.inputs.first()?].as_ref()?;
            let n = pair.lower.len() / self.region.batch();
            let range = sample * n..(sample + 1) * n;
            let (lower, upper) = (&pair.lower[range.clone()], &pair.upper[range]);
            match &node.layer {
                Layer::Activation(_) => Some(NodeLines::Activation(plan.activation(id).lines(lower, upper, rule))),
                Layer::MaxPool2d(_) => Some(NodeLines::MaxPool(plan.max_pool(id).lines(lower, upper, rule))),
                Layer::Product => Some(NodeLines::Product(plan.product(id).lines(lower, upper, rule))),
                Layer::Input
                | Layer::Conv2d(_)
                | Layer::Linear(_)
                | Layer::Affine(_)
                | Layer::BatchNorm(_)
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::Flatten
                | Layer::Add => None,
            }
        };
        plan.network.nodes().iter().enumerate().map(of).collect()
    }

    /// The bounds that lines are made from, of one sample, by node.
    fn sample_bounds(&self, sample: usize) -> Vec<Option<Pair<T>>> {
        let of = |pair: &Option<Pair<T>>| {
            pair.as_ref().map(|pair| {
                let n = pair.lower.len() / self.region.batch();
                let range = sample * n..(sample + 1) * n;
                Pair { lower: pair.lower[range.clone()].to_vec(), upper: pair.upper[range].to_vec() }
            })
        };
        self.bounded.iter().map(of).collect()
    }

    /// Walks the neurons of node `id` for which `wanted` holds and writes their bounds into `pair` (`[batch, n]`).
    fn walk_neurons(
        &self,
        plan: &Plan<T>,
        sample: usize,
        lines: &[Option<NodeLines<T>>],
        id: NodeId,
        wanted: impl Fn(usize) -> bool,
        pair: &mut Pair<T>,
    ) {
        let n = plan.network.node(id).len();
        let (set, errors) = (Set::of_region(&self.region, sample), self.error_box(plan, id, sample));
        let walk = Walk { plan, lines, rule: self.rule(), stop: 0, set, errors };
        let neurons: Vec<(usize, bool)> = (0..n).filter(|&i| wanted(i)).flat_map(|i| [(i, false), (i, true)]).collect();
        for chunk in neurons.chunks(walk.chunk_rows(id)) {
            let values = walk.lower_bounds(id, unit_rows(chunk, n), chunk.len());
            for (&(neuron, is_upper), value) in chunk.iter().zip(values) {
                let position = sample * n + neuron;
                if is_upper {
                    pair.upper[position] = -value;
                } else {
                    pair.lower[position] = value;
                }
            }
        }
    }

    /// Bounds of a node that lines are made from.
    fn bound_node(&self, plan: &Plan<T>, id: NodeId) -> Pair<T> {
        let n = plan.network.node(id).len();
        let batch = self.region.batch();
        let walk = |pair: &mut Pair<T>, wanted: &dyn Fn(usize) -> bool| {
            for sample in 0..batch {
                let lines = self.walk_lines(plan, sample);
                self.walk_neurons(plan, sample, &lines, id, |i| wanted(sample * n + i), pair);
            }
        };
        let intermediate = match self.origin(plan, id) {
            Origin::Image => {
                let (f, input) = (plan.activation(id), self.input_bounds(plan, id));
                let (lower, upper) = f.images(&input.lower, &input.upper);
                return Pair { lower, upper };
            }
            Origin::Relaxation(intermediate) => intermediate,
        };
        match intermediate {
            Intermediate::Interval => self.intervals.ends(id),
            Intermediate::Backward => {
                let mut pair = Pair::zeros(batch * n);
                walk(&mut pair, &|_| true);
                pair
            }
            Intermediate::Intersection => {
                let interval = self.intervals.ends(id);
                let mut pair = Pair::zeros(batch * n);
                walk(&mut pair, &|_| true);
                pair.lower.iter_mut().zip(&interval.lower).for_each(|(a, &b)| *a = a.max(b));
                pair.upper.iter_mut().zip(&interval.upper).for_each(|(a, &b)| *a = a.min(b));
                pair
            }
            Intermediate::BackwardIfUnstable => {
                let interval = self.intervals.ends(id);
                let mut pair = interval.clone();
                walk(&mut pair, &|i| !plan.is_settled(id, interval.lower[i], interval.upper[i]));
                pair
            }
        }
    }

    /// Node and set at which the walks of the specification end, for one sample.
    fn spec_stop<'s>(&'s self, plan: &Plan<T>, sample: usize) -> (NodeId, Set<'s, T>) {
        let stop = plan.elision_node(self.last(plan));
        let over_ball = self.region.ball.is_some() && plan.is_affine[stop];
        if self.request.relaxation.last() == Final::Backward || over_ball {
            return (0, Set::of_region(&self.region, sample));
        }
        let n = plan.network.node(stop).len();
        let range = sample * n..(sample + 1) * n;
        (stop, Set::of_box(&self.intervals.center[stop][range.clone()], &self.intervals.radius[stop][range]))
    }

    /// Rows of the specification of one sample that are not identically 0, as (row index, is upper).
    fn spec_rows(&self, plan: &Plan<T>, matrix: &[T], upper: bool) -> Vec<(usize, bool)> {
        let live: Vec<usize> = match self.request.until {
            Some(node) => (0..plan.network.node(node).len()).collect(),
            None => {
                let rows = matrix.chunks_exact(plan.network.output_len()).enumerate();
                rows.filter(|(_, row)| row.iter().any(|&c| c != T::ZERO)).map(|(r, _)| r).collect()
            }
        };
        let sides: &[bool] = if upper { &[false, true] } else { &[false] };
        live.into_iter().flat_map(|r| sides.iter().map(move |&is_upper| (r, is_upper))).collect()
    }

    /// Coefficients of such rows, negated for upper bounds.
    fn spec_coefficients(&self, plan: &Plan<T>, matrix: &[T], rows: &[(usize, bool)]) -> Vec<T> {
        if let Some(node) = self.request.until {
            return unit_rows(rows, plan.network.node(node).len());
        }
        let classes = plan.network.output_len();
        rows.iter()
            .flat_map(|&(r, is_upper)| {
                matrix[r * classes..(r + 1) * classes].iter().map(move |&c| if is_upper { -c } else { c })
            })
            .collect()
    }

    /// C of one sample; empty where the rows are the elements of a node.
    fn spec_matrix(&self, plan: &Plan<T>, sample: usize) -> Vec<T> {
        match self.request.until {
            Some(_) => Vec::new(),
            None => self.spec.matrix_of(sample, plan.network.output_len()),
        }
    }

    /// d.
    fn spec_offset(&self, plan: &Plan<T>) -> Vec<T> {
        match self.request.until {
            Some(node) => vec![T::ZERO; plan.network.node(node).len()],
            None => self.spec.offset_of(plan.network.output_len()),
        }
    }

    fn bound_spec(&mut self, plan: &Plan<T>) {
        let last = self.last(plan);
        let offset = self.spec_offset(plan);
        for sample in 0..self.region.batch() {
            let matrix = self.spec_matrix(plan, sample);
            let lines = self.walk_lines(plan, sample);
            let (stop, set) = self.spec_stop(plan, sample);
            let (errors, rule) = (self.error_box(plan, last, sample), self.rule());
            let walk = Walk { plan, lines: &lines, rule, stop, set, errors };
            let mut lower = offset.clone();
            let mut upper = offset.clone();
            for chunk in self.spec_rows(plan, &matrix, self.request.upper).chunks(walk.chunk_rows(last)) {
                let coefficients = self.spec_coefficients(plan, &matrix, chunk);
                let mut values = walk.lower_bounds(last, coefficients.clone(), chunk.len());
                if let Some(ascent) = self.request.climbs() {
                    self.ascend(plan, sample, ascent, &coefficients, &mut values);
                }
                for (&(row, is_upper), value) in chunk.iter().zip(values) {
                    if is_upper {
                        upper[row] += -value;
                    } else {
                        lower[row] += value;
                    }
                }
            }
            self.lower.extend(lower);
            if self.request.upper {
                self.upper.extend(upper);
            }
        }
    }

    /// Bounds of the input of activation `id`.
    fn input_bounds(&self, plan: &Plan<T>, id: NodeId) -> &Pair<T> {
        let input = plan.network.node(id).inputs[0];
        match &self.bounded[input] {
            Some(pair) => pair,
            None => unreachable!("node {input} is not bounded yet"),
        }
    }

    /// Bounds of the pre-activations, in network order.
    pub(super) fn layers<'s>(&'s self, plan: &'s Plan<T>) -> impl Iterator<Item = (NodeId, &'s Pair<T>)> {
        plan.pre_activations.iter().filter_map(|&id| self.bounded[id].as_ref().map(|pair| (id, pair)))
    }

    /// Rows per sample.
    pub(super) fn rows(&self, plan: &Plan<T>) -> usize {
        match self.request.until {
            Some(node) => plan.network.node(node).len(),
            None => self.spec.rows(plan.network.output_len()),
        }
    }

    /// Samples in the group.
    pub(super) fn batch(&self) -> usize {
        self.region.batch()
    }
}
