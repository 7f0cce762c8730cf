//! Certified training with a convex relaxation: IBP, zonotopes, CROWN-IBP, DeepPoly and its variants.

use std::ops::Range;

use tightrope_engine::{
    BatchPass, BoundRequest, Cotangents, Gradients, Loaded, MemberRequest, Perturbation, Relaxation, Spec, Wants,
};
use tightrope_network::Initialisation;

use super::clean::{NaturalGradient, clean, natural_gradient, takes_statistics};
use super::{Evaluated, Method, MethodInfo, Minibatch, mean, scaled, theta_of};
use crate::TrainError;
use crate::loss::{certified_cross_entropy, cross_entropy};

/// L = (1−w)·L_nat + w·L_cert with the margins' lower bounds by `relaxation`; a part of weight 0 is not computed.
#[derive(Clone, Copy, Debug)]
pub struct Relaxed {
    /// The relaxation that bounds the margins.
    pub relaxation: Relaxation,
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
                  plain gradients train best.",
    source: "Gowal et al. 2018 (arXiv 1810.12715); initialisation of Shi et al. 2021 (arXiv 2103.17184)",
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::Ibp })),
};

/// `hbox`.
pub static HBOX: MethodInfo = MethodInfo {
    name: "hbox",
    title: "HBox",
    aliases: &[],
    summary: "affine forms in the input; activations that are not affine become intervals",
    description: "L as for `ibp`, by hybrid zonotopes: a layer is a centre and error terms of the input, which go through \
                  W, and a box of radii, which goes through |W|. An unstable ReLU becomes the interval [0, u], a part of \
                  the box; stable ones keep their form. Over boxes never looser than `ibp`, but discontinuous in θ where a \
                  neuron becomes unstable and its form is lost.",
    source: "Mirman et al. 2018 (DiffAI)",
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::Hbox })),
};

/// `crown-ibp`.
pub static CROWN_IBP: MethodInfo = MethodInfo {
    name: "crown-ibp",
    title: "CROWN-IBP",
    aliases: &[],
    summary: "interval bounds of the layers, one backward substitution for the margins",
    description: "L as for `ibp`, with pre-activation bounds [l, u] by interval arithmetic and margins by one backward \
                  substitution to the input. An unstable ReLU lies between the lines λz (λ = 1 if u > −l, else 0) and \
                  u(z − l)/(u − l). The gradient goes through the interval bounds, too.",
    source: "Zhang et al. 2020 (arXiv 1906.06316)",
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::CrownIbp })),
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
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::Zonotope })),
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
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::Crown })),
};

/// `crown-meet-ibp`.
pub static CROWN_MEET_IBP: MethodInfo = MethodInfo {
    name: "crown-meet-ibp",
    title: "CROWN met with IBP",
    aliases: &[],
    summary: "as deeppoly, every layer's bounds intersected with interval bounds",
    description: "L as for `deeppoly`, every intermediate bound intersected with its interval bound. Usually tighter, \
                  yet not always: a narrower layer may flip the slope of a lower line.",
    source: "a variant of DeepPoly in use in benchmarks of certified training",
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::CrownMeetIbp })),
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
    settings: &[],
    build: |_| Ok(Box::new(Relaxed { relaxation: Relaxation::CrownSkipIbp })),
};

impl Relaxed {
    fn request(&self) -> BoundRequest {
        BoundRequest::lower(self.relaxation)
    }

    /// Adds the certified part of the loss, bounded at the numbers of `at`, to `total`; returns its gradients.
    fn certified_gradient(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        wants: Wants,
        total: &mut Evaluated,
    ) -> Result<Gradients<f32>, TrainError> {
        let weight = batch.robust_weight;
        let spec = Spec::Margins { labels: batch.labels.to_vec() };
        let (bounds, tape) = at.bound_taped(batch.region()?, &spec, self.request())?;
        let certified = certified_cross_entropy(&bounds.lower, batch.labels);
        total.loss += weight * mean(&certified.per_sample);
        total.certified = Some(certified.certified);
        let cotangents = Cotangents::on_lower(scaled(certified.cotangent, weight));
        Ok(at.vjp(&tape, &cotangents, wants)?)
    }
}

impl Method for Relaxed {
    fn info(&self) -> &'static MethodInfo {
        match self.relaxation {
            Relaxation::Ibp => &IBP,
            Relaxation::Hbox => &HBOX,
            Relaxation::CrownIbp => &CROWN_IBP,
            Relaxation::Zonotope => &ZONOTOPE,
            Relaxation::Crown => &DEEPPOLY,
            Relaxation::CrownMeetIbp => &CROWN_MEET_IBP,
            Relaxation::CrownSkipIbp => &CROWN_SKIP_IBP,
        }
    }

    fn evaluation(&self) -> Relaxation {
        self.relaxation
    }

    fn initialisation(&self) -> Initialisation {
        Initialisation::Ibp
    }

    fn loss(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Evaluated, TrainError> {
        let weight = batch.robust_weight;
        let mut total = Evaluated::default();
        let mut own = None;
        if weight < 1.0 || takes_statistics(at) {
            let pass = clean(batch, at)?;
            own = pass.own;
            if weight < 1.0 {
                let natural = cross_entropy(&pass.logits, batch.labels);
                total.add_natural(mean(&natural.per_sample), natural.correct, 1.0 - weight);
            }
        }
        if weight > 0.0 {
            let at = own.as_deref().unwrap_or(at);
            let spec = Spec::Margins { labels: batch.labels.to_vec() };
            let bounds = at.bound(batch.region()?, &spec, self.request())?;
            let certified = certified_cross_entropy(&bounds.lower, batch.labels);
            total.loss += weight * mean(&certified.per_sample);
            total.certified = Some(certified.certified);
        }
        Ok(total)
    }

    fn gradient(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(Evaluated, Vec<f32>), TrainError> {
        let weight = batch.robust_weight;
        let mut total = Evaluated::default();
        if weight == 0.0 || weight < 1.0 && !takes_statistics(at) {
            let NaturalGradient { loss, correct, mut gradient, statistics } =
                natural_gradient(batch, at, 1.0 - weight)?;
            total.add_natural(loss, correct, 1.0 - weight);
            total.statistics = statistics;
            if weight > 0.0 {
                let certified = self.certified_gradient(batch, at, Wants::THETA, &mut total)?;
                gradient.iter_mut().zip(theta_of(certified.theta, at)).for_each(|(n, g)| *n += g);
            }
            return Ok((total, gradient));
        }
        if !takes_statistics(at) {
            let certified = self.certified_gradient(batch, at, Wants::THETA, &mut total)?;
            return Ok((total, theta_of(certified.theta, at)));
        }
        let BatchPass { logits, statistics, tape } = at.forward_batch(batch.inputs)?;
        let mut on_pass = Cotangents::on_lower(vec![0.0; logits.len()]);
        if weight < 1.0 {
            let natural = cross_entropy(&logits, batch.labels);
            total.add_natural(mean(&natural.per_sample), natural.correct, 1.0 - weight);
            on_pass.lower = scaled(natural.cotangent, 1.0 - weight);
        }
        // Bounds by the statistics of the clean pass, through which their gradient goes on.
        let own = at.with_buffers(&statistics)?;
        let wants = Wants { buffers: true, ..Wants::THETA };
        let certified = self.certified_gradient(batch, &*own, wants, &mut total)?;
        on_pass.buffers = certified.buffers.unwrap_or_default();
        let mut gradient = theta_of(at.vjp(&tape, &on_pass, Wants::THETA)?.theta, at);
        gradient.iter_mut().zip(theta_of(certified.theta, at)).for_each(|(n, g)| *n += g);
        total.statistics = statistics;
        Ok((total, gradient))
    }

    fn population_loss(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        perturbation: Perturbation,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, TrainError> {
        let (weight, labels) = (batch.robust_weight, batch.labels);
        let spec = Spec::Margins { labels: labels.to_vec() };
        let bounds = if weight > 0.0 { Some((batch.region()?, &spec, self.request())) } else { None };
        let clean = weight < 1.0 || takes_statistics(at);
        let request = MemberRequest { inputs: clean.then_some(batch.inputs), bounds };
        Ok(at.members(perturbation, pairs, &request, &|output| {
            let mut loss = 0.0;
            if let Some(logits) = output.logits.filter(|_| weight < 1.0) {
                loss += (1.0 - weight) * mean(&cross_entropy(logits, labels).per_sample);
            }
            if let Some(bounds) = output.bounds {
                loss += weight * mean(&certified_cross_entropy(&bounds.lower, labels).per_sample);
            }
            loss
        })?)
    }
}

impl Evaluated {
    fn add_natural(&mut self, loss: f64, correct: usize, weight: f64) {
        self.loss += weight * loss;
        self.natural_loss = Some(loss);
        self.natural_correct = Some(correct);
    }
}
