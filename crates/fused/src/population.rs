//! Losses of perturbed members: weights regenerated from the noise stream, evaluated, thrown away.
//!
//! A member's δ is drawn into memory of the worker, shared by θ + σδ and θ − σδ, and packed straight
//! into the kernels' order; no [members × |θ|] matrix ever exists. Members run in parallel; each
//! member's loss is a fixed sum over its batch, so losses do not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;
use tightrope_engine::{BoundRequest, Bounds, Final, MemberLoss, MemberOutput, MemberRequest, Perturbation, Spec};
use tightrope_network::ParameterLayout;

use crate::bound::batch::bound_all;
use crate::bound::forward::ChunkBounds;
use crate::bound::interval::load_all;
use crate::bound::job::{BoundJob, passes_whole};
use crate::bound::narrow::narrow_stages;
use crate::clean::batch::forward_all;
use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::Interval;
use crate::kernels::product::Shape;
use crate::net::plan::Plan;
use crate::net::spec::Specification;
use crate::net::split::{bound_chunk, image_chunk};
use crate::net::weights::{Layouts, Weights};
use crate::net::{Net, Tables};
use crate::scratch::{MemberScratch, Scratch};
use crate::simd::lanes::{Lanes, WIDTH};

/// Makes bounds of those of chunks.
type Collect<'a> = dyn Fn(&Spec<f32>, BoundRequest, &[ChunkBounds]) -> Bounds<f32> + Sync + 'a;

/// What is evaluated at every member.
pub struct Population<'a> {
    pub scratch: &'a Scratch,
    pub plan: &'a Plan,
    pub tables: &'a Tables,
    pub layout: &'a ParameterLayout,
    pub theta: &'a [f32],
    pub request: &'a MemberRequest<'a, f32>,
    pub loss: &'a MemberLoss<'a, f32>,
    pub collect: &'a Collect<'a>,
}

/// Losses at θ + σδ and θ − σδ of each pair.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn losses<S: Lanes>(
    population: &Population<'_>,
    perturbation: Perturbation<'_>,
    pairs: Range<u64>,
) -> Vec<[f64; 2]> {
    let Population { scratch, plan, tables, theta, request, .. } = *population;
    let pairs: Vec<u64> = pairs.collect();
    // The images do not depend on the members' weights.
    let empty = Weights::default();
    let shared = request.bounds.filter(|(_, _, how)| how.relaxation.last() == Final::Interval);
    // SAFETY: the machine has `S`.
    let images = shared.map(|(region, ..)| unsafe { load_all::<S>(&Net::new(plan, tables, &empty, None), region) });
    pairs
        .into_par_iter()
        .map(|pair| {
            scratch.members.with(|own| {
                let MemberScratch { delta, theta: member, weights } = own;
                delta.resize(theta.len(), 0.0);
                let stream = perturbation.stream(pair);
                // SAFETY: the machine has `S`.
                unsafe { S::run(|| stream.gaussian_wide(0, delta)) };
                perturbation.stretch(0, delta);
                [1.0_f32, -1.0].map(|sign| {
                    let scale = sign * perturbation.sigma;
                    member.clear();
                    member.extend(theta.iter().zip(&*delta).map(|(&t, &d)| t + scale * d));
                    // SAFETY: as above.
                    unsafe { population.member::<S>(member, weights, images.as_deref()) }
                })
            })
        })
        .collect()
}

impl Population<'_> {
    /// The loss at `theta`, for which `weights` has memory.
    unsafe fn member<S: Lanes>(&self, theta: &[f32], weights: &mut Weights, images: Option<&[Interval]>) -> f64 {
        // SAFETY: the caller's word.
        let logits = self.request.inputs.map(|inputs| unsafe { self.logits::<S>(theta, weights, inputs) });
        // SAFETY: the caller's word.
        let bounds = self.request.bounds.is_some().then(|| unsafe { self.bounds::<S>(theta, weights, images) });
        (self.loss)(MemberOutput { logits: logits.as_deref(), bounds: bounds.flatten().as_ref() })
    }

    unsafe fn logits<S: Lanes>(&self, theta: &[f32], weights: &mut Weights, inputs: &[f32]) -> Vec<f32> {
        let batch = inputs.len() / self.plan.dimension;
        let panels = Shape::of::<S>(1, image_chunk(batch) / WIDTH);
        // SAFETY: the caller's word.
        unsafe { weights.pack::<S>(self.plan, self.layout, theta, Layouts::points(self.plan, panels, [false; 2])) };
        let net = Net::new(self.plan, self.tables, weights, Some((self.layout, theta)));
        // SAFETY: the caller's word.
        unsafe { forward_all::<S>(&self.scratch.clean, &net, inputs, false).0 }
    }

    unsafe fn bounds<S: Lanes>(
        &self,
        theta: &[f32],
        weights: &mut Weights,
        images: Option<&[Interval]>,
    ) -> Option<Bounds<f32>> {
        let (region, spec, how) = self.request.bounds?;
        let (plan, layout) = (self.plan, self.layout);
        let panels = Shape::of::<S>(2, bound_chunk(how.relaxation, region.batch()).div_ceil(WIDTH));
        let whole = passes_whole(how, plan, region, spec);
        let layouts = Layouts::bounds(plan, how.relaxation, panels, how.climbs().is_some(), whole);
        // SAFETY: the caller's word.
        unsafe { weights.pack::<S>(plan, layout, theta, layouts) };
        let net = Net::new(plan, self.tables, weights, whole.then_some((layout, theta)));
        let ball = region.ball.as_ref().map(|ball| BallRows::new(&net, ball.norm, region.clipped));
        let job = BoundJob {
            net: &net,
            region,
            specification: Specification::new(spec, plan, weights),
            relaxation: how.relaxation,
            shrinkage: how.shrinkage as f32,
            ascent: how.climbs(),
            whole,
            upper: how.upper,
            layers: how.layers,
            keep: false,
            narrow: narrow_stages(plan, how.relaxation, region),
            ball: ball.as_ref(),
            signs: None,
            images,
            // Members are parallel already.
            parts: 1,
            scratch: &self.scratch.bounds,
            gradients: &self.scratch.gradients,
        };
        // SAFETY: the caller's word.
        let (chunks, _) = unsafe { bound_all::<S>(&job) };
        Some((self.collect)(spec, how, &chunks))
    }
}
