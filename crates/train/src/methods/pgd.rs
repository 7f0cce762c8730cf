//! Adversarial training.

use tightrope_engine::Relaxation;
use tightrope_network::Initialisation;

use super::robust::{ATTACK, Combination, Robust, TrainingAttack};
use super::{MethodInfo, read_settings, write_settings};

/// `pgd`.
pub static PGD: MethodInfo = MethodInfo {
    name: "pgd",
    title: "PGD adversarial training",
    aliases: &["adversarial"],
    summary: "cross-entropy at the worst points that an attack finds",
    description: "L = (1−w)·L_nat + w·L_adv with L_adv the cross-entropy at a point of B(x) that projected gradient descent \
                  finds. The networks withstand attacks, but little of it can be proved with loose bounds.",
    source: "Madry et al. 2018 (arXiv 1706.06083)",
    settings: &[ATTACK],
    build: |table| {
        let attack: TrainingAttack = read_settings(table)?;
        Ok(Box::new(Robust {
            combination: Combination::Adversarial,
            settings: write_settings(&attack),
            attack,
            initialisation: Initialisation::Default,
            ..Robust::certified(&PGD, Relaxation::CrownIbp)
        }))
    },
};
