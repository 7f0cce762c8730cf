//! Certified training with a convex relaxation: IBP, zonotopes, CROWN-IBP, DeepPoly and its variants.

use serde::{Deserialize, Serialize};
use tightrope_engine::Relaxation;
use toml::Table;

use super::robust::{Combination, REGULARISER, Regulariser, Robust};
use super::{Method, MethodInfo, read_settings, write_settings};
use crate::TrainError;
use crate::config::{Setting, Values};

/// What is averaged over the minibatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Objective {
    /// Cross-entropy of the margins' bounds.
    #[default]
    CrossEntropy,
    /// 1 for a sample that is not certified, else 0.
    CertifiedError,
}

/// The key of the objective.
pub(super) const OBJECTIVE: &[Setting] = &[Setting::new(
    "method.objective",
    Values::Name(|| ["cross-entropy", "certified-error (pgpe only)"].map(String::from).to_vec()),
    "the certified loss of a sample",
    "\"certified-error\"",
)];

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Common {
    objective: Objective,
}

const BETA: &[Setting] = &[
    Setting::new(
        "method.beta_start",
        Values::WEIGHT,
        "weight β of CROWN-IBP's margins beside IBP's at the start",
        "0.5",
    ),
    Setting::new("method.beta_end", Values::WEIGHT, "β from the end of the warm-up on", "0"),
];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Beta {
    beta_start: f64,
    beta_end: f64,
}

impl Default for Beta {
    fn default() -> Self {
        Beta { beta_start: 1.0, beta_end: 1.0 }
    }
}

const FUSION: &[Setting] = &[Setting::new(
    "method.loss_fusion",
    Values::Switch,
    "bound the loss itself by one linear form, in place of each margin; nothing is counted as certified then",
    "true",
)];

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Fusion {
    loss_fusion: bool,
}

impl Fusion {
    fn check(self, beta: Beta, combination: Combination) -> Result<(), TrainError> {
        if !self.loss_fusion {
            return Ok(());
        }
        let refuse = |problem: &str| Err(TrainError::value("method.loss_fusion", "true", problem));
        if [beta.beta_start, beta.beta_end] != [1.0; 2] {
            return refuse("has no margins to mix by beta_start and beta_end; leave them at 1, or set it to false");
        }
        match combination {
            Combination::Certified => Ok(()),
            _ => refuse("bounds the cross-entropy and certifies nothing; leave objective, or set it to false"),
        }
    }
}

/// The method `info` with the keys that all of this file have.
pub(super) fn robust(info: &'static MethodInfo, relaxation: Relaxation, table: &Table) -> Result<Robust, TrainError> {
    let (common, regulariser): (Common, Regulariser) = (read_settings(table)?, read_settings(table)?);
    let combination = match common.objective {
        Objective::CrossEntropy => Combination::Certified,
        Objective::CertifiedError => Combination::CertifiedError,
    };
    let mut settings = write_settings(&common);
    settings.extend(write_settings(&regulariser));
    Ok(Robust { combination, regulariser, settings, ..Robust::certified(info, relaxation) })
}

fn relaxed(info: &'static MethodInfo, relaxation: Relaxation, table: &Table) -> Result<Box<dyn Method>, TrainError> {
    Ok(Box::new(robust(info, relaxation, table)?))
}

/// `ibp`.
pub static IBP: MethodInfo = MethodInfo {
    name: "ibp",
    title: "IBP",
    aliases: &[],
    summary: "interval bounds",
    description: "L = (1−w)·L_nat + w·L_cert, where L_cert is the cross-entropy of the vector that is 0 at y and −m̲_j \
                  elsewhere, and m̲_j a lower bound of the margin f_y − f_j over the perturbations by interval \
                  arithmetic: μ' = Wμ + b, r' = |W|r for the centre μ and the half-width r of a box, ReLU at both ends; \
                  the margins are merged into the last linear layer. The loosest bounds, the fastest, and the ones that \
                  plain gradients train best. `regulariser` adds λ(1−ε_t/ε)(L_tight + L_relu) while ε rises: layers whose \
                  mean half-width outgrows the input's, and layers in which active or inactive neurons rule, are \
                  penalised.",
    source: "Gowal et al. 2018 (arXiv 1810.12715); initialisation and regularisers of Shi et al. 2021 (arXiv 2103.17268)",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&IBP, Relaxation::Ibp, table),
};

/// `hbox`.
pub static HBOX: MethodInfo = MethodInfo {
    name: "hbox",
    title: "HBox",
    aliases: &[],
    summary: "affine forms in the input; activations that are not affine become intervals",
    description: "L as for `ibp`, by hybrid zonotopes: a layer is a centre and error terms of the input, which go through \
                  W, and a box of radii, which goes through |W|. An unstable ReLU becomes the interval [0, u], a part of \
                  the box; stable ones keep their form. Over boxes never looser than `ibp`, and of it and \
                  `zonotope` either may be the tighter one; but discontinuous in θ where a neuron becomes unstable and its \
                  form is lost.",
    source: "Mirman et al. 2018 (DiffAI)",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&HBOX, Relaxation::Hbox, table),
};

/// `crown-ibp`.
pub static CROWN_IBP: MethodInfo = MethodInfo {
    name: "crown-ibp",
    title: "CROWN-IBP",
    aliases: &[],
    summary: "interval bounds of the layers, one backward substitution for the margins",
    description: "L as for `ibp`, with pre-activation bounds [l, u] by interval arithmetic and margins by one backward \
                  substitution to the input. An unstable ReLU lies between the lines λz (λ = 1 if u > −l, else 0) and \
                  u(z − l)/(u − l). The gradient goes through the interval bounds, too. With β the margins are \
                  β·m̲_CROWN-IBP + (1−β)·m̲_IBP; the published schedule lets β fall from 1 to 0 over the warm-up. \
                  With `loss_fusion` L_cert is log(1 + Σ_j t_j − min Σ_j s_j·m_j), where exp(−m_j) lies below the chord \
                  t_j − s_j·m_j between its interval bounds: one substitution for all classes. It bounds the worst \
                  cross-entropy, and lies between the losses of `crown-ibp` and `ibp` on the networks tested, which is no \
                  theorem: the classes share one worst point, but chords are loose. No sample counts as certified, and \
                  the form is differentiated by the reference engine: worth its while with many classes.",
    source: "Zhang et al. 2020 (arXiv 1906.06316); loss fusion of Xu et al. 2020 (arXiv 2002.12920)",
    settings: &[BETA, FUSION, OBJECTIVE, REGULARISER],
    build: |table| {
        let (beta, fusion): (Beta, Fusion) = (read_settings(table)?, read_settings(table)?);
        let mut method = robust(&CROWN_IBP, Relaxation::CrownIbp, table)?;
        method.bounding.beta = [beta.beta_start, beta.beta_end];
        fusion.check(beta, method.combination)?;
        method.bounding.fused = fusion.loss_fusion;
        method.settings.extend(write_settings(&beta));
        method.settings.extend(write_settings(&fusion));
        Ok(Box::new(method))
    },
};

/// `zonotope`.
pub static ZONOTOPE: MethodInfo = MethodInfo {
    name: "zonotope",
    title: "Zonotope",
    aliases: &["deepz"],
    summary: "affine forms in the input and in an error term of every unstable neuron",
    description: "L as for `ibp`, by affine forms of every layer. An unstable ReLU keeps its form z as λz + μ(1 + ε)/2 \
                  with the slope λ = u/(u − l), μ = −λl and an error term ε in [−1, 1] of its own. That is backward \
                  substitution for every layer along the parallel lines λz and λz + μ, and so it is computed. \
                  Continuous in θ, unlike `deeppoly`, but a ReLU's lower bound λl is below 0.",
    source: "Singh et al. 2018 (DeepZ)",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&ZONOTOPE, Relaxation::Zonotope, table),
};

/// `deeppoly`.
pub static DEEPPOLY: MethodInfo = MethodInfo {
    name: "deeppoly",
    title: "DeepPoly",
    aliases: &["crown"],
    summary: "backward substitution for every layer",
    description: "L as for `ibp`, with every pre-activation and the margins bounded by backward substitution to the \
                  input, lines as for `crown-ibp`; intermediate bounds are not intersected with interval bounds. \
                  Mostly tighter than `crown-ibp` (not on networks trained by `ibp`), but discontinuous in θ where a \
                  lower slope λ flips: it wants a smoothed loss (`rgs` or `pgpe`).",
    source: "Singh et al. 2019 (DeepPoly); Zhang et al. 2018 (CROWN, arXiv 1811.00866)",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&DEEPPOLY, Relaxation::Crown, table),
};

/// `crown-meet-ibp`.
pub static CROWN_MEET_IBP: MethodInfo = MethodInfo {
    name: "crown-meet-ibp",
    title: "CROWN met with IBP",
    aliases: &[],
    summary: "as deeppoly, every layer's bounds intersected with interval bounds",
    description: "L as for `deeppoly`, every intermediate bound intersected with its interval bound; the margins are not. \
                  Usually tighter, yet not always: a narrower layer may flip the slope of a lower line.",
    source: "a variant of DeepPoly in use in benchmarks of certified training",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&CROWN_MEET_IBP, Relaxation::CrownMeetIbp, table),
};

/// `crown-skip-ibp`.
pub static CROWN_SKIP_IBP: MethodInfo = MethodInfo {
    name: "crown-skip-ibp",
    title: "CROWN skipping stable neurons",
    aliases: &[],
    summary: "as deeppoly, but neurons that interval bounds prove stable keep them",
    description: "L as for `deeppoly`, except that neurons which interval bounds prove stable keep those bounds, and no \
                  gradient goes through them. On networks with many stable neurons it costs a fraction of `deeppoly`.",
    source: "a variant of CROWN in use in bound propagation libraries",
    settings: &[OBJECTIVE, REGULARISER],
    build: |table| relaxed(&CROWN_SKIP_IBP, Relaxation::CrownSkipIbp, table),
};
