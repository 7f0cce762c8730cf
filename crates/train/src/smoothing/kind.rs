//! The gradient estimators by name.

use serde::{Deserialize, Serialize};

/// Gradient estimators (arXiv 2403.07095).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmoothingKind {
    /// The plain gradient.
    Grad,
    /// Mean of gradients at perturbed parameters.
    Rgs,
    /// Antithetic differences of losses at perturbed parameters.
    Pgpe,
    /// The mean of the two, weighted by inverse variance.
    Mixed,
}

impl SmoothingKind {
    /// Every estimator, in the order of help texts.
    pub const ALL: [SmoothingKind; 4] =
        [SmoothingKind::Grad, SmoothingKind::Rgs, SmoothingKind::Pgpe, SmoothingKind::Mixed];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            SmoothingKind::Grad => "grad",
            SmoothingKind::Rgs => "rgs",
            SmoothingKind::Pgpe => "pgpe",
            SmoothingKind::Mixed => "mixed",
        }
    }

    /// What it computes, in a phrase.
    pub fn summary(self) -> &'static str {
        match self {
            SmoothingKind::Grad => "plain gradient",
            SmoothingKind::Rgs => "mean of gradients at perturbed parameters",
            SmoothingKind::Pgpe => "loss values only",
            SmoothingKind::Mixed => "rgs and pgpe, weighted by inverse variance",
        }
    }

    /// Formula, cost and source, in Markdown.
    pub fn description(self) -> &'static str {
        match self {
            SmoothingKind::Grad => "g = ∇L(θ): no smoothing, σ is ignored. One gradient a step.",
            SmoothingKind::Rgs => {
                "Randomised gradient smoothing: g = (1/n) Σᵢ ∇L(θ+δᵢ) with δᵢ ~ N(0, σ²I) and n = `smoothing.samples`, a \
                 first-order estimate of ∇L_σ. n gradients a step; the relaxation must be differentiable. Unbiased where the \
                 loss is continuous: what jumps add to ∇L_σ no gradient sees. With σ = 0 it is `grad`, bit for bit. Source: \
                 arXiv 2403.07095."
            }
            SmoothingKind::Pgpe => {
                "Parameter-exploring policy gradients: for n = `smoothing.population` / 2 antithetic pairs \
                 δᵢ ~ N(0, σ²I) and rᵢ± = L(θ±δᵢ) on the same minibatch, g = (1/n) Σᵢ δᵢ (rᵢ⁺ − rᵢ⁻)/(2σ²). Needs no \
                 gradient, and `smoothing.population` losses a step. With `smoothing.split` each pair sees a part of the \
                 minibatch, and batch norms take their statistics, and regularisers their means, from these few images. With `smoothing.control` the losses rᵢ± are less c times those of another method at the same \
                 θ±δᵢ, whose gradient averaged as by `rgs` is \
                 added back c times; c leaves the differences least spread. With `smoothing.guide` only the slope along one \
                 direction is measured, that of the guide's gradient averaged as by `rgs`, at points with noise in all \
                 directions: a few pairs suffice. Sources: Sehnke et al. 2010; arXiv 2403.07095."
            }
            SmoothingKind::Mixed => {
                "The mean g = w gᵣ + (1 − w) gₚ of the `rgs` gradient gᵣ of `smoothing.samples` samples (2 at least) and the \
                 `pgpe` gradient gₚ of a `smoothing.population` of other members (4 at least), w = vₚ/(vᵣ + vₚ): of all means \
                 of two independent unbiased estimates the one with the least variance, vᵣvₚ/(vᵣ + vₚ). vᵣ and vₚ are the \
                 traces of the covariances of gᵣ and gₚ, each found from its own members, which biases the mean by the order \
                 of 1/n. `rgs` is itself biased where the loss jumps: no gradient sees a jump, its variance does not tell, \
                 and since that variance is mostly far the smaller one, the bias comes in with a weight w near 1. \
                 Where the jumps are what matters, `pgpe` alone, or guided, is the estimator to take. \
                 n gradients and `smoothing.population` losses a step; the relaxation must be differentiable."
            }
        }
    }
}
