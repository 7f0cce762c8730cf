//! The layer kinds, one file each: what they hold, the shapes they map to, the parameters they need, how those start
//! and how a description states them.

mod activation;
mod add;
mod affine;
mod avg_pool2d;
mod batch_norm;
mod conv2d;
mod flatten;
mod gather;
mod linear;
mod max_pool2d;
mod product;
mod window;

pub use activation::Activation;
pub use affine::Affine;
pub use avg_pool2d::AvgPool2d;
pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use gather::Gather;
pub use linear::Linear;
pub use max_pool2d::MaxPool2d;

use std::ops::RangeInclusive;

use crate::NetworkError;
use crate::description::{Kind, LayerDescription, Names, Reading};
use crate::layout::{BufferId, ParameterId};
use activation::{clip, leaky_relu, power};

/// A node's operation. Shapes never include the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The network's input; node 0 and nowhere else.
    Input,
    /// 2-D cross-correlation.
    Conv2d(Conv2d),
    /// y = W x + b on the flattened input.
    Linear(Linear),
    /// y = w·(scale·x + shift) + b per channel: normalisation, or batch norm with fixed statistics.
    Affine(Affine),
    /// Normalisation per channel by statistics in the buffers.
    BatchNorm(BatchNorm),
    /// Mean over windows.
    AvgPool2d(AvgPool2d),
    /// Sums of selected elements.
    Gather(Gather),
    /// Maximum over windows.
    MaxPool2d(MaxPool2d),
    /// An elementwise function.
    Activation(Activation),
    /// Reshape to one dimension.
    Flatten,
    /// Sum of two or more inputs of equal shape.
    Add,
    /// Elements of the first half of the input, along its first axis, times those of the second half.
    Product,
}

/// The parameter tensors of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerParameters {
    /// What the layer multiplies its input by.
    pub weight: Option<ParameterId>,
    /// What it adds.
    pub bias: Option<ParameterId>,
}

impl LayerParameters {
    /// The tensors in θ's order.
    pub fn iter(self) -> impl Iterator<Item = ParameterId> {
        self.weight.into_iter().chain(self.bias)
    }
}

/// The tensors of a layer with the shapes it needs.
#[derive(Default)]
pub(crate) struct Needs {
    pub(crate) weight: Option<(ParameterId, Vec<usize>)>,
    pub(crate) bias: Option<(ParameterId, Vec<usize>)>,
    /// In the order of the buffers' vector.
    pub(crate) buffers: Vec<(BufferId, Vec<usize>)>,
}

/// How the parameters of a layer start.
pub(crate) enum Start {
    /// At random, in proportion to the number of inputs that one output sums.
    Random { fan_in: usize },
    /// Weight 1 and bias 0.
    Identity,
}

impl Layer {
    /// The ReLU layer.
    pub const RELU: Layer = Layer::Activation(Activation::Relu);

    /// The kind's name in descriptions and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Conv2d(_) => "conv2d",
            Layer::Linear(_) => "linear",
            Layer::Affine(_) => "affine",
            Layer::BatchNorm(_) => "batchnorm",
            Layer::AvgPool2d(_) => "avgpool2d",
            Layer::Gather(_) => "gather",
            Layer::MaxPool2d(_) => "maxpool2d",
            Layer::Activation(activation) => activation.kind(),
            Layer::Flatten => "flatten",
            Layer::Add => "add",
            Layer::Product => "product",
        }
    }

    /// True for the kinds whose output is an affine function of their inputs, at given buffers.
    pub fn is_affine(&self) -> bool {
        match self {
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten
            | Layer::Add => true,
            Layer::MaxPool2d(_) | Layer::Activation(_) | Layer::Product => false,
        }
    }

    /// The layer's parameter tensors.
    pub fn parameters(&self) -> LayerParameters {
        let Needs { weight, bias, buffers: _ } = self.needs();
        LayerParameters { weight: weight.map(|(id, _)| id), bias: bias.map(|(id, _)| id) }
    }

    /// The layer's buffers, in the order of their vector.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> + use<> {
        self.needs().buffers.into_iter().map(|(id, _)| id)
    }

    /// The number of inputs that one output of a convolution or linear layer sums; none for other kinds.
    pub fn fan_in(&self) -> Option<usize> {
        match self.start()? {
            Start::Random { fan_in } => Some(fan_in),
            Start::Identity => None,
        }
    }

    /// The layer's tensors and the shapes they must have.
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Layer::Conv2d(conv) => conv.needs(),
            Layer::Linear(linear) => linear.needs(),
            Layer::Affine(affine) => affine.needs(),
            Layer::BatchNorm(norm) => norm.needs(),
            Layer::Input
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Add
            | Layer::Product => Needs::default(),
        }
    }

    /// How the layer's parameters start; none for kinds that have none.
    pub(crate) fn start(&self) -> Option<Start> {
        match self {
            Layer::Conv2d(conv) => Some(conv.start()),
            Layer::Linear(linear) => Some(linear.start()),
            Layer::Affine(affine) => Some(affine.start()),
            Layer::BatchNorm(norm) => Some(norm.start()),
            Layer::Input
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Add
            | Layer::Product => None,
        }
    }

    /// The same layer with other tensors.
    pub(crate) fn with_tensors(
        mut self,
        parameter: impl Fn(ParameterId) -> ParameterId,
        buffer: impl Fn(BufferId) -> BufferId,
    ) -> Layer {
        let renew = |id: &mut ParameterId| *id = parameter(*id);
        match &mut self {
            Layer::Conv2d(conv) => {
                renew(&mut conv.weight);
                conv.bias.iter_mut().for_each(renew);
            }
            Layer::Linear(linear) => {
                renew(&mut linear.weight);
                linear.bias.iter_mut().for_each(renew);
            }
            Layer::Affine(affine) => affine.weight.iter_mut().chain(&mut affine.bias).for_each(renew),
            Layer::BatchNorm(norm) => {
                [&mut norm.weight, &mut norm.bias].into_iter().for_each(renew);
                [&mut norm.mean, &mut norm.variance].into_iter().for_each(|id| *id = buffer(*id));
            }
            Layer::Input
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Add
            | Layer::Product => {}
        }
        self
    }

    /// How many inputs the kind reads.
    fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Layer::Input => 0..=0,
            Layer::Add => 2..=usize::MAX,
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Product => 1..=1,
        }
    }

    /// Output shape for the given input shapes.
    pub(crate) fn output_shape(&self, name: &str, inputs: &[&[usize]]) -> Result<Vec<usize>, NetworkError> {
        let expected = self.arity();
        if !expected.contains(&inputs.len()) {
            let problem = format!(
                "a layer of kind `{}` cannot have {} input{}; give it {}",
                self.kind(),
                inputs.len(),
                if inputs.len() == 1 { "" } else { "s" },
                match expected.start() {
                    0 => "none",
                    1 => "one",
                    _ => "at least two",
                }
            );
            return Err(NetworkError::layer(name, problem));
        }
        let shape = match self {
            Layer::Input => Err("an input layer stands only at the start".into()),
            Layer::Conv2d(conv) => conv.output_shape(inputs[0]),
            Layer::Linear(linear) => linear.output_shape(inputs[0]),
            Layer::Affine(affine) => affine.output_shape(inputs[0]),
            Layer::BatchNorm(norm) => norm.output_shape(inputs[0]),
            Layer::AvgPool2d(pool) => pool.output_shape(inputs[0]),
            Layer::Gather(gather) => gather.output_shape(inputs[0]),
            Layer::MaxPool2d(pool) => pool.output_shape(inputs[0]),
            Layer::Activation(activation) => activation.check().map(|()| inputs[0].to_vec()),
            Layer::Flatten => Ok(flatten::output_shape(inputs[0])),
            Layer::Add => add::output_shape(inputs),
            Layer::Product => product::output_shape(inputs[0]),
        };
        shape.map_err(|problem| NetworkError::layer(name, problem))
    }

    /// The layer that a description states; reserves its tensors.
    pub(crate) fn read(reading: &mut Reading<'_>) -> Result<Self, NetworkError> {
        Ok(match reading.text.kind {
            Kind::Conv2d => Layer::Conv2d(Conv2d::read(reading)?),
            Kind::Linear => Layer::Linear(Linear::read(reading)?),
            Kind::Affine => Layer::Affine(Affine::read(reading)?),
            Kind::BatchNorm => Layer::BatchNorm(BatchNorm::read(reading)?),
            Kind::AvgPool2d => Layer::AvgPool2d(AvgPool2d::read(reading)?),
            Kind::Gather => Layer::Gather(Gather::read(reading)?),
            Kind::MaxPool2d => Layer::MaxPool2d(MaxPool2d::read(reading)?),
            Kind::Relu => Layer::Activation(Activation::Relu),
            Kind::LeakyRelu => Layer::Activation(leaky_relu::read(reading)),
            Kind::Sigmoid => Layer::Activation(Activation::Sigmoid),
            Kind::Tanh => Layer::Activation(Activation::Tanh),
            Kind::Clip => Layer::Activation(clip::read(reading)?),
            Kind::Exp => Layer::Activation(Activation::Exp),
            Kind::Softplus => Layer::Activation(Activation::Softplus),
            Kind::Reciprocal => Layer::Activation(Activation::Reciprocal),
            Kind::Power => Layer::Activation(power::read(reading)?),
            Kind::Flatten => Layer::Flatten,
            Kind::Add => Layer::Add,
            Kind::Product => Layer::Product,
        })
    }

    /// States the layer in `text`; the input has no description.
    pub(crate) fn write(&self, text: &mut LayerDescription, names: Names<'_>) {
        match self {
            Layer::Input => unreachable!("only node 0 is the input"),
            Layer::Conv2d(conv) => conv.write(text, names),
            Layer::Linear(linear) => linear.write(text, names),
            Layer::Affine(affine) => affine.write(text, names),
            Layer::BatchNorm(norm) => norm.write(text, names),
            Layer::AvgPool2d(pool) => pool.write(text),
            Layer::Gather(gather) => gather.write(text),
            Layer::MaxPool2d(pool) => pool.write(text),
            Layer::Activation(activation) => activation.write(text),
            Layer::Flatten | Layer::Add | Layer::Product => {}
        }
    }

    /// The kind's word in descriptions; none for the input.
    pub(crate) fn text_kind(&self) -> Option<Kind> {
        Some(match self {
            Layer::Input => return None,
            Layer::Conv2d(_) => Kind::Conv2d,
            Layer::Linear(_) => Kind::Linear,
            Layer::Affine(_) => Kind::Affine,
            Layer::BatchNorm(_) => Kind::BatchNorm,
            Layer::AvgPool2d(_) => Kind::AvgPool2d,
            Layer::Gather(_) => Kind::Gather,
            Layer::MaxPool2d(_) => Kind::MaxPool2d,
            Layer::Activation(activation) => activation.text_kind(),
            Layer::Flatten => Kind::Flatten,
            Layer::Add => Kind::Add,
            Layer::Product => Kind::Product,
        })
    }
}

impl Kind {
    /// The keys of a description that this kind reads, beside those that all read.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Conv2d => Conv2d::KEYS,
            Kind::Linear => Linear::KEYS,
            Kind::Affine => Affine::KEYS,
            Kind::BatchNorm => BatchNorm::KEYS,
            Kind::AvgPool2d => AvgPool2d::KEYS,
            Kind::Gather => Gather::KEYS,
            Kind::MaxPool2d => MaxPool2d::KEYS,
            Kind::LeakyRelu => leaky_relu::KEYS,
            Kind::Clip => clip::KEYS,
            Kind::Power => power::KEYS,
            Kind::Relu
            | Kind::Sigmoid
            | Kind::Tanh
            | Kind::Exp
            | Kind::Softplus
            | Kind::Reciprocal
            | Kind::Flatten
            | Kind::Add
            | Kind::Product => &[],
        }
    }
}
