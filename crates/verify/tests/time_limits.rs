//! Time limits hold where a stage is slow, in batches and one by one.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::small;
use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, EngineError, Gradients, LayerSlopes, Reference, Region, Relaxation, Spec,
    Tape, Wants,
};
use tightrope_network::Network;
use tightrope_verify::{AlphaBudget, Cascade, Stage, Verdict};

/// The reference engine, which needs [`Slow::EACH`] longer for each sample that it bounds.
#[derive(Default)]
struct Slow {
    bounded: AtomicUsize,
}

impl Slow {
    const EACH: Duration = Duration::from_millis(40);
}

impl Engine<f32> for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn forward(&self, network: &Network, theta: &[f32], inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        Reference.forward(network, theta, inputs)
    }

    fn forward_taped(&self, network: &Network, theta: &[f32], inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        Reference.forward_taped(network, theta, inputs)
    }

    fn bound(
        &self,
        network: &Network,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<Bounds<f32>, EngineError> {
        if request.relaxation != Relaxation::Ibp {
            self.bounded.fetch_add(region.batch(), Ordering::Relaxed);
            std::thread::sleep(Slow::EACH * region.batch() as u32);
        }
        Reference.bound(network, theta, region, spec, request)
    }

    fn bound_taped(
        &self,
        network: &Network,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        Reference.bound_taped(network, theta, region, spec, request)
    }

    fn bound_with_slopes(
        &self,
        network: &Network,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
        slopes: &[LayerSlopes<f32>],
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        Reference.bound_with_slopes(network, theta, region, spec, request, slopes)
    }

    fn vjp(
        &self,
        network: &Network,
        theta: &[f32],
        tape: &Tape,
        cotangents: &Cotangents<f32>,
        wants: Wants,
    ) -> Result<Gradients<f32>, EngineError> {
        Reference.vjp(network, theta, tape, cotangents, wants)
    }
}

fn certify(timeout: Duration, stages: Vec<Stage>, alpha: AlphaBudget) -> (usize, usize, Duration) {
    let (model, inputs, labels) = small();
    let slow = Slow::default();
    let target = Target::new(&model, &slow, &Reference);
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let threat = ThreatModel { norm: tightrope_engine::Norm::Inf, epsilon: 0.02, clip: Some((0.0, 1.0)) };
    let cascade = Cascade { stages, attack: Attack::default(), threat, timeout: Some(timeout), alpha };
    let start = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let records = pool.install(|| cascade.certify(&target, &samples)).unwrap();
    let verified = records.iter().filter(|record| record.verdict == Verdict::Verified).count();
    (slow.bounded.load(Ordering::Relaxed), verified, start.elapsed())
}

#[test]
fn a_bound_that_takes_too_long_is_tried_once_and_left_out() {
    let crown = || vec![Stage::Bound(Relaxation::Crown)];
    let (bounded, _, _) = certify(Slow::EACH / 4, crown(), AlphaBudget::default());
    assert_eq!(bounded, 1);
    // A limit that it just misses is found out on a few, or on the first where the machine is busy.
    let (bounded, _, _) = certify(Slow::EACH * 7 / 8, crown(), AlphaBudget::default());
    assert!((1..=20).contains(&bounded), "{bounded} samples were bounded");
    // With time enough everyone gets it, and one sample twice.
    let (bounded, verified, _) = certify(Slow::EACH * 100, crown(), AlphaBudget::default());
    assert!(bounded == 199 && verified > 5, "{bounded} bounded, {verified} verified");
}

#[test]
fn alpha_crown_keeps_to_its_budget() {
    let stages = || vec![Stage::AlphaCrown];
    let long = Duration::from_secs(1000);
    let many = AlphaBudget { iterations: 1_000_000, time: Some(Duration::from_millis(20)) };
    let (_, _, taken) = certify(long, stages(), many);
    assert!(taken < Duration::from_secs(60), "{taken:?}");
    let verified = |iterations| certify(long, stages(), AlphaBudget { iterations, time: None }).1;
    assert!(verified(0) <= verified(20));
}
