//! Losses of perturbed members: weights regenerated from the noise stream, evaluated, thrown away.
//!
//! A member's δ is drawn into memory of the worker, shared by θ + σδ and θ − σδ, and packed straight
//! into the kernels' order; no [members × |θ|] matrix ever exists. Members run in parallel; each
//! member's loss is a fixed sum over its batch, so losses do not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;
use tightrope_engine::{Perturbation, PopulationBatch, Relaxation, Spec, certified_cross_entropy, cross_entropy};
use tightrope_network::ParameterLayout;

use crate::backward::rows::slopes::SlopeRequest;
use crate::bound::batch::bound_all;
use crate::bound::interval::load_all;
use crate::bound::job::BoundJob;
use crate::clean::batch::forward_all;
use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::Interval;
use crate::kernels::product::Shape;
use crate::net::Net;
use crate::net::plan::Plan;
use crate::net::spec::Specification;
use crate::net::split::{bound_chunk, image_chunk};
use crate::net::weights::{Layouts, Weights};
use crate::scratch::{MemberScratch, Scratch};
use crate::simd::lanes::{Lanes, WIDTH};

/// Mean losses at θ + σδ and θ − σδ of each pair.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn losses<S: Lanes>(
    scratch: &Scratch,
    plan: &Plan,
    layout: &ParameterLayout,
    theta: &[f32],
    perturbation: Perturbation,
    pairs: Range<u64>,
    batch: &PopulationBatch<'_, f32>,
) -> Vec<[f64; 2]> {
    let spec = Spec::Margins { labels: batch.labels.to_vec() };
    let pairs: Vec<u64> = pairs.collect();
    // The images do not depend on the members' weights.
    let empty = Weights::default();
    let shared = batch.relaxation == Relaxation::Ibp && batch.robust_weight > 0.0;
    // SAFETY: the machine has `S`.
    let images = shared.then(|| unsafe { load_all::<S>(&Net::new(plan, &empty, None), batch.region) });
    pairs
        .into_par_iter()
        .map(|pair| {
            scratch.members.with(|own| {
                let MemberScratch { delta, theta: member, weights } = own;
                delta.resize(theta.len(), 0.0);
                let stream = perturbation.stream(pair);
                // SAFETY: the machine has `S`.
                unsafe { S::run(|| stream.gaussian_wide(0, delta)) };
                [1.0_f32, -1.0].map(|sign| {
                    let scale = sign * perturbation.sigma;
                    member.clear();
                    member.extend(theta.iter().zip(&*delta).map(|(&t, &d)| t + scale * d));
                    // SAFETY: as above.
                    unsafe { mixed_loss::<S>(scratch, plan, layout, member, weights, &spec, batch, images.as_deref()) }
                })
            })
        })
        .collect()
}

/// (1 − w)·natural + w·certified mean cross-entropy of one member.
unsafe fn mixed_loss<S: Lanes>(
    scratch: &Scratch,
    plan: &Plan,
    layout: &ParameterLayout,
    theta: &[f32],
    weights: &mut Weights,
    spec: &Spec<f32>,
    batch: &PopulationBatch<'_, f32>,
    images: Option<&[Interval]>,
) -> f64 {
    let mean = |losses: &[f32]| losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
    let weight = batch.robust_weight;
    let mut loss = 0.0;
    if weight < 1.0 {
        let panels = Shape::of::<S>(1, image_chunk(batch.labels.len()) / WIDTH);
        weights.pack(plan, layout, theta, Layouts::points(plan, panels, [false; 2]));
        let net = Net::new(plan, weights, Some((layout, theta)));
        // SAFETY: the caller's word.
        let (logits, _) = unsafe { forward_all::<S>(&scratch.clean, &net, batch.inputs, false) };
        loss += (1.0 - weight) * mean(&cross_entropy(&logits, batch.labels).per_sample);
    }
    if weight > 0.0 {
        let panels = Shape::of::<S>(2, bound_chunk(batch.relaxation, batch.region.batch()).div_ceil(WIDTH));
        weights.pack(plan, layout, theta, Layouts::bounds(plan, batch.relaxation, panels, false));
        let own = (batch.relaxation == Relaxation::Ibp).then_some((layout, theta));
        let net = Net::new(plan, weights, own);
        let ball = batch.region.ball.as_ref().map(|ball| BallRows::new(&net, ball.norm, batch.region.clipped));
        let job = BoundJob {
            net: &net,
            region: batch.region,
            specification: Specification::new(spec, plan, weights),
            relaxation: batch.relaxation,
            upper: false,
            layers: false,
            keep: false,
            ball: ball.as_ref(),
            signs: None,
            images,
            // Members are parallel already.
            slopes: SlopeRequest::default(),
            parts: 1,
            scratch: &scratch.bounds,
            gradients: &scratch.gradients,
        };
        // SAFETY: the caller's word.
        let (chunks, _) = unsafe { bound_all::<S>(&job) };
        let margins: Vec<f32> = chunks.iter().flat_map(|chunk| chunk.lower.iter().copied()).collect();
        loss += weight * mean(&certified_cross_entropy(&margins, batch.labels).per_sample);
    }
    loss
}
