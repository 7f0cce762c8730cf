//! From the rows of the table to networks, and to texts about their layers.

use super::Architecture;
use crate::NetworkError;
use crate::layers::{Conv2d, Layer};
use crate::network::{Network, NetworkBuilder, NodeId};

/// What stands between the input and the last linear layer.
pub(super) enum Body {
    /// One part after the other.
    Sequence(&'static [Part]),
    /// A strided 3×3 convolution of the width, `stages` pairs of residual blocks of twice the width, of which the first of
    /// each pair is strided, and a hidden layer of 100.
    Residual { stages: usize },
}

/// A part of a sequence; channels and neurons are multiples of the width.
pub(super) enum Part {
    /// A convolution with its ReLU.
    Conv { channels: usize, kernel: usize, stride: usize, padding: Sides },
    /// To a flat vector.
    Flatten,
    /// A hidden linear layer of so many times the width.
    Hidden(usize),
    /// A hidden linear layer of a fixed size.
    Dense(usize),
}

/// Zero padding around an image.
#[derive(Clone, Copy)]
pub(super) enum Sides {
    /// The same on each side.
    Each(usize),
    /// As much as makes the output's side ⌈side / stride⌉, the odd row at the bottom and the odd column at the right, as
    /// TensorFlow does.
    Same,
}

/// Neurons of the hidden layer of residual networks.
const RESIDUAL_DENSE: usize = 100;
/// Channels of residual blocks, as a multiple of the width.
const RESIDUAL_CHANNELS: usize = 2;

impl Body {
    /// The layers in order.
    pub(super) fn text(&self) -> String {
        let of_width = |times: &usize| if *times == 1 { "w".into() } else { format!("{times}w") };
        let parts: Vec<String> = match self {
            Body::Sequence(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Conv { channels, kernel, stride, padding } => {
                        let padding = match padding {
                            Sides::Each(padding) => padding.to_string(),
                            Sides::Same => "same".into(),
                        };
                        format!("Conv({}, {kernel}×{kernel}, stride {stride}, padding {padding})", of_width(channels))
                    }
                    Part::Flatten => "Flatten".into(),
                    Part::Hidden(times) => format!("Linear({})", of_width(times)),
                    Part::Dense(features) => format!("Linear({features})"),
                })
                .collect(),
            Body::Residual { stages } => {
                let channels = of_width(&RESIDUAL_CHANNELS);
                let pair = [2, 1].map(|stride| format!("Block({channels}, stride {stride})"));
                let stem = "Conv(w, 3×3, stride 2, padding 1)".to_string();
                let end = ["Flatten".into(), format!("Linear({RESIDUAL_DENSE})")];
                [stem].into_iter().chain((0..*stages).flat_map(|_| pair.clone())).chain(end).collect()
            }
        };
        parts.join(", ") + ", Linear(K)"
    }
}

/// Per-channel input normalisation (x − mean)/std, the first layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean per channel, or one for all.
    pub mean: Vec<f64>,
    /// Standard deviation per channel or one for all, > 0.
    pub std: Vec<f64>,
}

/// The network of `architecture`, whose row has this `body`.
pub(super) fn build(
    architecture: Architecture,
    body: &Body,
    input: &[usize],
    classes: usize,
    normalisation: Option<&Normalisation>,
) -> Result<Network, NetworkError> {
    let builder = NetworkBuilder::new(input)?;
    let Architecture { batch_norm, width, .. } = architecture;
    let mut chain = Chain { last: builder.input(), builder, batch_norm };
    match body {
        Body::Sequence(parts) => {
            let mut names = (0..).map(|index: usize| index.to_string());
            let mut name = || names.next().unwrap_or_default();
            chain.normalise(normalisation, &mut name)?;
            for part in *parts {
                match *part {
                    Part::Conv { channels, kernel, stride, padding } => {
                        let conv = Shape { channels: channels * width, kernel, stride, padding, bias: true };
                        chain.conv(conv, &mut name)?;
                        chain.relu(&name())?;
                    }
                    Part::Flatten => chain.flatten(&name())?,
                    Part::Hidden(times) => chain.hidden(times * width, &mut name)?,
                    Part::Dense(features) => chain.hidden(features, &mut name)?,
                }
            }
            chain.finish(classes, &name())
        }
        Body::Residual { stages } => {
            chain.normalise(normalisation, || "normalise".into())?;
            chain.residual(width, *stages)?;
            chain.finish(classes, "linear2")
        }
    }
}

/// A convolution to be appended.
struct Shape {
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: Sides,
    bias: bool,
}

/// A network under construction, with the node that the next layer reads.
struct Chain {
    builder: NetworkBuilder,
    last: NodeId,
    batch_norm: bool,
}

impl Chain {
    fn normalise(
        &mut self,
        normalisation: Option<&Normalisation>,
        mut name: impl FnMut() -> String,
    ) -> Result<(), NetworkError> {
        let Some(Normalisation { mean, std }) = normalisation else { return Ok(()) };
        if mean.len() != std.len()
            || ![Some(&1), self.builder.shape(self.last).first()].contains(&Some(&mean.len()))
            || std.iter().any(|&s| !s.is_finite() || s <= 0.0)
        {
            return Err(NetworkError::Network(
                "normalisation needs one mean and one positive std for all channels or for each".into(),
            ));
        }
        let scale: Vec<f64> = std.iter().map(|s| 1.0 / s).collect();
        let shift = mean.iter().zip(std).map(|(m, s)| -m / s).collect();
        self.last = self.builder.normalise(&name(), scale, shift, self.last)?;
        Ok(())
    }

    /// A convolution and, where asked for, its batch norm; each takes a name.
    fn conv(&mut self, shape: Shape, mut name: impl FnMut() -> String) -> Result<(), NetworkError> {
        let &[in_channels, height, width] = self.builder.shape(self.last) else {
            return Err(NetworkError::Network(format!(
                "this preset needs an input [channels, height, width], got {:?}",
                self.builder.shape(self.last)
            )));
        };
        let Shape { channels, kernel, stride, padding, bias } = shape;
        let around = |side: usize| match padding {
            Sides::Each(padding) => [padding; 2],
            Sides::Same => {
                let all = ((side.div_ceil(stride).saturating_sub(1)) * stride + kernel).saturating_sub(side);
                [all / 2, all - all / 2]
            }
        };
        let ([top, bottom], [left, right]) = (around(height), around(width));
        let conv = Conv2d {
            stride: [stride; 2],
            padding: [top, left, bottom, right],
            ..Conv2d::new([in_channels, channels], [kernel; 2])
        };
        self.last = self.builder.conv2d(&name(), conv, bias, self.last)?;
        self.norm(name)
    }

    fn norm(&mut self, mut name: impl FnMut() -> String) -> Result<(), NetworkError> {
        if self.batch_norm {
            self.last = self.builder.batch_norm(&name(), self.last)?;
        }
        Ok(())
    }

    fn relu(&mut self, name: &str) -> Result<(), NetworkError> {
        self.last = self.builder.add(name, Layer::RELU, &[self.last])?;
        Ok(())
    }

    fn flatten(&mut self, name: &str) -> Result<(), NetworkError> {
        self.last = self.builder.add(name, Layer::Flatten, &[self.last])?;
        Ok(())
    }

    /// A linear layer with its batch norm and its ReLU; each takes a name.
    fn hidden(&mut self, features: usize, mut name: impl FnMut() -> String) -> Result<(), NetworkError> {
        self.last = self.builder.linear(&name(), features, true, self.last)?;
        self.norm(&mut name)?;
        self.relu(&name())
    }

    /// All of a residual network but its last layer. As published, batch norms follow convolutions alone, which then have
    /// no bias.
    fn residual(&mut self, width: usize, stages: usize) -> Result<(), NetworkError> {
        let bias = !self.batch_norm;
        let stem = Shape { channels: width, kernel: 3, stride: 2, padding: Sides::Each(1), bias };
        self.conv(stem, named(&["conv1", "bn1"]))?;
        self.relu("relu1")?;
        for stage in 1..=stages {
            for (block, stride) in [2, 1].into_iter().enumerate() {
                self.block(&format!("layer{stage}.{block}"), RESIDUAL_CHANNELS * width, stride)?;
            }
        }
        self.flatten("flatten")?;
        self.last = self.builder.linear("linear1", RESIDUAL_DENSE, true, self.last)?;
        self.relu("relu2")
    }

    /// relu(conv(relu(conv(x))) + shortcut(x)) with 3×3 convolutions, the first one strided; the shortcut is x itself or,
    /// where the shape changes, a 1×1 convolution.
    fn block(&mut self, name: &str, channels: usize, stride: usize) -> Result<(), NetworkError> {
        let under = |parts: [&str; 2]| parts.map(|part| format!("{name}.{part}"));
        let bias = !self.batch_norm;
        let input = self.last;
        let wide = |stride| Shape { channels, kernel: 3, stride, padding: Sides::Each(1), bias };
        self.conv(wide(stride), named(&under(["conv1", "bn1"])))?;
        self.relu(&format!("{name}.relu1"))?;
        self.conv(wide(1), named(&under(["conv2", "bn2"])))?;
        let main = self.last;
        self.last = input;
        if stride != 1 || self.builder.shape(input).first() != Some(&channels) {
            let narrow = Shape { channels, kernel: 1, stride, padding: Sides::Each(0), bias };
            self.conv(narrow, named(&under(["shortcut.0", "shortcut.1"])))?;
        }
        self.last = self.builder.add(format!("{name}.add"), Layer::Add, &[main, self.last])?;
        self.relu(&format!("{name}.relu2"))
    }

    fn finish(mut self, classes: usize, name: &str) -> Result<Network, NetworkError> {
        self.builder.linear(name, classes, true, self.last)?;
        self.builder.build()
    }
}

/// Gives out `names` one by one.
fn named<S: AsRef<str>>(names: &[S]) -> impl FnMut() -> String {
    let mut names = names.iter().map(|name| name.as_ref().to_string()).collect::<Vec<_>>().into_iter();
    move || names.next().unwrap_or_default()
}
