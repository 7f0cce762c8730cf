//! α-CROWN of the specification: each row's own slopes, climbed from those of the relaxation.

use super::Group;
use crate::reference::plan::Plan;
use crate::{Domain, NodeLines, Real, SetOf, SlopeAscent, Trace};

impl<T: Real> Group<T> {
    /// Raises the lower bounds `values` of `rows` (`[count, n]` on the last node) of one sample to the best that an ascent
    /// meets.
    pub(super) fn ascend(&self, plan: &Plan<T>, sample: usize, ascent: SlopeAscent, rows: &[T], values: &mut [T]) {
        let (count, last) = (values.len(), self.last(plan));
        let lines = self.lines_to_choose(plan, sample);
        let d = self.region.dimension();
        let range = sample * d..(sample + 1) * d;
        let ends = self.region.center[range.clone()].iter().zip(&self.region.radius[range]);
        let (lower, upper): (Vec<T>, Vec<T>) = ends.map(|(&c, &r)| (c - r, c + r)).unzip();
        let mut slopes: Vec<Vec<T>> = (0..plan.sites.positions.len())
            .map(|position| {
                let own = || plan.sites.at(position).filter_map(|site| lines.get(site)?.activation());
                // Shares that are slopes must be those of the ReLU.
                let first = own().find(|lines| lines.fan.is_none()).or_else(|| own().next());
                first.map_or_else(Vec::new, |lines| lines.shares().repeat(count))
            })
            .collect();
        let mut moments: Vec<Vec<[f32; 2]>> = slopes.iter().map(|slopes| vec![[0.0; 2]; slopes.len()]).collect();
        for step in 0..=ascent.steps {
            let domain = Domain {
                lower: &lower,
                upper: &upper,
                box_of: SetOf::Only,
                ball: None,
                lines: &lines,
                lines_of: SetOf::Only,
                slopes: Some(&slopes),
                multipliers: None,
            };
            let mut trace = Trace::default();
            let (bounds, _) = domain.bound(plan, last, rows.to_vec(), count, Some(&mut trace), None);
            // The first are the relaxation's own but for rounding.
            if step > 0 {
                values.iter_mut().zip(bounds).for_each(|(value, bound)| *value = value.max(bound));
            }
            if step == ascent.steps {
                break;
            }
            let points = domain.minimisers(&trace.input, count);
            let relaxed = domain.relaxed(plan, last, &trace, points);
            for (position, &node) in plan.sites.positions.iter().enumerate().take_while(|(_, node)| **node < last) {
                let mut gradient = vec![T::ZERO; relaxed[node].len()];
                let n = gradient.len() / count;
                for site in plan.sites.at(position) {
                    let Some(lines) = lines[site].activation() else { continue };
                    let posts =
                        plan.sites.sites[site].nodes.iter().map(|&id| trace.post.get(id).map_or(&[][..], |p| p));
                    for post in posts.filter(|post| !post.is_empty()) {
                        let rows = post.chunks_exact(n).zip(relaxed[node].chunks_exact(n));
                        for (gradient, (post, z)) in gradient.chunks_exact_mut(n).zip(rows) {
                            lines.add_share_gradient(0, post, z, gradient);
                        }
                    }
                }
                ascent.step(step).climb(&mut slopes[position], &mut moments[position], &gradient);
            }
        }
    }

    /// The lines of one sample to be optimised, by site, before the last node.
    fn lines_to_choose(&self, plan: &Plan<T>, sample: usize) -> Vec<NodeLines<T>> {
        let last = self.last(plan);
        let sites = plan.sites.sites.iter().take_while(|site| site.input < last);
        let of = |site: &crate::Site| {
            let n = plan.network.node(site.input).len();
            let function = plan.function(site.nodes[0]);
            let mut lines = function.no_lines(n);
            if let Some(pair) = &self.bounded[site.input] {
                let wide =
                    |ends: &[T]| ends[sample * n..(sample + 1) * n].iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
                function.extend(&mut lines, &wide(&pair.lower), &wide(&pair.upper));
            }
            lines
        };
        sites.map(of).collect()
    }
}
