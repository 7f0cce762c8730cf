//! Projected Adam ascent on the dual bound: shares α in [0, 1], multipliers β ≥ 0 and weights of a conjunction's rows.
//!
//! The share of a ReLU is the slope of its lower line; variables and settings call all shares slopes.

use std::time::Instant;

use tightrope_engine::{AdamStep, Ball, Domain, Multiplier, NodeLines, SetOf, Trace};
use tightrope_network::NodeId;

use super::handle::Handle;
use super::split::Split;
use crate::complete::problem::Conjunction;

/// Largest multiplier: beyond it no bound would be finite.
const LARGEST: f32 = 1e30;

/// How to climb.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ascent {
    /// Steps; with 0 the bounds of the initial variables are returned.
    pub iterations: usize,
    /// First learning rate of slopes (and of weights).
    pub slope_rate: f32,
    /// First learning rate of multipliers.
    pub multiplier_rate: f32,
    /// Factor of the rates from step to step.
    pub decay: f32,
    /// No step begins after it.
    pub deadline: Instant,
}

/// What is bounded.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Fixed rows `[rows, n]` on the start node.
    Rows(&'a [f32]),
    /// Per row a conjunction, whose rows are combined by the weights.
    Conjunctions(&'a [&'a Conjunction]),
}

/// The variables of each row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// Shares by position, `[rows, n]`; those of stable ReLUs are their exact slopes.
    pub slopes: Vec<Vec<f32>>,
    /// Multipliers; the sign of each value is that of its split and stays. Empty if no row has any.
    pub multipliers: Vec<Vec<Multiplier<f32>>>,
    /// The splits of `multipliers`.
    pub splits: Vec<Vec<Split>>,
    /// Weights ≥ 0 that sum to 1; empty for fixed rows.
    pub weights: Vec<Vec<f32>>,
}

/// The relaxation that is bounded: the network up to a node over a box, everything that is not affine between its lines.
#[derive(Clone, Copy)]
pub(crate) struct LinearRelaxation<'a> {
    /// The network.
    pub program: &'a Handle<'a, f32>,
    /// Node the rows stand on.
    pub start: NodeId,
    /// Lower ends of the box.
    pub lower: &'a [f32],
    /// Upper ends.
    pub upper: &'a [f32],
    /// The ball that cuts it.
    pub ball: Option<&'a Ball<f32>>,
    /// Lines before the start, shared (one set) or one set per row.
    pub lines: &'a [NodeLines<f32>],
    /// True for one set per row.
    pub own_lines: bool,
}

/// The state after the last step of the rows that did not reach the goal.
#[derive(Default)]
pub(crate) struct Last {
    /// Which rows they are.
    pub rows: Vec<u32>,
    /// Backward pass.
    pub trace: Trace<f32>,
    /// Relaxed values by node, up to the start.
    pub primal: Vec<Vec<f32>>,
}

/// What an ascent reached.
pub(crate) struct Ascended {
    /// Best bound of each row, in f32 without any margin.
    pub values: Vec<f32>,
    /// The variables of those bounds.
    pub variables: Variables,
    /// For branching and attacks.
    pub last: Last,
}

/// First and second moments, shaped like the variables.
struct Moments {
    slopes: Vec<Vec<[f32; 2]>>,
    multipliers: Vec<Vec<[f32; 2]>>,
    weights: Vec<Vec<[f32; 2]>>,
}

impl Ascent {
    /// Climbs from `variables`; rows whose bound exceeds `goal` stop.
    pub(crate) fn run(
        &self,
        relaxation: LinearRelaxation<'_>,
        start: Start<'_>,
        variables: Variables,
        goal: f32,
    ) -> Ascended {
        let count = match start {
            Start::Rows(rows) => rows.len() / relaxation.program.network.node(relaxation.start).len(),
            Start::Conjunctions(list) => list.len(),
        };
        let mut values = vec![f32::NEG_INFINITY; count];
        let mut best = variables.clone();
        let mut current = variables;
        let mut moments = Moments::zeros(&current);
        let mut active: Vec<u32> = (0..count as u32).collect();
        let mut last = Last::default();
        let iterations = if relaxation.has_variables(&current) { self.iterations } else { 0 };
        for iteration in 0..=iterations {
            let (rows, offsets) = start.rows(relaxation, &active, &current.weights);
            let domain = relaxation.domain(&active, &current);
            let mut trace = Trace::default();
            let (mut bounds, _) =
                relaxation.program.at.substitute(&domain, relaxation.start, rows, active.len(), Some(&mut trace), None);
            bounds.iter_mut().zip(&offsets).for_each(|(b, o)| *b -= o);
            let ends = iteration == iterations || Instant::now() >= self.deadline;
            let primal = (!ends || matches!(start, Start::Conjunctions(_))).then(|| {
                let points = domain.minimisers(&trace.input, active.len());
                relaxation.program.at.relaxed(&domain, relaxation.start, &trace, points)
            });
            let mut keep = vec![true; active.len()];
            for (row, &original) in active.iter().enumerate() {
                let original = original as usize;
                if bounds[row] > values[original] {
                    values[original] = bounds[row];
                    best.copy_row(original, &current, row, relaxation.program);
                }
                keep[row] = values[original] <= goal;
            }
            if let Some(primal) = primal {
                if ends {
                    last = Last { rows: active, trace, primal };
                    break;
                }
                self.step(iteration, relaxation, start, &active, &mut current, &mut moments, &trace, &primal);
            } else {
                break;
            }
            let left = keep.iter().filter(|&&k| k).count();
            if left == 0 {
                break;
            }
            if 4 * left <= 3 * active.len() {
                current.retain(&keep);
                moments.retain(&keep);
                retain_rows(&mut active, &keep);
            }
        }
        Ascended { values, variables: best, last }
    }

    fn step(
        &self,
        iteration: usize,
        relaxation: LinearRelaxation<'_>,
        start: Start<'_>,
        active: &[u32],
        current: &mut Variables,
        moments: &mut Moments,
        trace: &Trace<f32>,
        primal: &[Vec<f32>],
    ) {
        let step = |rate: f32| AdamStep::new(rate, self.decay, iteration);
        let slope_step = step(self.slope_rate);
        let program = relaxation.program;
        let mut gradient = Vec::new();
        for position in 0..current.slopes.len() {
            let pre = program.pre[position];
            let n = program.width(position);
            for (row, &original) in active.iter().enumerate() {
                let range = row * n..(row + 1) * n;
                let set = if relaxation.own_lines { original as usize * n } else { 0 };
                let z = &primal[pre][range.clone()];
                gradient.clear();
                gradient.resize(n, 0.0);
                for site in program.sites_at(position) {
                    relaxation.add_gradient(site, set, range.clone(), trace, z, &mut gradient);
                }
                let slopes = &mut current.slopes[position][range.clone()];
                slope_step.climb(slopes, &mut moments.slopes[position][range], &gradient);
            }
        }
        let multiplier_step = step(self.multiplier_rate);
        for (row, list) in current.multipliers.iter_mut().enumerate() {
            for (entry, multiplier) in list.iter_mut().enumerate() {
                let pre = program.pre[multiplier.position];
                let sign = current.splits[row][entry].sign();
                let z = primal[pre][row * program.width(multiplier.position) + multiplier.index];
                let g = sign * (z - multiplier.point);
                let beta = sign * multiplier.value + multiplier_step.of(&mut moments.multipliers[row][entry], g);
                multiplier.value = sign * beta.clamp(0.0, LARGEST);
            }
        }
        if let Start::Conjunctions(list) = start {
            for (row, &original) in active.iter().enumerate() {
                let conjunction = list[original as usize];
                let weights = &mut current.weights[row];
                if weights.len() < 2 {
                    continue;
                }
                let k = conjunction.outputs();
                let y = &primal[relaxation.start][row * k..(row + 1) * k];
                for (r, weight) in weights.iter_mut().enumerate() {
                    let g = conjunction.excess(r, y);
                    *weight = (*weight + slope_step.of(&mut moments.weights[row][r], g)).max(0.0);
                }
                normalise(weights);
            }
        }
    }
}

/// Scales weights to a sum of 1; even ones if all are 0.
fn normalise(weights: &mut [f32]) {
    let sum: f32 = weights.iter().sum();
    let even = 1.0 / weights.len() as f32;
    weights.iter_mut().for_each(|w| *w = if sum > 0.0 { *w / sum } else { even });
}

impl Start<'_> {
    /// Rows and the offsets to subtract from their bounds.
    fn rows(&self, relaxation: LinearRelaxation<'_>, active: &[u32], weights: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
        match self {
            Start::Rows(rows) => {
                let n = relaxation.program.network.node(relaxation.start).len();
                let gathered =
                    active.iter().flat_map(|&row| &rows[row as usize * n..(row as usize + 1) * n]).copied().collect();
                (gathered, Vec::new())
            }
            Start::Conjunctions(list) => {
                let mut rows = Vec::new();
                let mut offsets = Vec::with_capacity(active.len());
                for (&original, weights) in active.iter().zip(weights) {
                    offsets.push(list[original as usize].combine(weights, &mut rows));
                }
                (rows, offsets)
            }
        }
    }
}

impl<'a> LinearRelaxation<'a> {
    /// Whether an ascent on `variables` can change the bounds.
    fn has_variables(&self, variables: &Variables) -> bool {
        self.lines.iter().any(NodeLines::have_choice)
            || variables.multipliers.iter().any(|list| !list.is_empty())
            || variables.weights.iter().any(|weights| weights.len() > 1)
    }

    /// Adds the derivatives of a row's bound with respect to the shares of `site`; `range` is the row's in `[rows, n]` and
    /// z its relaxed values there.
    fn add_gradient(
        &self,
        site: usize,
        set: usize,
        range: std::ops::Range<usize>,
        trace: &Trace<f32>,
        z: &[f32],
        gradient: &mut [f32],
    ) {
        let Some(lines) = self.lines.get(site).and_then(NodeLines::activation) else { return };
        let nodes = self.program.sites[site].nodes.iter();
        let posts = nodes.filter_map(|&id| trace.post.get(id).filter(|post| !post.is_empty()));
        for post in posts.map(|post| &post[range.clone()]) {
            lines.add_share_gradient(set, post, z, gradient);
        }
    }

    fn domain(&self, active: &'a [u32], current: &'a Variables) -> Domain<'a, f32> {
        Domain {
            lower: self.lower,
            upper: self.upper,
            box_of: SetOf::Only,
            ball: self.ball,
            lines: self.lines,
            lines_of: if self.own_lines { SetOf::Listed(active) } else { SetOf::Only },
            slopes: Some(&current.slopes),
            multipliers: (!current.multipliers.is_empty()).then_some(&current.multipliers[..]),
        }
    }
}

impl Variables {
    fn copy_row(&mut self, to: usize, source: &Variables, from: usize, program: &Handle<'_, f32>) {
        for (position, (target, slopes)) in self.slopes.iter_mut().zip(&source.slopes).enumerate() {
            let n = program.width(position);
            target[to * n..(to + 1) * n].copy_from_slice(&slopes[from * n..(from + 1) * n]);
        }
        if let Some(list) = source.multipliers.get(from) {
            self.multipliers[to].copy_from_slice(list);
        }
        if let Some(list) = source.weights.get(from) {
            self.weights[to].copy_from_slice(list);
        }
    }

    fn retain(&mut self, keep: &[bool]) {
        self.slopes.iter_mut().for_each(|slopes| retain_rows(slopes, keep));
        retain_rows(&mut self.multipliers, keep);
        retain_rows(&mut self.splits, keep);
        retain_rows(&mut self.weights, keep);
    }
}

impl Moments {
    fn zeros(variables: &Variables) -> Self {
        Moments {
            slopes: variables.slopes.iter().map(|s| vec![[0.0; 2]; s.len()]).collect(),
            multipliers: variables.multipliers.iter().map(|m| vec![[0.0; 2]; m.len()]).collect(),
            weights: variables.weights.iter().map(|w| vec![[0.0; 2]; w.len()]).collect(),
        }
    }

    fn retain(&mut self, keep: &[bool]) {
        self.slopes.iter_mut().for_each(|slopes| retain_rows(slopes, keep));
        retain_rows(&mut self.multipliers, keep);
        retain_rows(&mut self.weights, keep);
    }
}

/// Keeps the marked rows of `[rows, n]`; an empty vector stays.
fn retain_rows<T>(values: &mut Vec<T>, keep: &[bool]) {
    let n = values.len() / keep.len();
    if n > 0 {
        let mut element = 0;
        values.retain(|_| {
            element += 1;
            keep[(element - 1) / n]
        });
    }
}
