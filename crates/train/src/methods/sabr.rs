//! SABR: bounds over a small box around a worst point.

use serde::{Deserialize, Serialize};
use tightrope_engine::Relaxation;

use super::robust::{ATTACK, Bounding, REGULARISER, Regulariser, Robust, TrainingAttack};
use super::{BOUNDED_BY, BoundedBy, MethodInfo, read_settings, write_settings};
use crate::config::{Setting, Values};

/// The key of the small boxes.
pub(super) const BOX: &[Setting] =
    &[Setting::new("method.box_share", Values::FACTOR, "λ: radius of the small boxes as a part of ε", "0.1")];

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
                  so that the box lies in B(x). The bounds are those of a part of the perturbations: they train networks \
                  of higher natural accuracy, whose robustness is then proved with tighter bounds. λ = 1 is `ibp`.",
    source: "Müller et al. 2023 (arXiv 2210.04871)",
    settings: &[BOX, BOUNDED_BY, ATTACK, REGULARISER],
    build: |table| {
        let (small, by): (SmallBox, BoundedBy) = (read_settings(table)?, BoundedBy::read(table)?);
        let (attack, regulariser): (TrainingAttack, Regulariser) = (read_settings(table)?, read_settings(table)?);
        let mut settings = write_settings(&small);
        settings.extend(by.write());
        settings.extend(write_settings(&attack));
        settings.extend(write_settings(&regulariser));
        Ok(Box::new(Robust {
            bounding: Bounding { box_share: small.box_share, ..Bounding::by(by.relaxation) },
            settings,
            attack,
            regulariser,
            ..Robust::certified(&SABR, Relaxation::CrownIbp)
        }))
    },
};
