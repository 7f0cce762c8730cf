//! Random networks of every layer kind and random regions of every norm, reproducible from a seed.

use std::cell::Cell;

use tightrope_engine::{Norm, Region};
use tightrope_network::{Affine, AvgPool2d, Conv2d, Layer, Network, NetworkBuilder, NodeId, ParameterId};
use tightrope_noise::{Purpose, Stream};

/// A sequential source of draws.
pub struct Rng {
    stream: Stream,
    next: Cell<u64>,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng { stream: Stream::new(seed, Purpose::Test, 0, 0), next: Cell::new(0) }
    }

    fn advance(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// In [0, 1).
    pub fn uniform(&self) -> f64 {
        let mut value = [0.0];
        self.stream.uniform(self.advance(), &mut value);
        f64::from(value[0])
    }

    pub fn between(&self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    pub fn normal(&self) -> f64 {
        let mut value = [0.0];
        self.stream.gaussian(self.advance(), &mut value);
        f64::from(value[0])
    }

    /// In `low..=high`.
    pub fn integer(&self, low: usize, high: usize) -> usize {
        low + self.stream.below(self.advance(), high - low + 1)
    }

    pub fn coin(&self) -> bool {
        self.integer(0, 1) == 1
    }

    pub fn sign(&self) -> f64 {
        if self.coin() { 1.0 } else { -1.0 }
    }

    pub fn normals(&self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.normal()).collect()
    }
}

/// What a random network is built around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dense,
    Conv,
    GroupedConv,
    Normalised,
    BatchNorm,
    PooledInput,
    PooledFeatures,
    Residual,
    /// Two affine layers in a row before the first ReLU, whose interval bounds are not exact.
    Composed,
    /// An affine layer after the last linear one.
    AffineLast,
    /// Ends with a flattened convolution.
    ConvLast,
    /// No ReLU at all.
    Linear,
    Mixed,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Dense,
        Kind::Conv,
        Kind::GroupedConv,
        Kind::Normalised,
        Kind::BatchNorm,
        Kind::PooledInput,
        Kind::PooledFeatures,
        Kind::Residual,
        Kind::Composed,
        Kind::AffineLast,
        Kind::ConvLast,
        Kind::Linear,
        Kind::Mixed,
    ];
}

/// A network under construction.
struct Draw<'a> {
    rng: &'a Rng,
    builder: NetworkBuilder,
    last: NodeId,
    index: usize,
}

impl Draw<'_> {
    fn name(&mut self) -> String {
        self.index += 1;
        (self.index - 1).to_string()
    }

    fn shape(&self) -> Vec<usize> {
        self.builder.shape(self.last).to_vec()
    }

    fn add(&mut self, layer: Layer) {
        let name = self.name();
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
    }

    fn relu(&mut self) {
        self.add(Layer::Relu);
    }

    /// A convolution with random geometry that fits.
    fn conv(&mut self, groups: usize) {
        let shape = self.shape();
        let rng = self.rng;
        let groups = if shape[0].is_multiple_of(groups) { groups } else { 1 };
        let name = self.name();
        loop {
            let conv = Conv2d {
                in_channels: shape[0],
                out_channels: groups * rng.integer(1, 4 / groups),
                kernel: [rng.integer(1, 3), rng.integer(1, 3)],
                stride: [rng.integer(1, 2), rng.integer(1, 2)],
                padding: [rng.integer(0, 2), rng.integer(0, 2), rng.integer(0, 2), rng.integer(0, 2)],
                dilation: [rng.integer(1, 2), rng.integer(1, 2)],
                groups,
                weight: ParameterId(0),
                bias: None,
            };
            if conv.output_side([shape[1], shape[2]]).is_ok() {
                self.last = self.builder.conv2d(&name, conv, rng.coin(), self.last).unwrap();
                return;
            }
        }
    }

    /// A 3×3 convolution that keeps the shape.
    fn same_conv(&mut self) {
        let channels = self.shape()[0];
        let conv = Conv2d { padding: [1; 4], ..Conv2d::new([channels; 2], [3; 2]) };
        let name = self.name();
        self.last = self.builder.conv2d(&name, conv, self.rng.coin(), self.last).unwrap();
    }

    fn channel(&mut self, trained: bool) {
        let shape = self.shape();
        let rng = self.rng;
        let inner = shape[1..].iter().product();
        let name = self.name();
        let mut parameter = |part: &str| self.builder.parameter(format!("{name}.{part}"), &shape[..1]).unwrap();
        let (weight, bias) = if trained { (Some(parameter("weight")), Some(parameter("bias"))) } else { (None, None) };
        let scale = (0..shape[0]).map(|_| rng.sign() * rng.between(0.4, 1.6)).collect();
        let shift = rng.normals(shape[0]).into_iter().map(|v| 0.3 * v).collect();
        let layer = Layer::Affine(Affine { inner, scale, shift, weight, bias });
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
    }

    fn pool(&mut self) {
        let shape = self.shape();
        let rng = self.rng;
        let name = self.name();
        loop {
            let kernel = [rng.integer(1, 3), rng.integer(1, 3)];
            let pool = AvgPool2d {
                kernel,
                stride: [rng.integer(1, 2), rng.integer(1, 2)],
                padding: [0, 1, 0, 1].map(|axis| rng.integer(0, kernel[axis] - 1)),
                count_include_pad: rng.coin(),
            };
            if pool.output_side([shape[1], shape[2]]).is_ok() {
                self.last = self.builder.avg_pool2d(&name, pool, self.last).unwrap();
                return;
            }
        }
    }

    /// x + conv(relu(conv(x))), sometimes with x counted twice.
    fn residual(&mut self) {
        let skip = self.last;
        self.same_conv();
        if self.rng.coin() {
            self.channel(true);
        }
        self.relu();
        self.same_conv();
        let inputs = if self.rng.coin() { vec![self.last, skip] } else { vec![skip, self.last, skip] };
        let name = self.name();
        self.last = self.builder.add(name, Layer::Add, &inputs).unwrap();
    }

    fn flatten(&mut self) {
        self.add(Layer::Flatten);
    }

    fn linear(&mut self, features: usize) {
        let name = self.name();
        self.last = self.builder.linear(&name, features, self.rng.coin(), self.last).unwrap();
    }

    fn block(&mut self) {
        match self.rng.integer(0, 5) {
            0 => self.conv(1),
            1 => self.conv(2),
            2 => self.pool(),
            3 => self.residual(),
            4 => self.channel(true),
            _ => self.same_conv(),
        }
        if self.rng.coin() {
            self.relu();
        }
    }
}

/// A random network of `kind` with random parameters.
pub fn network(rng: &Rng, kind: Kind) -> (Network, Vec<f64>) {
    let shape = [rng.integer(1, 3), rng.integer(3, 5), rng.integer(3, 5)];
    let builder = NetworkBuilder::new(&shape).unwrap();
    let mut draw = Draw { rng, last: builder.input(), builder, index: 0 };
    // Wide layers make unit rows sparse, which has a path of its own.
    let hidden = rng.integer(4, if kind == Kind::Dense { 40 } else { 8 });
    let classes = rng.integer(3, 5);
    let conv_relu = |draw: &mut Draw<'_>| {
        draw.conv(1);
        draw.relu();
    };
    match kind {
        Kind::Dense => {
            draw.flatten();
            draw.linear(hidden);
            draw.relu();
        }
        Kind::Conv => {
            conv_relu(&mut draw);
            conv_relu(&mut draw);
        }
        Kind::GroupedConv => {
            draw.conv(shape[0]);
            draw.relu();
            draw.conv(2);
            draw.relu();
        }
        Kind::Normalised => {
            draw.channel(false);
            conv_relu(&mut draw);
        }
        Kind::BatchNorm => {
            draw.conv(1);
            draw.channel(true);
            draw.relu();
            draw.conv(1);
            draw.channel(true);
            draw.relu();
        }
        Kind::PooledInput => {
            draw.pool();
            conv_relu(&mut draw);
        }
        Kind::PooledFeatures => {
            conv_relu(&mut draw);
            draw.pool();
        }
        Kind::Residual => {
            conv_relu(&mut draw);
            draw.residual();
            draw.relu();
        }
        Kind::Composed => {
            draw.conv(1);
            draw.pool();
            draw.residual();
            draw.relu();
        }
        Kind::AffineLast | Kind::ConvLast => conv_relu(&mut draw),
        Kind::Linear => {
            draw.channel(true);
            draw.conv(1);
        }
        Kind::Mixed => (0..3).for_each(|_| draw.block()),
    }
    if kind == Kind::ConvLast {
        draw.conv(1);
        draw.flatten();
    } else {
        if draw.shape().len() == 3 {
            draw.flatten();
        }
        if kind != Kind::Linear {
            draw.linear(hidden);
            draw.relu();
        }
        draw.linear(classes);
        if kind == Kind::AffineLast {
            draw.channel(true);
        }
    }
    let network = draw.builder.build().unwrap();
    let theta = parameters(rng, &network);
    (network, theta)
}

/// Gaussian weights that keep activations near 1; batch-norm factors of either sign.
fn parameters(rng: &Rng, network: &Network) -> Vec<f64> {
    let gain = rng.between(0.8, 1.6);
    let mut theta = Vec::new();
    for info in network.parameters().iter() {
        let fan_in: usize = info.shape[1..].iter().product();
        let factor = info.shape.len() == 1 && info.name.ends_with("weight");
        theta.extend((0..info.len()).map(|_| match (factor, info.shape.len()) {
            (true, _) => rng.sign() * rng.between(0.4, 1.4),
            (false, 1) => 0.3 * rng.normal(),
            _ => gain * rng.normal() / (fan_in as f64).sqrt(),
        }));
    }
    theta
}

/// The shapes of input regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Linf,
    LinfClipped,
    L2,
    L2Clipped,
    L1,
    L1Clipped,
    Boxes,
}

impl Shape {
    pub const ALL: [Shape; 7] =
        [Shape::Linf, Shape::LinfClipped, Shape::L2, Shape::L2Clipped, Shape::L1, Shape::L1Clipped, Shape::Boxes];

    pub fn clipped(self) -> bool {
        matches!(self, Shape::LinfClipped | Shape::L2Clipped | Shape::L1Clipped)
    }
}

/// A region of `batch` samples around points of [0, 1]^d; all radii are scaled by `size`.
pub fn region(rng: &Rng, shape: Shape, batch: usize, dimension: usize, size: f64) -> Region<f64> {
    region_in((0.0, 1.0), rng, shape, batch, dimension, size)
}

/// As [`region`] with a data range of `low..high`.
pub fn region_in(
    (low, high): (f64, f64),
    rng: &Rng,
    shape: Shape,
    batch: usize,
    dimension: usize,
    size: f64,
) -> Region<f64> {
    let x: Vec<f64> = (0..batch * dimension).map(|_| rng.between(low, high)).collect();
    let clip = shape.clipped().then_some((low, high));
    let ball = |norm, epsilon| Region::ball(&x, dimension, size * epsilon, norm, clip).unwrap();
    match shape {
        Shape::Linf | Shape::LinfClipped => ball(Norm::Inf, rng.between(0.05, 0.3)),
        Shape::L2 | Shape::L2Clipped => ball(Norm::L2, rng.between(0.2, 1.0)),
        Shape::L1 | Shape::L1Clipped => ball(Norm::L1, rng.between(0.4, 2.0)),
        Shape::Boxes => {
            let side = |x: &f64, sign: f64| x + sign * size * rng.between(0.0, 0.3);
            let lower: Vec<f64> = x.iter().map(|x| side(x, -1.0)).collect();
            let upper: Vec<f64> = x.iter().map(|x| side(x, 1.0)).collect();
            Region::boxes(&lower, &upper, dimension).unwrap()
        }
    }
}

/// True if `point` lies in the region of `sample`, up to rounding.
pub fn contains(region: &Region<f64>, sample: usize, point: &[f64]) -> bool {
    let d = region.dimension();
    let range = sample * d..(sample + 1) * d;
    let tolerance = 1e-12;
    let in_box = point
        .iter()
        .zip(&region.center[range.clone()])
        .zip(&region.radius[range.clone()])
        .all(|((p, c), r)| (p - c).abs() <= r + tolerance);
    let in_ball = region.ball.as_ref().is_none_or(|ball| {
        let offsets = point.iter().zip(&ball.center[range]).map(|(p, c)| (p - c).abs());
        let norm = match ball.norm {
            Norm::Inf => offsets.fold(0.0, f64::max),
            Norm::L2 => offsets.map(|o| o * o).sum::<f64>().sqrt(),
            Norm::L1 => offsets.sum(),
        };
        norm <= ball.epsilon + tolerance
    });
    in_box && in_ball
}

/// The point of the region that minimises ⟨gradient, x⟩ (for clipped balls: the ball's minimiser clipped).
pub fn minimiser(region: &Region<f64>, sample: usize, gradient: &[f64]) -> Vec<f64> {
    let d = region.dimension();
    let range = sample * d..(sample + 1) * d;
    let (center, radius) = (&region.center[range.clone()], &region.radius[range.clone()]);
    let Some(ball) = &region.ball else {
        return (0..d).map(|i| center[i] - radius[i] * gradient[i].signum()).collect();
    };
    let mut point = ball.center[range].to_vec();
    match ball.norm {
        Norm::L1 => {
            let peak = (0..d).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            point[peak] -= ball.epsilon * gradient[peak].signum();
        }
        _ => {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-300);
            point.iter_mut().zip(gradient).for_each(|(p, g)| *p -= ball.epsilon * g / norm);
        }
    }
    if region.clipped {
        // Towards the box only shortens each offset, as the centre lies in the box.
        for i in 0..d {
            point[i] = point[i].clamp(center[i] - radius[i], center[i] + radius[i]);
        }
    }
    point
}

/// Random points of the region of `sample`: extreme points, and points between them and its middle.
pub fn points(rng: &Rng, region: &Region<f64>, sample: usize, count: usize) -> Vec<Vec<f64>> {
    let d = region.dimension();
    let middle = match &region.ball {
        Some(ball) => &ball.center[sample * d..(sample + 1) * d],
        None => &region.center[sample * d..(sample + 1) * d],
    };
    let point = |index: usize| {
        let extreme = minimiser(region, sample, &rng.normals(d));
        let share = if index.is_multiple_of(2) { 1.0 } else { rng.uniform() };
        middle.iter().zip(extreme).map(|(m, e)| m + share * (e - m)).collect()
    };
    (0..count).map(point).collect()
}
