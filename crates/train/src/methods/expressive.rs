//! Expressive losses: MTL-IBP, CC-IBP and Exp-IBP, three ways between an adversarial and a certified loss.

use serde::{Deserialize, Serialize};
use tightrope_engine::Relaxation;
use toml::Table;

use super::robust::{ATTACK, Bounding, Combination, REGULARISER, Regulariser, Robust, TrainingAttack};
use super::{BOUNDED_BY, BoundedBy, Method, MethodInfo, read_settings, write_settings};
use crate::TrainError;
use crate::config::{Setting, Values};

const ALPHA: &[Setting] =
    &[Setting::new("method.alpha", Values::WEIGHT, "α: 0 for the adversarial loss, 1 for the certified one", "0.05")];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Alpha {
    alpha: f64,
}

impl Default for Alpha {
    fn default() -> Self {
        Alpha { alpha: 0.5 }
    }
}

/// `mtl-ibp`.
pub static MTL_IBP: MethodInfo = MethodInfo {
    name: "mtl-ibp",
    title: "MTL-IBP",
    aliases: &["mtl"],
    summary: "weighted sum of the certified and the adversarial loss",
    description: "L_rob = α·L_cert + (1−α)·L_adv, with L_cert that of `ibp` (or of another `relaxation`) and L_adv that of `pgd`.",
    source: "De Palma et al. 2024, Expressive Losses (arXiv 2305.13991)",
    settings: SETTINGS,
    build: |table| expressive(&MTL_IBP, Combination::Losses, table),
};

/// `cc-ibp`.
pub static CC_IBP: MethodInfo = MethodInfo {
    name: "cc-ibp",
    title: "CC-IBP",
    aliases: &[],
    summary: "cross-entropy of weighted certified and adversarial margins",
    description: "L_rob is the cross-entropy of the margins α·m̲ + (1−α)·m̂, with m̲ those of `ibp` (or of another \
                  `relaxation`) and m̂ those at the worst points of `pgd`.",
    source: "De Palma et al. 2024, Expressive Losses (arXiv 2305.13991)",
    settings: SETTINGS,
    build: |table| expressive(&CC_IBP, Combination::Margins, table),
};

/// `exp-ibp`.
pub static EXP_IBP: MethodInfo = MethodInfo {
    name: "exp-ibp",
    title: "Exp-IBP",
    aliases: &[],
    summary: "weighted geometric mean of the certified and the adversarial loss",
    description: "L_rob = L_cert^α · L_adv^(1−α) for each sample, with L_cert that of `ibp` (or of another `relaxation`) and \
                  L_adv that of `pgd`; losses below 1e-12 count as that.",
    source: "De Palma et al. 2024, Expressive Losses (arXiv 2305.13991)",
    settings: SETTINGS,
    build: |table| expressive(&EXP_IBP, Combination::Product, table),
};

const SETTINGS: &[&[Setting]] = &[ALPHA, BOUNDED_BY, ATTACK, REGULARISER];

fn expressive(
    info: &'static MethodInfo,
    combination: fn(f64) -> Combination,
    table: &Table,
) -> Result<Box<dyn Method>, TrainError> {
    let (alpha, by): (Alpha, BoundedBy) = (read_settings(table)?, BoundedBy::read(table)?);
    let (attack, regulariser): (TrainingAttack, Regulariser) = (read_settings(table)?, read_settings(table)?);
    let mut settings = write_settings(&alpha);
    settings.extend(by.write());
    settings.extend(write_settings(&attack));
    settings.extend(write_settings(&regulariser));
    Ok(Box::new(Robust {
        combination: combination(alpha.alpha),
        bounding: Bounding::by(by.relaxation),
        settings,
        attack,
        regulariser,
        ..Robust::certified(info, Relaxation::CrownIbp)
    }))
}
