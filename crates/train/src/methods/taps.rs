//! TAPS and STAPS: bounds up to a cut, an attack behind it.

use tightrope_engine::Relaxation;
use toml::Table;

use super::robust::{ATTACK, Bounding, Combination, LATENT, Latent, REGULARISER, Regulariser, Robust, TrainingAttack};
use super::sabr::{BOX, SmallBox};
use super::{BOUNDED_BY, BoundedBy, Method, MethodInfo, read_settings, write_settings};
use crate::TrainError;

/// `taps`.
pub static TAPS: MethodInfo = MethodInfo {
    name: "taps",
    title: "TAPS",
    aliases: &[],
    summary: "interval bounds up to a cut, an attack in the latent box behind it",
    description: "L_rob = L_TAPS·L_cert with L_cert that of `ibp` (or of another `relaxation`) and L_TAPS the cross-entropy of \
                  the margins at latent points: the layers before the cut are bounded by a box, in which the layers behind \
                  it are attacked for each rival class. A worst point x' moves with the ends of the box [l, u] by \
                  ∂x'/∂u = clip((x' − (u − w))/w, 0, 1), w = c(u − l), and alike for l. The gradient through the latent \
                  part counts 2s, the other 2(1−s) for the share s; s = 5/6 is 5 : 1. While ε rises the loss is L_cert \
                  alone. No layer behind the cut is `ibp`.",
    source: "Mao et al. 2023 (arXiv 2305.04574)",
    settings: &[LATENT, BOUNDED_BY, REGULARISER],
    build: |table| {
        let mut settings = Table::new();
        let method = latent(&TAPS, table, &mut settings)?;
        Ok(finished(method, settings))
    },
};

/// `staps`.
pub static STAPS: MethodInfo = MethodInfo {
    name: "staps",
    title: "STAPS",
    aliases: &[],
    summary: "taps over the small boxes of sabr",
    description: "L as for `taps`, with bounds over the small boxes around worst points that `sabr` has. Over ℓ∞ alone.",
    source: "Mao et al. 2023 (arXiv 2305.04574)",
    settings: &[LATENT, BOX, BOUNDED_BY, ATTACK, REGULARISER],
    build: |table| {
        let mut settings = Table::new();
        let mut method = latent(&STAPS, table, &mut settings)?;
        let small: SmallBox = read_settings(table)?;
        method.attack = read_settings::<TrainingAttack>(table)?;
        method.bounding.box_share = small.box_share;
        settings.extend(write_settings(&small));
        settings.extend(write_settings(&method.attack));
        Ok(finished(method, settings))
    },
};

fn latent(info: &'static MethodInfo, table: &Table, settings: &mut Table) -> Result<Robust, TrainError> {
    let (latent, by): (Latent, BoundedBy) = (read_settings(table)?, BoundedBy::read(table)?);
    let regulariser: Regulariser = read_settings(table)?;
    settings.extend(write_settings(&latent));
    settings.extend(by.write());
    settings.extend(write_settings(&regulariser));
    let combination = match latent.latent_layers {
        0 => Combination::Certified,
        _ => Combination::Latent { share: latent.latent_share },
    };
    Ok(Robust {
        combination,
        bounding: Bounding::by(by.relaxation),
        latent,
        regulariser,
        ..Robust::certified(info, Relaxation::CrownIbp)
    })
}

fn finished(method: Robust, settings: Table) -> Box<dyn Method> {
    Box::new(Robust { settings, ..method })
}
