//! The named architectures of the field.

use crate::NetworkError;
use crate::layers::{Conv2d, Layer};
use crate::network::{Network, NetworkBuilder, NodeId};

/// Architectures by name; layers are called by their index, so that parameters are `0.weight`, `2.weight`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// CNN3 with two channels per convolution.
    Cnn3Tiny,
    /// Two strided convolutions (16, 32 channels) and a linear layer.
    Cnn3,
    /// Three convolutions (16, 16, 32 channels) and linear layers of 512 and K.
    Cnn5,
    /// CNN5 with doubled widths.
    Cnn5L,
    /// Five convolutions (64, 64, 128, 128, 128 channels) and linear layers of 512 and K, without batch norm.
    Cnn7,
    /// Two hidden layers of 100.
    Mlp,
}

/// Per-channel input normalisation (x − mean)/std, the first layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean per channel, or one for all.
    pub mean: Vec<f64>,
    /// Standard deviation per channel or one for all, > 0.
    pub std: Vec<f64>,
}

impl Preset {
    /// Every preset, in the order of help texts.
    pub const ALL: [Preset; 6] =
        [Preset::Cnn3Tiny, Preset::Cnn3, Preset::Cnn5, Preset::Cnn5L, Preset::Cnn7, Preset::Mlp];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Cnn3Tiny => "cnn3-tiny",
            Preset::Cnn3 => "cnn3",
            Preset::Cnn5 => "cnn5",
            Preset::Cnn5L => "cnn5-l",
            Preset::Cnn7 => "cnn7",
            Preset::Mlp => "mlp",
        }
    }

    /// The preset called `name`.
    ///
    /// # Errors
    /// If there is none; the message lists all.
    pub fn from_name(name: &str) -> Result<Self, NetworkError> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| NetworkError::UnknownPreset {
            name: name.into(),
            known: Preset::ALL.map(Preset::name).join(", "),
        })
    }

    /// The network for inputs `[channels, height, width]` and `classes` logits.
    ///
    /// # Errors
    /// If the input is too small for the convolutions or the normalisation does not fit the channels.
    pub fn build(
        self,
        input: &[usize],
        classes: usize,
        normalisation: Option<&Normalisation>,
    ) -> Result<Network, NetworkError> {
        let mut chain = Chain::new(input, normalisation)?;
        match self {
            Preset::Cnn3Tiny => chain.conv(2, 5, 2, 2)?.conv(2, 4, 2, 1)?.flatten()?,
            Preset::Cnn3 => chain.conv(16, 5, 2, 2)?.conv(32, 4, 2, 1)?.flatten()?,
            Preset::Cnn5 => chain.conv(16, 3, 1, 1)?.conv(16, 4, 2, 1)?.conv(32, 4, 2, 1)?.flatten()?.hidden(512)?,
            Preset::Cnn5L => chain.conv(32, 3, 1, 1)?.conv(32, 4, 2, 1)?.conv(64, 4, 2, 1)?.flatten()?.hidden(512)?,
            Preset::Cnn7 => chain
                .conv(64, 3, 1, 1)?
                .conv(64, 3, 1, 1)?
                .conv(128, 3, 2, 1)?
                .conv(128, 3, 1, 1)?
                .conv(128, 3, 1, 1)?
                .flatten()?
                .hidden(512)?,
            Preset::Mlp => chain.flatten()?.hidden(100)?.hidden(100)?,
        };
        chain.finish(classes)
    }
}

/// A sequence under construction: every layer reads the one before and is named by its index.
struct Chain {
    builder: NetworkBuilder,
    last: NodeId,
    index: usize,
}

impl Chain {
    fn new(input: &[usize], normalisation: Option<&Normalisation>) -> Result<Self, NetworkError> {
        let builder = NetworkBuilder::new(input)?;
        let mut chain = Chain { last: builder.input(), builder, index: 0 };
        if let Some(Normalisation { mean, std }) = normalisation {
            if mean.len() != std.len()
                || ![Some(&1), input.first()].contains(&Some(&mean.len()))
                || std.iter().any(|&s| !s.is_finite() || s <= 0.0)
            {
                return Err(NetworkError::Network(
                    "normalisation needs one mean and one positive std for all channels or for each".into(),
                ));
            }
            let scale: Vec<f64> = std.iter().map(|s| 1.0 / s).collect();
            let shift = mean.iter().zip(std).map(|(m, s)| -m / s).collect();
            let name = chain.next_name();
            chain.last = chain.builder.normalise(&name, scale, shift, chain.last)?;
        }
        Ok(chain)
    }

    fn next_name(&mut self) -> String {
        self.index += 1;
        (self.index - 1).to_string()
    }

    fn conv(
        &mut self,
        out_channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<&mut Self, NetworkError> {
        let &[in_channels, _, _] = self.builder.shape(self.last) else {
            return Err(NetworkError::Network(format!(
                "this preset needs an input [channels, height, width], got {:?}",
                self.builder.shape(self.last)
            )));
        };
        let conv = Conv2d {
            stride: [stride; 2],
            padding: [padding; 4],
            ..Conv2d::new([in_channels, out_channels], [kernel; 2])
        };
        let name = self.next_name();
        self.last = self.builder.conv2d(&name, conv, true, self.last)?;
        self.relu()
    }

    fn relu(&mut self) -> Result<&mut Self, NetworkError> {
        let name = self.next_name();
        self.last = self.builder.add(name, Layer::RELU, &[self.last])?;
        Ok(self)
    }

    fn flatten(&mut self) -> Result<&mut Self, NetworkError> {
        let name = self.next_name();
        self.last = self.builder.add(name, Layer::Flatten, &[self.last])?;
        Ok(self)
    }

    fn hidden(&mut self, features: usize) -> Result<&mut Self, NetworkError> {
        let name = self.next_name();
        self.last = self.builder.linear(&name, features, true, self.last)?;
        self.relu()
    }

    fn finish(mut self, classes: usize) -> Result<Network, NetworkError> {
        let name = self.next_name();
        self.builder.linear(&name, classes, true, self.last)?;
        self.builder.build()
    }
}
