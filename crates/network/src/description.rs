//! Networks as TOML or JSON text: the schema of `network.json` and of a user's own architectures.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::NetworkError;
use crate::layers::{Affine, AvgPool2d, Conv2d, Layer, Linear};
use crate::network::{Network, NetworkBuilder, NodeId};
use crate::parameters::ParameterId;

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
    /// conv2d, linear, affine, avgpool2d, relu, flatten or add.
    pub kind: Kind,
    /// conv2d: output channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_channels: Option<usize>,
    /// linear: output features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_features: Option<usize>,
    /// conv2d, avgpool2d: window, one number or [height, width].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Sides>,
    /// conv2d, avgpool2d: stride; 1 (conv2d) or the window (avgpool2d) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Sides>,
    /// conv2d, avgpool2d: padding, one number, [height, width] or [top, left, bottom, right]; 0 when absent.
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
    /// conv2d, linear: the weight's name, `{name}.weight` when absent; affine: true or a name for a trainable factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Parameter>,
    /// conv2d, linear: false for none, or a name; `{name}.bias` when absent; affine: true or a name for a trainable summand.
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
    /// Average pooling.
    AvgPool2d,
    /// ReLU.
    Relu,
    /// Flatten.
    Flatten,
    /// Sum.
    Add,
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
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, NetworkError> {
        toml::from_str(text).map_err(|e| unreadable(origin, e.to_string()))
    }

    /// Parses JSON; `origin` names the file in errors.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, NetworkError> {
        serde_json::from_str(text).map_err(|e| unreadable(origin, e.to_string()))
    }

    /// Reads a `.toml` or `.json` file.
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
            let built = layer.layer(&name, &mut builder, &inputs)?;
            names.push((name.clone(), builder.add(name, built, &inputs)?));
        }
        builder.build()
    }

    /// The description of an existing network.
    pub fn of(network: &Network) -> Self {
        let layout = network.parameters();
        let named = |id: ParameterId| Some(Parameter::Named(layout.get(id).name.clone()));
        let layers = network.nodes()[1..]
            .iter()
            .map(|node| {
                let inputs = node.inputs.iter().map(|&id| network.node(id).name.clone()).collect();
                let mut text = LayerDescription::new(&node.name, inputs);
                match &node.layer {
                    Layer::Input => unreachable!("only node 0 is the input"),
                    Layer::Relu => text.kind = Kind::Relu,
                    Layer::Flatten => text.kind = Kind::Flatten,
                    Layer::Add => text.kind = Kind::Add,
                    Layer::Linear(linear) => {
                        text.kind = Kind::Linear;
                        text.out_features = Some(linear.out_features);
                        text.weight = named(linear.weight);
                        text.bias = linear.bias.map_or(Some(Parameter::Present(false)), named);
                    }
                    Layer::Conv2d(conv) => {
                        text.kind = Kind::Conv2d;
                        text.out_channels = Some(conv.out_channels);
                        text.kernel = Some(Sides::Each(conv.kernel.to_vec()));
                        text.stride = Some(Sides::Each(conv.stride.to_vec()));
                        text.padding = Some(Sides::Each(conv.padding.to_vec()));
                        text.dilation = Some(Sides::Each(conv.dilation.to_vec()));
                        text.groups = Some(conv.groups);
                        text.weight = named(conv.weight);
                        text.bias = conv.bias.map_or(Some(Parameter::Present(false)), named);
                    }
                    Layer::Affine(affine) => {
                        text.kind = Kind::Affine;
                        text.inner = Some(affine.inner);
                        text.scale = Some(affine.scale.clone());
                        text.shift = Some(affine.shift.clone());
                        text.weight = affine.weight.and_then(named);
                        text.bias = affine.bias.and_then(named);
                    }
                    Layer::AvgPool2d(pool) => {
                        text.kind = Kind::AvgPool2d;
                        text.kernel = Some(Sides::Each(pool.kernel.to_vec()));
                        text.stride = Some(Sides::Each(pool.stride.to_vec()));
                        text.padding = Some(Sides::Each(pool.padding.to_vec()));
                        text.count_include_pad = Some(pool.count_include_pad);
                    }
                }
                text
            })
            .collect();
        Description { version: 1, input: network.input_shape().to_vec(), layers }
    }
}

impl LayerDescription {
    fn new(name: &str, inputs: Vec<String>) -> Self {
        LayerDescription {
            name: Some(name.into()),
            inputs: Some(inputs),
            kind: Kind::Relu,
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
        }
    }

    /// The keys set that this kind does not read.
    fn superfluous(&self) -> Option<&'static str> {
        let (conv, linear, affine, pool) = (
            self.kind == Kind::Conv2d,
            self.kind == Kind::Linear,
            self.kind == Kind::Affine,
            self.kind == Kind::AvgPool2d,
        );
        [
            ("out_channels", self.out_channels.is_some(), conv),
            ("out_features", self.out_features.is_some(), linear),
            ("kernel", self.kernel.is_some(), conv || pool),
            ("stride", self.stride.is_some(), conv || pool),
            ("padding", self.padding.is_some(), conv || pool),
            ("dilation", self.dilation.is_some(), conv),
            ("groups", self.groups.is_some(), conv),
            ("count_include_pad", self.count_include_pad.is_some(), pool),
            ("weight", self.weight.is_some(), conv || linear || affine),
            ("bias", self.bias.is_some(), conv || linear || affine),
            ("inner", self.inner.is_some(), affine),
            ("scale", self.scale.is_some(), affine),
            ("shift", self.shift.is_some(), affine),
            ("mean", self.mean.is_some(), affine),
            ("std", self.std.is_some(), affine),
        ]
        .into_iter()
        .find_map(|(key, set, reads)| (set && !reads).then_some(key))
    }

    fn layer(&self, name: &str, builder: &mut NetworkBuilder, inputs: &[NodeId]) -> Result<Layer, NetworkError> {
        if let Some(key) = self.superfluous() {
            return Err(NetworkError::layer(name, format!("`{key}` means nothing for this kind of layer; remove it")));
        }
        let shape = inputs.first().map(|&id| builder.shape(id).to_vec()).unwrap_or_default();
        let elements: usize = shape.iter().product();
        match self.kind {
            Kind::Relu => Ok(Layer::Relu),
            Kind::Flatten => Ok(Layer::Flatten),
            Kind::Add => Ok(Layer::Add),
            Kind::Linear => {
                let out_features = self.need(name, "out_features", self.out_features)?;
                let weight = parameter(builder, name, "weight", self.weight.as_ref(), true, &[out_features, elements])?;
                let weight = weight.ok_or_else(|| NetworkError::layer(name, "a linear layer needs its weight"))?;
                let bias = parameter(builder, name, "bias", self.bias.as_ref(), true, &[out_features])?;
                Ok(Layer::Linear(Linear { in_features: elements, out_features, weight, bias }))
            }
            Kind::Conv2d => {
                let out_channels = self.need(name, "out_channels", self.out_channels)?;
                let kernel = pair(name, "kernel", self.kernel.as_ref(), None)?;
                let in_channels = if shape.len() == 3 { shape[0] } else { 0 };
                let groups = self.groups.unwrap_or(1);
                if in_channels == 0 || groups == 0 || in_channels % groups != 0 {
                    return Err(NetworkError::layer(
                        name,
                        format!("a convolution in {groups} groups cannot read an input of shape {shape:?}"),
                    ));
                }
                let weight_shape = [out_channels, in_channels / groups, kernel[0], kernel[1]];
                let weight = parameter(builder, name, "weight", self.weight.as_ref(), true, &weight_shape)?;
                let weight = weight.ok_or_else(|| NetworkError::layer(name, "a convolution needs its weight"))?;
                let bias = parameter(builder, name, "bias", self.bias.as_ref(), true, &[out_channels])?;
                Ok(Layer::Conv2d(Conv2d {
                    in_channels,
                    out_channels,
                    kernel,
                    stride: pair(name, "stride", self.stride.as_ref(), Some([1; 2]))?,
                    padding: padding(name, self.padding.as_ref())?,
                    dilation: pair(name, "dilation", self.dilation.as_ref(), Some([1; 2]))?,
                    groups,
                    weight,
                    bias,
                }))
            }
            Kind::AvgPool2d => {
                let kernel = pair(name, "kernel", self.kernel.as_ref(), None)?;
                Ok(Layer::AvgPool2d(AvgPool2d {
                    kernel,
                    stride: pair(name, "stride", self.stride.as_ref(), Some(kernel))?,
                    padding: padding(name, self.padding.as_ref())?,
                    count_include_pad: self.count_include_pad.unwrap_or(true),
                }))
            }
            Kind::Affine => {
                let (scale, shift) = self.affine_constants(name)?;
                let inner = self.inner.unwrap_or(elements.checked_div(scale.len()).unwrap_or(0));
                let channels = scale.len();
                let weight = parameter(builder, name, "weight", self.weight.as_ref(), false, &[channels])?;
                let bias = parameter(builder, name, "bias", self.bias.as_ref(), false, &[channels])?;
                Ok(Layer::Affine(Affine { inner, scale, shift, weight, bias }))
            }
        }
    }

    fn affine_constants(&self, name: &str) -> Result<(Vec<f64>, Vec<f64>), NetworkError> {
        match (&self.scale, &self.shift, &self.mean, &self.std) {
            (Some(scale), Some(shift), None, None) => Ok((scale.clone(), shift.clone())),
            (Some(scale), None, None, None) => Ok((scale.clone(), vec![0.0; scale.len()])),
            (None, None, Some(mean), Some(std)) if mean.len() == std.len() && std.iter().all(|&s| s > 0.0) => {
                let scale: Vec<f64> = std.iter().map(|s| 1.0 / s).collect();
                let shift = mean.iter().zip(&scale).map(|(m, s)| -m * s).collect();
                Ok((scale, shift))
            }
            _ => Err(NetworkError::layer(
                name,
                "an affine layer needs `scale` (and `shift`), or `mean` and positive `std` of equal length",
            )),
        }
    }

    fn need<T>(&self, name: &str, key: &str, value: Option<T>) -> Result<T, NetworkError> {
        value.ok_or_else(|| NetworkError::layer(name, format!("`{key}` is missing")))
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
        let nearest = words.map(|word| (strsim::jaro_winkler(wanted, word), word)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, word)) = nearest.filter(|(likeness, _)| *likeness > 0.7) {
            problem = format!("{problem}; did you mean `{word}`?");
        }
    }
    NetworkError::Description { origin: origin.into(), problem }
}

fn parameter(
    builder: &mut NetworkBuilder,
    layer: &str,
    role: &str,
    given: Option<&Parameter>,
    default: bool,
    shape: &[usize],
) -> Result<Option<ParameterId>, NetworkError> {
    let name = match given {
        Some(Parameter::Named(name)) => name.clone(),
        Some(Parameter::Present(false)) => return Ok(None),
        None if !default => return Ok(None),
        _ => format!("{layer}.{role}"),
    };
    builder.parameter(name, shape).map(Some)
}

fn pair(name: &str, key: &str, sides: Option<&Sides>, default: Option<[usize; 2]>) -> Result<[usize; 2], NetworkError> {
    match sides {
        None => default.ok_or_else(|| NetworkError::layer(name, format!("`{key}` is missing"))),
        Some(Sides::All(side)) => Ok([*side; 2]),
        Some(Sides::Each(list)) => list.as_slice().try_into().map_err(|_| {
            NetworkError::layer(name, format!("`{key}` must be one number or [height, width], got {list:?}"))
        }),
    }
}

fn padding(name: &str, sides: Option<&Sides>) -> Result<[usize; 4], NetworkError> {
    match sides {
        None => Ok([0; 4]),
        Some(Sides::All(side)) => Ok([*side; 4]),
        Some(Sides::Each(list)) => match *list.as_slice() {
            [height, width] => Ok([height, width, height, width]),
            [top, left, bottom, right] => Ok([top, left, bottom, right]),
            _ => Err(NetworkError::layer(
                name,
                format!("`padding` must be one number, [height, width] or [top, left, bottom, right], got {list:?}"),
            )),
        },
    }
}
