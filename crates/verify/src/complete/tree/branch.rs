//! Scores that say which unstable ReLU to split.

use tightrope_engine::{Lines, Trace};

use crate::complete::bound::ascent::Last;
use crate::complete::bound::handle::Handle;

/// A neuron that may be split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Position of the pre-activation.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// BaBSR score.
    pub score: f32,
}

/// (position, element) of a ReLU.
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
/// With a the coefficient on the ReLU's output, s·z + t its upper line and b the bias of its layer, BaBSR (Bunel et al.
/// 2020; De Palma et al. 2021, eq. 9) scores |min(a·b, 0) − s·a·b + max(−a, 0)·t|: what the worse of the two children
/// gains through this layer alone. The gap |a|·|ẑ − relu(z̃)| is how far the relaxed primal point is from the network.
pub(crate) fn candidates(
    program: &Handle<'_, f32>,
    last: &Last,
    row: usize,
    lines: &[Lines<f32>],
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
        let pre = program.network.node(id).inputs[0];
        let Some(position) = program.position[pre] else { continue };
        let n = program.width(position);
        let lines = &lines[position];
        let (s, t) = (&lines.upper_slope[set * n..], &lines.intercept[set * n..]);
        let post = &post[row * n..(row + 1) * n];
        let z = &last.primal[pre][row * n..(row + 1) * n];
        let relaxed = &last.primal[id][row * n..(row + 1) * n];
        for i in 0..n {
            if t[i] <= 0.0 || post[i] == 0.0 {
                continue;
            }
            let (a, b) = (post[i], bias[position][i]);
            let score = babsr(a, b, s[i], t[i]);
            let gap = (a * (relaxed[i] - z[i].max(0.0))).abs();
            insert(&mut by_score, Candidate { position, index: i, score }, count);
            if choice != Choice::Babsr {
                insert(&mut by_gap, Candidate { position, index: i, score: gap }, count);
            }
        }
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

/// (position, element) of the ReLU before the last hidden layer with the largest sum of BaBSR scores over `count` rows.
pub(crate) fn shared_choice(
    program: &Handle<'_, f32>,
    trace: &Trace<f32>,
    count: usize,
    lines: &[Lines<f32>],
    bias: &[Vec<f32>],
) -> Option<Neuron> {
    let mut best: Option<(f32, Neuron)> = None;
    for (id, post) in trace.post.iter().enumerate().filter(|(_, post)| !post.is_empty()) {
        let position = program.position[program.network.node(id).inputs[0]];
        let Some(position) = position.filter(|p| p + 1 < program.pre.len()) else { continue };
        let n = program.width(position);
        let lines = &lines[position];
        for i in (0..n).filter(|&i| lines.intercept[i] > 0.0) {
            let of_row =
                |row: usize| babsr(post[row * n + i], bias[position][i], lines.upper_slope[i], lines.intercept[i]);
            let score = (0..count).map(of_row).sum();
            if best.is_none_or(|(least, _)| score > least) {
                best = Some((score, (position, i)));
            }
        }
    }
    best.map(|(_, place)| place)
}

/// Inserts into a list of at most `count`, best first; the earlier of equals first.
fn insert(list: &mut Vec<Candidate>, candidate: Candidate, count: usize) {
    if list.len() == count && list.last().is_some_and(|last| last.score >= candidate.score) {
        return;
    }
    let place = list.partition_point(|c| c.score >= candidate.score);
    list.insert(place, candidate);
    list.truncate(count);
}
