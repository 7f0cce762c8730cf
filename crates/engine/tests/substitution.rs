//! Rows carried back over boxes, lines and slopes of their own: sound wherever the slopes lie in [0, 1], with the
//! derivatives that an ascent on them uses.

use tightrope_engine::{
    BoundRequest, Domain, Engine, LayerBounds, Lines, Loaded, Reference, Region, Relaxation, SetOf, Spec, Trace,
};
use tightrope_network::Network;
use tightrope_testkit::differences::{Count, directions, dot, moved};
use tightrope_testkit::evaluate::evaluate;
use tightrope_testkit::random::{Family, Rng, Shape, network, region};
use tightrope_testkit::sampling::points;

/// Boxes of a problem.
const SETS: usize = 2;

/// A network over two boxes with rows on its outputs.
struct Problem {
    network: Network,
    theta: Vec<f64>,
    region: Region<f64>,
    at: Box<dyn Loaded<f64>>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    layers: Vec<LayerBounds<f64>>,
    lines: Vec<Lines<f64>>,
    /// `[rows, K]`.
    rows: Vec<f64>,
    /// Which box a row uses.
    sets: Vec<u32>,
}

impl Problem {
    fn new(rng: &Rng, family: Family, shape: Shape, size: f64) -> Self {
        let (network, theta) = network(rng, family);
        let region = region(rng, shape, SETS, network.input_len(), size);
        let at = Reference.load(&network, &theta, &[]).unwrap();
        let request = BoundRequest { layers: true, ..BoundRequest::lower(Relaxation::Crown) };
        let layers = at.bound(&region, &Spec::Logits, request).unwrap().layers;
        let lines = layers.iter().map(|layer| Lines::new(&layer.lower, &layer.upper)).collect();
        let end = |sign: f64| region.center.iter().zip(&region.radius).map(|(c, r)| c + sign * r).collect();
        let sets = vec![0, 1, 1, 0, 1];
        let rows = rng.normals(sets.len() * network.output_len());
        Problem { lower: end(-1.0), upper: end(1.0), network, theta, region, at, layers, lines, rows, sets }
    }

    fn domain<'a>(&'a self, slopes: Option<&'a [Vec<f64>]>) -> Domain<'a, f64> {
        Domain {
            lower: &self.lower,
            upper: &self.upper,
            box_of: SetOf::Listed(&self.sets),
            lines: &self.lines,
            lines_of: SetOf::Listed(&self.sets),
            slopes,
            multipliers: None,
        }
    }

    fn bounds(&self, slopes: Option<&[Vec<f64>]>, trace: Option<&mut Trace<f64>>) -> Vec<f64> {
        let (rows, count) = (self.rows.clone(), self.sets.len());
        self.at.substitute(&self.domain(slopes), self.network.output(), rows, count, trace, None).0
    }

    /// Slopes of every row, those of unstable neurons at random with the ends among them.
    fn slopes(&self, rng: &Rng) -> Vec<Vec<f64>> {
        let of_layer = |(layer, lines): (&LayerBounds<f64>, &Lines<f64>)| {
            let n = layer.lower.len() / SETS;
            let of_row = |&set: &u32| {
                let first = set as usize * n;
                (first..first + n).map(|i| {
                    let unstable = layer.lower[i] < 0.0 && layer.upper[i] > 0.0;
                    if unstable { rng.between(-0.2, 1.2).clamp(0.0, 1.0) } else { lines.lower_slope[i] }
                })
            };
            self.sets.iter().flat_map(of_row).collect()
        };
        self.layers.iter().zip(&self.lines).map(of_layer).collect()
    }
}

#[test]
fn no_point_leaves_a_bound() {
    let mut checked = 0;
    for (family_index, family) in Family::RELU.into_iter().enumerate() {
        for (shape_index, shape) in [Shape::Linf, Shape::LinfClipped, Shape::Boxes].into_iter().enumerate() {
            for repeat in 0..4 {
                let rng = Rng::new((20_000 + family_index * 100 + shape_index * 10 + repeat) as u64);
                let problem = Problem::new(&rng, family, shape, rng.between(0.2, 1.5));
                let classes = problem.network.output_len();
                let slopes = problem.slopes(&rng);
                for bounds in [problem.bounds(Some(&slopes), None), problem.bounds(None, None)] {
                    for ((&set, &bound), row) in problem.sets.iter().zip(&bounds).zip(problem.rows.chunks(classes)) {
                        for x in points(&rng, &problem.region, set as usize, 16) {
                            let value =
                                dot(row, &evaluate(&problem.network, &problem.theta, &x)[problem.network.output()]);
                            let slack = 1e-9 * (1.0 + bound.abs());
                            assert!(bound <= value + slack, "{family:?} {shape:?} {repeat}: {bound} is above {value}");
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 20_000, "only {checked} values checked");
}

/// Without slopes of their own, rows get the bounds that CROWN has for them.
#[test]
fn the_rule_of_least_area_is_crown() {
    for (family_index, family) in Family::RELU.into_iter().enumerate() {
        let rng = Rng::new(25_000 + family_index as u64);
        let problem = Problem::new(&rng, family, Shape::Boxes, 1.0);
        let classes = problem.network.output_len();
        let bounds = problem.bounds(None, None);
        for ((&set, &bound), row) in problem.sets.iter().zip(&bounds).zip(problem.rows.chunks(classes)) {
            let region = problem.region.slice(set as usize, 1);
            let spec = Spec::Matrix { rows: 1, matrix: row.to_vec(), offset: Vec::new() };
            let crown = problem.at.bound(&region, &spec, BoundRequest::lower(Relaxation::Crown)).unwrap().lower[0];
            assert!((bound - crown).abs() <= 1e-9 * (1.0 + crown.abs()), "{family:?}: {bound}, CROWN has {crown}");
        }
    }
}

/// ∂bound/∂α is the positive part of the coefficient on the ReLU times the relaxed value before it.
#[test]
fn derivatives_with_respect_to_slopes() {
    let mut count = Count::default();
    for (family_index, family) in Family::RELU.into_iter().enumerate() {
        for repeat in 0..12 {
            let rng = Rng::new((30_000 + family_index * 100 + repeat) as u64);
            let problem = Problem::new(&rng, family, Shape::Boxes, rng.between(0.3, 1.0));
            let slopes = problem.slopes(&rng);
            let mut trace = Trace::default();
            problem.bounds(Some(&slopes), Some(&mut trace));
            let domain = problem.domain(Some(&slopes));
            let output = problem.network.output();
            let minimisers = domain.minimisers(&trace.input, problem.sets.len());
            let relaxed = problem.at.relaxed(&domain, output, &trace, minimisers);
            for (position, &pre) in problem.network.pre_activations().iter().enumerate() {
                let mut gradient = vec![0.0; slopes[position].len()];
                for (node, post) in trace.post.iter().enumerate().filter(|(_, post)| !post.is_empty()) {
                    if problem.network.node(node).inputs == [pre] {
                        let parts = post.iter().zip(&relaxed[pre]).map(|(a, z)| a.max(0.0) * z);
                        gradient.iter_mut().zip(parts).for_each(|(g, part)| *g += part);
                    }
                }
                for mut direction in directions(&rng, gradient.len(), 3) {
                    // Slopes at an end of [0, 1] can move one way only, those of stable neurons not at all.
                    for (d, &slope) in direction.iter_mut().zip(&slopes[position]) {
                        *d = if slope == 0.0 || slope == 1.0 { 0.0 } else { *d };
                    }
                    let what = format!("{family:?} {repeat}, position {position}");
                    count.compare(&what, dot(&gradient, &direction), |t| {
                        let mut there = slopes.clone();
                        there[position] = moved(&slopes[position], t, &direction);
                        problem.bounds(Some(&there), None).iter().sum()
                    });
                }
            }
        }
    }
    count.finish(1000);
}
