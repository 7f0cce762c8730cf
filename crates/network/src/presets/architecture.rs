//! Networks as users name them: a preset, with or without batch norms, at some width.

use std::fmt;

use super::Preset;
use super::build::{self, Normalisation};
use crate::{Network, NetworkError, nearest_name};

/// A preset with its variants. In texts `NAME`, `NAME-bn` (a batch norm after every convolution and linear layer but the
/// last, before its ReLU; in residual networks, as published, after convolutions alone) and `NAME:W` (width W), or both:
/// `cnn5-bn:64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The preset.
    pub preset: Preset,
    /// With batch norms.
    pub batch_norm: bool,
    /// The width w, [`Preset::width`] as published: channels of the first convolution, with which those of the others
    /// grow; linear layers of a published size keep it. From 1 to [`Architecture::LARGEST_WIDTH`].
    pub width: usize,
}

impl From<Preset> for Architecture {
    /// The preset as published: without batch norms.
    fn from(preset: Preset) -> Self {
        Architecture { preset, batch_norm: false, width: preset.width() }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.preset.name())?;
        if self.batch_norm {
            f.write_str(BATCH_NORM)?;
        }
        if self.width != self.preset.width() {
            write!(f, ":{}", self.width)?;
        }
        Ok(())
    }
}

/// What follows the name of a preset with batch norms.
const BATCH_NORM: &str = "-bn";

impl Architecture {
    /// Widths beyond it are taken for a slip.
    pub const LARGEST_WIDTH: usize = 4096;

    /// The architecture called `name`.
    ///
    /// # Errors
    /// If there is none, or the width is out of range; the message tells the nearest name and lists the presets.
    pub fn from_name(name: &str) -> Result<Self, NetworkError> {
        let (variant, width) = match name.split_once(':') {
            Some((variant, width)) => (variant, Some(width)),
            None => (name, None),
        };
        let found = variants().find(|(_, known)| known == variant);
        let Some((architecture, _)) = found else {
            let suffix = width.map_or_else(String::new, |width| format!(":{width}"));
            return Err(NetworkError::UnknownPreset {
                name: name.into(),
                nearest: nearest(variant).map(|nearest| nearest + &suffix),
                known: Preset::ALL.map(Preset::name).join(", "),
            });
        };
        let Some(width) = width else { return Ok(architecture) };
        match width.parse() {
            Ok(width) if (1..=Architecture::LARGEST_WIDTH).contains(&width) => {
                Ok(Architecture { width, ..architecture })
            }
            _ => Err(NetworkError::Network(format!(
                "`{name}`: the width after the colon must be a whole number from 1 to {}, such as {variant}:{}",
                Architecture::LARGEST_WIDTH,
                architecture.width
            ))),
        }
    }

    /// The network for inputs `[channels, height, width]` and `classes` logits.
    ///
    /// Layers of sequences are called by their index, so that parameters are `0.weight`, `2.weight`, …; those of residual
    /// networks as in the published PyTorch models: `conv1`, `layer1.0.conv1`, `layer1.0.shortcut.0`, ….
    ///
    /// # Errors
    /// If the input is too small for the convolutions or the normalisation does not fit the channels.
    pub fn build(
        self,
        input: &[usize],
        classes: usize,
        normalisation: Option<&Normalisation>,
    ) -> Result<Network, NetworkError> {
        build::build(self, &self.preset.row().body, input, classes, normalisation)
    }
}

/// Every preset without and with batch norms, at its published width, by name.
fn variants() -> impl Iterator<Item = (Architecture, String)> {
    Preset::ALL.into_iter().flat_map(|preset| {
        [false, true].map(|batch_norm| {
            let architecture = Architecture { batch_norm, ..Architecture::from(preset) };
            (architecture, architecture.to_string())
        })
    })
}

/// The variant most like `name`, unless nothing is much like it.
fn nearest(name: &str) -> Option<String> {
    nearest_name(name, variants().map(|(_, known)| known))
}
