//! Builds networks by hand: layers one after the other, with sums of earlier ones.

use tightrope_network::{Affine, AvgPool2d, Conv2d, Layer, Network, NetworkBuilder, NodeId};

/// A network under construction: each layer reads the last one. Layers are called `layer 1`, `layer 2`, … and their
/// parameters `layer 1.weight`, `layer 1.bias`.
///
/// Every method panics where the layer does not fit.
pub struct Chain {
    builder: NetworkBuilder,
    last: NodeId,
    count: usize,
}

impl Chain {
    /// No layers yet, for inputs of `shape`.
    pub fn new(shape: &[usize]) -> Self {
        let builder = NetworkBuilder::new(shape).unwrap();
        Chain { last: builder.input(), builder, count: 0 }
    }

    /// The last layer, for a later [`Chain::sum`] or [`Chain::from`].
    pub fn node(&self) -> NodeId {
        self.last
    }

    /// Shape of the last layer's output.
    pub fn shape(&self) -> &[usize] {
        self.builder.shape(self.last)
    }

    /// Goes on from an earlier layer.
    pub fn from(self, node: NodeId) -> Self {
        Chain { last: node, ..self }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("layer {}", self.count)
    }

    /// A layer without parameters.
    pub fn layer(mut self, layer: Layer) -> Self {
        let name = self.name();
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
        self
    }

    /// max(x, 0).
    pub fn relu(self) -> Self {
        self.layer(Layer::RELU)
    }

    /// One axis.
    pub fn flatten(self) -> Self {
        self.layer(Layer::Flatten)
    }

    /// An average pooling.
    pub fn avg_pool(self, pool: AvgPool2d) -> Self {
        self.layer(Layer::AvgPool2d(pool))
    }

    /// The sum of `nodes`, in that order.
    pub fn sum(mut self, nodes: &[NodeId]) -> Self {
        let name = self.name();
        self.last = self.builder.add(name, Layer::Add, nodes).unwrap();
        self
    }

    /// A convolution with any geometry; the input channels are those of the last layer.
    pub fn conv2d(mut self, conv: Conv2d, bias: bool) -> Self {
        let name = self.name();
        let conv = Conv2d { in_channels: self.shape()[0], ..conv };
        self.last = self.builder.conv2d(&name, conv, bias, self.last).unwrap();
        self
    }

    /// A convolution of one group with a bias; `padding` is top, left, bottom, right.
    pub fn conv(self, out: usize, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> Self {
        let channels = [self.shape()[0], out];
        self.conv2d(Conv2d { stride, padding, ..Conv2d::new(channels, kernel) }, true)
    }

    /// A linear layer with a bias.
    pub fn linear(self, out: usize) -> Self {
        self.linear_with(out, true)
    }

    /// A linear layer with or without a bias.
    pub fn linear_with(mut self, out: usize, bias: bool) -> Self {
        let name = self.name();
        self.last = self.builder.linear(&name, out, bias, self.last).unwrap();
        self
    }

    /// y = w·(scale·x + shift) + b per channel of constants, with trainable factors w and summands b where `trained` says
    /// so; without either it is a normalisation, with both a batch norm of fixed statistics.
    pub fn affine(mut self, scale: Vec<f64>, shift: Vec<f64>, trained: [bool; 2]) -> Self {
        let name = self.name();
        let channels = scale.len();
        let inner = self.shape().iter().product::<usize>() / channels;
        let mut parameter = |trained: bool, part: &str| {
            trained.then(|| self.builder.parameter(format!("{name}.{part}"), &[channels]).unwrap())
        };
        let (weight, bias) = (parameter(trained[0], "weight"), parameter(trained[1], "bias"));
        let layer = Layer::Affine(Affine { inner, scale, shift, weight, bias });
        self.last = self.builder.add(name, layer, &[self.last]).unwrap();
        self
    }

    /// A batch norm with its buffers `layer 3.running_mean` and `layer 3.running_var`.
    pub fn batch_norm(mut self) -> Self {
        let name = self.name();
        self.last = self.builder.batch_norm(&name, self.last).unwrap();
        self
    }

    /// The network, whose output is the last layer.
    pub fn build(self) -> Network {
        self.builder.build().unwrap()
    }
}

/// A fully connected network of the given widths, inputs first and outputs last, with biases and ReLUs in between.
pub fn dense(widths: &[usize]) -> Network {
    let (&inputs, rest) = widths.split_first().expect("a width of the inputs");
    let (&outputs, hidden) = rest.split_last().expect("a width of the outputs");
    hidden.iter().fold(Chain::new(&[inputs]), |chain, &width| chain.linear(width).relu()).linear(outputs).build()
}

/// A residual network with three outputs: normalisation, batch norm, padded, strided, dilated and grouped convolutions, ReLUs,
/// average pooling.
pub fn residual(count_include_pad: bool) -> Network {
    let mut chain = Chain::new(&[2, 4, 5])
        .affine(vec![1.7, 0.3], vec![-0.2, 0.4], [false; 2])
        .conv2d(Conv2d { padding: [1, 1, 1, 0], groups: 2, ..Conv2d::new([2, 4], [3, 2]) }, true)
        .affine(vec![0.7, 1.1, 1.3, 0.9], vec![0.1, -0.1, 0.2, 0.0], [true; 2])
        .relu();
    let skip = chain.node();
    chain = chain.conv2d(Conv2d { padding: [2; 4], dilation: [2; 2], ..Conv2d::new([4; 2], [3; 2]) }, false);
    let branch = chain.node();
    chain
        .sum(&[skip, branch])
        .relu()
        .conv(3, [3; 2], [2; 2], [1; 4])
        .relu()
        .avg_pool(AvgPool2d { kernel: [2; 2], stride: [1, 2], padding: [0, 1, 1, 0], count_include_pad })
        .flatten()
        .linear(3)
        .build()
}
