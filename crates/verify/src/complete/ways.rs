//! The two ways to search a case, over inputs and over neurons, and which helps the other out.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use tightrope_certificate::TreeBuilder;
use tightrope_engine::Charges;

use super::bound::handle::Handle;
use super::bound::root::{Layers, Root};
use super::boxes::Boxes;
use super::boxes::search::BoxSearch;
use super::decide::{CaseSearch, FIRST_CASES, Work};
use super::mixed::{End, Other, Round, Search, search_both};
use super::record::Recorder;
use super::settings::{Branching, Progress, Statistics};
use super::tree::Tree;
use super::tree::branch::Choice;
use super::tree::region::Regions;
use super::tree::search::TreeSearch;

/// Boxes as costly as the whole one before neurons are split as well.
const PATIENCE_BOXES: u64 = 4096;
/// What a search over boxes must have taken, in times what the root's bounds for a search over neurons cost at most.
const PATIENCE_ROOTS: u64 = 4;
/// Subproblems of a search over neurons before inputs are split as well.
const PATIENCE_NEURONS: u64 = 256;

impl Work<'_> {
    /// Whether the other way helps out: where inputs are few enough that splitting them pays.
    fn mixes(&self, search: &CaseSearch<'_>) -> bool {
        search.varying <= self.settings.mixed_split_limit
    }

    /// Over inputs first.
    pub(super) fn by_inputs(
        &self,
        search: CaseSearch<'_>,
        mut recorder: Option<&mut Recorder<'_>>,
        statistics: &mut Statistics,
    ) -> End {
        let begin = Instant::now();
        let rounding = self.box_rounding(search);
        statistics.root_seconds += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let attack_open = |open: &[usize]| self.attack_rest(&search, open, &mut Statistics::default());
        let boxes = self.boxes(search, &rounding, &attack_open);
        let refinement = recorder.as_deref_mut().map(|recorder| recorder.refinement(&[], true, |_, _| false));
        let open = (0..search.conjunctions.len()).map(|c| (c, TreeBuilder::ROOT)).collect();
        let mut own = BoxSearch::new(&boxes, open, refinement);
        let (root, bias, tree) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let other = |open: &[usize], mut recorder: Option<&mut Recorder<'_>>| -> Option<Other<'_>> {
            if !self.settings.branch {
                return None;
            }
            let ascent = self.ascent(self.settings.root_iterations);
            let root: &Arc<Root> = root.get_or_init(|| Arc::new(search.setting.root(&ascent, self.deadline)));
            let bias = bias.get_or_init(|| biases(&self.prepared.fast));
            let tree = tree.get_or_init(|| self.tree(search, root, bias, recorder.is_some()));
            let roots = recorder.as_deref_mut().map(Recorder::alternatives).unwrap_or_default();
            let nodes = self.refined(search, root, recorder.as_deref_mut(), &roots);
            let begun = tree.begin(&ascent, None, recorder, &nodes);
            let begun = begun.into_iter().filter(|(_, subproblem)| open.contains(&subproblem.conjunction)).collect();
            Some((Box::new(TreeSearch::new(tree, begun)), taken(open, &roots)))
        };
        let mut report = self.reporter(search.index, statistics);
        let end = match self.mixes(&search) {
            false => own.advance(recorder, &mut report, u64::MAX),
            true => own.advance(recorder.as_deref_mut(), &mut report, 1).or_else(|| {
                let exact = search.setting.exact;
                let neurons: usize = (0..exact.pre.len()).map(|position| exact.width(position)).sum();
                let steps = self.settings.root_iterations as u64 + 1;
                // Two rows a neuron, every step backward and forward.
                let root = (4 * steps * neurons as u64).saturating_mul(exact.products());
                let patience = own.work().saturating_mul(PATIENCE_BOXES).max(root.saturating_mul(PATIENCE_ROOTS));
                Some(search_both(&mut own, patience, other, recorder, &mut report))
            }),
        };
        drop(report);
        statistics.branch_seconds += begin.elapsed().as_secs_f64();
        end.unwrap_or(End::Stuck(f64::NEG_INFINITY))
    }

    /// Over neurons first.
    pub(super) fn by_neurons(
        &self,
        search: CaseSearch<'_>,
        mut recorder: Option<&mut Recorder<'_>>,
        statistics: &mut Statistics,
    ) -> End {
        let begin = Instant::now();
        let mut ascent = self.ascent(0);
        let mut root = match self.learned {
            Some(learned) => Arc::clone(&learned.root),
            None => Arc::new(search.setting.root(&ascent, self.deadline)),
        };
        let bias = biases(&self.prepared.fast);
        // Bounds first, and the attack on what they leave open: most conjunctions of a long list need no more.
        let mut left: Vec<usize> = {
            let tree = self.tree(search, &root, &bias, recorder.is_some());
            tree.begin(&ascent, self.learned, None, &[]).iter().map(|(_, subproblem)| subproblem.conjunction).collect()
        };
        if !left.is_empty() {
            left.sort_unstable();
            statistics.root_seconds += begin.elapsed().as_secs_f64();
            if let Some(found) = self.attack_rest(&search, &left, statistics) {
                return End::Violated(found);
            }
        }
        let begin = Instant::now();
        if !left.is_empty() && self.settings.root_iterations > 0 {
            ascent = self.ascent(self.settings.root_iterations);
            if self.learned.is_none() {
                let share = self.settings.timeout.mul_f64(self.settings.root_share.clamp(0.0, 1.0));
                root = Arc::new(search.setting.root(&ascent, (begin + share).min(self.deadline)));
            }
        }
        let roots = vec![TreeBuilder::ROOT; search.conjunctions.len()];
        let nodes = self.refined(search, &root, recorder.as_deref_mut(), &roots);
        let tree = self.tree(search, &root, &bias, recorder.is_some());
        let open = tree.begin(&ascent, self.learned, recorder.as_deref_mut(), &nodes);
        statistics.root_seconds += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let end = if open.is_empty() {
            End::Refuted
        } else if !self.settings.branch {
            let worst = open.iter().map(|(bound, _)| *bound).fold(f64::INFINITY, f64::min);
            End::of(Some(worst), self.deadline)
        } else {
            let mut own = TreeSearch::new(&tree, open);
            let (rounding, boxes) = (OnceCell::new(), OnceCell::new());
            // The attack has been.
            let attack_open = |_: &[usize]| None;
            let other = |open: &[usize], mut recorder: Option<&mut Recorder<'_>>| -> Option<Other<'_>> {
                if !self.mixes(&search) {
                    return None;
                }
                let rounding = rounding.get_or_init(|| self.box_rounding(search));
                let boxes = boxes.get_or_init(|| self.boxes(search, rounding, &attack_open));
                let refinement = recorder.as_deref_mut().map(|recorder| recorder.refinement(&[], true, |_, _| false));
                let roots = recorder.map(Recorder::alternatives).unwrap_or_default();
                let taken = taken(open, &roots);
                Some((Box::new(BoxSearch::new(boxes, taken.clone(), refinement)), taken))
            };
            let patience = own.price().saturating_mul(PATIENCE_NEURONS);
            search_both(&mut own, patience, other, recorder, &mut self.reporter(search.index, statistics))
        };
        statistics.branch_seconds += begin.elapsed().as_secs_f64();
        end
    }

    /// The nodes of all conjunctions in the recorded trees behind the root's bounds; none where nothing is recorded.
    fn refined(
        &self,
        search: CaseSearch<'_>,
        root: &Root,
        recorder: Option<&mut Recorder<'_>>,
        roots: &[usize],
    ) -> Vec<usize> {
        let Some(recorder) = recorder else { return Vec::new() };
        let exact = search.setting.exact;
        let has_choice = |p: usize, i: usize| exact.has_choice(p, root.layers.lower[p][i], root.layers.upper[p][i]);
        let refinement = recorder.refinement(&root.derivation(), true, has_choice);
        roots.iter().enumerate().map(|(c, &root)| recorder.refine(c, root, refinement)).collect()
    }

    /// The margins for rounding errors of every box's bounds.
    fn box_rounding(&self, search: CaseSearch<'_>) -> Charges<f64> {
        // Those from interval arithmetic alone are wider, but where cases are many all that comes before the boxes counts, and
        // in a large network a back-substitution of each neuron takes longer than many boxes.
        let forms = search.setting.forms && search.setting.exact.is_large();
        match forms || self.property.cases.len() > FIRST_CASES {
            true => search.setting.plain_rounding(),
            false => search.setting.root(&self.ascent(0), self.deadline).rounding,
        }
    }

    fn boxes<'t>(
        &self,
        search: CaseSearch<'t>,
        rounding: &'t Charges<f64>,
        attack_open: &'t (dyn Fn(&[usize]) -> Option<super::point::Found> + Sync),
    ) -> Boxes<'t> {
        Boxes {
            setting: search.setting,
            rounding,
            conjunctions: search.conjunctions,
            attack: search.attack,
            endgame: search.endgame,
            attack_open,
            batch: self.settings.batch,
            queue_bytes: self.settings.queue_bytes,
            deadline: self.deadline,
        }
    }

    fn tree<'t>(&self, search: CaseSearch<'t>, root: &'t Root, bias: &'t [Vec<f32>], keep: bool) -> Tree<'t> {
        Tree {
            setting: search.setting,
            root,
            conjunctions: search.conjunctions,
            attack: search.attack,
            endgame: search.endgame,
            regions: Regions {
                setting: search.setting,
                root,
                conjunctions: search.conjunctions,
                bias,
                ascent: self.ascent(self.settings.region_iterations),
                keep,
            },
            ascent: self.ascent(self.settings.node_iterations),
            choice: match self.settings.branching {
                Branching::Babsr => Choice::Babsr,
                Branching::Auto | Branching::Input | Branching::Fsb => Choice::Filtered(self.settings.candidates),
            },
            batch: self.settings.batch,
            queue_bytes: self.settings.queue_bytes,
            unstable: unstable(&self.prepared.exact, &root.layers),
            bias,
            deadline: self.deadline,
        }
    }

    /// Adds up what the search of one case reports.
    fn reporter<'s>(&'s self, case: usize, statistics: &'s mut Statistics) -> impl FnMut(&Round) + 's {
        let before = statistics.subproblems;
        move |round| {
            statistics.subproblems = before + round.subproblems;
            statistics.peak_open = statistics.peak_open.max(round.open);
            (self.progress)(Progress {
                case,
                cases: self.property.cases.len(),
                subproblems: statistics.subproblems,
                open: round.open,
                lower_bound: round.lower_bound,
                seconds: self.start.elapsed().as_secs_f64(),
            });
        }
    }
}

/// The open conjunctions with the roots of their other trees.
fn taken(open: &[usize], roots: &[usize]) -> Vec<(usize, usize)> {
    open.iter().map(|&c| (c, roots.get(c).copied().unwrap_or_default())).collect()
}

/// (position, element) of the neurons whose lines have shares to optimise.
fn unstable(program: &Handle<'_, f64>, layers: &Layers) -> Vec<(usize, usize)> {
    let mut list = Vec::new();
    for (position, (lower, upper)) in layers.lower.iter().zip(&layers.upper).enumerate() {
        let has_choice = |&i: &usize| program.has_choice(position, lower[i], upper[i]);
        list.extend((0..lower.len()).filter(has_choice).map(|i| (position, i)));
    }
    list
}

/// The bias of the layer of each pre-activation, by position; 0 where it is no affine layer's output.
fn biases(program: &Handle<'_, f32>) -> Vec<Vec<f32>> {
    let bias = |&id: &usize| {
        let zero = vec![0.0; program.network.node(program.network.node(id).inputs.first().copied().unwrap_or(0)).len()];
        let [_, bias] = program.at.summands(id, &zero).unwrap_or_default();
        if bias.is_empty() { vec![0.0; program.network.node(id).len()] } else { bias }
    };
    program.pre.iter().map(bias).collect()
}
