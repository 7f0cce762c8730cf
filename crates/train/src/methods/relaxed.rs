//! Certified training with a convex relaxation: IBP, CROWN-IBP, DeepPoly and its variants.

use std::ops::Range;

use tightrope_engine::{
    BatchPass, BoundRequest, Cotangents, Gradients, Loaded, MemberRequest, Perturbation, Relaxation, Spec, Wants,
};

use super::clean::{NaturalGradient, clean_logits, natural_gradient, takes_statistics};
use super::{Evaluated, Method, Minibatch, mean, scaled, theta_of};
use crate::TrainError;
use crate::loss::{certified_cross_entropy, cross_entropy};

/// L = (1−w)·L_nat + w·L_cert with the margins' lower bounds by `relaxation`; a part of weight 0 is not computed.
#[derive(Clone, Copy, Debug)]
pub struct Relaxed {
    /// The relaxation that bounds the margins.
    pub relaxation: Relaxation,
}

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
    fn name(&self) -> &'static str {
        match self.relaxation {
            Relaxation::Crown => "deeppoly",
            other => other.name(),
        }
    }

    fn loss(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Evaluated, TrainError> {
        let weight = batch.robust_weight;
        let mut total = Evaluated::default();
        let mut own = None;
        if weight < 1.0 || takes_statistics(at) {
            let (logits, at_statistics) = clean_logits(batch, at)?;
            own = at_statistics;
            if weight < 1.0 {
                let natural = cross_entropy(&logits, batch.labels);
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
