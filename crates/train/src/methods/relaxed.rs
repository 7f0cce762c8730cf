//! Certified training with a convex relaxation: IBP, CROWN-IBP, DeepPoly and its variants.

use std::ops::Range;

use tightrope_engine::{BoundRequest, Cotangents, Loaded, MemberRequest, Perturbation, Relaxation, Spec, Wants};

use super::{Evaluated, Method, Minibatch, mean, natural_gradient, natural_loss, scaled, theta_of};
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
        if weight < 1.0 {
            let (loss, correct) = natural_loss(batch, at)?;
            total.add_natural(loss, correct, 1.0 - weight);
        }
        if weight > 0.0 {
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
        let mut natural = None;
        if weight < 1.0 {
            let (loss, correct, gradient) = natural_gradient(batch, at, 1.0 - weight)?;
            total.add_natural(loss, correct, 1.0 - weight);
            if weight == 0.0 {
                return Ok((total, gradient));
            }
            natural = Some(gradient);
        }
        let spec = Spec::Margins { labels: batch.labels.to_vec() };
        let (bounds, tape) = at.bound_taped(batch.region()?, &spec, self.request())?;
        let certified = certified_cross_entropy(&bounds.lower, batch.labels);
        total.loss += weight * mean(&certified.per_sample);
        total.certified = Some(certified.certified);
        let cotangents = Cotangents::on_lower(scaled(certified.cotangent, weight));
        let gradients = at.vjp(&tape, &cotangents, Wants::THETA)?;
        let mut gradient = theta_of(gradients.theta, at);
        if let Some(natural) = natural {
            gradient.iter_mut().zip(natural).for_each(|(g, n)| *g += n);
        }
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
        let request = MemberRequest { inputs: (weight < 1.0).then_some(batch.inputs), bounds };
        Ok(at.members(perturbation, pairs, &request, &|output| {
            let mut loss = 0.0;
            if let Some(logits) = output.logits {
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
