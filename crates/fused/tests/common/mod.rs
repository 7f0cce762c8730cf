//! Networks, regions and comparisons that the tests of the fused engine share.
#![allow(dead_code)]

use std::ops::Range;

use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, EngineError, Gradients, LayerCotangent, Loaded, MemberRequest, Norm,
    Perturbation, Reference, Region, Relaxation, Spec, Wants,
};
use tightrope_fused::{Fused, ISA_VARIABLE, Isa};
use tightrope_network::{Conv2d, Network};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::losses;
use tightrope_testkit::networks::{Chain, dense};
use tightrope_testkit::random::draws;

/// A normalisation of a chain's channels.
fn input_norm(chain: Chain) -> Chain {
    let channels = chain.shape()[0];
    let scale = (0..channels).map(|c| 1.5 - 0.4 * c as f64).collect();
    let shift = (0..channels).map(|c| -0.3 + 0.1 * c as f64).collect();
    chain.affine(scale, shift, [false; 2])
}

/// Batch norm of a chain's channels.
fn norm(chain: Chain) -> Chain {
    let channels = chain.shape()[0];
    let scale = (0..channels).map(|c| 0.8 + 0.1 * c as f64).collect();
    let shift = (0..channels).map(|c| 0.05 * c as f64 - 0.1).collect();
    chain.affine(scale, shift, [true; 2])
}

/// Convolutions and a linear layer with normalisations in all places.
fn norms() -> Network {
    let p = [1; 4];
    let chain = norm(input_norm(Chain::new(&[2, 6, 5])).conv(4, [3, 3], [1, 1], p)).relu();
    let chain = norm(norm(chain.conv(17, [3, 3], [2, 2], p))).relu().flatten();
    norm(chain.linear(20)).relu().linear(3).build()
}

/// Networks that reach every edge of the kernels.
pub fn networks() -> Vec<(&'static str, Network)> {
    let p = |n: usize| [n; 4];
    vec![
        (
            "cnn3",
            Chain::new(&[1, 12, 12])
                .conv(16, [5, 5], [2, 2], p(2))
                .relu()
                .conv(32, [4, 4], [2, 2], p(1))
                .relu()
                .flatten()
                .linear(10)
                .build(),
        ),
        (
            "tiny",
            Chain::new(&[1, 8, 8])
                .conv(2, [5, 5], [2, 2], p(2))
                .relu()
                .conv(2, [4, 4], [2, 2], p(1))
                .relu()
                .flatten()
                .linear(3)
                .build(),
        ),
        (
            "odd",
            Chain::new(&[3, 7, 9])
                .conv(5, [3, 2], [1, 2], [1, 0, 0, 1])
                .relu()
                .conv(19, [2, 3], [2, 1], [0, 2, 1, 0])
                .relu()
                .conv(3, [1, 1], [1, 1], p(0))
                .relu()
                .flatten()
                .linear(7)
                .relu()
                .linear(4)
                .build(),
        ),
        (
            "deep",
            Chain::new(&[1, 10, 10])
                .conv(6, [3, 3], [1, 1], p(1))
                .relu()
                .conv(7, [4, 4], [2, 2], p(1))
                .relu()
                .conv(9, [4, 4], [2, 2], p(1))
                .relu()
                .flatten()
                .linear(33)
                .relu()
                .linear(5)
                .build(),
        ),
        ("norms", norms()),
        ("mlp", Chain::new(&[1, 5, 4]).flatten().linear(18).relu().linear(37).relu().linear(6).build()),
        ("wide", dense(&[20, 40, 21])),
        (
            "dilated",
            Chain::new(&[2, 7, 7])
                .conv2d(Conv2d { padding: [1; 4], dilation: [2, 2], ..Conv2d::new([2, 3], [2, 3]) }, false)
                .relu()
                .conv(4, [3, 3], [2, 2], p(1))
                .relu()
                .flatten()
                .linear(2)
                .build(),
        ),
        (
            "five",
            Chain::new(&[2, 9, 8])
                .conv(3, [1, 1], [1, 1], p(0))
                .relu()
                .conv(11, [5, 5], [1, 2], p(2))
                .relu()
                .conv(18, [1, 1], [1, 1], p(0))
                .relu()
                .flatten()
                .linear(4)
                .build(),
        ),
        (
            "large window",
            Chain::new(&[1, 6, 6])
                .conv(3, [3, 3], [3, 3], p(2))
                .relu()
                .conv(40, [2, 2], [1, 1], p(1))
                .relu()
                .flatten()
                .linear(4)
                .build(),
        ),
        (
            "dense",
            Chain::new(&[1, 8, 8])
                .conv(32, [3, 3], [2, 2], p(1))
                .relu()
                .flatten()
                .linear(160)
                .relu()
                .linear(416)
                .relu()
                .linear(5)
                .build(),
        ),
    ]
}

/// The engine on every instruction set that this machine has, or on the one that the environment names.
pub fn engines() -> Vec<Fused> {
    if std::env::var_os(ISA_VARIABLE).is_some() {
        return vec![Fused::new().unwrap()];
    }
    Isa::ALL.into_iter().filter(|isa| isa.available()).map(|isa| Fused::on(isa).unwrap()).collect()
}

/// Asserts |a − b| ≤ tolerance·(1 + max |b|) elementwise.
pub fn close(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    let scale = 1.0 + expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for (i, (&a, &b)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(a) - b).abs() <= tolerance * scale, "{what}[{i}]: {a} is not {b} (scale {scale})");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// The losses of member pairs of inputs, region and labels: `weight` of the certified and the rest of the natural one.
pub fn members(
    at: &dyn Loaded<f32>,
    perturbation: Perturbation<'_>,
    pairs: Range<u64>,
    (inputs, region, labels): (&[f32], &Region<f32>, &[usize]),
    relaxation: Relaxation,
    weight: f64,
) -> Result<Vec<[f64; 2]>, EngineError> {
    let spec = Spec::Margins { labels: labels.to_vec() };
    let request = MemberRequest {
        inputs: (weight < 1.0).then_some(inputs),
        bounds: (weight > 0.0).then_some((region, &spec, BoundRequest::lower(relaxation))),
    };
    at.members(perturbation, pairs, &request, &|member| {
        let natural = member.logits.map_or(0.0, |logits| losses::mean(losses::cross_entropy, logits, labels).0);
        let certified = |bounds: &Bounds<f32>| losses::mean(losses::certified_cross_entropy, &bounds.lower, labels).0;
        (1.0 - weight) * natural + weight * member.bounds.map_or(0.0, certified)
    })
}

/// One comparison: a network, its parameters and what to bound.
pub struct Case<'a> {
    pub name: String,
    pub network: &'a Network,
    pub theta: Vec<f32>,
    pub x: Vec<f32>,
    pub epsilon: f32,
    pub norm: Norm,
    pub clip: Option<(f32, f32)>,
    pub spec: Spec<f32>,
    pub relaxation: Relaxation,
    pub upper: bool,
    pub layers: bool,
    pub shrinkage: f64,
}

impl Case<'_> {
    /// The case of `network` with margins of random labels over an ℓ∞ ball.
    pub fn new<'a>(
        name: &str,
        network: &'a Network,
        theta: Vec<f32>,
        batch: usize,
        epsilon: f32,
        relaxation: Relaxation,
    ) -> Case<'a> {
        let classes = network.output_len();
        Case {
            name: format!("{name}, {relaxation}, ε={epsilon}"),
            network,
            theta,
            x: draws(11, 0, batch * network.input_len(), 0.0, 1.0),
            epsilon,
            norm: Norm::Inf,
            clip: None,
            spec: Spec::Margins { labels: (0..batch).map(|i| (i * 7 + 1) % classes).collect() },
            relaxation,
            upper: false,
            layers: false,
            shrinkage: 1.0,
        }
    }

    /// Checks bounds and gradients of `engines` against the reference engine in double precision, which is asked once.
    pub fn check(&self, engines: &[Fused], tolerance: f64) {
        let d = self.network.input_len();
        let clip = self.clip.map(|(l, h)| (f64::from(l), f64::from(h)));
        let region = Region::ball(&wide(&self.x), d, f64::from(self.epsilon), self.norm, clip).unwrap();
        let spec = match &self.spec {
            Spec::Logits => Spec::Logits,
            Spec::Margins { labels } => Spec::Margins { labels: labels.clone() },
            Spec::Matrix { rows, matrix, offset } => {
                Spec::Matrix { rows: *rows, matrix: wide(matrix), offset: wide(offset) }
            }
        };
        let theta = wide(&self.theta);
        let (expected, tape) = Reference.bound_taped(self.network, &theta, &region, &spec, self.request()).unwrap();
        let cotangents = self.cotangents(&expected);
        let wants = Wants { theta: true, input: true, buffers: false };
        let gradients = Reference.vjp(self.network, &theta, &tape, &cotangents, wants).unwrap();
        for engine in engines {
            self.compare(engine, &expected, &cotangents, &gradients, tolerance);
        }
    }

    fn request(&self) -> BoundRequest {
        let &Case { upper, layers, shrinkage, .. } = self;
        BoundRequest { upper, layers, shrinkage, ..BoundRequest::lower(self.relaxation) }
    }

    /// Random cotangents of what the reference engine found, which single precision holds exactly.
    fn cotangents(&self, found: &Bounds<f64>) -> Cotangents<f64> {
        let upper = if self.upper { wide(&draws(5, 2, found.lower.len(), -1.0, 1.0)) } else { Vec::new() };
        let mut layers = Vec::new();
        if self.layers {
            for (i, layer) in found.layers.iter().enumerate() {
                let mut lower = draws(6, i as u64, layer.lower.len(), -1.0, 1.0);
                // Most rows without a cotangent: the compacted tiles.
                lower.iter_mut().for_each(|g| *g = if g.abs() < 0.8 { 0.0 } else { *g });
                let upper: Vec<f32> = lower.iter().map(|g| -0.5 * g).collect();
                layers.push(LayerCotangent { node: layer.node, upper: wide(&upper), lower: wide(&lower) });
            }
        }
        let lower = wide(&draws(5, 1, found.lower.len(), -1.0, 1.0));
        Cotangents { lower, upper, layers, buffers: Vec::new() }
    }

    fn compare(
        &self,
        engine: &Fused,
        expected: &Bounds<f64>,
        cotangents: &Cotangents<f64>,
        gradients: &Gradients<f64>,
        tolerance: f64,
    ) {
        let name = format!("{} on {}", self.name, engine.isa().name());
        let d = self.network.input_len();
        let region = Region::ball(&self.x, d, self.epsilon, self.norm, self.clip).unwrap();
        let (got, tape) = engine.bound_taped(self.network, &self.theta, &region, &self.spec, self.request()).unwrap();
        let plain = engine.bound(self.network, &self.theta, &region, &self.spec, self.request()).unwrap();
        assert_eq!(got, plain, "{name}: taped and plain bounds differ");
        assert_eq!(got.rows, expected.rows);
        close(&format!("{name}: lower"), &got.lower, &expected.lower, tolerance);
        if let (Some(got), Some(expected)) = (&got.upper, &expected.upper) {
            close(&format!("{name}: upper"), got, expected, tolerance);
        }
        assert_eq!(got.layers.len(), expected.layers.len());
        for (got, expected) in got.layers.iter().zip(&expected.layers) {
            assert_eq!(got.node, expected.node);
            close(&format!("{name}: lower of node {}", got.node), &got.lower, &expected.lower, tolerance);
            close(&format!("{name}: upper of node {}", got.node), &got.upper, &expected.upper, tolerance);
        }
        let layers = cotangents.layers.iter();
        let cotangents = Cotangents {
            lower: narrow(&cotangents.lower),
            upper: narrow(&cotangents.upper),
            layers: layers
                .map(|l| LayerCotangent { node: l.node, lower: narrow(&l.lower), upper: narrow(&l.upper) })
                .collect(),
            buffers: Vec::new(),
        };
        let wants = Wants { theta: true, input: true, buffers: false };
        let got = engine.vjp(self.network, &self.theta, &tape, &cotangents, wants).unwrap();
        let (got_theta, expected_theta) = (got.theta.unwrap(), gradients.theta.as_ref().unwrap());
        for info in self.network.parameters().iter() {
            let what = format!("{name}: gradient of {}", info.name);
            close(&what, &got_theta[info.range()], &expected_theta[info.range()], tolerance);
        }
        // Without the region's gradient the adjoint takes another way: signs instead of coefficients.
        let alone = engine.vjp(self.network, &self.theta, &tape, &cotangents, Wants::THETA).unwrap();
        let alone = alone.theta.unwrap();
        for info in self.network.parameters().iter() {
            let what = format!("{name}: gradient of {} alone", info.name);
            close(&what, &alone[info.range()], &expected_theta[info.range()], tolerance);
        }
        let (got, expected) = (got.region.unwrap(), gradients.region.as_ref().unwrap());
        close(&format!("{name}: centre gradient"), &got.center, &expected.center, tolerance);
        close(&format!("{name}: radius gradient"), &got.radius, &expected.radius, tolerance);
        assert_eq!(got.center.len(), region.batch() * d);
    }
}
