//! Bounds of all pre-activations over one box: interval arithmetic ∩ CROWN in f64, then slopes optimised per neuron.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tightrope_engine::{Ball, Charges, Domain, Multiplier, NodeLines, OutwardInterval, SetOf};
use tightrope_network::NodeId;

use super::ascent::{Ascent, LinearRelaxation, Start, Variables};
use super::forms::Forms;
use super::handle::Handle;
use super::split::widened;
use crate::complete::problem::Conjunction;

/// A network in both precisions with one input box, cut by a ball or not.
pub(crate) struct Setting<'a> {
    /// For optimisation.
    pub fast: &'a Handle<'a, f32>,
    /// For bounds that count.
    pub exact: &'a Handle<'a, f64>,
    /// Lower ends of the box.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
    /// The same in f32.
    pub lower32: Vec<f32>,
    /// The same in f32.
    pub upper32: Vec<f32>,
    /// The ball that cuts the box, if one does.
    pub ball: Option<Ball<f64>>,
    /// The same in f32.
    pub ball32: Option<Ball<f32>>,
    /// Whether the margin for rounding errors is subtracted.
    pub sound: bool,
    /// Whether affine forms of few inputs may help: not where a proof is recorded, whose checker has none.
    pub forms: bool,
}

/// Bounds of the pre-activations by position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// Lower bounds.
    pub lower: Vec<Vec<f64>>,
    /// Upper bounds.
    pub upper: Vec<Vec<f64>>,
}

impl Layers {
    /// Rows that [`open_rows`] has for a position.
    pub(crate) fn open(&self, program: &Handle<'_, f64>, position: usize) -> usize {
        open_rows(program, position, &self.lower[position], &self.upper[position]).len()
    }
}

/// The slopes optimised for one bound of a neuron.
#[derive(Clone, Debug)]
pub(crate) struct Optimised {
    /// Position of the pre-activation.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// True for its upper bound.
    pub is_upper: bool,
    /// The slopes by earlier position.
    pub slopes: Vec<Vec<f32>>,
    /// Whether the bound they gave is the one that counts.
    pub improved: bool,
}

/// A bound of a neuron with the variables that gave it.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// Position of the pre-activation.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// True for its upper bound.
    pub is_upper: bool,
    /// The slopes by earlier position.
    pub slopes: Vec<Vec<f32>>,
    /// |multiplier| of each split of the region, 0 for those of later layers.
    pub multipliers: Vec<f32>,
}

/// The root of the search: bounds with their derivation.
pub(crate) struct Root {
    /// Bounds of the pre-activations.
    pub layers: Arc<Layers>,
    /// Lines in f32.
    pub lines32: Vec<NodeLines<f32>>,
    /// Lines in f64.
    pub lines: Vec<NodeLines<f64>>,
    /// Charges charges over the box.
    pub rounding: Charges<f64>,
    /// What was optimised, sorted by position, element and side.
    pub optimised: Vec<Optimised>,
}

/// Bounds of a chunk of rows with their slopes by position, `[rows, n]`.
type Chunk = (Vec<f64>, Vec<Vec<f32>>);

/// Elements that the coefficients of one chunk of rows may hold over all nodes.
const CHUNK_ELEMENTS: usize = 1 << 20;

/// Rows per chunk for rows that start at `start`.
pub(crate) fn chunk_rows<T: tightrope_engine::Real>(program: &Handle<'_, T>, start: NodeId) -> usize {
    (CHUNK_ELEMENTS / program.elements(start)).clamp(1, 128)
}

impl<'a> Setting<'a> {
    pub(crate) fn new(
        fast: &'a Handle<'a, f32>,
        exact: &'a Handle<'a, f64>,
        (lower, upper): (&[f64], &[f64]),
        ball: Option<&Ball<f64>>,
        sound: bool,
    ) -> Self {
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let ball32 =
            |ball: &Ball<f64>| Ball { norm: ball.norm, center: single(&ball.center), epsilon: ball.epsilon as f32 };
        Setting {
            fast,
            exact,
            lower: lower.to_vec(),
            upper: upper.to_vec(),
            lower32: single(lower),
            upper32: single(upper),
            ball: ball.cloned(),
            ball32: ball.map(ball32),
            sound,
            forms: false,
        }
    }

    /// With affine forms of the inputs where few vary.
    pub(crate) fn with_forms(self, forms: bool) -> Self {
        Setting { forms, ..self }
    }

    /// The forms of the input over a box, if forms are of use.
    pub(crate) fn forms_over(&self, lower: &[f64], upper: &[f64]) -> Option<Forms> {
        // The rows of small networks are walked back at once.
        if self.forms && self.exact.is_large() { Forms::new(self.exact, lower, upper) } else { None }
    }

    /// Bounds of every pre-activation; slopes are optimised by `ascent` until `until`.
    pub(crate) fn root(&self, ascent: &Ascent, until: Instant) -> Root {
        let program = self.exact;
        let mut intervals = vec![OutwardInterval {
            lower: self.lower.clone(),
            upper: self.upper.clone(),
            reach: vec![0.0; self.lower.len()],
        }];
        let mut root = Root {
            layers: Arc::default(),
            lines32: Vec::new(),
            lines: Vec::new(),
            rounding: Charges::new(program.network),
            optimised: Vec::new(),
        };
        let mut layers = Layers::default();
        let mut forms = self.forms_over(&self.lower, &self.upper);
        for id in 0..program.network.nodes().len() {
            if id > 0 {
                let interval = program.at.enclose(id, &intervals, 1);
                intervals.push(interval);
                meet_forms(&mut forms, program, &mut intervals);
            }
            let interval = &mut intervals[id];
            if let Some(position) = program.position[id] {
                if id > 0 {
                    self.crown(&root, position, interval, ascent.deadline);
                    // Each layer gets an even share of what is left.
                    let layers_left = program.pre.len() - position;
                    let now = Instant::now();
                    let share = until.saturating_duration_since(now) / layers_left.max(1) as u32;
                    self.optimise(&mut root, position, interval, ascent, now + share);
                }
                self.fast.push_lines(&mut root.lines32, position, &interval.lower, &interval.upper);
                program.push_lines(&mut root.lines, position, &interval.lower, &interval.upper);
                layers.lower.push(interval.lower.clone());
                layers.upper.push(interval.upper.clone());
            }
            root.rounding.push(&interval.magnitude(), &interval.reach);
        }
        root.layers = Arc::new(layers);
        root
    }

    /// The margins for rounding errors over the box, from interval arithmetic and forms alone: for searches that bound every
    /// part of the box anew.
    pub(crate) fn plain_rounding(&self) -> Charges<f64> {
        let program = self.exact;
        let (lower, upper) = (self.lower.clone(), self.upper.clone());
        let mut intervals = vec![OutwardInterval { reach: vec![0.0; lower.len()], lower, upper }];
        let mut rounding = Charges::new(program.network);
        let mut forms = self.forms_over(&self.lower, &self.upper);
        for id in 0..program.network.nodes().len() {
            if id > 0 {
                let interval = program.at.enclose(id, &intervals, 1);
                intervals.push(interval);
                meet_forms(&mut forms, program, &mut intervals);
            }
            rounding.push(&intervals[id].magnitude(), &intervals[id].reach);
        }
        rounding
    }

    /// Intersects the bounds of a position with CROWN's where interval arithmetic leaves neurons open.
    ///
    /// Rows that the deadline leaves out keep their bounds.
    fn crown(&self, root: &Root, position: usize, interval: &mut OutwardInterval<f64>, deadline: Instant) {
        let id = self.exact.pre[position];
        let rows = open_rows(self.exact, position, &interval.lower, &interval.upper);
        if root.lines.is_empty() && rows.is_empty() {
            return;
        }
        let n = interval.lower.len();
        let bounds: Vec<Vec<f64>> = rows
            .par_chunks(chunk_rows(self.exact, id))
            .map(|chunk| {
                if Instant::now() >= deadline {
                    return vec![f64::NEG_INFINITY; chunk.len()];
                }
                let domain = self.domain(&root.lines, None, None);
                let (values, errors) = self.exact.at.substitute(
                    &domain,
                    id,
                    unit_rows(chunk, n),
                    chunk.len(),
                    None,
                    Some(&root.rounding_to(interval)),
                );
                self.lowered(values, &errors)
            })
            .collect();
        for (&row, &bound) in rows.iter().zip(bounds.iter().flatten()) {
            tighten(interval, row, bound);
        }
    }

    /// Optimises the shares behind the bounds of the neurons of a position that are still open.
    fn optimise(
        &self,
        root: &mut Root,
        position: usize,
        interval: &mut OutwardInterval<f64>,
        ascent: &Ascent,
        until: Instant,
    ) {
        let id = self.exact.pre[position];
        let rows = open_rows(self.exact, position, &interval.lower, &interval.upper);
        let have_choice = root.lines.iter().any(NodeLines::have_choice);
        if rows.is_empty() || !have_choice || ascent.iterations == 0 || Instant::now() >= until {
            return;
        }
        let n = interval.lower.len();
        let ascent = Ascent { deadline: until, ..*ascent };
        let relaxation = self.relaxation(id, &root.lines32, false);
        let rounding = root.rounding_to(interval);
        let chunks: Vec<Option<Chunk>> = rows
            .par_chunks(chunk_rows(self.fast, id) / 2 + 1)
            .map(|chunk| {
                if Instant::now() >= until {
                    return None;
                }
                let unit: Vec<f32> = unit_rows(chunk, n);
                let variables =
                    Variables { slopes: self.fast.repeated_shares(&root.lines32, chunk.len()), ..Variables::default() };
                let reached = ascent.run(relaxation, Start::Rows(&unit), variables, 0.0);
                let slopes = doubles(&reached.variables.slopes);
                let domain = self.domain(&root.lines, Some(&slopes), None);
                let (values, errors) =
                    self.exact.at.substitute(&domain, id, unit_rows(chunk, n), chunk.len(), None, Some(&rounding));
                Some((self.lowered(values, &errors), reached.variables.slopes))
            })
            .collect();
        let size = chunk_rows(self.fast, id) / 2 + 1;
        for (chunk, result) in rows.chunks(size).zip(chunks) {
            let Some((bounds, slopes)) = result else { continue };
            for (row, (&(index, is_upper), &bound)) in chunk.iter().zip(&bounds).enumerate() {
                let improved = tighten(interval, (index, is_upper), bound);
                {
                    let of_row = |(position, slopes): (usize, &Vec<f32>)| {
                        let width = self.fast.width(position);
                        slopes[row * width..(row + 1) * width].to_vec()
                    };
                    let slopes = slopes.iter().enumerate().map(of_row).collect();
                    root.optimised.push(Optimised { position, index, is_upper, slopes, improved });
                }
            }
        }
    }

    /// The box with the given lines, slopes and multipliers, one set of lines for all rows unless each has slopes.
    pub(crate) fn domain<'d>(
        &'d self,
        lines: &'d [NodeLines<f64>],
        slopes: Option<&'d [Vec<f64>]>,
        multipliers: Option<&'d [Vec<Multiplier<f64>>]>,
    ) -> Domain<'d, f64> {
        Domain {
            lower: &self.lower,
            upper: &self.upper,
            box_of: SetOf::Only,
            ball: self.ball.as_ref(),
            lines,
            lines_of: SetOf::Only,
            slopes,
            multipliers,
        }
    }

    /// The same in f32 with the lines' own slopes.
    pub(crate) fn fast_domain<'d>(&'d self, lines: &'d [NodeLines<f32>]) -> Domain<'d, f32> {
        Domain {
            lower: &self.lower32,
            upper: &self.upper32,
            box_of: SetOf::Only,
            ball: self.ball32.as_ref(),
            lines,
            lines_of: SetOf::Only,
            slopes: None,
            multipliers: None,
        }
    }

    /// The relaxation up to `start` that an ascent climbs on, with one set of lines or one for each row.
    pub(crate) fn relaxation<'g>(
        &'g self,
        start: NodeId,
        lines: &'g [NodeLines<f32>],
        own_lines: bool,
    ) -> LinearRelaxation<'g> {
        let (lower, upper, ball) = (&self.lower32[..], &self.upper32[..], self.ball32.as_ref());
        LinearRelaxation { program: self.fast, start, lower, upper, ball, lines, own_lines }
    }

    /// Bounds with their margins taken off.
    pub(crate) fn lowered(&self, mut values: Vec<f64>, errors: &[f64]) -> Vec<f64> {
        values.iter_mut().zip(errors).for_each(|(v, e)| *v = self.lowered_value(*v, *e));
        values
    }

    /// One bound with its margin taken off, −∞ where either has left f64: neither says anything then.
    pub(crate) fn lowered_value(&self, value: f64, error: f64) -> f64 {
        match value - error {
            lowered if !lowered.is_finite() => f64::NEG_INFINITY,
            lowered => {
                if self.sound {
                    lowered
                } else {
                    value
                }
            }
        }
    }

    /// Lower bounds of each conjunction's combination, minus its right side, for rows with the given variables.
    pub(crate) fn conjunction_bounds(
        &self,
        lines: &[NodeLines<f64>],
        own_lines: bool,
        rounding: &Charges<f64>,
        conjunctions: &[&Conjunction],
        variables: &Variables,
    ) -> Vec<f64> {
        let output = self.exact.network.output();
        let mut rows = Vec::new();
        let mut offsets = Vec::with_capacity(conjunctions.len());
        for (conjunction, weights) in conjunctions.iter().zip(&variables.weights) {
            let (bound, absolute, absolute_bound) = conjunction.combine_exact(weights, &mut rows);
            offsets.push((bound, rounding.combination(output, &absolute, absolute_bound)));
        }
        let slopes = doubles(&variables.slopes);
        let multipliers: Vec<Vec<_>> =
            variables.multipliers.iter().zip(&variables.splits).map(|(list, splits)| widened(list, splits)).collect();
        let mut domain = self.domain(lines, Some(&slopes), (!multipliers.is_empty()).then_some(&multipliers[..]));
        if own_lines {
            domain.lines_of = SetOf::Own;
        }
        let (values, mut errors) =
            self.exact.at.substitute(&domain, output, rows, conjunctions.len(), None, Some(rounding));
        errors.iter_mut().zip(&offsets).for_each(|(e, (_, combination))| *e += combination);
        let values = values.iter().zip(&offsets).map(|(v, (bound, _))| v - bound).collect();
        self.lowered(values, &errors)
    }
}

impl Root {
    /// Place in [`Self::optimised`] of a bound.
    pub(crate) fn find(&self, position: usize, index: usize, is_upper: bool) -> Option<usize> {
        self.optimised.binary_search_by_key(&(position, index, is_upper), |o| (o.position, o.index, o.is_upper)).ok()
    }

    /// How the optimised bounds that count were derived.
    pub(crate) fn derivation(&self) -> Vec<Derived> {
        let derived = |o: &Optimised| Derived {
            position: o.position,
            index: o.index,
            is_upper: o.is_upper,
            slopes: o.slopes.clone(),
            multipliers: Vec::new(),
        };
        self.optimised.iter().filter(|o| o.improved).map(derived).collect()
    }

    /// The charges up to and including the next node, whose interval is not yet final.
    fn rounding_to(&self, interval: &OutwardInterval<f64>) -> Charges<f64> {
        let mut rounding = self.rounding.clone();
        rounding.push(&interval.magnitude(), &interval.reach);
        rounding
    }
}

/// Makes the forms of the last node of `intervals`, and meets its bounds with what they say.
fn meet_forms(forms: &mut Option<Forms>, program: &Handle<'_, f64>, intervals: &mut [OutwardInterval<f64>]) {
    if let Some(forms) = forms
        && let Some((own, before)) = intervals.split_last_mut()
    {
        let ends = (&mut own.lower[..], &mut own.upper[..]);
        forms.step(program, ends, |node| (&before[node].lower, &before[node].upper));
    }
}

/// f32 numbers in f64.
pub(crate) fn doubles(values: &[Vec<f32>]) -> Vec<Vec<f64>> {
    values.iter().map(|list| list.iter().map(|&v| f64::from(v)).collect()).collect()
}

/// (neuron, is_upper) of both sides of every open neuron at a position; none where bounds are images of others.
pub(crate) fn open_rows(
    program: &Handle<'_, f64>,
    position: usize,
    lower: &[f64],
    upper: &[f64],
) -> Vec<(usize, bool)> {
    if program.image_of[position].is_some() {
        return Vec::new();
    }
    let open = |&i: &usize| program.is_open(position, lower[i], upper[i]);
    (0..lower.len()).filter(open).flat_map(|i| [(i, false), (i, true)]).collect()
}

/// ±unit vectors whose lower bounds give the lower bounds and minus the upper bounds of neurons.
pub(crate) fn unit_rows<T: tightrope_engine::Real>(neurons: &[(usize, bool)], n: usize) -> Vec<T> {
    let mut rows = vec![T::ZERO; neurons.len() * n];
    for (row, &(neuron, is_upper)) in rows.chunks_exact_mut(n).zip(neurons) {
        row[neuron] = if is_upper { -T::ONE } else { T::ONE };
    }
    rows
}

/// Takes a better bound; true if it was one.
fn tighten(interval: &mut OutwardInterval<f64>, (index, is_upper): (usize, bool), bound: f64) -> bool {
    if is_upper {
        let better = -bound < interval.upper[index];
        if better {
            // Crossed bounds can only come from rounding, as the box is never empty.
            interval.upper[index] = (-bound).max(interval.lower[index]);
        }
        better
    } else {
        let better = bound > interval.lower[index];
        if better {
            interval.lower[index] = bound.min(interval.upper[index]);
        }
        better
    }
}
