//! The named architectures of the field: one table, from which networks, help texts and documents are made.

mod architecture;
mod build;

pub use architecture::Architecture;
pub use build::Normalisation;

use crate::{Network, NetworkError};
use build::{Body, Part, Sides};

/// Architectures by name, each at its published width and without batch norm; [`Architecture`] has the others.
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
    /// Five convolutions (64, 64, 128, 128, 128 channels) and linear layers of 512 and K.
    Cnn7,
    /// CNN7 whose last convolution is strided as well, for images of 64×64.
    Cnn7TinyImageNet,
    /// A strided convolution (16 channels) and linear layers of 100 and K.
    Conv1,
    /// Gowal et al.'s small network.
    Small,
    /// Gowal et al.'s medium network.
    Medium,
    /// Gowal et al.'s large network.
    Large,
    /// Two residual blocks, of VNN-COMP 2021.
    ResNet2B,
    /// Four residual blocks, of VNN-COMP 2021.
    ResNet4B,
    /// Two hidden layers of 100.
    Mlp,
}

/// What the table says of a preset.
struct Row {
    name: &'static str,
    /// Its width w: the channels of its first convolution, or the neurons of its hidden layers.
    width: usize,
    body: Body,
    source: &'static str,
}

/// A convolution of `channels` times the width with a square kernel, and its ReLU.
const fn conv(channels: usize, kernel: usize, stride: usize, padding: usize) -> Part {
    Part::Conv { channels, kernel, stride, padding: Sides::Each(padding) }
}

/// The same with as much padding as keeps the side, divided by the stride.
const fn same(channels: usize, kernel: usize, stride: usize) -> Part {
    Part::Conv { channels, kernel, stride, padding: Sides::Same }
}

const SMOOTHING: &str = "arXiv 2403.07095";
const GOWAL: &str = "Gowal et al. 2018, arXiv 1810.12715";
const SHI: &str = "Shi et al. 2021, arXiv 2103.17268";
const VNN_COMP: &str = "VNN-COMP 2021, benchmark cifar10_resnet";

static FIVE_LAYERS: [Part; 5] = [conv(1, 3, 1, 1), conv(1, 4, 2, 1), conv(2, 4, 2, 1), Part::Flatten, Part::Dense(512)];

static CNN3_TINY: Row = Row {
    name: "cnn3-tiny",
    width: 2,
    body: Body::Sequence(&[conv(1, 5, 2, 2), conv(1, 4, 2, 1), Part::Flatten]),
    source: SMOOTHING,
};

static CNN3: Row = Row {
    name: "cnn3",
    width: 16,
    body: Body::Sequence(&[conv(1, 5, 2, 2), conv(2, 4, 2, 1), Part::Flatten]),
    source: SMOOTHING,
};

static CNN5: Row = Row { name: "cnn5", width: 16, body: Body::Sequence(&FIVE_LAYERS), source: SMOOTHING };

static CNN5_L: Row = Row { name: "cnn5-l", width: 32, body: Body::Sequence(&FIVE_LAYERS), source: SMOOTHING };

static CNN7: Row = Row {
    name: "cnn7",
    width: 64,
    body: Body::Sequence(&[
        conv(1, 3, 1, 1),
        conv(1, 3, 1, 1),
        conv(2, 3, 2, 1),
        conv(2, 3, 1, 1),
        conv(2, 3, 1, 1),
        Part::Flatten,
        Part::Dense(512),
    ]),
    source: SHI,
};

static CNN7_TINYIMAGENET: Row = Row {
    name: "cnn7-tinyimagenet",
    width: 64,
    body: Body::Sequence(&[
        conv(1, 3, 1, 1),
        conv(1, 3, 1, 1),
        conv(2, 3, 2, 1),
        conv(2, 3, 1, 1),
        conv(2, 3, 2, 1),
        Part::Flatten,
        Part::Dense(512),
    ]),
    source: SHI,
};

static CONV1: Row = Row {
    name: "conv1",
    width: 16,
    body: Body::Sequence(&[conv(1, 4, 2, 1), Part::Flatten, Part::Dense(100)]),
    source: "Jovanović et al. 2022, arXiv 2102.06700",
};

static SMALL: Row = Row {
    name: "small",
    width: 16,
    body: Body::Sequence(&[conv(1, 4, 2, 0), conv(2, 4, 1, 0), Part::Flatten, Part::Dense(100)]),
    source: GOWAL,
};

static MEDIUM: Row = Row {
    name: "medium",
    width: 32,
    body: Body::Sequence(&[
        conv(1, 3, 1, 0),
        conv(1, 4, 2, 0),
        conv(2, 3, 1, 0),
        conv(2, 4, 2, 0),
        Part::Flatten,
        Part::Dense(512),
        Part::Dense(512),
    ]),
    source: GOWAL,
};

static LARGE: Row = Row {
    name: "large",
    width: 64,
    body: Body::Sequence(&[
        same(1, 3, 1),
        same(1, 3, 1),
        same(2, 3, 2),
        same(2, 3, 1),
        same(2, 3, 1),
        Part::Flatten,
        Part::Dense(512),
    ]),
    source: GOWAL,
};

static RESNET_2B: Row = Row { name: "resnet-2b", width: 8, body: Body::Residual { stages: 1 }, source: VNN_COMP };

static RESNET_4B: Row = Row { name: "resnet-4b", width: 16, body: Body::Residual { stages: 2 }, source: VNN_COMP };

static MLP: Row = Row {
    name: "mlp",
    width: 100,
    body: Body::Sequence(&[Part::Flatten, Part::Hidden(1), Part::Hidden(1)]),
    source: "common use",
};

impl Preset {
    /// Every preset, in the order of help texts.
    pub const ALL: [Preset; 13] = [
        Preset::Cnn3Tiny,
        Preset::Cnn3,
        Preset::Cnn5,
        Preset::Cnn5L,
        Preset::Cnn7,
        Preset::Cnn7TinyImageNet,
        Preset::Conv1,
        Preset::Small,
        Preset::Medium,
        Preset::Large,
        Preset::ResNet2B,
        Preset::ResNet4B,
        Preset::Mlp,
    ];

    fn row(self) -> &'static Row {
        match self {
            Preset::Cnn3Tiny => &CNN3_TINY,
            Preset::Cnn3 => &CNN3,
            Preset::Cnn5 => &CNN5,
            Preset::Cnn5L => &CNN5_L,
            Preset::Cnn7 => &CNN7,
            Preset::Cnn7TinyImageNet => &CNN7_TINYIMAGENET,
            Preset::Conv1 => &CONV1,
            Preset::Small => &SMALL,
            Preset::Medium => &MEDIUM,
            Preset::Large => &LARGE,
            Preset::ResNet2B => &RESNET_2B,
            Preset::ResNet4B => &RESNET_4B,
            Preset::Mlp => &MLP,
        }
    }

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The width w that it is published with: the channels of its first convolution, or the neurons of its hidden layers
    /// where it has none.
    pub fn width(self) -> usize {
        self.row().width
    }

    /// Where it was published.
    pub fn source(self) -> &'static str {
        self.row().source
    }

    /// Its layers in order, as a text in terms of the width w and the K classes; every layer but the last is followed by
    /// a ReLU.
    pub fn layers(self) -> String {
        self.row().body.text()
    }

    /// The network for inputs `[channels, height, width]` and `classes` logits.
    ///
    /// # Errors
    /// As [`Architecture::build`].
    pub fn build(
        self,
        input: &[usize],
        classes: usize,
        normalisation: Option<&Normalisation>,
    ) -> Result<Network, NetworkError> {
        Architecture::from(self).build(input, classes, normalisation)
    }
}
