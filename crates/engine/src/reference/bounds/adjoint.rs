//! The adjoint of a group's bounds, through every bound that lines were made from.

use tightrope_network::NodeId;

use super::{Group, Origin, unit_rows};
use crate::reference::affine::MapGradients;
use crate::reference::backward::{ErrorBox, Set, Sinks, Walk};
use crate::reference::interval::{Intervals, Pair, on_ends};
use crate::reference::kernel_norm;
use crate::reference::plan::Plan;
use crate::{Cotangents, Final, Intermediate, NodeLines, Real, Wants};

/// Gradient sums of a group.
pub(in crate::reference) struct GroupGradient<T> {
    /// Cotangent of the box centres `[batch, d]`.
    pub(in crate::reference) center: Vec<T>,
    /// Cotangent of the box radii `[batch, d]`.
    pub(in crate::reference) radius: Vec<T>,
}

/// Where cotangents gather on the way back.
struct Flow<'w, T> {
    weights: Option<&'w mut MapGradients<T>>,
    region: GroupGradient<T>,
    /// Of the bounds that lines are made from, by node.
    bounds: Vec<Option<Pair<T>>>,
    intervals: Intervals<T>,
    /// Of the radii of error terms that are kept as a box, by node.
    errors: Vec<Vec<T>>,
}

impl<T: Real> Group<T> {
    /// Pulls the group's own slice of the cotangents back; adds weight gradients to `weights`.
    pub(in crate::reference) fn backward(
        &self,
        plan: &Plan<T>,
        cotangents: &Cotangents<T>,
        weights: Option<&mut MapGradients<T>>,
        wants: Wants,
    ) -> GroupGradient<T> {
        let batch = self.region.batch();
        let dimension = self.region.dimension();
        let zeros = || vec![T::ZERO; batch * dimension];
        let mut flow = Flow {
            weights,
            region: GroupGradient { center: zeros(), radius: zeros() },
            bounds: zeros_like(&self.bounded),
            intervals: self.intervals.zero_cotangents(),
            errors: self.errors.radii.iter().map(|radii| vec![T::ZERO; radii.len()]).collect(),
        };
        for layer in &cotangents.layers {
            if let Some(target) = &mut flow.bounds[layer.node] {
                target.lower.iter_mut().zip(&layer.lower).for_each(|(t, &g)| *t += g);
                target.upper.iter_mut().zip(&layer.upper).for_each(|(t, &g)| *t += g);
            }
        }
        let lines = if flow.errors.is_empty() { Vec::new() } else { self.batch_lines(plan) };
        self.spec_backward(plan, cotangents, &mut flow);
        let mut nodes_of_errors = (1..flow.errors.len()).rev().peekable();
        for id in self.to_bound(plan).rev() {
            // What depends on the bounds of this node comes first.
            while let Some(above) = nodes_of_errors.next_if(|&above| above > id) {
                self.errors_backward(plan, &lines, above, &mut flow);
            }
            let Some(g) = flow.bounds[id].take() else { continue };
            let on_walk = match self.origin(plan, id) {
                Origin::Image => {
                    let (f, known) = (plan.activation(id), self.input_bounds(plan, id));
                    if let Some(target) = &mut flow.bounds[plan.network.node(id).inputs[0]] {
                        let targets = [&mut target.lower[..], &mut target.upper];
                        f.pull_back_images([&known.lower, &known.upper], [&g.lower, &g.upper], targets);
                    }
                    continue;
                }
                Origin::Relaxation(Intermediate::Interval) => {
                    flow.intervals.add_on_ends(id, 0, &g.lower, &g.upper);
                    continue;
                }
                Origin::Relaxation(Intermediate::Backward) => g,
                Origin::Relaxation(Intermediate::BackwardIfUnstable) => self.on_unstable(plan, id, g),
                Origin::Relaxation(Intermediate::Intersection) => {
                    let (on_walk, on_interval) = self.split(id, g);
                    flow.intervals.add_on_ends(id, 0, &on_interval.lower, &on_interval.upper);
                    on_walk
                }
            };
            self.walk_backward(plan, id, &on_walk, &mut flow);
        }
        // No box of error terms lies before the first bounded node.
        let weights = flow.weights.as_deref_mut();
        self.intervals.backward(plan, batch, &self.known, &mut flow.intervals, weights, wants.input);
        for id in self.to_bound(plan).filter(|&id| self.known[id].is_some()) {
            let (center, radius) = (&flow.intervals.center[id], &flow.intervals.radius[id]);
            if let Some(ball) = kernel_norm::ball_for(plan, &self.region, id) {
                let mut epsilon = vec![T::ZERO; batch];
                let sinks = (flow.region.center.as_mut_slice(), epsilon.as_mut_slice());
                kernel_norm::backward(plan, ball, id, (center, radius), flow.weights.as_deref_mut(), sinks);
                flow.region.radius.iter_mut().step_by(dimension).zip(epsilon).for_each(|(r, g)| *r += g);
                continue;
            }
            let on_bounds = on_ends(center, radius);
            self.walk_backward(plan, id, &on_bounds, &mut flow);
        }
        // Where the input itself is bounded over a ball, its cotangents went through the walk above.
        let Flow { mut region, intervals, .. } = flow;
        if wants.input && !intervals.center[0].is_empty() && self.known[0].is_none() {
            region.center.iter_mut().zip(&intervals.center[0]).for_each(|(t, &g)| *t += g);
            region.radius.iter_mut().zip(&intervals.radius[0]).for_each(|(t, &g)| *t += g);
        }
        if self.region.ball.is_some() && !self.region.clipped {
            for radius in region.radius.chunks_exact_mut(dimension) {
                let total = radius.iter().copied().sum();
                radius.fill(T::ZERO);
                radius[0] = total;
            }
        }
        region
    }

    /// The derivatives of Σ `g`·(lower bounds) with respect to the coefficients of the specification, `[batch, R, K]`.
    pub(in crate::reference) fn on_spec(&self, plan: &Plan<T>, g: &[T]) -> Vec<T> {
        let (last, rows, classes) = (self.last(plan), self.rows(plan), plan.network.output_len());
        let mut found = vec![T::ZERO; self.region.batch() * rows * classes];
        for (sample, found) in found.chunks_exact_mut((rows * classes).max(1)).enumerate() {
            let matrix = self.spec_matrix(plan, sample);
            let (lines, known) = (self.walk_lines(plan, sample), self.sample_bounds(sample));
            let (stop, set) = self.spec_stop(plan, sample);
            let walk =
                Walk { plan, lines: &lines, rule: self.rule(), stop, set, errors: self.error_box(plan, last, sample) };
            // Also rows that are 0: what a coefficient in them would do is what is asked.
            let all: Vec<usize> = (0..rows).collect();
            let chunks = all.chunks(walk.chunk_rows(last)).zip(found.chunks_mut(walk.chunk_rows(last) * classes));
            for (chunk, target) in chunks {
                let g: Vec<T> = chunk.iter().map(|row| g[sample * rows + row]).collect();
                let coefficients = matrix[chunk[0] * classes..][..chunk.len() * classes].to_vec();
                let mut on_rows = Vec::new();
                let mut sinks = Sinks { weights: None, set: None, errors: None, rows: Some(&mut on_rows) };
                walk.adjoint(last, coefficients, &g, &mut sinks, &known, &mut zeros_like(&known));
                target.copy_from_slice(&on_rows);
            }
        }
        found
    }

    fn spec_backward(&self, plan: &Plan<T>, cotangents: &Cotangents<T>, flow: &mut Flow<'_, T>) {
        let last = self.last(plan);
        let rows = self.rows(plan);
        let upper_wanted = !cotangents.upper.is_empty();
        for sample in 0..self.region.batch() {
            let g_of = |&(row, is_upper): &(usize, bool)| {
                if is_upper { -cotangents.upper[sample * rows + row] } else { cotangents.lower[sample * rows + row] }
            };
            let matrix = self.spec_matrix(plan, sample);
            let mut live = self.spec_rows(plan, &matrix, upper_wanted);
            live.retain(|row| g_of(row) != T::ZERO);
            if live.is_empty() {
                continue;
            }
            let lines = self.walk_lines(plan, sample);
            let known = self.sample_bounds(sample);
            let (stop, set) = self.spec_stop(plan, sample);
            let n = plan.network.node(stop).len();
            let range = sample * n..(sample + 1) * n;
            let backward = self.request.relaxation.last() == Final::Backward;
            let Flow { weights, region, bounds, intervals, errors } = &mut *flow;
            let set_sink = if stop == 0 && (backward || intervals.center[0].is_empty()) {
                (&mut region.center[range.clone()], &mut region.radius[range])
            } else if stop == 0 {
                (&mut intervals.center[0][range.clone()], &mut intervals.radius[0][range])
            } else {
                (&mut intervals.center[stop][range.clone()], &mut intervals.radius[stop][range])
            };
            let error_box = self.error_box(plan, last, sample);
            let walk = Walk { plan, lines: &lines, rule: self.rule(), stop, set, errors: error_box };
            let errors = sample_of(errors, walk.errors, sample);
            let mut sinks = Sinks { weights: weights.as_deref_mut(), set: Some(set_sink), errors, rows: None };
            let mut sample_bounds = zeros_like(&known);
            for chunk in live.chunks(walk.chunk_rows(last)) {
                let g: Vec<T> = chunk.iter().map(g_of).collect();
                let coefficients = self.spec_coefficients(plan, &matrix, chunk);
                walk.adjoint(last, coefficients, &g, &mut sinks, &known, &mut sample_bounds);
            }
            add_sample(bounds, &sample_bounds, sample);
        }
    }

    /// The adjoint of [`Self::walk_neurons`]: `g` are cotangents on the bounds of node `id`, `[batch, n]`.
    fn walk_backward(&self, plan: &Plan<T>, id: NodeId, g: &Pair<T>, flow: &mut Flow<'_, T>) {
        let n = plan.network.node(id).len();
        let dimension = self.region.dimension();
        for sample in 0..self.region.batch() {
            let g_of = |&(neuron, is_upper): &(usize, bool)| {
                if is_upper { -g.upper[sample * n + neuron] } else { g.lower[sample * n + neuron] }
            };
            let mut live: Vec<(usize, bool)> = (0..n).flat_map(|i| [(i, false), (i, true)]).collect();
            live.retain(|row| g_of(row) != T::ZERO);
            if live.is_empty() {
                continue;
            }
            let lines = self.walk_lines(plan, sample);
            let known = self.sample_bounds(sample);
            let range = sample * dimension..(sample + 1) * dimension;
            let (set, errors) = (Set::of_region(&self.region, sample), self.error_box(plan, id, sample));
            let walk = Walk { plan, lines: &lines, rule: self.rule(), stop: 0, set, errors };
            let Flow { weights, region, bounds, errors, .. } = &mut *flow;
            let set = Some((&mut region.center[range.clone()], &mut region.radius[range]));
            let errors = sample_of(errors, walk.errors, sample);
            let mut sinks = Sinks { weights: weights.as_deref_mut(), set, errors, rows: None };
            let mut sample_bounds = zeros_like(&known);
            for chunk in live.chunks(walk.chunk_rows(id)) {
                let g: Vec<T> = chunk.iter().map(g_of).collect();
                walk.adjoint(id, unit_rows(chunk, n), &g, &mut sinks, &known, &mut sample_bounds);
            }
            add_sample(bounds, &sample_bounds, sample);
        }
    }

    /// Pulls the cotangents of the radii of node `id`'s box of error terms back.
    fn errors_backward(&self, plan: &Plan<T>, lines: &[Vec<Option<NodeLines<T>>>], id: NodeId, flow: &mut Flow<'_, T>) {
        let bounds = (&self.bounded[..], &mut flow.bounds[..]);
        self.errors.backward(plan, lines, id, &mut flow.errors, flow.weights.as_deref_mut(), bounds);
    }

    /// The cotangents on bounds of neurons that interval arithmetic leaves unstable; by definition of the method the
    /// interval bounds of the others carry no gradient.
    fn on_unstable(&self, plan: &Plan<T>, id: NodeId, mut g: Pair<T>) -> Pair<T> {
        let interval = self.intervals.ends(id);
        for i in 0..g.lower.len() {
            if plan.is_settled(id, interval.lower[i], interval.upper[i]) {
                (g.lower[i], g.upper[i]) = (T::ZERO, T::ZERO);
            }
        }
        g
    }

    /// Divides cotangents between the walk and the interval pass by which of the two gave each bound.
    fn split(&self, id: NodeId, g: Pair<T>) -> (Pair<T>, Pair<T>) {
        let interval = self.intervals.ends(id);
        let mut on_walk = g;
        let mut on_interval = Pair::zeros(on_walk.lower.len());
        let Some(used) = &self.bounded[id] else { unreachable!("node {id} is not bounded") };
        for i in 0..on_walk.lower.len() {
            if used.lower[i] == interval.lower[i] {
                on_interval.lower[i] = std::mem::take(&mut on_walk.lower[i]);
            }
            if used.upper[i] == interval.upper[i] {
                on_interval.upper[i] = std::mem::take(&mut on_walk.upper[i]);
            }
        }
        (on_walk, on_interval)
    }
}

/// The cotangents of one image's `errors`, where there are any, among those of all nodes.
fn sample_of<'a, T>(all: &'a mut [Vec<T>], errors: Option<ErrorBox<'_, T>>, sample: usize) -> Option<&'a mut [T]> {
    let ErrorBox { node, radii } = errors?;
    Some(&mut all[node][sample * radii.len()..(sample + 1) * radii.len()])
}

fn zeros_like<T: Real>(pairs: &[Option<Pair<T>>]) -> Vec<Option<Pair<T>>> {
    pairs.iter().map(|pair| pair.as_ref().map(|pair| Pair::zeros(pair.lower.len()))).collect()
}

/// Adds one sample's cotangents to those of the batch.
fn add_sample<T: Real>(bounds: &mut [Option<Pair<T>>], sample_bounds: &[Option<Pair<T>>], sample: usize) {
    for (target, source) in bounds.iter_mut().zip(sample_bounds) {
        if let (Some(target), Some(source)) = (target, source) {
            let offset = sample * source.lower.len();
            target.lower[offset..].iter_mut().zip(&source.lower).for_each(|(t, &g)| *t += g);
            target.upper[offset..].iter_mut().zip(&source.upper).for_each(|(t, &g)| *t += g);
        }
    }
}
