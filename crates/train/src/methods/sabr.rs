//! SABR: bounds over a small box around a worst point.

use serde::{Deserialize, Serialize};
use tightrope_engine::Relaxation;

use super::robust::{ATTACK, Bounding, REGULARISER, Regulariser, Robust, TrainingAttack};
use super::{BOUNDED_BY, BoundedBy, MethodInfo, read_settings, write_settings};
use crate::TrainError;
use crate::config::{Setting, Values};

/// The key of the small boxes.
pub(super) const BOX: &[Setting] =
    &[Setting::new("method.box_share", Values::FACTOR, "λ: radius of the small boxes as a part of ε", "0.1")];

/// The key of shrinking ReLUs.
const SHRINKAGE: &[Setting] = &[Setting::new(
    "method.shrinkage",
    Values::FACTOR,
    "c: factor of the upper bounds of unstable ReLUs, with interval bounds alone; the paper has 0.8 on CIFAR-10 at 2/255",
    "0.8",
)];

/// How far unstable ReLUs are shrunk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Shrinkage {
    shrinkage: f64,
}

impl Default for Shrinkage {
    fn default() -> Self {
        Shrinkage { shrinkage: 1.0 }
    }
}

impl Shrinkage {
    fn check(self, relaxation: Relaxation) -> Result<(), TrainError> {
        if self.shrinkage == 1.0 || relaxation == Relaxation::Ibp {
            return Ok(());
        }
        Err(TrainError::value(
            "method.shrinkage",
            self.shrinkage,
            format!(
                "belongs to interval bounds; set it to 1, or method.relaxation = \"ibp\" in place of \"{relaxation}\""
            ),
        ))
    }
}

/// How small the boxes are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SmallBox {
    pub(super) box_share: f64,
}

impl Default for SmallBox {
    fn default() -> Self {
        SmallBox { box_share: 0.4 }
    }
}

/// `sabr`.
pub static SABR: MethodInfo = MethodInfo {
    name: "sabr",
    title: "SABR",
    aliases: &[],
    summary: "interval bounds over small boxes around worst points",
    description: "L as for `ibp`, with margins bounded over the box of radius λε around a worst point of B(x), which is moved \
                  so that the box lies in the ball of radius ε around x; what of the box is beyond the data range is cut off. \
                  The bounds are those of a part of the perturbations: they train networks \
                  of higher natural accuracy, whose robustness is then proved with tighter bounds; ReLU shrinkage c < 1 \
                  makes the boxes smaller still, layer by layer. λ = 1 with c = 1 is `ibp`. Over ℓ∞ alone.",
    source: "Müller et al. 2023 (arXiv 2210.04871)",
    settings: &[BOX, SHRINKAGE, BOUNDED_BY, ATTACK, REGULARISER],
    build: |table| {
        let (small, by): (SmallBox, BoundedBy) = (read_settings(table)?, BoundedBy::read(table)?);
        let (attack, regulariser): (TrainingAttack, Regulariser) = (read_settings(table)?, read_settings(table)?);
        let shrinkage: Shrinkage = read_settings(table)?;
        shrinkage.check(by.relaxation)?;
        let mut settings = write_settings(&small);
        settings.extend(write_settings(&shrinkage));
        settings.extend(by.write());
        settings.extend(write_settings(&attack));
        settings.extend(write_settings(&regulariser));
        Ok(Box::new(Robust {
            bounding: Bounding {
                box_share: small.box_share,
                shrinkage: shrinkage.shrinkage,
                ..Bounding::by(by.relaxation)
            },
            settings,
            attack,
            regulariser,
            ..Robust::certified(&SABR, Relaxation::CrownIbp)
        }))
    },
};
