//! Affine forms of few inputs, forwards: z = c + Σ_j g_j·η_j ± r with the η_j ∈ [−1, 1] of the inputs that vary.
//!
//! Where few inputs vary, as behind a generator or a bias field, this follows what neurons have in common for the price of
//! one pass for each input, where back-substitution takes one for each neuron. An affine layer maps the forms, an activation
//! keeps its input's form times the slope of a chord; what the chord is off, and every rounding error, goes into the rest r,
//! which layers carry on by |W| (a zonotope whose new error terms are boxed, as in Mirman et al. 2018, but with the lines of
//! Singh et al. 2018). All bounds hold for real arithmetic: γ is that of [`tightrope_engine::Charges`].

use rayon::prelude::*;
use tightrope_engine::activation::Activation;
use tightrope_engine::{Charges, LowerSlope, OutwardInterval};
use tightrope_network::{Layer, NodeId};

use super::handle::Handle;

/// Most inputs that may vary.
const MOST_INPUTS: usize = 50;
/// Most numbers that the forms of a box may take: 256 MB.
const MOST_NUMBERS: usize = 1 << 25;
/// Covers some rounded operations.
const SLACK: f64 = 16.0 * f64::EPSILON;

/// The form of every element of one node.
#[derive(Clone)]
struct Form {
    center: Vec<f64>,
    /// By input that varies.
    generators: Vec<Vec<f64>>,
    rest: Vec<f64>,
}

impl Form {
    /// An interval for each element.
    fn interval(lower: &[f64], upper: &[f64], generators: usize) -> Self {
        let center: Vec<f64> = lower.iter().zip(upper).map(|(l, u)| 0.5 * l + 0.5 * u).collect();
        let reach = |((l, u), c): ((&f64, &f64), &f64)| (u - c).max(c - l) * (1.0 + SLACK) + SLACK * c.abs();
        let rest = lower.iter().zip(upper).zip(&center).map(reach).collect();
        Form { generators: vec![vec![0.0; center.len()]; generators], center, rest }
    }

    /// Bounds of |z|.
    fn magnitude(&self) -> Vec<f64> {
        let mut size: Vec<f64> = self.center.iter().zip(&self.rest).map(|(c, r)| c.abs() + r).collect();
        for generator in &self.generators {
            size.iter_mut().zip(generator).for_each(|(size, g)| *size += g.abs());
        }
        size.iter_mut().for_each(|size| *size *= 1.0 + 64.0 * SLACK);
        size
    }
}

/// The forms of all nodes so far, over one box.
pub(crate) struct Forms {
    gamma: f64,
    nodes: Vec<Form>,
}

impl Forms {
    /// The forms of the input; none where too many inputs vary, or none does, or forms would take too much memory.
    pub(crate) fn new(program: &Handle<'_, f64>, lower: &[f64], upper: &[f64]) -> Option<Self> {
        let varying: Vec<usize> = (0..lower.len()).filter(|&i| lower[i] < upper[i]).collect();
        let numbers = program.elements(program.network.output()).saturating_mul(varying.len() + 2);
        if varying.is_empty() || varying.len() > MOST_INPUTS || numbers > MOST_NUMBERS {
            return None;
        }
        let mut form = Form::interval(lower, upper, varying.len());
        for (generator, &i) in form.generators.iter_mut().zip(&varying) {
            generator[i] = std::mem::take(&mut form.rest[i]);
        }
        // γ stands in front of what a combination's charges are.
        let mut unit = Charges::new(program.network);
        unit.push(&[], &[]);
        Some(Forms { gamma: unit.combination(0, &[], 1.0), nodes: vec![form] })
    }

    /// Makes the form of the next node, `own` being its interval and `bounds` those of the nodes before it; then meets `own`
    /// with what the form says.
    pub(crate) fn step<'b>(
        &mut self,
        program: &Handle<'_, f64>,
        own: (&mut [f64], &mut [f64]),
        bounds: impl Fn(NodeId) -> (&'b [f64], &'b [f64]),
    ) {
        let id = self.nodes.len();
        let node = program.network.node(id);
        let count = self.nodes[0].generators.len();
        let mut form = match &node.layer {
            Layer::Flatten => self.nodes[node.inputs[0]].clone(),
            Layer::Add => self.sum(&node.inputs),
            Layer::Activation(_) => self
                .activation(program, id, node.inputs[0], bounds(node.inputs[0]))
                .unwrap_or_else(|| Form::interval(own.0, own.1, count)),
            _ => self.affine(program, id, node.inputs[0]).unwrap_or_else(|| Form::interval(own.0, own.1, count)),
        };
        // What has left f64 says nothing.
        for i in 0..form.center.len() {
            let size = form.generators.iter().map(|g| g[i].abs()).sum::<f64>() + form.center[i].abs() + form.rest[i];
            if !size.is_finite() {
                let (l, u) = (own.0[i], own.1[i]);
                form.generators.iter_mut().for_each(|g| g[i] = 0.0);
                (form.center[i], form.rest[i]) = match (u - l).is_finite() {
                    true => (0.5 * l + 0.5 * u, (0.5 * u - 0.5 * l) * (1.0 + SLACK) + SLACK * (l.abs() + u.abs())),
                    false => (0.0, f64::INFINITY),
                };
            }
        }
        for i in 0..form.center.len() {
            let radius = form.generators.iter().map(|g| g[i].abs()).sum::<f64>() + form.rest[i];
            let margin = 64.0 * SLACK * (radius + form.center[i].abs()) + f64::MIN_POSITIVE;
            let (low, high) = (form.center[i] - radius - margin, form.center[i] + radius + margin);
            // Crossed bounds can only come from rounding, as the box is never empty.
            own.0[i] = own.0[i].max(low.min(own.1[i]));
            own.1[i] = own.1[i].min(high.max(own.0[i]));
        }
        self.nodes.push(form);
    }

    fn sum(&self, inputs: &[NodeId]) -> Form {
        let mut form = self.nodes[inputs[0]].clone();
        let mut size = form.magnitude();
        let add = |target: &mut [f64], values: &[f64]| target.iter_mut().zip(values).for_each(|(t, v)| *t += v);
        for &other in &inputs[1..] {
            let other = &self.nodes[other];
            add(&mut form.center, &other.center);
            add(&mut form.rest, &other.rest);
            form.generators.iter_mut().zip(&other.generators).for_each(|(own, other)| add(own, other));
            add(&mut size, &other.magnitude());
        }
        form.rest.iter_mut().zip(&size).for_each(|(rest, size)| *rest += 2.0 * self.gamma * size + f64::MIN_POSITIVE);
        form
    }

    /// W·form + b; none for nodes that are not affine.
    fn affine(&self, program: &Handle<'_, f64>, id: NodeId, input: NodeId) -> Option<Form> {
        let form = &self.nodes[input];
        let mapped = |generator: &Vec<f64>| program.at.summands(id, generator).map(|[mapped, _]| mapped);
        let generators = form.generators.par_iter().map(mapped).collect::<Option<Vec<_>>>()?;
        let size = form.magnitude();
        // The rest around the centre, and what rounding is measured by.
        let mut before = vec![OutwardInterval::default(); input + 1];
        let reach = |(i, &r): (usize, &f64)| r * (1.0 + SLACK) + SLACK * form.center[i].abs();
        let rest: Vec<f64> = form.rest.iter().enumerate().map(reach).collect();
        let ends = |sign: f64| {
            let own = form.center.iter().zip(&rest).map(|(c, r)| c + sign * r);
            own.chain(size.iter().map(|size| sign * size)).collect::<Vec<f64>>()
        };
        before[input] = OutwardInterval { lower: ends(-1.0), upper: ends(1.0), reach: vec![0.0; 2 * size.len()] };
        let both = program.at.enclose(id, &before, 2);
        let n = both.lower.len() / 2;
        let mut image = Form::interval(&both.lower[..n], &both.upper[..n], 0);
        for (rest, reach) in image.rest.iter_mut().zip(&both.reach[n..]) {
            *rest += 2.0 * self.gamma * reach + f64::MIN_POSITIVE;
        }
        image.generators = generators;
        Some(image)
    }

    fn activation(
        &self,
        program: &Handle<'_, f64>,
        id: NodeId,
        input: NodeId,
        (lower, upper): (&[f64], &[f64]),
    ) -> Option<Form> {
        let (f, kinks) = program.function_of(id)?;
        let mut form = self.nodes[input].clone();
        let size = form.magnitude();
        for i in 0..form.center.len() {
            let (slope, middle, reach) = chord(f, kinks.as_deref(), lower[i], upper[i]);
            form.center[i] = slope * form.center[i] + middle;
            form.generators.iter_mut().for_each(|g| g[i] *= slope);
            let rounding = SLACK * (slope.abs() * size[i] + middle.abs()) + f64::MIN_POSITIVE;
            form.rest[i] = slope.abs() * form.rest[i] * (1.0 + SLACK) + reach + rounding;
        }
        Some(form)
    }
}

/// λ, m and w with f(z) ∈ λ·z + m ± w for z ∈ [l, u].
fn chord(f: &dyn Activation<f64>, kinks: Option<&[f64]>, l: f64, u: f64) -> (f64, f64, f64) {
    let (below, above, slope) = if let Some(kinks) = kinks {
        // Linear between kinks: what it is off the chord is extreme at one of them or at an end.
        let (low, high) = (f.value(l), f.value(u));
        let slope = if u > l { (high - low) / (u - l) } else { 0.0 };
        let inner = kinks.iter().copied().filter(|&kink| l < kink && kink < u);
        let off = |x: f64| (f.value(x) - slope * x, SLACK * (f.value(x).abs() + (slope * x).abs()));
        let ends = [l, u].into_iter().chain(inner).map(off);
        let folded = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (value, error)| {
            (low.min(value - error), high.max(value + error))
        });
        (folded.0, folded.1, slope)
    } else {
        let (low, high) = f.line_pair(l, u, LowerSlope::Adaptive);
        let slope = 0.5 * (low.slope + high.slope);
        let off = |line: tightrope_engine::activation::Line<f64>, x: f64, sign: f64| {
            let value = (line.slope - slope) * x + line.intercept;
            value + sign * SLACK * ((line.slope.abs() + slope.abs()) * x.abs() + line.intercept.abs())
        };
        let below = off(low, l, -1.0).min(off(low, u, -1.0));
        (below, off(high, l, 1.0).max(off(high, u, 1.0)), slope)
    };
    let middle = 0.5 * (below + above);
    (slope, middle, (above - middle).max(middle - below) * (1.0 + SLACK) + SLACK * middle.abs())
}

#[cfg(test)]
mod tests {
    use tightrope_network::Model;
    use tightrope_testkit::evaluate::evaluate;
    use tightrope_testkit::random::{Family, Rng, network};
    use tightrope_testkit::sampling::in_box;

    use super::*;

    /// No value of any node leaves what interval arithmetic and forms say of it; and forms are of use.
    #[test]
    fn no_value_leaves_its_form() {
        let (mut nodes, mut tighter) = (0, 0);
        for (number, family) in Family::ALL.into_iter().enumerate() {
            for repeat in 0..20 {
                let rng = Rng::in_turn((1000 * number + repeat) as u64);
                let (network, theta) = network(&rng, family);
                // Batch norms are folded before.
                if network.nodes().iter().any(|node| matches!(node.layer, Layer::BatchNorm(_))) {
                    continue;
                }
                let model = Model::new(network, theta.iter().map(|&v| v as f32).collect());
                let theta: Vec<f64> = model.theta.iter().map(|&v| v.into()).collect();
                let (network, weights) = (&model.network, model.weights());
                let program: Handle<'_, f64> = Handle::new(network, &weights);
                let radius = rng.between(0.01, 0.6);
                let center = rng.normals(network.input_len());
                let most = rng.integer(1, 8);
                let width = |i: usize| if i.is_multiple_of(1 + center.len() / most) { radius } else { 0.0 };
                let end = |sign: f64| center.iter().enumerate().map(|(i, c)| c + sign * width(i)).collect::<Vec<f64>>();
                let (lower, upper) = (end(-1.0), end(1.0));
                let Some(mut forms) = Forms::new(&program, &lower, &upper) else { continue };
                let reach = vec![0.0; lower.len()];
                let mut intervals = vec![OutwardInterval { lower: lower.clone(), upper: upper.clone(), reach }];
                for id in 1..network.nodes().len() {
                    let plain = program.at.enclose(id, &intervals, 1);
                    let (mut low, mut high) = (plain.lower.clone(), plain.upper.clone());
                    forms.step(&program, (&mut low, &mut high), |node| {
                        (&intervals[node].lower[..], &intervals[node].upper[..])
                    });
                    nodes += 1;
                    let size = |low: &[f64], high: &[f64]| high.iter().zip(low).map(|(u, l)| u - l).sum::<f64>();
                    tighter += usize::from(size(&low, &high) < 0.9 * size(&plain.lower, &plain.upper));
                    intervals.push(OutwardInterval { lower: low, upper: high, ..plain });
                }
                for point in in_box(&rng, &lower, &upper, 60).chunks(lower.len()) {
                    for (id, values) in evaluate(network, &theta, point).iter().enumerate() {
                        for (i, value) in values.iter().enumerate() {
                            let (l, u) = (intervals[id].lower[i], intervals[id].upper[i]);
                            // The evaluator rounds as well.
                            let slack = 1e-11 * (1.0 + value.abs());
                            let what = format!("{family:?} {repeat}, node {id}, element {i}");
                            assert!(l - slack <= *value && *value <= u + slack, "{what}: {value} is not in [{l}, {u}]");
                        }
                    }
                }
            }
        }
        assert!(10 * tighter > nodes, "only {tighter} of {nodes} nodes have much better bounds");
    }
}
