//! What random networks are made of, one arm per piece: a new layer kind is one more here.

use tightrope_network::{Activation, AvgPool2d, Conv2d, Gather, Layer, MaxPool2d};

use super::network::{Constants, Draw};
use crate::networks::Chain;

/// A part of a random network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// max(x, 0).
    Relu,
    /// Any other activation, with random constants.
    Activation,
    /// Two activations of one layer, summed.
    TwoActivations,
    /// An exponential function, softplus, power or reciprocal, of numbers that are not large and, for the last, not near 0.
    Curved,
    /// A convolution of one group with random geometry that fits its image.
    Conv,
    /// The same in two groups where the channels allow them.
    GroupedConv,
    /// The same with a group per channel.
    DepthwiseConv,
    /// A 3×3 convolution that keeps the shape.
    SameConv,
    /// An average pooling with random geometry that fits its image.
    AvgPool,
    /// A max pooling with random geometry that fits its image.
    MaxPool,
    /// The product of two halves of a convolution's channels, one of which may have gone through an activation.
    Product,
    /// Sums of random elements, or the elements in another order, as an image.
    Gather,
    /// x + conv(relu(conv(x))), at times with batch norm and at times with x counted twice.
    Residual,
    /// An affine layer of constants.
    Normalise,
    /// Batch norm with fixed statistics.
    BatchNorm,
    /// One axis, where it is not one already.
    Flatten,
    /// A linear layer of the network's hidden width.
    Hidden,
    /// A linear layer of the network's number of classes.
    Logits,
    /// One of several lists of pieces.
    OneOf(&'static [&'static [Piece]]),
}

impl Piece {
    /// The chain with this piece at its end.
    ///
    /// # Panics
    /// Where it does not fit: images after [`Piece::Flatten`], linear layers before.
    pub(super) fn append(self, chain: Chain, draw: &Draw<'_>) -> Chain {
        match self {
            Piece::Relu => chain.relu(),
            Piece::Activation => chain.layer(Layer::Activation(activation(draw))),
            Piece::TwoActivations => two_activations(chain, draw),
            Piece::Curved => curved(chain, draw),
            Piece::Conv => conv(chain, draw, 1),
            Piece::GroupedConv => conv(chain, draw, 2),
            Piece::DepthwiseConv => {
                let channels = chain.shape()[0];
                conv(chain, draw, channels)
            }
            Piece::SameConv => {
                let channels = chain.shape()[0];
                let conv = Conv2d { padding: [1; 4], ..Conv2d::new([channels; 2], [3; 2]) };
                chain.conv2d(conv, draw.rng.coin())
            }
            Piece::AvgPool => avg_pool(chain, draw),
            Piece::MaxPool => max_pool(chain, draw),
            Piece::Product => product(chain, draw),
            Piece::Gather => gather(chain, draw),
            Piece::Residual => residual(chain, draw),
            Piece::Normalise => normalise(chain, draw),
            Piece::BatchNorm => batch_norm(chain, draw),
            Piece::Flatten if chain.shape().len() == 1 => chain,
            Piece::Flatten => chain.flatten(),
            Piece::Hidden => chain.linear_with(draw.hidden, draw.rng.coin()),
            Piece::Logits => chain.linear_with(draw.classes, draw.rng.coin()),
            Piece::OneOf(lists) => draw.rng.one_of(lists).iter().fold(chain, |chain, piece| piece.append(chain, draw)),
        }
    }
}

fn conv(chain: Chain, draw: &Draw<'_>, groups: usize) -> Chain {
    let Draw { rng, knobs, .. } = draw;
    let shape = chain.shape().to_vec();
    let groups = if shape[0].is_multiple_of(groups) { groups } else { 1 };
    let mut filters: Vec<usize> = knobs.filters.iter().copied().filter(|count| count.is_multiple_of(groups)).collect();
    if filters.is_empty() {
        filters.push(groups);
    }
    loop {
        let conv = Conv2d {
            out_channels: *rng.one_of(&filters),
            kernel: [(); 2].map(|()| rng.integer(1, knobs.kernel)),
            stride: [(); 2].map(|()| rng.integer(1, knobs.stride)),
            padding: [(); 4].map(|()| rng.integer(0, knobs.padding)),
            dilation: [(); 2].map(|()| rng.integer(1, knobs.dilation)),
            groups,
            ..Conv2d::new([shape[0]; 2], [1; 2])
        };
        if conv.output_side([shape[1], shape[2]]).is_ok() {
            return chain.conv2d(conv, rng.coin());
        }
    }
}

fn avg_pool(chain: Chain, draw: &Draw<'_>) -> Chain {
    let Draw { rng, knobs, .. } = draw;
    let side = [chain.shape()[1], chain.shape()[2]];
    loop {
        let kernel = [(); 2].map(|()| rng.integer(1, knobs.kernel));
        let pool = AvgPool2d {
            kernel,
            stride: [(); 2].map(|()| rng.integer(1, knobs.stride)),
            padding: [0, 1, 0, 1].map(|axis| rng.integer(0, kernel[axis] - 1)),
            count_include_pad: rng.coin(),
        };
        if pool.output_side(side).is_ok() {
            return chain.avg_pool(pool);
        }
    }
}

fn max_pool(chain: Chain, draw: &Draw<'_>) -> Chain {
    let Draw { rng, knobs, .. } = draw;
    let side = [chain.shape()[1], chain.shape()[2]];
    loop {
        let kernel = [(); 2].map(|()| rng.integer(1, knobs.kernel));
        let pool = MaxPool2d {
            kernel,
            stride: [(); 2].map(|()| rng.integer(1, knobs.stride)),
            padding: [0, 1, 0, 1].map(|axis| rng.integer(0, kernel[axis] - 1)),
        };
        if pool.output_side(side).is_ok() {
            return chain.layer(Layer::MaxPool2d(pool));
        }
    }
}

/// Both factors from one layer, or beside each other from two.
fn product(chain: Chain, draw: &Draw<'_>) -> Chain {
    let channels = chain.shape()[0];
    let outputs = draw.rng.integer(1, 3);
    if draw.rng.coin() {
        let conv = Conv2d { padding: [1; 4], ..Conv2d::new([channels, 2 * outputs], [3; 2]) };
        return chain.conv2d(conv, draw.rng.coin()).layer(Layer::Product);
    }
    let read = chain.node();
    let half = |chain: Chain, first: usize| {
        let chain =
            chain.conv2d(Conv2d { padding: [1; 4], ..Conv2d::new([channels, outputs], [3; 2]) }, draw.rng.coin());
        let chain = Piece::OneOf(&[&[], &[Piece::Relu], &[Piece::Activation]]).append(chain, draw);
        let (shape, n) = (chain.shape().to_vec(), chain.shape().iter().product::<usize>());
        let counts: Vec<usize> = (0..2 * n).map(|i| usize::from(i / n == first)).collect();
        let shape = [&[2 * shape[0]], &shape[1..]].concat();
        chain.layer(Layer::Gather(Gather::sums(shape, &counts, (0..n as u32).collect())))
    };
    let chain = half(chain, 0);
    let first = chain.node();
    let chain = half(chain.from(read), 1);
    let second = chain.node();
    chain.sum(&[first, second]).layer(Layer::Product)
}

fn gather(chain: Chain, draw: &Draw<'_>) -> Chain {
    let Draw { rng, knobs, .. } = draw;
    let elements = chain.shape().iter().product::<usize>();
    let shape = if rng.coin() {
        chain.shape().to_vec()
    } else {
        vec![rng.within(&knobs.channels), rng.within(&knobs.sides), rng.within(&knobs.sides)]
    };
    let outputs: usize = shape.iter().product();
    let any = |_| rng.below(elements) as u32;
    let gather = match rng.below(3) {
        0 => Gather::one_each(shape, (0..outputs).map(any).collect()),
        1 => {
            // Steps that share no factor with the length meet every element.
            let shared = |step: usize| (2..=elements).any(|d| elements.is_multiple_of(d) && step.is_multiple_of(d));
            let step = (1..).filter(|&step| !shared(step)).nth(rng.below(3)).unwrap_or(1);
            Gather::one_each(shape, (0..outputs).map(|i| (i * step % elements) as u32).collect())
        }
        _ => {
            let (mut counts, mut sources) = (Vec::new(), Vec::new());
            for _ in 0..outputs {
                let mut own: Vec<u32> = (0..rng.below(4)).map(any).collect();
                own.sort_unstable();
                own.dedup();
                counts.push(own.len());
                sources.extend(own);
            }
            Gather::sums(shape, &counts, sources)
        }
    };
    chain.layer(Layer::Gather(gather))
}

/// Any activation but ReLU.
fn activation(draw: &Draw<'_>) -> Activation {
    let between = |low, high| {
        let value = draw.rng.between(low, high);
        match draw.knobs.constants {
            Constants::Any => value,
            Constants::OfFiles => f64::from(value as f32),
        }
    };
    match draw.rng.below(4) {
        0 => Activation::LeakyRelu { slope: between(0.0, 0.9) },
        1 => Activation::Sigmoid,
        2 => Activation::Tanh,
        _ => Activation::Clip { lower: between(-1.0, 0.0), upper: between(0.1, 1.5) },
    }
}

/// A function without kinks that may be steep or fall, of values between −2 and 2, or of the reciprocal's own away from 0.
fn curved(chain: Chain, draw: &Draw<'_>) -> Chain {
    let elements: usize = chain.shape().iter().product();
    let scaled =
        |chain: Chain, scale: f64, shift: f64| chain.affine(vec![scale; elements], vec![shift; elements], [false; 2]);
    let chain = scaled(chain.layer(Layer::Activation(Activation::Tanh)), 2.0, 0.0);
    match draw.rng.below(5) {
        0 => chain.layer(Layer::Activation(Activation::Exp)),
        1 => chain.layer(Layer::Activation(Activation::Softplus)),
        2 => {
            let sign = draw.rng.sign();
            let positive = chain.layer(Layer::Activation(Activation::Softplus));
            scaled(positive, sign, 4.0 * sign).layer(Layer::Activation(Activation::Reciprocal))
        }
        _ => {
            let exponent = draw.rng.integer(2, 4) as u32;
            chain.layer(Layer::Activation(Activation::Power { exponent }))
        }
    }
}

fn two_activations(chain: Chain, draw: &Draw<'_>) -> Chain {
    let read = chain.node();
    let chain = Piece::Activation.append(chain, draw);
    let first = chain.node();
    let chain = Piece::OneOf(&[&[Piece::Activation], &[Piece::Relu]]).append(chain.from(read), draw);
    let second = chain.node();
    chain.sum(&[first, second])
}

fn residual(chain: Chain, draw: &Draw<'_>) -> Chain {
    let skip = chain.node();
    let mut chain = Piece::SameConv.append(chain, draw);
    if draw.rng.coin() {
        chain = Piece::BatchNorm.append(chain, draw);
    }
    chain = Piece::SameConv.append(chain.relu(), draw);
    let branch = chain.node();
    if draw.rng.coin() { chain.sum(&[branch, skip]) } else { chain.sum(&[skip, branch, skip]) }
}

/// Constants of either sign.
fn constants(draw: &Draw<'_>, channels: usize) -> (Vec<f64>, Vec<f64>) {
    let rng = draw.rng;
    let scale = (0..channels).map(|_| rng.sign() * rng.between(0.4, 1.6)).collect();
    let shift = (0..channels).map(|_| 0.3 * rng.normal()).collect();
    (scale, shift)
}

fn normalise(chain: Chain, draw: &Draw<'_>) -> Chain {
    let rng = draw.rng;
    let (scale, shift) = match draw.knobs.constants {
        Constants::Any => constants(draw, chain.shape()[0]),
        Constants::OfFiles => {
            let axes = rng.integer(0, chain.shape().len());
            let channels: usize = chain.shape()[..axes].iter().product();
            let std: Vec<f64> = (0..channels).map(|_| f64::from(rng.uniform() as f32 + 0.25)).collect();
            let mean: Vec<f64> = (0..channels).map(|_| rng.uniform()).collect();
            // As x/std − mean/std, as x·std + mean and as x + mean.
            match rng.below(3) {
                0 => (
                    std.iter().map(|s| 1.0 / s).collect(),
                    mean.iter().zip(&std).map(|(m, s)| -m * (1.0 / s)).collect(),
                ),
                1 => (std, mean),
                _ => (vec![1.0; channels], mean),
            }
        }
    };
    chain.affine(scale, shift, [false; 2])
}

fn batch_norm(chain: Chain, draw: &Draw<'_>) -> Chain {
    let rng = draw.rng;
    let shape = chain.shape();
    match draw.knobs.constants {
        Constants::Any => {
            let (scale, shift) = constants(draw, shape[0]);
            chain.affine(scale, shift, [true; 2])
        }
        Constants::OfFiles => {
            let channels = if rng.below(4) > 0 { shape[0] } else { shape.iter().product() };
            let variance: Vec<f64> = (0..channels).map(|_| rng.uniform()).collect();
            let mean: Vec<f64> = (0..channels).map(|_| rng.uniform()).collect();
            let scale: Vec<f64> = variance.iter().map(|v| 1.0 / (v + f64::from(1e-5_f32)).sqrt()).collect();
            let shift = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
            let trained = *rng.one_of(&[[true; 2], [true; 2], [false, true], [true, false]]);
            chain.affine(scale, shift, trained)
        }
    }
}
