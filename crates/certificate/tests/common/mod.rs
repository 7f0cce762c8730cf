//! Random networks and properties for the checker's tests, and the network's values by another implementation.
#![allow(dead_code, reason = "each test file uses a part")]

use tightrope_certificate::{CaseProof, Proof, Tree};
use tightrope_engine::{Engine, Reference};
use tightrope_network::{Affine, AvgPool2d, Conv2d, Layer, Model, NetworkBuilder, NodeId};
use tightrope_noise::{Purpose, Stream};
use tightrope_vnnlib::{Case, Constraint, Property};

/// Draws for tests.
pub struct Random(Stream, u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(Stream::new(seed, Purpose::Test, 0, 0), 0)
    }

    /// A number in [−1, 1).
    pub fn number(&mut self) -> f64 {
        let mut value = [0.0];
        self.1 += 1;
        self.0.uniform(self.1, &mut value);
        f64::from(value[0]) * 2.0 - 1.0
    }

    /// An integer in 0..count.
    pub fn below(&mut self, count: usize) -> usize {
        self.1 += 1;
        self.0.below(self.1, count)
    }
}

fn relu(builder: &mut NetworkBuilder, name: &str, input: NodeId) -> NodeId {
    builder.add(name, Layer::RELU, &[input]).unwrap()
}

/// A fully connected network of the given widths, inputs first.
pub fn dense(widths: &[usize], random: &mut Random) -> Model {
    let mut builder = NetworkBuilder::new(&widths[..1]).unwrap();
    let mut last = builder.input();
    for (i, &width) in widths[1..].iter().enumerate() {
        last = builder.linear(&format!("linear{i}"), width, true, last).unwrap();
        if i + 2 < widths.len() {
            last = relu(&mut builder, &format!("relu{i}"), last);
        }
    }
    finish(builder, random)
}

/// A network of every layer kind: normalisation, padded, strided, dilated and grouped convolutions, a residual block, pooling.
pub fn residual(random: &mut Random) -> Model {
    let mut builder = NetworkBuilder::new(&[2, 4, 5]).unwrap();
    let scale = vec![1.7, 0.3];
    let mut last = builder.normalise("normalise", scale, vec![-0.2, 0.4], builder.input()).unwrap();
    let first = Conv2d { padding: [1, 1, 1, 0], groups: 2, ..Conv2d::new([2, 4], [3, 2]) };
    last = builder.conv2d("conv0", first, true, last).unwrap();
    let shape = builder.shape(last).to_vec();
    let channels = shape[0];
    let weight = Some(builder.parameter("norm.weight", &[channels]).unwrap());
    let bias = Some(builder.parameter("norm.bias", &[channels]).unwrap());
    let inner = shape[1] * shape[2];
    let norm = Affine { inner, scale: vec![0.7, 1.1, 1.3, 0.9], shift: vec![0.1, -0.1, 0.2, 0.0], weight, bias };
    last = builder.add("norm", Layer::Affine(norm), &[last]).unwrap();
    last = relu(&mut builder, "relu0", last);
    let branch = Conv2d { padding: [2; 4], dilation: [2; 2], ..Conv2d::new([4, 4], [3, 3]) };
    let branch = builder.conv2d("conv1", branch, false, last).unwrap();
    last = builder.add("add", Layer::Add, &[last, branch]).unwrap();
    last = relu(&mut builder, "relu1", last);
    let strided = Conv2d { stride: [2; 2], padding: [1; 4], ..Conv2d::new([4, 3], [3, 3]) };
    last = builder.conv2d("conv2", strided, true, last).unwrap();
    last = relu(&mut builder, "relu2", last);
    let count_include_pad = random.below(2) == 0;
    let pool = AvgPool2d { kernel: [2, 2], stride: [1, 2], padding: [0, 1, 1, 0], count_include_pad };
    last = builder.avg_pool2d("pool", pool, last).unwrap();
    last = builder.add("flatten", Layer::Flatten, &[last]).unwrap();
    builder.linear("head", 3, true, last).unwrap();
    finish(builder, random)
}

fn finish(builder: NetworkBuilder, random: &mut Random) -> Model {
    let network = builder.build().unwrap();
    let theta = (0..network.parameters().total()).map(|_| random.number() as f32).collect();
    Model::new(network, theta)
}

/// The network's values in f64 by the reference engine.
pub fn outputs(model: &Model, input: &[f64]) -> Vec<f64> {
    let theta: Vec<f64> = model.theta.iter().map(|&value| f64::from(value)).collect();
    Reference.forward(&model.network, &theta, input).unwrap()
}

/// A box around a random point.
pub fn random_box(model: &Model, radius: f64, random: &mut Random) -> (Vec<f64>, Vec<f64>) {
    let center: Vec<f64> = (0..model.network.input_len()).map(|_| random.number()).collect();
    let radii: Vec<f64> = center.iter().map(|_| radius * (1.0 + random.number()) / 2.0).collect();
    let end = |sign: f64| center.iter().zip(&radii).map(|(c, r)| c + sign * r).collect();
    (end(-1.0), end(1.0))
}

/// A random row over the outputs.
pub fn random_row(model: &Model, random: &mut Random) -> Vec<f64> {
    (0..model.network.output_len()).map(|_| random.number()).collect()
}

/// Points of a box: random ones and corners.
pub fn points(lower: &[f64], upper: &[f64], count: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let mut point = |corner: bool| {
        let mut share = || (random.number() + 1.0) / 2.0;
        let inside = |l: f64, u: f64, share: f64| (l + (u - l) * share).clamp(l, u);
        lower.iter().zip(upper).map(|(&l, &u)| inside(l, u, if corner { share().round() } else { share() })).collect()
    };
    (0..count).map(|i| point(i % 2 == 0)).collect()
}

/// The property that row·y ≤ bound nowhere in the box.
pub fn property(model: &Model, lower: &[f64], upper: &[f64], row: &[f64], bound: f64) -> Property {
    let unsafe_outputs = vec![vec![Constraint::at_most(row.to_vec(), bound)]];
    let case = Case::closed(lower.to_vec(), upper.to_vec(), unsafe_outputs);
    Property::new(model.network.input_len(), model.network.output_len(), vec![case])
}

/// A proof of one tree.
pub fn proof(tree: Tree) -> Proof {
    Proof { cases: vec![CaseProof { conjunctions: vec![tree] }], ..Proof::default() }
}

pub fn dot(row: &[f64], y: &[f64]) -> f64 {
    row.iter().zip(y).map(|(a, b)| a * b).sum()
}
