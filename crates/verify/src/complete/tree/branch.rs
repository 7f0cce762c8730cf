//! Scores that say which neuron to split.

use tightrope_engine::{NodeLines, Trace};

use crate::complete::bound::ascent::Last;
use crate::complete::bound::handle::Handle;

/// A neuron that may be split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Position of the node.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// BaBSR score.
    pub score: f32,
}

/// (position, element).
pub(crate) type Neuron = (usize, usize);

impl Candidate {
    pub(crate) fn neuron(&self) -> Neuron {
        (self.position, self.index)
    }
}

/// Which scores choose the candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice {
    /// The best by BaBSR.
    Babsr,
    /// The best by BaBSR and by the relaxation's gap at the primal point, `0` in all.
    Filtered(usize),
}

/// Chooses candidates for row `row` of `last`, whose lines are set `set` of `lines`; `bias` is each position's bias.
///
/// With a the coefficient on a ReLU's output, s·z + t its upper line and b the bias of its layer, BaBSR (Bunel et al.
/// 2020; De Palma et al. 2021, eq. 9) scores |min(a·b, 0) − s·a·b + max(−a, 0)·t|: what the worse of the two children
/// gains through this layer alone. The gap |a|·|ẑ − relu(z̃)| is how far the relaxed primal point is from the network. Other
/// activations, the largest input of a max pooling and the wider factor of a product are scored by |a| times the height
/// between their lines.
pub(crate) fn candidates(
    program: &Handle<'_, f32>,
    last: &Last,
    row: usize,
    lines: &[NodeLines<f32>],
    set: usize,
    bias: &[Vec<f32>],
    choice: Choice,
) -> Vec<Candidate> {
    let mut by_score: Vec<Candidate> = Vec::new();
    let mut by_gap: Vec<Candidate> = Vec::new();
    let count = match choice {
        Choice::Babsr => 1,
        Choice::Filtered(count) => count.max(1),
    };
    for (id, post) in last.trace.post.iter().enumerate().filter(|(_, post)| !post.is_empty()) {
        let Some(site) = program.site[id] else { continue };
        let (n, input) = (program.network.node(id).len(), program.sites[site].input);
        let (post, relaxed) = (row_of(post, n, row), row_of(&last.primal[id], n, row));
        let z = row_of(&last.primal[input], program.network.node(input).len(), row);
        each_open(program, lines, site, set, post, bias, |output, (position, index), score| {
            let true_value = program.activation(site).map(|f| f.value(z[output]));
            let gap = true_value.map_or(score, |value| (post[output] * (relaxed[output] - value)).abs());
            insert(&mut by_score, Candidate { position, index, score }, count);
            if choice != Choice::Babsr {
                insert(&mut by_gap, Candidate { position, index, score: gap }, count);
            }
        });
    }
    if choice == Choice::Babsr {
        return by_score;
    }
    // Alternately from both lists, without repetition.
    let mut chosen: Vec<Candidate> = Vec::with_capacity(count);
    for rank in 0..count {
        for list in [&by_gap, &by_score] {
            if let Some(candidate) = list.get(rank)
                && chosen.len() < count
                && !chosen.iter().any(|c| (c.position, c.index) == (candidate.position, candidate.index))
            {
                chosen.push(*candidate);
            }
        }
    }
    chosen
}

fn babsr(a: f32, b: f32, s: f32, t: f32) -> f32 {
    ((a * b).min(0.0) - s * a * b + (-a).max(0.0) * t).abs()
}

/// One row of `[rows, n]`.
fn row_of(values: &[f32], n: usize, row: usize) -> &[f32] {
    &values[row * n..(row + 1) * n]
}

/// Calls `visit(output, neuron, score)` for the outputs of a site with a coefficient in `post`, one row's, whose lines in
/// set `set` would be better for a split of `neuron`.
fn each_open(
    program: &Handle<'_, f32>,
    lines: &[NodeLines<f32>],
    site: usize,
    set: usize,
    post: &[f32],
    bias: &[Vec<f32>],
    mut visit: impl FnMut(usize, Neuron, f32),
) {
    let position = program.sites[site].position;
    match &lines[site] {
        NodeLines::Activation(lines) => {
            for (i, &a) in post.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                let element = set * post.len() + i;
                if !lines.is_open(element) {
                    continue;
                }
                let score = match lines.fan {
                    None => babsr(a, bias[position][i], lines.upper_slope[element], lines.upper_intercept[element]),
                    Some(_) => a.abs() * lines.gap(element),
                };
                visit(i, (position, i), score);
            }
        }
        NodeLines::MaxPool(lines) => {
            let position = program.image_of[position].unwrap_or(position);
            for (o, &a) in post.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                if let Some((input, gap)) = lines.open(set, o) {
                    visit(o, (position, input), a.abs() * gap);
                }
            }
        }
        NodeLines::Product(lines) => {
            let position = program.image_of[position].unwrap_or(position);
            for (o, &a) in post.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                if let Some((input, gap)) = lines.open(set, o) {
                    visit(o, (position, input), a.abs() * gap);
                }
            }
        }
    }
}

/// The neuron before the last hidden layer with the largest sum of scores over `count` rows.
pub(crate) fn shared_choice(
    program: &Handle<'_, f32>,
    trace: &Trace<f32>,
    count: usize,
    lines: &[NodeLines<f32>],
    bias: &[Vec<f32>],
) -> Option<Neuron> {
    let mut best: Option<(f32, Neuron)> = None;
    for (id, post) in trace.post.iter().enumerate().filter(|(_, post)| !post.is_empty()) {
        let Some(site) = program.site[id].filter(|&site| program.sites[site].position + 1 < program.pre.len()) else {
            continue;
        };
        let n = program.network.node(id).len();
        let mut scores: Vec<Option<(f32, Neuron)>> = vec![None; n];
        for row in 0..count {
            each_open(program, lines, site, 0, row_of(post, n, row), bias, |output, neuron, score| {
                let sum = scores[output].map_or(0.0, |(sum, _)| sum);
                scores[output] = Some((sum + score, neuron));
            });
        }
        for (score, neuron) in scores.into_iter().flatten() {
            if best.is_none_or(|(least, _)| score > least) {
                best = Some((score, neuron));
            }
        }
    }
    best.map(|(_, place)| place)
}

/// Inserts into a list of at most `count` neurons, best first; the earlier of equals first.
fn insert(list: &mut Vec<Candidate>, candidate: Candidate, count: usize) {
    // Several outputs may ask for the same neuron.
    if let Some(place) = list.iter().position(|other| other.neuron() == candidate.neuron()) {
        if list[place].score >= candidate.score {
            return;
        }
        list.remove(place);
    }
    if list.len() == count && list.last().is_some_and(|last| last.score >= candidate.score) {
        return;
    }
    let place = list.partition_point(|c| c.score >= candidate.score);
    list.insert(place, candidate);
    list.truncate(count);
}
