//! Regions: parts of the box cut off by splits before the last hidden layer, with the bounds of all pre-activations
//! derived anew for each. The searches of all conjunctions share them, as what they cost is worth while only then.
//!
//! A split makes its own ReLU exact and restricts the inputs; the bounds of later layers gain from both when slopes and
//! the splits' multipliers are optimised for every neuron's bound, as for a conjunction. That shrinks a search far more
//! than splits of the last layer do, whose effect ends with their own neuron.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rayon::prelude::*;
use tightrope_certificate::RefinementId;
use tightrope_engine::{Lines, Multiplier, OutwardInterval, Trace};

use super::branch::shared_choice;
use crate::complete::bound::ascent::{Ascent, LinearRelaxation, Start, Variables};
use crate::complete::bound::root::{
    Derived, Layers, Root, Setting, chunk_rows, doubles, unit_rows, unstable_rows, widened,
};
use crate::complete::problem::Conjunction;

/// A split as (position, element, whether it is active).
pub(crate) type Sign = (usize, usize, bool);

/// One part of the box.
pub(crate) struct Region {
    /// The splits that cut it off, from the root.
    pub splits: Vec<Sign>,
    /// Bounds of the pre-activations; none if they contradict each other, so that no input satisfies the splits.
    pub layers: Option<Layers>,
    /// How they were derived from those of the region it was cut from, if that is to be kept.
    pub derivation: Vec<Derived>,
    /// (position, element) of the next ReLU to split for every conjunction; none if each chooses its own.
    pub choice: Option<(usize, usize)>,
    /// The parts where `choice` is inactive and active, once they are needed.
    pub children: [OnceLock<Arc<Region>>; 2],
    /// Its place in a recorded proof.
    pub refinement: OnceLock<RefinementId>,
}

/// Relative excess of a lower over an upper bound that counts as a contradiction, far above rounding.
const CROSSED: f64 = 1e-6;
/// Share of a neuron's width that a bound must gain to be taken.
const GAIN: f64 = 1e-3;
/// Most rows times elements of the network for which tightening is worth its time.
const AFFORDABLE: usize = 1 << 22;
/// Most elements of a network for that: on feature maps a region takes longer than many plain splits.
const SMALL: usize = 1 << 12;

/// What regions are made with.
pub(crate) struct Regions<'a> {
    pub setting: &'a Setting<'a>,
    pub root: &'a Root,
    pub conjunctions: &'a [Conjunction],
    /// Bias of each pre-activation's layer.
    pub bias: &'a [Vec<f32>],
    pub ascent: Ascent,
    /// Whether derivations are kept.
    pub keep: bool,
}

impl Regions<'_> {
    /// The whole box; it is cut only if tightening is affordable.
    pub(crate) fn whole(&self) -> Region {
        let layers = Layers::clone(&self.root.layers);
        let rows: usize = (1..layers.lower.len()).map(|p| 2 * layers.unstable(p).count()).sum();
        let elements = self.setting.fast.elements(self.setting.fast.network.output());
        let cost = rows * elements;
        let lines: Vec<Lines<f64>> = self.root.lines.clone();
        // With two layers there is but one to gain from a split of the other, which does not pay.
        let affordable =
            self.ascent.iterations > 0 && elements <= SMALL && cost <= AFFORDABLE && layers.lower.len() > 2;
        Region {
            splits: Vec::new(),
            choice: if affordable { self.choose(&lines) } else { None },
            layers: Some(layers),
            derivation: Vec::new(),
            children: Default::default(),
            refinement: OnceLock::new(),
        }
    }

    /// The part of `parent` where its choice has the given sign.
    pub(crate) fn cut(&self, parent: &Region, active: bool) -> Region {
        let mut splits = parent.splits.clone();
        splits.extend(parent.choice.map(|(position, index)| (position, index, active)));
        let mut derivation = Vec::new();
        let bounded = parent.layers.as_ref().and_then(|layers| self.tighten(layers, &splits, &mut derivation));
        let (layers, choice) = match bounded {
            None => (None, None),
            Some((layers, lines)) => (Some(layers), self.choose(&lines)),
        };
        Region { splits, layers, derivation, choice, children: Default::default(), refinement: OnceLock::new() }
    }

    /// The ReLU before the last hidden layer that matters most to all conjunctions together.
    fn choose(&self, lines: &[Lines<f64>]) -> Option<(usize, usize)> {
        let program = self.setting.fast;
        let lines: Vec<Lines<f32>> = lines.iter().map(Lines::narrowed).collect();
        let mut rows = Vec::new();
        for conjunction in self.conjunctions {
            conjunction.combine(&vec![1.0 / conjunction.len() as f32; conjunction.len()], &mut rows);
        }
        let mut trace = Trace::default();
        let domain = self.setting.fast_domain(&lines);
        let count = self.conjunctions.len();
        program.at.substitute(&domain, program.network.output(), rows, count, Some(&mut trace), None);
        shared_choice(program, &trace, count, &lines, self.bias)
    }

    /// Bounds of all pre-activations where `splits` hold, from `known` ones; also their lines.
    fn tighten(
        &self,
        known: &Layers,
        splits: &[Sign],
        derivation: &mut Vec<Derived>,
    ) -> Option<(Layers, Vec<Lines<f64>>)> {
        let program = self.setting.exact;
        // Earlier layers have no split before or in them.
        let first = splits.iter().map(|&(position, ..)| position).min().unwrap_or(usize::MAX);
        let (lower, upper) = (self.setting.lower.clone(), self.setting.upper.clone());
        let mut intervals = vec![OutwardInterval { reach: vec![0.0; lower.len()], lower, upper }];
        let mut lines: Vec<Lines<f64>> = Vec::with_capacity(program.pre.len());
        for id in 0..=program.pre.last().copied().unwrap_or_default() {
            if id > 0 {
                let interval = program.at.enclose(id, &intervals, 1);
                intervals.push(interval);
            }
            let Some(position) = program.position[id] else { continue };
            let interval = &mut intervals[id];
            meet(interval, known, position, splits);
            if is_empty(interval) {
                return None;
            }
            if position >= first && position > 0 {
                let before = splits.iter().filter(|split| split.0 <= position).copied().collect::<Vec<_>>();
                let found: Vec<Vec<(f64, Derived)>> = unstable_rows(interval)
                    .par_chunks(chunk_rows(program, id))
                    .map(|rows| self.rows(position, rows, interval, &lines, &before))
                    .collect();
                for (bound, derived) in found.into_iter().flatten() {
                    match derived.is_upper {
                        true => interval.upper[derived.index] = -bound,
                        false => interval.lower[derived.index] = bound,
                    }
                    if self.keep {
                        let place = |split| before.iter().position(|s| s == split);
                        let value = |split| place(split).map_or(0.0, |p| derived.multipliers[p]);
                        let multipliers = splits.iter().map(value).collect();
                        derivation.push(Derived { multipliers, ..derived });
                    }
                }
                if is_empty(interval) {
                    return None;
                }
            }
            // What crosses by rounding only.
            for (l, u) in interval.lower.iter_mut().zip(&mut interval.upper).filter(|(l, u)| l > u) {
                std::mem::swap(l, u);
            }
            lines.push(Lines::new(&interval.lower, &interval.upper));
        }
        let ends = |interval: &OutwardInterval<f64>| (interval.lower.clone(), interval.upper.clone());
        let (lower, upper) = program.pre.iter().map(|&id| ends(&intervals[id])).unzip();
        Some((Layers { lower, upper }, lines))
    }

    /// Better bounds of the given neurons' sides, with their derivation.
    fn rows(
        &self,
        position: usize,
        rows: &[(usize, bool)],
        interval: &OutwardInterval<f64>,
        lines: &[Lines<f64>],
        splits: &[Sign],
    ) -> Vec<(f64, Derived)> {
        if Instant::now() >= self.ascent.deadline {
            return Vec::new();
        }
        let (fast, exact) = (self.setting.fast, self.setting.exact);
        let id = exact.pre[position];
        let n = interval.lower.len();
        let narrow: Vec<Lines<f32>> = lines.iter().map(Lines::narrowed).collect();
        let zero = |&(position, index, _): &Sign| Multiplier { position, index, value: 0.0 };
        let variables = Variables {
            slopes: self.slopes(position, rows, &narrow),
            multipliers: vec![splits.iter().map(zero).collect(); rows.len()],
            signs: vec![splits.iter().map(|s| if s.2 { -1.0 } else { 1.0 }).collect(); rows.len()],
            weights: Vec::new(),
        };
        let relaxation = LinearRelaxation {
            program: fast,
            start: id,
            lower: &self.setting.lower32,
            upper: &self.setting.upper32,
            lines: &narrow,
            own_lines: false,
        };
        let reached = self.ascent.run(relaxation, Start::Rows(&unit_rows::<f32>(rows, n)), variables, 0.0);
        let known = |(i, is_upper): (usize, bool)| if is_upper { -interval.upper[i] } else { interval.lower[i] };
        let gain = |(i, _): (usize, bool)| GAIN * (interval.upper[i] - interval.lower[i]);
        let better: Vec<usize> =
            (0..rows.len()).filter(|&r| f64::from(reached.values[r]) > known(rows[r]) + gain(rows[r])).collect();
        if better.is_empty() {
            return Vec::new();
        }
        let pick = |(p, all): (usize, &Vec<f32>)| -> Vec<f32> {
            let n = fast.width(p);
            better.iter().flat_map(|&r| &all[r * n..(r + 1) * n]).copied().collect()
        };
        let slopes: Vec<Vec<f32>> = reached.variables.slopes.iter().enumerate().map(pick).collect();
        let multipliers: Vec<_> = better.iter().map(|&r| widened(&reached.variables.multipliers[r])).collect();
        let wide = doubles(&slopes);
        let domain = self.setting.domain(lines, Some(&wide), Some(&multipliers));
        let chosen: Vec<(usize, bool)> = better.iter().map(|&r| rows[r]).collect();
        let unit = unit_rows(&chosen, n);
        let (values, errors) = exact.at.substitute(&domain, id, unit, chosen.len(), None, Some(&self.root.rounding));
        let values = self.setting.lowered(values, &errors);
        let derived = |place: usize| {
            let (index, is_upper) = chosen[place];
            let of_row = |(p, all): (usize, &Vec<f32>)| {
                let n = fast.width(p);
                all[place * n..(place + 1) * n].to_vec()
            };
            let slopes = if self.keep { slopes.iter().enumerate().map(of_row).collect() } else { Vec::new() };
            let multipliers = reached.variables.multipliers[better[place]].iter().map(|m| m.value.abs()).collect();
            Derived { position, index, is_upper, slopes, multipliers }
        };
        let improved = |&place: &usize| values[place] > known(chosen[place]);
        (0..chosen.len()).filter(improved).map(|place| (values[place], derived(place))).collect()
    }

    /// The slopes to begin with: those of the root where it has any, exact ones for stable neurons.
    fn slopes(&self, position: usize, rows: &[(usize, bool)], lines: &[Lines<f32>]) -> Vec<Vec<f32>> {
        let of: Vec<Option<usize>> = rows.iter().map(|&(i, is_upper)| self.root.find(position, i, is_upper)).collect();
        let layer = |(p, lines): (usize, &Lines<f32>)| {
            let mut all = Vec::with_capacity(of.len() * lines.lower_slope.len());
            for o in &of {
                match o {
                    None => all.extend_from_slice(&lines.lower_slope),
                    Some(o) => {
                        let chosen = self.root.optimised[*o].slopes[p].iter();
                        let own = lines.lower_slope.iter().zip(&lines.intercept);
                        all.extend(chosen.zip(own).map(|(&s, (&a, &t))| if t > 0.0 { s } else { a }));
                    }
                }
            }
            all
        };
        lines.iter().enumerate().map(layer).collect()
    }
}

/// Intersects an interval with known bounds and with the splits of its own neurons.
fn meet(interval: &mut OutwardInterval<f64>, known: &Layers, position: usize, splits: &[Sign]) {
    interval.lower.iter_mut().zip(&known.lower[position]).for_each(|(l, &k)| *l = l.max(k));
    interval.upper.iter_mut().zip(&known.upper[position]).for_each(|(u, &k)| *u = u.min(k));
    for &(_, index, active) in splits.iter().filter(|split| split.0 == position) {
        match active {
            true => interval.lower[index] = interval.lower[index].max(0.0),
            false => interval.upper[index] = interval.upper[index].min(0.0),
        }
    }
}

fn is_empty(interval: &OutwardInterval<f64>) -> bool {
    interval.lower.iter().zip(&interval.upper).any(|(l, u)| l - u > CROSSED * (1.0 + l.abs() + u.abs()))
}
