//! Robust losses as combinations of a bounded and an attacked part: one implementation for all methods that are made so.

mod attack;
mod bounding;
mod combination;
mod fusion;
mod latent;
mod regulariser;

use std::ops::Range;

use tightrope_engine::{
    BatchPass, Cotangents, Gradients, LayerCotangent, Loaded, MemberRequest, Norm, Perturbation, Relaxation, Spec,
    Tape, Wants,
};
use tightrope_network::Initialisation;
use toml::Table;

pub(super) use attack::{ATTACK, TrainingAttack};
pub(super) use bounding::Bounding;
pub(super) use combination::Combination;
pub(super) use latent::{LATENT, Latent};
pub(super) use regulariser::{REGULARISER, Regulariser};

use self::bounding::Bounded;
use self::combination::Combined;
use self::fusion::Fused;
use self::latent::LatentMargins;
use super::clean::{clean, takes_statistics};
use super::{Evaluated, Method, MethodInfo, Minibatch, losses_in_turn, mean, scaled, theta_of};
use crate::TrainError;
use crate::loss::{cross_entropy, is_certified};

/// L = (1−w)·L_nat + w·L_rob, with L_rob a [`Combination`] of margins that are bounded and of margins that are attacked; a
/// part of weight 0 is not computed.
pub(super) struct Robust {
    pub(super) info: &'static MethodInfo,
    /// The method's own keys.
    pub(super) settings: Table,
    pub(super) combination: Combination,
    pub(super) bounding: Bounding,
    pub(super) attack: TrainingAttack,
    pub(super) latent: Latent,
    pub(super) regulariser: Regulariser,
    /// The relaxation of evaluations.
    pub(super) evaluation: Relaxation,
    pub(super) initialisation: Initialisation,
}

/// The parts of L_rob on one minibatch at one θ.
struct Parts {
    bounded: Option<Bounded>,
    /// In place of `bounded`, if the loss is bounded as a whole.
    fused: Option<Fused>,
    attacked: Option<Attacked>,
    latent: Option<LatentMargins>,
    /// The regularisers' value and their cotangents on the bounds of layers.
    penalty: f64,
    on_layers: Vec<LayerCotangent<f32>>,
}

/// Margins at worst points with what their gradient needs.
struct Attacked {
    margins: Vec<f32>,
    tape: Option<Tape>,
}

impl Robust {
    /// A method that bounds margins by `relaxation` and trains on nothing else.
    pub(super) fn certified(info: &'static MethodInfo, relaxation: Relaxation) -> Self {
        Robust {
            info,
            settings: Table::new(),
            combination: Combination::Certified,
            bounding: Bounding::by(relaxation),
            attack: TrainingAttack::default(),
            latent: Latent::default(),
            regulariser: Regulariser::default(),
            evaluation: relaxation,
            initialisation: Initialisation::Ibp,
        }
    }

    /// The combination at this step: latent parts wait until ε is up.
    fn combination(&self, batch: &Minibatch<'_>) -> Combination {
        match self.combination {
            Combination::Latent { .. } if batch.warmup.epsilon < 1.0 => Combination::Certified,
            combination => combination,
        }
    }

    /// True if the loss depends on worst points of the input.
    fn takes_points(&self, combination: Combination) -> bool {
        let bounds = combination.takes_certified() && self.bounding.takes_points();
        bounds || combination.takes_adversarial() && !combination.is_latent()
    }

    /// The parts that count, at the numbers of `at`.
    fn parts(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>, taped: bool) -> Result<Parts, TrainError> {
        let combination = self.combination(batch);
        let mut parts =
            Parts { bounded: None, fused: None, attacked: None, latent: None, penalty: 0.0, on_layers: Vec::new() };
        let points = match self.takes_points(combination) {
            false => None,
            true => Some(match batch.worst_points() {
                Some(points) => points.to_vec(),
                None => self.attack.points(batch, at)?,
            }),
        };
        if combination.takes_certified() {
            let region = self.bounding.region(batch, points.as_deref())?;
            let weight = self.regulariser.weight(batch.warmup.epsilon);
            let layers = weight > 0.0 || combination.is_latent();
            if self.bounding.fused {
                let fused = Fused::new(batch, at, &region, layers, taped)?;
                if weight > 0.0 {
                    let penalty = self.regulariser.penalty(at.network(), &region, fused.layers(), weight);
                    (parts.penalty, parts.on_layers) = (penalty.value, penalty.cotangents);
                }
                parts.fused = Some(fused);
                return Ok(parts);
            }
            let bounded = self.bounding.bound(batch, at, &region, layers, taped)?;
            if weight > 0.0 {
                let penalty = self.regulariser.penalty(at.network(), &region, bounded.layers(), weight);
                (parts.penalty, parts.on_layers) = (penalty.value, penalty.cotangents);
            }
            if combination.is_latent() {
                parts.latent = Some(self.latent.margins(batch, at, bounded.layers(), taped)?);
            }
            parts.bounded = Some(bounded);
        }
        let attacked = combination.takes_adversarial() && !combination.is_latent();
        if let Some(points) = points.filter(|_| attacked) {
            let (logits, tape) = match taped {
                true => {
                    let (logits, tape) = at.forward_taped(&points)?;
                    (logits, Some(tape))
                }
                false => (at.forward(&points)?, None),
            };
            parts.attacked = Some(Attacked { margins: margins_of(&logits, batch.labels), tape });
        }
        Ok(parts)
    }

    /// The combined loss of the parts, which is added to `total` with the robust weight.
    fn combine(&self, batch: &Minibatch<'_>, parts: &Parts, total: &mut Evaluated) -> Combined {
        if let Some(fused) = &parts.fused {
            total.loss += batch.robust_weight * (mean(&fused.per_sample) + parts.penalty);
            return Combined::default();
        }
        let certified = parts.bounded.as_ref().map_or(&[][..], |bounded| &bounded.margins);
        let attacked = parts.attacked.as_ref().map(|attacked| &attacked.margins);
        let other = parts.latent.as_ref().map(|latent| &latent.margins).or(attacked).map_or(&[][..], |margins| margins);
        let combined = self.combination(batch).of(certified, other, batch.labels);
        total.loss += batch.robust_weight * (mean(&combined.per_sample) + parts.penalty);
        if self.bounding.sound() && parts.bounded.is_some() {
            let rows = certified.chunks((certified.len() / batch.labels.len().max(1)).max(1)).zip(batch.labels);
            total.certified = Some(rows.filter(|(row, label)| is_certified(row, **label)).count());
        }
        combined
    }

    /// The gradients of the robust part, weighted, at the numbers of `at`.
    fn robust_gradients(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        wants: Wants,
        total: &mut Evaluated,
    ) -> Result<Vec<Gradients<f32>>, TrainError> {
        let weight = batch.robust_weight;
        let mut parts = self.parts(batch, at, true)?;
        let combined = self.combine(batch, &parts, total);
        let mut on_layers = std::mem::take(&mut parts.on_layers);
        for layer in &mut on_layers {
            layer.lower.iter_mut().chain(&mut layer.upper).for_each(|c| *c *= weight as f32);
        }
        let mut gradients = Vec::new();
        let on_other = scaled(combined.adversarial, weight);
        let mut latent_gradient = None;
        if let Some(latent) = &parts.latent {
            let (gradient, on_box) = latent.pull(at, batch.labels, &on_other, wants.buffers)?;
            latent_gradient = Some(gradient);
            add_layer(&mut on_layers, on_box);
        }
        if let Some(fused) = &parts.fused {
            gradients.extend(fused.pull(at, weight, std::mem::take(&mut on_layers), wants)?);
        }
        if let Some(bounded) = &parts.bounded {
            gradients.extend(bounded.pull(at, &scaled(combined.certified, weight), on_layers, wants)?);
        }
        gradients.extend(latent_gradient);
        if let Some(Attacked { tape: Some(tape), .. }) = &parts.attacked {
            let on_logits = on_logits(&on_other, batch.labels);
            gradients.push(at.vjp(tape, &Cotangents::on_lower(on_logits), wants)?);
        }
        Ok(gradients)
    }
}

impl Method for Robust {
    fn info(&self) -> &'static MethodInfo {
        self.info
    }

    fn settings(&self) -> Table {
        self.settings.clone()
    }

    fn evaluation(&self) -> Relaxation {
        self.evaluation
    }

    fn initialisation(&self) -> Initialisation {
        self.initialisation
    }

    fn differentiable(&self) -> bool {
        self.combination.differentiable() && self.bounding.ascent.is_none()
    }

    fn covers(&self, norm: Norm) -> bool {
        norm == Norm::Inf || !self.bounding.takes_points() && self.bounding.ascent.is_none()
    }

    fn prepare(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(), TrainError> {
        if !(self.takes_points(self.combination(batch)) && self.attack.at_mean() && batch.robust_weight > 0.0) {
            return Ok(());
        }
        let own = if takes_statistics(at) { clean(batch, at)?.own } else { None };
        batch.set_worst_points(self.attack.points(batch, own.as_deref().unwrap_or(at))?);
        Ok(())
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
            let parts = self.parts(batch, own.as_deref().unwrap_or(at), false)?;
            self.combine(batch, &parts, &mut total);
        }
        Ok(total)
    }

    fn gradient(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(Evaluated, Vec<f32>), TrainError> {
        let weight = batch.robust_weight;
        let with_statistics = takes_statistics(at);
        let mut total = Evaluated::default();
        let mut on_pass = Cotangents::default();
        let mut pass = None;
        if weight < 1.0 || with_statistics {
            let taken = at.forward_batch(batch.inputs)?;
            on_pass.lower = vec![0.0; taken.logits.len()];
            if weight < 1.0 {
                let natural = cross_entropy(&taken.logits, batch.labels);
                total.add_natural(mean(&natural.per_sample), natural.correct, 1.0 - weight);
                on_pass.lower = scaled(natural.cotangent, 1.0 - weight);
            }
            pass = Some(taken);
        }
        let mut robust = Vec::new();
        if weight > 0.0 {
            // Bounds and attacks by the statistics of the clean pass, through which their gradient goes on.
            let own = match &pass {
                Some(pass) if with_statistics => Some(at.with_buffers(&pass.statistics)?),
                _ => None,
            };
            let wants = Wants { buffers: with_statistics, ..Wants::THETA };
            robust = self.robust_gradients(batch, own.as_deref().unwrap_or(at), wants, &mut total)?;
            for gradient in &mut robust {
                sum_into(&mut on_pass.buffers, gradient.buffers.take());
            }
        }
        let mut gradient = Vec::new();
        if let Some(BatchPass { statistics, tape, .. }) = pass {
            gradient = theta_of(at.vjp(&tape, &on_pass, Wants::THETA)?.theta, at);
            total.statistics = statistics;
        }
        for part in robust {
            sum_into(&mut gradient, Some(theta_of(part.theta, at)));
        }
        Ok((total, gradient))
    }

    fn population_loss(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, TrainError> {
        let (weight, labels) = (batch.robust_weight, batch.labels);
        let combination = self.combination(batch);
        let alone = !combination.takes_adversarial() && self.regulariser.weight(batch.warmup.epsilon) == 0.0;
        let Some(how) = self.bounding.request().filter(|_| alone && combination.takes_certified()) else {
            return losses_in_turn(self, batch, at, perturbation, pairs);
        };
        let spec = Spec::Margins { labels: labels.to_vec() };
        let bounds = if weight > 0.0 { Some((batch.region()?, &spec, how)) } else { None };
        let clean = weight < 1.0 || takes_statistics(at);
        let request = MemberRequest { inputs: clean.then_some(batch.inputs), bounds };
        Ok(at.members(perturbation, pairs, &request, &|output| {
            let mut loss = 0.0;
            if let Some(logits) = output.logits.filter(|_| weight < 1.0) {
                loss += (1.0 - weight) * mean(&cross_entropy(logits, labels).per_sample);
            }
            if let Some(bounds) = output.bounds {
                loss += weight * mean(&combination.of(&bounds.lower, &[], labels).per_sample);
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

/// z_y − z_j of `logits [N, K]`.
fn margins_of(logits: &[f32], labels: &[usize]) -> Vec<f32> {
    let classes = logits.len() / labels.len().max(1);
    logits.chunks(classes.max(1)).zip(labels).flat_map(|(z, &y)| z.iter().map(move |&other| z[y] - other)).collect()
}

/// The cotangent on logits of one on their margins.
fn on_logits(on_margins: &[f32], labels: &[usize]) -> Vec<f32> {
    let classes = on_margins.len() / labels.len().max(1);
    let row = |(on, &label): (&[f32], &usize)| {
        let mut row: Vec<f32> = on.iter().map(|&c| -c).collect();
        row[label] = on.iter().enumerate().filter(|(j, _)| *j != label).map(|(_, &c)| c).sum();
        row
    };
    on_margins.chunks(classes.max(1)).zip(labels).flat_map(row).collect()
}

/// Adds `part` to `sum`, which is empty or as long.
fn sum_into(sum: &mut Vec<f32>, part: Option<Vec<f32>>) {
    let Some(part) = part else { return };
    if sum.is_empty() {
        *sum = part;
    } else {
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
}

/// Adds a cotangent on a layer's bounds to those on others.
fn add_layer(layers: &mut Vec<LayerCotangent<f32>>, new: LayerCotangent<f32>) {
    match layers.iter_mut().find(|layer| layer.node == new.node) {
        Some(layer) => {
            layer.lower.iter_mut().zip(new.lower).for_each(|(c, n)| *c += n);
            layer.upper.iter_mut().zip(new.upper).for_each(|(c, n)| *c += n);
        }
        None => layers.push(new),
    }
}
