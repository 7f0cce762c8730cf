//! Networks as TOML or JSON text: the schema of `network.json` and of a user's own architectures.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::layers::Layer;
use crate::layout::{BufferId, ParameterId, ParameterLayout};
use crate::network::{Network, NetworkBuilder, NodeId};
use crate::toml_text::parse_toml;
use crate::{NetworkError, compared_text};

/// A network's structure as a file describes it.
///
/// ```
/// let text = r#"
///     input = [1, 28, 28]
///     [[layers]]
///     kind = "conv2d"
///     out_channels = 8
///     kernel = 5
///     stride = 2
///     padding = 2
///     [[layers]]
///     kind = "relu"
///     [[layers]]
///     kind = "flatten"
///     [[layers]]
///     kind = "linear"
///     out_features = 10
/// "#;
/// let network = tightrope_network::Description::from_toml(text, "(inline)").unwrap().build().unwrap();
/// assert_eq!(network.parameters().find("0.weight").unwrap().shape, [8, 1, 5, 5]);
/// assert_eq!(network.output_len(), 10);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Schema version; 1.
    #[serde(default = "version")]
    pub version: u32,
    /// Input shape without the batch.
    pub input: Vec<usize>,
    /// Layers in topological order; the last one gives the logits.
    pub layers: Vec<LayerDescription>,
}

/// One layer of a [`Description`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDescription {
    /// Name; the layer's index when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names of the layers it reads (`input` for the network's input); the layer before when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// Which kind of layer it is.
    pub kind: Kind,
    /// conv2d: output channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_channels: Option<usize>,
    /// linear: output features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_features: Option<usize>,
    /// conv2d, avgpool2d, maxpool2d: window, one number or [height, width].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Sides>,
    /// conv2d, avgpool2d, maxpool2d: stride; 1 (conv2d) or the window (pooling) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Sides>,
    /// conv2d, avgpool2d, maxpool2d: padding, one number, [height, width] or [top, left, bottom, right]; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<Sides>,
    /// conv2d: dilation; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dilation: Option<Sides>,
    /// conv2d: groups; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// avgpool2d: whether padding counts in the mean; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_include_pad: Option<bool>,
    /// conv2d, linear, batchnorm: the weight's name, `{name}.weight` when absent; affine: true or a name for a trainable
    /// factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Parameter>,
    /// conv2d, linear: false for none, or a name; `{name}.bias` when absent, as for batchnorm; affine: true or a name for a
    /// trainable summand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Parameter>,
    /// affine: consecutive elements per channel; all of a channel's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<usize>,
    /// affine: constant factor per channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Vec<f64>>,
    /// affine: constant summand per channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<Vec<f64>>,
    /// affine: instead of scale and shift, the mean per channel …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// … and the standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f64>>,
    /// batchnorm: ε of the root, > 0; 1e-5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// batchnorm: part of a new batch in the running statistics, in [0, 1]; 0.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// leaky_relu: slope below 0; 0.01 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slope: Option<f64>,
    /// clip: smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// clip: largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// power: the whole number n of xⁿ, from 2 to 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponent: Option<u32>,
    /// gather: output shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// gather: elements of the input that the outputs read, one output after the other, each output's in increasing order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<u32>>,
    /// gather: how many of them each output sums; one each when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Vec<usize>>,
}

/// Layer kinds in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// 2-D convolution.
    Conv2d,
    /// Fully connected.
    Linear,
    /// Per-channel affine.
    Affine,
    /// Batch norm.
    BatchNorm,
    /// Average pooling.
    AvgPool2d,
    /// Sums of selected elements.
    Gather,
    /// Max pooling.
    MaxPool2d,
    /// ReLU.
    Relu,
    /// Leaky ReLU.
    #[serde(rename = "leaky_relu")]
    LeakyRelu,
    /// Logistic sigmoid.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Clamping to an interval.
    Clip,
    /// Exponential function.
    Exp,
    /// Smooth ReLU.
    Softplus,
    /// One over x.
    Reciprocal,
    /// Whole power.
    Power,
    /// Flatten.
    Flatten,
    /// Sum.
    Add,
    /// Product of both halves.
    Product,
}

/// One number for both axes or one per axis (or per side).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sides {
    /// The same everywhere.
    All(usize),
    /// [height, width] or [top, left, bottom, right].
    Each(Vec<usize>),
}

/// Whether a layer has a parameter, or the parameter's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// Present under its default name, or absent.
    Present(bool),
    /// Present under this name.
    Named(String),
}

fn version() -> u32 {
    1
}

impl Description {
    /// Parses TOML; `origin` names the file in errors.
    ///
    /// # Errors
    /// If it is no TOML or no description; the message says where.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, NetworkError> {
        parse_toml(text).map_err(|e| unreadable(origin, e.to_string()))
    }

    /// Parses JSON; `origin` names the file in errors.
    ///
    /// # Errors
    /// If it is no JSON or no description; the message says where.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, NetworkError> {
        serde_json::from_str(text).map_err(|e| unreadable(origin, e.to_string()))
    }

    /// Reads a `.toml` or `.json` file.
    ///
    /// # Errors
    /// If the file cannot be read or holds no description.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            let problem = match e.kind() {
                ErrorKind::NotFound => "no such network description; correct the path, or name a preset".into(),
                ErrorKind::InvalidData => "is no UTF-8 text; save the description as UTF-8".into(),
                _ if path.is_dir() => "is a folder; give a .toml or .json description".into(),
                _ => format!("cannot be read ({e}); check its permissions or give another description"),
            };
            NetworkError::file(path, problem)
        })?;
        let origin = path.display().to_string();
        match path.extension().and_then(|e| e.to_str()) {
            Some("toml") => Description::from_toml(&text, &origin),
            Some("json") => Description::from_json(&text, &origin),
            _ => Err(NetworkError::file(path, "a network description ends in .toml or .json")),
        }
    }

    /// Checks the description and builds the network.
    ///
    /// # Errors
    /// The first layer that does not fit, and why.
    pub fn build(&self) -> Result<Network, NetworkError> {
        if self.version != 1 {
            return Err(NetworkError::Network(format!(
                "description version {} is newer than this program, which reads version 1",
                self.version
            )));
        }
        let mut builder = NetworkBuilder::new(&self.input)?;
        let mut names: Vec<(String, NodeId)> = vec![("input".into(), builder.input())];
        for (index, layer) in self.layers.iter().enumerate() {
            let name = layer.name.clone().unwrap_or_else(|| index.to_string());
            let inputs: Vec<NodeId> = match &layer.inputs {
                None => vec![names[names.len() - 1].1],
                Some(list) => list
                    .iter()
                    .map(|wanted| {
                        names.iter().find(|(known, _)| known == wanted).map(|(_, id)| *id).ok_or_else(|| {
                            NetworkError::layer(&name, format!("reads `{wanted}`, which is no earlier layer"))
                        })
                    })
                    .collect::<Result<_, _>>()?,
            };
            let built = layer.layer(&name, &mut builder, inputs.first().copied())?;
            names.push((name.clone(), builder.add(name, built, &inputs)?));
        }
        builder.build()
    }

    /// The description of an existing network.
    pub fn of(network: &Network) -> Self {
        let names = Names(network.parameters());
        let layers = network.nodes()[1..]
            .iter()
            .filter_map(|node| {
                let inputs = node.inputs.iter().map(|&id| network.node(id).name.clone()).collect();
                let mut text = LayerDescription::new(&node.name, inputs, node.layer.text_kind()?);
                node.layer.write(&mut text, names);
                Some(text)
            })
            .collect();
        Description { version: 1, input: network.input_shape().to_vec(), layers }
    }
}

impl LayerDescription {
    fn new(name: &str, inputs: Vec<String>, kind: Kind) -> Self {
        LayerDescription {
            name: Some(name.into()),
            inputs: Some(inputs),
            kind,
            out_channels: None,
            out_features: None,
            kernel: None,
            stride: None,
            padding: None,
            dilation: None,
            groups: None,
            count_include_pad: None,
            weight: None,
            bias: None,
            inner: None,
            scale: None,
            shift: None,
            mean: None,
            std: None,
            epsilon: None,
            momentum: None,
            slope: None,
            lower: None,
            upper: None,
            exponent: None,
            shape: None,
            sources: None,
            counts: None,
        }
    }

    /// The first key set that this kind does not read.
    fn superfluous(&self) -> Option<&'static str> {
        let keys = self.kind.keys();
        [
            ("out_channels", self.out_channels.is_some()),
            ("out_features", self.out_features.is_some()),
            ("kernel", self.kernel.is_some()),
            ("stride", self.stride.is_some()),
            ("padding", self.padding.is_some()),
            ("dilation", self.dilation.is_some()),
            ("groups", self.groups.is_some()),
            ("count_include_pad", self.count_include_pad.is_some()),
            ("weight", self.weight.is_some()),
            ("bias", self.bias.is_some()),
            ("inner", self.inner.is_some()),
            ("scale", self.scale.is_some()),
            ("shift", self.shift.is_some()),
            ("mean", self.mean.is_some()),
            ("std", self.std.is_some()),
            ("epsilon", self.epsilon.is_some()),
            ("momentum", self.momentum.is_some()),
            ("slope", self.slope.is_some()),
            ("lower", self.lower.is_some()),
            ("upper", self.upper.is_some()),
            ("exponent", self.exponent.is_some()),
            ("shape", self.shape.is_some()),
            ("sources", self.sources.is_some()),
            ("counts", self.counts.is_some()),
        ]
        .into_iter()
        .find_map(|(key, set)| (set && !keys.contains(&key)).then_some(key))
    }

    fn layer(&self, name: &str, builder: &mut NetworkBuilder, input: Option<NodeId>) -> Result<Layer, NetworkError> {
        if let Some(key) = self.superfluous() {
            return Err(NetworkError::layer(name, format!("`{key}` means nothing for this kind of layer; remove it")));
        }
        let shape = input.map(|id| builder.shape(id).to_vec()).unwrap_or_default();
        Layer::read(&mut Reading { text: self, name, shape, builder })
    }
}

/// A layer's description being read: where a kind finds what it needs.
pub(crate) struct Reading<'a> {
    /// The keys.
    pub(crate) text: &'a LayerDescription,
    name: &'a str,
    /// Output shape of the first node that the layer reads.
    pub(crate) shape: Vec<usize>,
    builder: &'a mut NetworkBuilder,
}

impl Reading<'_> {
    /// An error about this layer.
    pub(crate) fn refuse(&self, problem: impl Into<String>) -> NetworkError {
        NetworkError::layer(self.name, problem)
    }

    /// A key that must be there.
    pub(crate) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, NetworkError> {
        value.ok_or_else(|| self.refuse(format!("`{key}` is missing")))
    }

    /// Height and width.
    pub(crate) fn pair(
        &self,
        key: &str,
        sides: Option<&Sides>,
        default: Option<[usize; 2]>,
    ) -> Result<[usize; 2], NetworkError> {
        match sides {
            None => self.need(key, default),
            Some(Sides::All(side)) => Ok([*side; 2]),
            Some(Sides::Each(list)) => list
                .as_slice()
                .try_into()
                .map_err(|_| self.refuse(format!("`{key}` must be one number or [height, width], got {list:?}"))),
        }
    }

    /// Padding at top, left, bottom and right.
    pub(crate) fn padding(&self, sides: Option<&Sides>) -> Result<[usize; 4], NetworkError> {
        match sides {
            None => Ok([0; 4]),
            Some(Sides::All(side)) => Ok([*side; 4]),
            Some(Sides::Each(list)) => match *list.as_slice() {
                [height, width] => Ok([height, width, height, width]),
                [top, left, bottom, right] => Ok([top, left, bottom, right]),
                _ => Err(self.refuse(format!(
                    "`padding` must be one number, [height, width] or [top, left, bottom, right], got {list:?}"
                ))),
            },
        }
    }

    /// Reserves the tensor for `role` (weight or bias), if the layer has it.
    pub(crate) fn parameter(
        &mut self,
        role: &str,
        given: Option<&Parameter>,
        default: bool,
        shape: &[usize],
    ) -> Result<Option<ParameterId>, NetworkError> {
        let name = match given {
            Some(Parameter::Named(name)) => name.clone(),
            Some(Parameter::Present(false)) => return Ok(None),
            None if !default => return Ok(None),
            Some(Parameter::Present(true)) | None => format!("{}.{role}", self.name),
        };
        self.builder.parameter(name, shape).map(Some)
    }

    /// Reserves the buffers for the statistics of so many channels: mean and variance.
    pub(crate) fn statistics(&mut self, channels: usize) -> Result<(BufferId, BufferId), NetworkError> {
        self.builder.statistics(self.name, channels)
    }
}

/// The names of a network's parameters, for the descriptions of its layers.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a>(&'a ParameterLayout);

impl Names<'_> {
    /// A parameter's name.
    pub(crate) fn of(self, id: ParameterId) -> Parameter {
        Parameter::Named(self.0.get(id).name.clone())
    }

    /// A parameter's name, or that there is none where one is usual.
    pub(crate) fn of_or_none(self, id: Option<ParameterId>) -> Parameter {
        id.map_or(Parameter::Present(false), |id| self.of(id))
    }
}

/// A parser's complaint, with the nearest valid word where it met an unknown one.
fn unreadable(origin: &str, mut problem: String) -> NetworkError {
    problem.truncate(problem.trim_end().len());
    // The parsers quote whole lines and names, however long.
    let shorten = |line: &str| match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into(),
    };
    problem = problem.lines().map(shorten).collect::<Vec<String>>().join("\n");
    // serde writes: unknown field `x`, expected one of `a`, `b`
    if let Some(start) = problem.rfind("unknown field `").or_else(|| problem.rfind("unknown variant `")) {
        let mut words = problem[start..].split('`').skip(1).step_by(2);
        let wanted = words.next().unwrap_or_default();
        let wanted = compared_text(wanted);
        let nearest = words
            .map(|word| (strsim::jaro_winkler(wanted, compared_text(word)), word))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, word)) = nearest.filter(|(likeness, _)| *likeness > 0.7) {
            problem = format!("{problem}; did you mean `{word}`?");
        }
    }
    NetworkError::Description { origin: origin.into(), problem }
}
