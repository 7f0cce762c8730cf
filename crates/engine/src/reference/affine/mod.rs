//! Affine layers as maps with three primitives: apply, transpose-apply and weight gradient.
//!
//! Every bound and every adjoint of this engine is composed from these three; a new affine layer
//! kind is one file with them. A map works on its *effective* weight and bias (for batch norm
//! w·scale and w·shift + b); [`Map::pull_back`] carries their gradients to θ.

mod channel;
mod conv;
mod dense;
mod gather;
mod pool;

use std::sync::Arc;

use tightrope_network::{BatchNorm, Gather, Layer, Network, NodeId, ParameterId, ParameterLayout};

use super::lanes::{dot, sum};
use crate::Real;
use conv::ConvGeometry;
use pool::PoolGeometry;
pub(crate) use pool::windows;

enum Kind {
    Dense { inputs: usize, outputs: usize },
    Conv(Box<ConvGeometry>),
    Channel { inner: usize },
    Pool(Box<PoolGeometry>),
    Gather(Gather),
    Identity,
}

/// Which matrix a primitive uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// W.
    Signed,
    /// |W|, for interval radii.
    Absolute,
}

/// One affine node: y = W x + b with the weights in place.
pub struct Map<T> {
    kind: Kind,
    /// Elements of one input.
    pub inputs: usize,
    /// Elements of one output.
    pub outputs: usize,
    signed: Vec<T>,
    absolute: Vec<T>,
    /// One value per channel; empty for none.
    bias: Vec<T>,
    source: Source<T>,
}

/// Where the effective weight and bias come from.
enum Source<T> {
    Direct {
        weight: ParameterId,
        bias: Option<ParameterId>,
    },
    Affine {
        weight: Option<ParameterId>,
        bias: Option<ParameterId>,
        scale: Vec<f64>,
        shift: Vec<f64>,
    },
    /// Factor w, mean and s = 1/√(variance + ε) of each channel.
    BatchNorm {
        norm: Box<BatchNorm>,
        factor: Vec<T>,
        mean: Vec<T>,
        scale: Vec<T>,
    },
    Constant,
}

/// 1/√(variance + ε).
pub(super) fn inverse_deviation<T: Real>(variance: T, epsilon: f64) -> T {
    T::ONE / (variance + T::from_f64(epsilon)).sqrt()
}

impl<T: Real> Map<T> {
    /// The map of node `id`, or `None` for the input, activations, max pooling, products and sums.
    pub fn of(network: &Network, theta: &[T], buffers: &[T], id: NodeId) -> Option<Self> {
        let node = network.node(id);
        let layout = network.parameters();
        let input_shape = node.inputs.first().map(|&input| network.node(input).shape.as_slice()).unwrap_or_default();
        let inputs = input_shape.iter().product();
        let read = |id: ParameterId| layout.slice(theta, id).to_vec();
        let (kind, signed, bias, source) = match &node.layer {
            Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product | Layer::Add => return None,
            Layer::Flatten => (Kind::Identity, Vec::new(), Vec::new(), Source::Constant),
            Layer::Linear(linear) => (
                Kind::Dense { inputs: linear.in_features, outputs: linear.out_features },
                read(linear.weight),
                linear.bias.map(read).unwrap_or_default(),
                Source::Direct { weight: linear.weight, bias: linear.bias },
            ),
            Layer::Conv2d(conv) => (
                Kind::Conv(Box::new(ConvGeometry::new(conv, input_shape, &node.shape))),
                read(conv.weight),
                conv.bias.map(read).unwrap_or_default(),
                Source::Direct { weight: conv.weight, bias: conv.bias },
            ),
            Layer::AvgPool2d(pool) => (
                Kind::Pool(Box::new(PoolGeometry::new(pool, input_shape, &node.shape))),
                Vec::new(),
                Vec::new(),
                Source::Constant,
            ),
            Layer::Gather(gather) => (Kind::Gather(gather.clone()), Vec::new(), Vec::new(), Source::Constant),
            Layer::Affine(affine) => {
                let factor = |c: usize| affine.weight.map_or(T::ONE, |w| layout.slice(theta, w)[c]);
                let summand = |c: usize| affine.bias.map_or(T::ZERO, |b| layout.slice(theta, b)[c]);
                let channels = affine.scale.len();
                let signed = (0..channels).map(|c| factor(c) * T::from_f64(affine.scale[c])).collect();
                let bias = (0..channels).map(|c| factor(c) * T::from_f64(affine.shift[c]) + summand(c)).collect();
                let source = Source::Affine {
                    weight: affine.weight,
                    bias: affine.bias,
                    scale: affine.scale.clone(),
                    shift: affine.shift.clone(),
                };
                (Kind::Channel { inner: affine.inner }, signed, bias, source)
            }
            Layer::BatchNorm(norm) => {
                let (factor, summand) = (read(norm.weight), read(norm.bias));
                let mean = network.buffers().slice(buffers, norm.mean).to_vec();
                let variance = network.buffers().slice(buffers, norm.variance);
                let scale: Vec<T> = variance.iter().map(|&v| inverse_deviation(v, norm.epsilon)).collect();
                let channels = norm.channels;
                let signed: Vec<T> = (0..channels).map(|c| factor[c] * scale[c]).collect();
                let bias = (0..channels).map(|c| summand[c] - signed[c] * mean[c]).collect();
                let source = Source::BatchNorm { norm: Box::new(norm.clone()), factor, mean, scale };
                (Kind::Channel { inner: inputs / channels }, signed, bias, source)
            }
        };
        let absolute = signed.iter().map(|w: &T| w.abs()).collect();
        Some(Map { kind, inputs, outputs: node.len(), signed, absolute, bias, source })
    }

    /// |b| of each output element, with both parts taken absolutely where the bias is a rounded sum.
    pub(super) fn bias_magnitude(&self, layout: &ParameterLayout, theta: &[T]) -> Vec<T> {
        if let (Kind::Channel { inner }, Source::Affine { weight, bias, shift, .. }) = (&self.kind, &self.source) {
            let value = |id: Option<ParameterId>, channel: usize, otherwise: T| {
                id.map_or(otherwise, |id| layout.slice(theta, id)[channel])
            };
            let part = |channel: usize| {
                let factor = value(*weight, channel, T::ONE);
                (factor * T::from_f64(shift[channel])).abs() + value(*bias, channel, T::ZERO).abs()
            };
            return (0..self.outputs).map(|element| part(element / inner)).collect();
        }
        if let (Kind::Channel { inner }, Source::BatchNorm { norm, mean, .. }) = (&self.kind, &self.source) {
            let summand = layout.slice(theta, norm.bias);
            let part = |channel: usize| (self.signed[channel] * mean[channel]).abs() + summand[channel].abs();
            return (0..self.outputs).map(|element| part(element / inner)).collect();
        }
        let mut bias = vec![T::ZERO; self.outputs];
        self.add_bias(&mut bias);
        bias.iter().map(|b| b.abs()).collect()
    }

    /// True if each output element depends on one input element only, so that interval bounds through it are exact.
    pub(super) fn is_diagonal(&self) -> bool {
        match &self.kind {
            Kind::Channel { .. } | Kind::Identity => true,
            Kind::Gather(gather) => gather.single().is_some(),
            Kind::Dense { .. } | Kind::Conv(_) | Kind::Pool(_) => false,
        }
    }

    /// The weights of each of `channels` outputs.
    pub(super) fn kernels(&self, channels: usize) -> std::slice::ChunksExact<'_, T> {
        self.signed.chunks_exact(self.signed.len() / channels)
    }

    fn weights(&self, which: Weights) -> &[T] {
        match which {
            Weights::Signed => &self.signed,
            Weights::Absolute => &self.absolute,
        }
    }

    /// y = W x for a batch of rows; `x` is `[batch, inputs]`, the result `[batch, outputs]`.
    pub fn apply(&self, which: Weights, x: &[T], batch: usize) -> Vec<T> {
        let mut y = vec![T::ZERO; batch * self.outputs];
        match &self.kind {
            Kind::Dense { inputs, outputs } => dense::apply(self.weights(which), *inputs, *outputs, x, batch, &mut y),
            Kind::Conv(geometry) => geometry.apply(self.weights(which), x, batch, &mut y, None),
            Kind::Channel { inner } => channel::scale(self.weights(which), *inner, x, &mut y),
            Kind::Pool(geometry) => geometry.apply(x, batch, &mut y),
            Kind::Gather(gather) => gather::apply(gather, self.inputs, x, &mut y),
            Kind::Identity => y.copy_from_slice(x),
        }
        y
    }

    /// As [`Map::apply`] with W, but output positions not marked in `mask` (`[batch, H·W]`) need not be computed.
    pub(super) fn apply_at(&self, x: &[T], batch: usize, mask: &[bool]) -> Vec<T> {
        match &self.kind {
            Kind::Conv(geometry) => {
                let mut y = vec![T::ZERO; batch * self.outputs];
                geometry.apply(&self.signed, x, batch, &mut y, Some(mask));
                y
            }
            Kind::Dense { .. } | Kind::Channel { .. } | Kind::Pool(_) | Kind::Gather(_) | Kind::Identity => {
                self.apply(Weights::Signed, x, batch)
            }
        }
    }

    /// Input positions under the windows of the marked output positions; both `[batch, H·W]`. Convolutions only.
    pub(super) fn window_reach(&self, mask: &[bool]) -> Vec<bool> {
        match &self.kind {
            Kind::Conv(geometry) => geometry.window_reach(mask),
            Kind::Dense { .. } | Kind::Channel { .. } | Kind::Pool(_) | Kind::Gather(_) | Kind::Identity => {
                unreachable!("only convolutions have windows")
            }
        }
    }

    /// x += Wᵀ y for a batch of rows; zero entries of `y` cost nothing where the layer is local or `y` sparse.
    pub fn transpose(&self, which: Weights, y: &[T], batch: usize, x: &mut [T]) {
        match &self.kind {
            Kind::Dense { inputs, outputs } => dense::transpose(self.weights(which), *inputs, *outputs, y, batch, x),
            Kind::Conv(geometry) => geometry.transpose(self.weights(which), y, batch, x),
            Kind::Channel { inner } => channel::scale(self.weights(which), *inner, y, x),
            Kind::Pool(geometry) => geometry.transpose(y, batch, x),
            Kind::Gather(gather) => gather::transpose(gather, self.inputs, y, x),
            Kind::Identity => x.iter_mut().zip(y).for_each(|(x, &y)| *x += y),
        }
    }

    /// gradient += ∂⟨y, W x⟩/∂W summed over the batch.
    pub(super) fn weight_gradient(&self, x: &[T], y: &[T], batch: usize, gradient: &mut [T]) {
        match &self.kind {
            Kind::Dense { inputs, outputs } => dense::weight_gradient(*inputs, *outputs, x, y, batch, gradient),
            Kind::Conv(geometry) => geometry.weight_gradient(x, y, batch, gradient),
            Kind::Channel { inner } => channel::weight_gradient(*inner, x, y, gradient),
            Kind::Pool(_) | Kind::Gather(_) | Kind::Identity => {}
        }
    }

    fn positions(&self) -> usize {
        self.outputs.checked_div(self.bias.len()).unwrap_or(0)
    }

    /// y += b on every row.
    pub fn add_bias(&self, y: &mut [T]) {
        if self.bias.is_empty() {
            return;
        }
        for row in y.chunks_exact_mut(self.outputs) {
            if self.positions() == 1 {
                row.iter_mut().zip(&self.bias).for_each(|(v, &b)| *v += b);
                continue;
            }
            for (values, &b) in row.chunks_exact_mut(self.positions()).zip(&self.bias) {
                values.iter_mut().for_each(|v| *v += b);
            }
        }
    }

    /// constant += ⟨row, b⟩ for each row of `[rows, outputs]`.
    pub fn bias_dot(&self, rows: &[T], constants: &mut [T]) {
        if self.bias.is_empty() {
            return;
        }
        for (row, constant) in rows.chunks_exact(self.outputs).zip(constants) {
            if self.positions() == 1 {
                *constant += dot(row, &self.bias);
                continue;
            }
            for (values, &b) in row.chunks_exact(self.positions()).zip(&self.bias) {
                *constant += sum(values) * b;
            }
        }
    }

    /// row += factor·b for each row of `[rows, outputs]`: the adjoint of [`Map::bias_dot`] to the rows.
    pub(super) fn add_scaled_bias(&self, factors: &[T], rows: &mut [T]) {
        if self.bias.is_empty() {
            return;
        }
        for (row, &factor) in rows.chunks_exact_mut(self.outputs).zip(factors) {
            for (values, &b) in row.chunks_exact_mut(self.positions()).zip(&self.bias) {
                values.iter_mut().for_each(|v| *v += factor * b);
            }
        }
    }

    /// gradient += Σ_rows factor·(row summed per channel): the gradient of the bias.
    pub(super) fn bias_gradient(&self, factors: Option<&[T]>, rows: &[T], gradient: &mut [T]) {
        if self.bias.is_empty() {
            return;
        }
        for (index, row) in rows.chunks_exact(self.outputs).enumerate() {
            let factor = factors.map_or(T::ONE, |f| f[index]);
            for (values, g) in row.chunks_exact(self.positions()).zip(gradient.iter_mut()) {
                *g += factor * sum(values);
            }
        }
    }

    /// Adds the gradients of θ and of the buffers that follow from those of the effective weight and bias.
    fn pull_back(
        &self,
        weight_gradient: &[T],
        bias_gradient: &[T],
        network: &Network,
        theta: &mut [T],
        buffers: &mut [T],
    ) {
        let layout = network.parameters();
        let add = |theta: &mut [T], id: ParameterId, gradient: &mut dyn Iterator<Item = T>| {
            layout.slice_mut(theta, id).iter_mut().zip(gradient).for_each(|(t, g)| *t += g);
        };
        match &self.source {
            Source::Constant => {}
            Source::Direct { weight, bias } => {
                add(theta, *weight, &mut weight_gradient.iter().copied());
                if let Some(bias) = bias {
                    add(theta, *bias, &mut bias_gradient.iter().copied());
                }
            }
            Source::Affine { weight, bias, scale, shift } => {
                if let Some(weight) = weight {
                    let mut product = (0..scale.len())
                        .map(|c| weight_gradient[c] * T::from_f64(scale[c]) + bias_gradient[c] * T::from_f64(shift[c]));
                    add(theta, *weight, &mut product);
                }
                if let Some(bias) = bias {
                    add(theta, *bias, &mut bias_gradient.iter().copied());
                }
            }
            Source::BatchNorm { norm, factor, mean, scale } => {
                // W = w·s and B = b − w·s·m, with ds/dv = −s³/2.
                let on_normalised = |c: usize| weight_gradient[c] - mean[c] * bias_gradient[c];
                let channels = 0..norm.channels;
                add(theta, norm.weight, &mut channels.clone().map(|c| scale[c] * on_normalised(c)));
                add(theta, norm.bias, &mut bias_gradient.iter().copied());
                let half = T::from_f64(0.5);
                let targets = network.buffers().slice_mut(buffers, norm.mean).iter_mut();
                targets.zip(channels.clone()).for_each(|(t, c)| *t += -factor[c] * scale[c] * bias_gradient[c]);
                let targets = network.buffers().slice_mut(buffers, norm.variance).iter_mut();
                targets.zip(channels).for_each(|(t, c)| {
                    *t += -half * factor[c] * scale[c] * scale[c] * scale[c] * on_normalised(c);
                });
            }
        }
    }
}

/// Gradients of all effective weights and biases of a network, one entry per node.
pub(super) struct MapGradients<T> {
    signed: Vec<Vec<T>>,
    absolute: Vec<Vec<T>>,
    bias: Vec<Vec<T>>,
}

impl<T: Real> MapGradients<T> {
    /// Zero gradients for `maps`.
    pub(super) fn new(maps: &[Option<Arc<Map<T>>>]) -> Self {
        let zeros = |length: fn(&Map<T>) -> usize| -> Vec<Vec<T>> {
            maps.iter().map(|map| vec![T::ZERO; map.as_deref().map_or(0, length)]).collect()
        };
        MapGradients {
            signed: zeros(|map| map.signed.len()),
            absolute: vec![Vec::new(); maps.len()],
            bias: zeros(|map| map.bias.len()),
        }
    }

    /// Adds ∂⟨y, W x⟩/∂W (or with |W|) for node `id`.
    pub(super) fn add_weight(&mut self, id: NodeId, map: &Map<T>, which: Weights, x: &[T], y: &[T], batch: usize) {
        let target = match which {
            Weights::Signed => &mut self.signed[id],
            Weights::Absolute => {
                if self.absolute[id].is_empty() {
                    self.absolute[id] = vec![T::ZERO; map.signed.len()];
                }
                &mut self.absolute[id]
            }
        };
        map.weight_gradient(x, y, batch, target);
    }

    /// Adds factor·kernel for each output channel of node `id`.
    pub(super) fn add_kernels(&mut self, id: NodeId, map: &Map<T>, factors: &[T]) {
        let kernels = map.kernels(factors.len());
        let targets = self.signed[id].chunks_exact_mut(map.signed.len() / factors.len());
        for ((target, kernel), &factor) in targets.zip(kernels).zip(factors) {
            target.iter_mut().zip(kernel).for_each(|(t, &w)| *t += factor * w);
        }
    }

    /// Adds the bias gradient for node `id`, rows weighted by `factors`.
    pub(super) fn add_bias(&mut self, id: NodeId, map: &Map<T>, factors: Option<&[T]>, rows: &[T]) {
        map.bias_gradient(factors, rows, &mut self.bias[id]);
    }

    /// Adds another gradient of the same network.
    pub(super) fn add(&mut self, other: &MapGradients<T>) {
        for (mine, theirs) in [(&mut self.signed, &other.signed), (&mut self.bias, &other.bias)] {
            for (a, b) in mine.iter_mut().zip(theirs) {
                a.iter_mut().zip(b).for_each(|(a, &b)| *a += b);
            }
        }
        for (a, b) in self.absolute.iter_mut().zip(&other.absolute) {
            if a.is_empty() {
                a.clone_from(b);
            } else if !b.is_empty() {
                a.iter_mut().zip(b).for_each(|(a, &b)| *a += b);
            }
        }
    }

    /// The gradients with respect to θ and to the buffers; |W| contributes through sign(W).
    pub(super) fn into_gradients(mut self, maps: &[Option<Arc<Map<T>>>], network: &Network) -> (Vec<T>, Vec<T>) {
        let mut theta = vec![T::ZERO; network.parameters().total()];
        let mut buffers = vec![T::ZERO; network.buffers().total()];
        for (id, map) in maps.iter().enumerate() {
            let Some(map) = map else { continue };
            let weight = &mut self.signed[id];
            for ((g, &absolute), w) in weight.iter_mut().zip(&self.absolute[id]).zip(&map.signed) {
                *g += absolute * w.signum0();
            }
            map.pull_back(weight, &self.bias[id], network, &mut theta, &mut buffers);
        }
        (theta, buffers)
    }
}
