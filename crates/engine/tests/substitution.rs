//! Rows carried back over boxes, lines and shares of their own: sound wherever the shares lie in [0, 1], with the
//! derivatives that an ascent on them uses, for every kind of activation and max pooling.

use tightrope_engine::{
    BoundRequest, Bounds, Domain, Engine, Loaded, NodeLines, Nonlinearity, Reference, Region, Relaxation, SetOf, Sites,
    Spec, Trace,
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
    sites: Sites,
    /// By position, `[sets, n]`.
    layers: Vec<Bounds<f64>>,
    /// By site.
    lines: Vec<NodeLines<f64>>,
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
        let sites = Sites::of(&network);
        let end =
            |sign: f64| -> Vec<f64> { region.center.iter().zip(&region.radius).map(|(c, r)| c + sign * r).collect() };
        let bounds_of = |&node: &usize| {
            if node == 0 {
                return Bounds { rows: 0, lower: end(-1.0), upper: Some(end(1.0)), layers: Vec::new() };
            }
            if let Some(f) = Nonlinearity::of(&network, node).filter(|_| !network.pre_activations().contains(&node)) {
                // What only max poolings read has the bounds of its input, mapped.
                let request = BoundRequest { layers: true, ..BoundRequest::lower(Relaxation::Crown) };
                let layers = at.bound(&region, &Spec::Logits, request).unwrap().layers;
                if let Some(layer) = layers.iter().find(|layer| layer.node == network.node(node).inputs[0]) {
                    let (lower, upper) = (f.values(&layer.lower), f.values(&layer.upper));
                    return Bounds { rows: lower.len() / SETS, lower, upper: Some(upper), layers: Vec::new() };
                }
            }
            let request = BoundRequest { until: Some(node), upper: true, ..BoundRequest::lower(Relaxation::Crown) };
            at.bound(&region, &Spec::Logits, request).unwrap()
        };
        let layers: Vec<Bounds<f64>> = sites.positions.iter().map(bounds_of).collect();
        let lines_of = |site: &tightrope_engine::Site| {
            let (layer, n) = (&layers[site.position], network.node(site.input).len());
            let function = Nonlinearity::of(&network, site.nodes[0]).unwrap();
            let mut lines = function.no_lines(layer.lower.len());
            for (lower, upper) in layer.lower.chunks(n).zip(layer.upper.as_ref().unwrap().chunks(n)) {
                function.extend(&mut lines, lower, upper);
            }
            lines
        };
        let lines = sites.sites.iter().map(lines_of).collect();
        let sets = vec![0, 1, 1, 0, 1];
        let rows = rng.normals(sets.len() * network.output_len());
        Problem { lower: end(-1.0), upper: end(1.0), network, theta, region, at, sites, layers, lines, rows, sets }
    }

    fn domain<'a>(&'a self, slopes: Option<&'a [Vec<f64>]>) -> Domain<'a, f64> {
        Domain {
            lower: &self.lower,
            upper: &self.upper,
            box_of: SetOf::Listed(&self.sets),
            ball: None,
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

    /// Whether the share of a position's element changes a line of some set, and its share by the rule of least area.
    fn own_share(&self, position: usize, element: usize) -> (bool, f64) {
        let own = || self.sites.at(position).filter_map(|site| self.lines[site].activation());
        let first = own().find(|lines| lines.fan.is_none()).or_else(|| own().next());
        (own().any(|lines| lines.is_open(element)), first.map_or(0.0, |lines| lines.shares()[element]))
    }

    /// Shares of every row, those of open neurons at random with the ends among them.
    fn slopes(&self, rng: &Rng) -> Vec<Vec<f64>> {
        let of_position = |position: usize| {
            let n = self.layers[position].lower.len() / SETS;
            let of_row = |&set: &u32| {
                let first = set as usize * n;
                (first..first + n).map(move |element| match self.own_share(position, element) {
                    (true, _) => rng.between(-0.2, 1.2).clamp(0.0, 1.0),
                    (false, own) => own,
                })
            };
            self.sets.iter().flat_map(of_row).collect()
        };
        (0..self.layers.len()).map(of_position).collect()
    }
}

#[test]
fn no_point_leaves_a_bound() {
    let mut checked = 0;
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
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
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
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

/// Several activations of one neuron have one share between them: where another's lines have a choice, a stable ReLU's have
/// none.
#[test]
fn stable_relus_ignore_shares() {
    let mut stable = 0;
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for repeat in 0..4 {
            let rng = Rng::new((40_000 + family_index * 100 + repeat) as u64);
            let problem = Problem::new(&rng, family, Shape::Boxes, rng.between(0.1, 0.6));
            let mut slopes = problem.slopes(&rng);
            let expected = problem.bounds(Some(&slopes), None);
            for (position, shares) in slopes.iter_mut().enumerate() {
                let n = problem.layers[position].lower.len() / SETS;
                let own: Vec<_> =
                    problem.sites.at(position).filter_map(|site| problem.lines[site].activation()).collect();
                if own.is_empty() || own.iter().any(|lines| lines.fan.is_some()) {
                    continue;
                }
                for (place, share) in shares.iter_mut().enumerate() {
                    if !own[0].is_open(problem.sets[place / n] as usize * n + place % n) {
                        *share = rng.between(0.0, 1.0);
                        stable += 1;
                    }
                }
            }
            assert_eq!(problem.bounds(Some(&slopes), None), expected, "{family:?} {repeat}");
        }
    }
    assert!(stable > 500, "only {stable} stable neurons");
}

/// ∂bound/∂α: for a ReLU the positive part of the coefficient on it times the relaxed value before it, for a mixture the
/// coefficient times the height of the second line above the first.
#[test]
fn derivatives_with_respect_to_slopes() {
    let mut count = Count::default();
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
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
            for (position, &pre) in problem.sites.positions.iter().enumerate() {
                let n = problem.network.node(pre).len();
                let mut gradient = vec![0.0; slopes[position].len()];
                for site in problem.sites.at(position) {
                    let Some(lines) = problem.lines[site].activation() else { continue };
                    let nodes = problem.sites.sites[site].nodes.iter();
                    for post in nodes.map(|&node| &trace.post[node]).filter(|post| !post.is_empty()) {
                        for (element, (&a, &z)) in post.iter().zip(&relaxed[pre]).enumerate() {
                            let set = problem.sets[element / n] as usize;
                            gradient[element] += match &lines.fan {
                                None if !lines.is_open(set * n + element % n) => 0.0,
                                None => a.max(0.0) * z,
                                Some(fan) => {
                                    let [first, second] = fan.choice(set * n + element % n, a);
                                    a * (second.at(z) - first.at(z))
                                }
                            };
                        }
                    }
                }
                for mut direction in directions(&rng, gradient.len(), 3) {
                    // Shares at an end of [0, 1] can move one way only, those of stable neurons not at all.
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
