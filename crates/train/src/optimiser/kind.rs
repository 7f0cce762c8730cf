//! The optimisers by name.

use serde::{Deserialize, Serialize};

/// Optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// Rectified Adam.
    RAdam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

impl OptimiserKind {
    /// Every optimiser, in the order of help texts.
    pub const ALL: [OptimiserKind; 4] =
        [OptimiserKind::Adam, OptimiserKind::AdamW, OptimiserKind::RAdam, OptimiserKind::Sgd];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            OptimiserKind::Adam => "adam",
            OptimiserKind::AdamW => "adamw",
            OptimiserKind::RAdam => "radam",
            OptimiserKind::Sgd => "sgd",
        }
    }

    /// The weight decay unless told otherwise; that of PyTorch.
    pub fn weight_decay(self) -> f64 {
        match self {
            OptimiserKind::AdamW => 0.01,
            OptimiserKind::Adam | OptimiserKind::RAdam | OptimiserKind::Sgd => 0.0,
        }
    }

    /// Formula and source, in Markdown; g is the gradient, η the learning rate, λ `train.weight_decay`.
    pub fn description(self) -> &'static str {
        match self {
            OptimiserKind::Adam => {
                "θ ← θ − η m̂/(√v̂ + 10⁻⁸) with m ← .9 m + .1 g, v ← .999 v + .001 g², m̂ = m/(1−.9ᵗ), v̂ = v/(1−.999ᵗ); \
                 λθ is added to g. Source: Kingma and Ba 2015."
            }
            OptimiserKind::AdamW => {
                "Adam after θ ← (1 − ηλ) θ, so that the decay is not divided by √v̂. Source: Loshchilov and Hutter 2019."
            }
            OptimiserKind::RAdam => {
                "Adam whose step is multiplied by r = √((ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ)), ρ∞ = 1999, \
                 ρ = ρ∞ − 2t·.999ᵗ/(1−.999ᵗ), and which moves by η m̂ alone while ρ ≤ 5 (the first five steps): the warm-up \
                 that Adam's variance asks for. λθ is added to g. Source: Liu et al. 2020."
            }
            OptimiserKind::Sgd => {
                "θ ← θ − η u with u ← μ u + g and μ = `train.momentum`; with `train.nesterov` θ ← θ − η (g + μ u). λθ is \
                 added to g. Sources: Polyak 1964; Sutskever et al. 2013."
            }
        }
    }
}
