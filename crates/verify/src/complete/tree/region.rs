//! Regions: parts of the box cut off by splits before the last hidden layer, with the bounds of all pre-activations
//! derived anew for each. The searches of all conjunctions share them, as what they cost is worth while only then.
//!
//! A split makes the lines of its own neuron better (those of a ReLU exact) and restricts the inputs; the bounds of later
//! layers gain from both when slopes and the splits' multipliers are optimised for every neuron's bound, as for a
//! conjunction. That shrinks a search far more than splits of the last layer do, whose effect ends with their own neuron.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rayon::prelude::*;
use tightrope_certificate::RefinementId;
use tightrope_engine::{NodeLines, OutwardInterval, Trace};

use super::branch::{Neuron, shared_choice};
use crate::complete::bound::ascent::{Ascent, Start, Variables};
use crate::complete::bound::root::{Derived, Layers, Root, Setting, chunk_rows, doubles, open_rows, unit_rows};
use crate::complete::bound::split::{Split, widened};
use crate::complete::problem::Conjunction;

/// One part of the box.
pub(crate) struct Region {
    /// The splits that cut it off, from the root.
    pub splits: Vec<Split>,
    /// Bounds of the pre-activations; none if they contradict each other, so that no input satisfies the splits.
    pub layers: Option<Layers>,
    /// How they were derived from those of the region it was cut from, if that is to be kept.
    pub derivation: Vec<Derived>,
    /// The next neuron to split for every conjunction; none if each chooses its own.
    pub choice: Option<Neuron>,
    /// The parts where `choice` is below and above where it is split, once they are needed.
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

impl Region {
    /// The interval of a neuron where further splits hold, too; none without bounds.
    pub(crate) fn ends(&self, (position, index): Neuron, splits: impl Iterator<Item = Split>) -> Option<(f64, f64)> {
        let layers = self.layers.as_ref()?;
        let (mut lower, mut upper) = (layers.lower[position][index], layers.upper[position][index]);
        let own = splits.filter(|split| (split.position, split.index) == (position, index));
        own.for_each(|split| split.cut(&mut lower, &mut upper));
        Some((lower, upper))
    }
}

impl Regions<'_> {
    /// The whole box; it is cut only if tightening is affordable.
    pub(crate) fn whole(&self) -> Region {
        let layers = Layers::clone(&self.root.layers);
        let rows: usize = (1..layers.lower.len()).map(|p| layers.open(self.setting.exact, p)).sum();
        let elements = self.setting.fast.elements(self.setting.fast.network.output());
        let cost = rows * elements;
        // With two layers there is but one to gain from a split of the other, which does not pay where splits make their
        // neurons linear. Others need narrow bounds everywhere.
        let least = if self.setting.exact.kinks.is_some() { 3 } else { 2 };
        let affordable =
            self.ascent.iterations > 0 && elements <= SMALL && cost <= AFFORDABLE && layers.lower.len() >= least;
        Region {
            splits: Vec::new(),
            choice: if affordable { self.choose(&layers, &self.root.lines) } else { None },
            layers: Some(layers),
            derivation: Vec::new(),
            children: Default::default(),
            refinement: OnceLock::new(),
        }
    }

    /// The part of `parent` on one side of its choice.
    pub(crate) fn cut(&self, parent: &Region, above: bool) -> Region {
        let mut splits = parent.splits.clone();
        let split = |neuron: Neuron| {
            let (l, u) = parent.ends(neuron, parent.splits.iter().copied())?;
            let point = self.setting.exact.split_point(neuron.0, l, u)?;
            Some(Split { position: neuron.0, index: neuron.1, point, above })
        };
        splits.extend(parent.choice.and_then(split));
        let mut derivation = Vec::new();
        let bounded = parent.layers.as_ref().and_then(|layers| self.tighten(layers, &splits, &mut derivation));
        let (layers, choice) = match bounded {
            None => (None, None),
            Some((layers, lines)) => {
                let choice = self.choose(&layers, &lines);
                (Some(layers), choice)
            }
        };
        Region { splits, layers, derivation, choice, children: Default::default(), refinement: OnceLock::new() }
    }

    /// The neuron before the last hidden layer that matters most to all conjunctions together.
    fn choose(&self, layers: &Layers, lines: &[NodeLines<f64>]) -> Option<Neuron> {
        let program = self.setting.fast;
        let lines: Vec<NodeLines<f32>> = lines.iter().map(NodeLines::narrowed).collect();
        let mut rows = Vec::new();
        for conjunction in self.conjunctions {
            conjunction.combine(&vec![1.0 / conjunction.len() as f32; conjunction.len()], &mut rows);
        }
        let mut trace = Trace::default();
        let domain = self.setting.fast_domain(&lines);
        let count = self.conjunctions.len();
        program.at.substitute(&domain, program.network.output(), rows, count, Some(&mut trace), None);
        let is_open = |(position, index): Neuron| {
            let (l, u) = (layers.lower[position][index], layers.upper[position][index]);
            self.setting.exact.is_open(position, l, u)
        };
        shared_choice(program, &trace, count, &lines, self.bias).filter(|&neuron| is_open(neuron))
    }

    /// Bounds of all pre-activations where `splits` hold, from `known` ones; also their lines.
    fn tighten(
        &self,
        known: &Layers,
        splits: &[Split],
        derivation: &mut Vec<Derived>,
    ) -> Option<(Layers, Vec<NodeLines<f64>>)> {
        let program = self.setting.exact;
        // Earlier layers have no split before or in them.
        let first = splits.iter().map(|split| split.position).min().unwrap_or(usize::MAX);
        let (lower, upper) = (self.setting.lower.clone(), self.setting.upper.clone());
        let mut intervals = vec![OutwardInterval { reach: vec![0.0; lower.len()], lower, upper }];
        let mut lines: Vec<NodeLines<f64>> = Vec::with_capacity(program.sites.len());
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
                let before = splits.iter().filter(|split| split.position <= position).copied().collect::<Vec<_>>();
                let found: Vec<Vec<(f64, Derived)>> = open_rows(program, position, &interval.lower, &interval.upper)
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
            program.push_lines(&mut lines, position, &interval.lower, &interval.upper);
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
        lines: &[NodeLines<f64>],
        splits: &[Split],
    ) -> Vec<(f64, Derived)> {
        if Instant::now() >= self.ascent.deadline {
            return Vec::new();
        }
        let (fast, exact) = (self.setting.fast, self.setting.exact);
        let id = exact.pre[position];
        let n = interval.lower.len();
        let narrow: Vec<NodeLines<f32>> = lines.iter().map(NodeLines::narrowed).collect();
        let variables = Variables {
            slopes: self.slopes(position, rows, &narrow),
            multipliers: vec![splits.iter().map(|split| split.multiplier(0.0)).collect(); rows.len()],
            splits: vec![splits.to_vec(); rows.len()],
            weights: Vec::new(),
        };
        let relaxation = self.setting.relaxation(id, &narrow, false);
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
        let multipliers: Vec<_> = better.iter().map(|&r| widened(&reached.variables.multipliers[r], splits)).collect();
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

    /// The shares to begin with: those of the root where it has any, exact slopes for stable ReLUs.
    fn slopes(&self, position: usize, rows: &[(usize, bool)], lines: &[NodeLines<f32>]) -> Vec<Vec<f32>> {
        let of: Vec<Option<usize>> = rows.iter().map(|&(i, is_upper)| self.root.find(position, i, is_upper)).collect();
        let program = self.setting.fast;
        let layer = |(p, shares): (usize, &Vec<f32>)| {
            let mut all = Vec::with_capacity(of.len() * shares.len());
            let known: Vec<_> = program.sites_at(p).filter_map(|site| lines[site].activation()).collect();
            for o in &of {
                match o {
                    None => all.extend_from_slice(shares),
                    Some(o) => {
                        let chosen = self.root.optimised[*o].slopes[p].iter().zip(shares).enumerate();
                        let is_open = |i| known.iter().any(|lines| lines.is_open(i));
                        all.extend(chosen.map(|(i, (&chosen, &own))| if is_open(i) { chosen } else { own }));
                    }
                }
            }
            all
        };
        program.shares(lines, 1).iter().enumerate().map(layer).collect()
    }
}

/// Intersects an interval with known bounds and with the splits of its own neurons.
fn meet(interval: &mut OutwardInterval<f64>, known: &Layers, position: usize, splits: &[Split]) {
    interval.lower.iter_mut().zip(&known.lower[position]).for_each(|(l, &k)| *l = l.max(k));
    interval.upper.iter_mut().zip(&known.upper[position]).for_each(|(u, &k)| *u = u.min(k));
    for split in splits.iter().filter(|split| split.position == position) {
        split.cut(&mut interval.lower[split.index], &mut interval.upper[split.index]);
    }
}

fn is_empty(interval: &OutwardInterval<f64>) -> bool {
    interval.lower.iter().zip(&interval.upper).any(|(l, u)| l - u > CROSSED * (1.0 + l.abs() + u.abs()))
}
