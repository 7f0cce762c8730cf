//! What the tests share: random networks and the engine's logits.
#![allow(dead_code, reason = "each test binary uses a part")]

use tightrope_engine::{Engine, Reference};
use tightrope_network::{
    Affine, AvgPool2d, Conv2d, Initialisation, Layer, Linear, Model, NetworkBuilder, NodeId, ParameterId,
};
use tightrope_noise::{Purpose, Stream};

/// Logits `[N, K]` in double precision.
pub fn logits(model: &Model, inputs: &[f64]) -> Vec<f64> {
    let theta: Vec<f64> = model.theta.iter().map(|&value| f64::from(value)).collect();
    Reference.forward(&model.network, &theta, inputs).unwrap()
}

/// Draws for tests.
pub struct Random {
    stream: Stream,
    next: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { stream: Stream::new(seed, Purpose::Test, 0, 0), next: 0 }
    }

    /// An integer in `range`.
    pub fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        self.next += 1;
        range.start() + self.stream.below(self.next - 1, range.end() - range.start() + 1)
    }

    pub fn coin(&mut self) -> bool {
        self.within(0..=1) == 1
    }

    /// Values in [0, 1) that float32 holds exactly.
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        self.next = self.next.next_multiple_of(4) + 4;
        self.stream.uniform(self.next, &mut values);
        self.next += count as u64;
        values
    }
}

/// A random network of every layer kind: an image part, perhaps with a residual block, and a flat part.
pub struct RandomNet {
    pub random: Random,
    builder: NetworkBuilder,
    last: NodeId,
    count: usize,
}

impl RandomNet {
    pub fn model(seed: u64) -> Model {
        let mut random = Random::new(seed);
        let shape = [random.within(1..=4), random.within(5..=8), random.within(5..=8)];
        let builder = NetworkBuilder::new(&shape).unwrap();
        let mut net = RandomNet { random, last: builder.input(), builder, count: 0 };
        if net.random.coin() {
            net.normalise();
        }
        for _ in 0..net.random.within(1..=3) {
            net.conv();
            if net.random.coin() {
                net.batch_norm();
            }
            net.add(Layer::RELU);
            if net.random.coin() {
                net.residual();
            }
        }
        if net.random.coin() {
            net.pool();
        }
        net.add(Layer::Flatten);
        for _ in 0..net.random.within(0..=2) {
            net.linear();
            if net.random.coin() {
                net.batch_norm();
            }
            net.add(Layer::RELU);
        }
        net.linear();
        net.finish()
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("layer {}", self.count)
    }

    fn shape(&self) -> Vec<usize> {
        self.builder.shape(self.last).to_vec()
    }

    fn add(&mut self, layer: Layer) {
        let name = self.name();
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
    }

    fn parameter(&mut self, what: &str, shape: &[usize]) -> ParameterId {
        self.builder.parameter(format!("{}.{what}", self.count), shape).unwrap()
    }

    fn normalise(&mut self) {
        let shape = self.shape();
        let axes = self.random.within(0..=3);
        let channels: usize = shape[..axes].iter().product();
        let inner = shape[axes..].iter().product();
        let std: Vec<f64> = self.random.values(channels).iter().map(|&v| f64::from(v + 0.25)).collect();
        let mean: Vec<f64> = self.random.values(channels).iter().map(|&v| f64::from(v)).collect();
        let (scale, shift) = match self.random.within(0..=2) {
            0 => (
                std.iter().map(|s| 1.0 / s).collect::<Vec<_>>(),
                mean.iter().zip(&std).map(|(m, s)| -m * (1.0 / s)).collect(),
            ),
            1 => (std, mean),
            _ => (vec![1.0; channels], mean),
        };
        self.add(Layer::Affine(Affine { inner, scale, shift, weight: None, bias: None }));
    }

    fn conv(&mut self) {
        let shape = self.shape();
        let random = &mut self.random;
        let groups = (1..=shape[0]).rev().find(|g| shape[0].is_multiple_of(*g) && random.coin()).unwrap_or(1);
        let out_channels = groups * random.within(1..=3);
        let mut kernel = [random.within(1..=3), random.within(1..=3)];
        let stride = [random.within(1..=2), random.within(1..=2)];
        let padding = [(); 4].map(|()| random.within(0..=2));
        let mut dilation = [random.within(1..=2), random.within(1..=2)];
        let bias = random.coin();
        for axis in 0..2 {
            if (kernel[axis] - 1) * dilation[axis] + 1 > shape[axis + 1] {
                (kernel[axis], dilation[axis]) = (1, 1);
            }
        }
        let name = self.name();
        let weight = self.parameter("weight", &[out_channels, shape[0] / groups, kernel[0], kernel[1]]);
        let bias = bias.then(|| self.parameter("bias", &[out_channels]));
        let conv =
            Conv2d { in_channels: shape[0], out_channels, kernel, stride, padding, dilation, groups, weight, bias };
        self.last = self.builder.add(name, Layer::Conv2d(conv), &[self.last]).unwrap();
    }

    fn batch_norm(&mut self) {
        let shape = self.shape();
        let per_channel = self.random.within(0..=3) > 0;
        let channels = if per_channel { shape[0] } else { shape.iter().product() };
        let inner = shape.iter().product::<usize>() / channels;
        let name = self.name();
        let variance = self.random.values(channels);
        let mean = self.random.values(channels);
        let scale: Vec<f64> = variance.iter().map(|&v| 1.0 / (f64::from(v) + f64::from(1e-5_f32)).sqrt()).collect();
        let shift = mean.iter().zip(&scale).map(|(&mean, scale)| -f64::from(mean) * scale).collect();
        let which = self.random.within(0..=3);
        let weight = (which != 1).then(|| self.parameter("factor", &[channels]));
        let bias = (which != 2).then(|| self.parameter("summand", &[channels]));
        let layer = Layer::Affine(Affine { inner, scale, shift, weight, bias });
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
    }

    fn residual(&mut self) {
        let (start, shape) = (self.last, self.shape());
        let terms = self.random.within(2..=3);
        let mut inputs = vec![start];
        for _ in 1..terms {
            let name = self.name();
            let weight = self.parameter("weight", &[shape[0], shape[0], 3, 3]);
            let conv = Conv2d { padding: [1; 4], weight, ..Conv2d::new([shape[0]; 2], [3; 2]) };
            inputs.push(self.builder.add(name, Layer::Conv2d(conv), &[start]).unwrap());
        }
        let name = self.name();
        self.last = self.builder.add(name, Layer::Add, &inputs).unwrap();
        self.add(Layer::RELU);
    }

    fn pool(&mut self) {
        let shape = self.shape();
        let random = &mut self.random;
        let kernel = [random.within(1..=2.min(shape[1])), random.within(1..=2.min(shape[2]))];
        let padding = [0, 1, 0, 1].map(|axis| random.within(0..=kernel[axis] - 1));
        let stride = [random.within(1..=2), random.within(1..=2)];
        let count_include_pad = random.coin();
        self.add(Layer::AvgPool2d(AvgPool2d { kernel, stride, padding, count_include_pad }));
    }

    fn linear(&mut self) {
        let in_features = self.shape()[0];
        let out_features = self.random.within(1..=6);
        let name = self.name();
        let weight = self.parameter("weight", &[out_features, in_features]);
        let bias = self.random.coin().then(|| self.parameter("bias", &[out_features]));
        let linear = Linear { in_features, out_features, weight, bias };
        self.last = self.builder.add(name, Layer::Linear(linear), &[self.last]).unwrap();
    }

    fn finish(mut self) -> Model {
        let network = self.builder.build().unwrap();
        let mut theta = Initialisation::Default.theta(&network, self.random.within(0..=1000) as u64);
        let noise = self.random.values(theta.len());
        theta.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.2 * (noise - 0.5));
        Model::new(network, theta)
    }
}

/// Fails unless two models are the same but for the last places of f64 constants: a file of f32 constants and the
/// arithmetic of an import keep them only nearly.
#[track_caller]
pub fn assert_same(found: &Model, expected: &Model, place: &str) {
    let without = |model: &Model| {
        let mut nodes = model.network.nodes().to_vec();
        let mut constants = Vec::new();
        for node in &mut nodes {
            if let Layer::Affine(affine) = &mut node.layer {
                constants.append(&mut affine.scale);
                constants.append(&mut affine.shift);
            }
        }
        (nodes, constants)
    };
    let (nodes, constants) = without(found);
    let (expected_nodes, expected_constants) = without(expected);
    assert_eq!((nodes, &found.theta), (expected_nodes, &expected.theta), "{place}");
    assert_eq!(constants.len(), expected_constants.len(), "{place}");
    for (a, b) in constants.iter().zip(&expected_constants) {
        assert!((a - b).abs() <= 1e-14 * b.abs(), "{place}: {a} {b}");
    }
}
