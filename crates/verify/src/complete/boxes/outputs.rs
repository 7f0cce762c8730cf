//! The conjunctions that are open over some boxes: the bound of each by its best row or the best mixture of its rows.

use tightrope_engine::{NodeLines, Trace};

use super::clip::clipped;
use super::combination::{RowForm, best_weights};
use super::{Boxes, Item, domain};
use crate::complete::bound::handle::Handle;

/// How many times the margin for rounding errors a bound may be below 0 to be decided exactly.
const NEAR: f64 = 256.0;
/// Least coefficient of an input, as a share of the largest one, when the input to cut is chosen: the coefficients
/// belong to one relaxation only, and an input that is never cut keeps it loose.
const FLOOR: f64 = 0.1;

/// The bound of one conjunction over one box.
#[derive(Clone, Debug)]
pub(super) struct Best {
    /// Weights of its rows, summing to 1.
    pub weights: Vec<f32>,
    /// The bound of the rows so combined; the conjunction is refuted if it is positive.
    pub bound: f64,
    /// Whether the bound is within rounding of 0, or nearly so.
    pub near: bool,
    /// The row of coefficients on the input that it comes from.
    place: usize,
}

/// What the output rows of a chunk of boxes gave.
pub(super) struct Outputs {
    /// Per box the bound of each open conjunction.
    pub best: Vec<Vec<Best>>,
    /// Per box the influence of each input on the conjunctions that stay open.
    pub influences: Vec<Vec<f64>>,
    /// Minimisers `[count, d]` to try as counterexamples.
    pub points: Vec<f64>,
    /// The conjunction of each.
    pub targets: Vec<usize>,
    /// Per box what holds all of its unsafe points; none where it was not asked for.
    pub left: Vec<Option<(Vec<f64>, Vec<f64>)>>,
}

/// Rows over some boxes, bounded.
struct BoundedRows {
    /// Bounds less the rows' right sides.
    values: Vec<f64>,
    /// What these may be off by through rounding.
    errors: Vec<f64>,
    /// Coefficients on the input `[rows, d]`.
    coefficients: Vec<f64>,
}

impl Boxes<'_> {
    /// Bounds the open conjunctions of each box; if it `clips`, also what these bounds leave of the box. A conjunction of
    /// which they leave nothing is refuted.
    pub(super) fn outputs(
        &self,
        chunk: &[Item],
        ends: (&[f64], &[f64]),
        lines: &[NodeLines<f64>],
        clips: bool,
    ) -> Outputs {
        let d = self.setting.exact.network.input_len();
        // Every row by itself, then mixtures where no row is enough and a mixture promises to be.
        let mut of = Vec::new();
        let mut weights: Vec<(usize, Vec<f32>)> = Vec::new();
        for (set, item) in chunk.iter().enumerate() {
            for &(c, _) in &item.open {
                let rows = self.conjunctions[c].len();
                for row in 0..rows {
                    of.push(set as u32);
                    let unit = |r: usize| if r == row { 1.0 } else { 0.0 };
                    weights.push((c, (0..rows).map(unit).collect()));
                }
            }
        }
        let single = self.bound_rows(&of, &weights, ends, lines);
        let mut best: Vec<Vec<Best>> = Vec::with_capacity(chunk.len());
        let mut left = Vec::with_capacity(chunk.len());
        let (mut mixed_of, mut mixed_weights, mut mixed_places) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for (set, item) in chunk.iter().enumerate() {
            let mut list = Vec::with_capacity(item.open.len());
            let mut hull: Option<(Vec<f64>, Vec<f64>)> = None;
            for (entry, &(c, _)) in item.open.iter().enumerate() {
                let rows = self.conjunctions[c].len();
                let places = next..next + rows;
                next += rows;
                let lowered = |place: usize| self.lowered(&single, place);
                let place = places.clone().max_by(|&a, &b| lowered(a).total_cmp(&lowered(b))).unwrap_or_default();
                let mut found = self.best(&single, place, weights[place].1.clone());
                if clips && found.bound <= 0.0 {
                    let form = |place: usize| (single.form(place, item), 2.0 * single.errors[place]);
                    let forms: Vec<(RowForm<'_>, f64)> = places.clone().map(form).collect();
                    match clipped(&forms, &item.lower, &item.upper) {
                        // Anything above 0.
                        None => found.bound = f64::MIN_POSITIVE,
                        Some((lower, upper)) => {
                            let hull = hull.get_or_insert_with(|| (lower.clone(), upper.clone()));
                            hull.0.iter_mut().zip(&lower).for_each(|(h, l)| *h = h.min(*l));
                            hull.1.iter_mut().zip(&upper).for_each(|(h, u)| *h = h.max(*u));
                        }
                    }
                }
                if rows > 1 && found.bound <= 0.0 {
                    let form = |place: usize| single.form(place, item);
                    let forms: Vec<RowForm<'_>> = places.map(form).collect();
                    let (mixture, promise) = best_weights(&forms, &item.lower, &item.upper);
                    if promise > found.bound && promise > -NEAR * single.errors[place] {
                        mixed_of.push(set as u32);
                        mixed_weights.push((c, mixture));
                        mixed_places.push((set, entry));
                    }
                }
                list.push(found);
            }
            best.push(list);
            left.push(hull);
        }
        let mut mixed = self.bound_rows(&mixed_of, &mixed_weights, ends, lines);
        let singles = single.values.len();
        for (place, (set, entry)) in mixed_places.into_iter().enumerate() {
            let found = self.best(&mixed, place, std::mem::take(&mut mixed_weights[place].1));
            let known = &mut best[set][entry];
            if found.bound > known.bound {
                *known = Best { place: singles + found.place, ..found };
            }
        }
        let mut coefficients = single.coefficients;
        coefficients.append(&mut mixed.coefficients);
        let (mut influences, mut points, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (item, list) in chunk.iter().zip(&best) {
            let mut influence = vec![0.0; d];
            for (best, &(c, _)) in list.iter().zip(&item.open).filter(|(best, _)| best.bound <= 0.0) {
                let row = &coefficients[best.place * d..(best.place + 1) * d];
                let floor = FLOOR * row.iter().fold(0.0_f64, |m, a| m.max(a.abs()));
                for (i, (&a, (&l, &u))) in row.iter().zip(item.lower.iter().zip(&item.upper)).enumerate() {
                    influence[i] += a.abs().max(floor) * (u - l);
                    // The middle where nothing depends on it.
                    points.push(match a {
                        a if a > 0.0 => l,
                        a if a < 0.0 => u,
                        _ => 0.5 * (l + u),
                    });
                }
                targets.push(c);
            }
            // Inputs without influence are cut last, wide ones first.
            for (influence, (l, u)) in influence.iter_mut().zip(item.lower.iter().zip(&item.upper)) {
                *influence += 1e-9 * (u - l);
            }
            influences.push(influence);
        }
        Outputs { best, influences, points, targets, left }
    }

    /// Bounds combinations (conjunction, weights) of rows over the boxes `of`.
    fn bound_rows(
        &self,
        of: &[u32],
        weights: &[(usize, Vec<f32>)],
        (lower, upper): (&[f64], &[f64]),
        lines: &[NodeLines<f64>],
    ) -> BoundedRows {
        if of.is_empty() {
            return BoundedRows { values: Vec::new(), errors: Vec::new(), coefficients: Vec::new() };
        }
        let program: &Handle<'_, f64> = self.setting.exact;
        let output = program.network.output();
        let mut rows = Vec::new();
        let mut offsets = Vec::with_capacity(of.len());
        for (c, weights) in weights {
            let (bound, absolute, absolute_bound) = self.conjunctions[*c].combine_exact(weights, &mut rows);
            offsets.push((bound, self.rounding.combination(output, &absolute, absolute_bound)));
        }
        let domain = domain((lower, upper), self.setting.ball.as_ref(), lines, of);
        let mut trace = Trace::default();
        let (mut values, mut errors) =
            program.at.substitute(&domain, output, rows, of.len(), Some(&mut trace), Some(self.rounding));
        errors.iter_mut().zip(&offsets).for_each(|(e, (_, more))| *e += more);
        values.iter_mut().zip(&offsets).for_each(|(v, (bound, _))| *v -= bound);
        BoundedRows { values, errors, coefficients: trace.input }
    }

    /// The value of a row with the margin for rounding errors taken off, if it is to be.
    fn lowered(&self, rows: &BoundedRows, place: usize) -> f64 {
        self.setting.lowered_value(rows.values[place], rows.errors[place])
    }

    fn best(&self, rows: &BoundedRows, place: usize, weights: Vec<f32>) -> Best {
        let near = rows.values[place] > -NEAR * rows.errors[place];
        Best { weights, bound: self.lowered(rows, place), near, place }
    }
}

impl BoundedRows {
    /// A row as a form of the input.
    fn form<'s>(&'s self, place: usize, item: &Item) -> RowForm<'s> {
        let d = item.lower.len();
        let coefficients = &self.coefficients[place * d..(place + 1) * d];
        let ends = coefficients.iter().zip(item.lower.iter().zip(&item.upper));
        let least: f64 = ends.map(|(a, (l, u))| if *a >= 0.0 { a * l } else { a * u }).sum();
        RowForm { coefficients, constant: self.values[place] - least }
    }
}
