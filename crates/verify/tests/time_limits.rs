//! Time limits hold where a stage is slow, in batches and one by one.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::small;
use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_engine::{
    BatchPass, BoundRequest, Bounds, Charges, Cotangents, Domain, Engine, EngineError, Gradients, Loaded, MemberLoss,
    MemberRequest, OutwardInterval, Perturbation, Reference, Region, Relaxation, Spec, Support, Tape, Trace, Wants,
};
use tightrope_network::{Network, NodeId};
use tightrope_verify::{AlphaBudget, Cascade, Stage, Verdict};

/// The reference engine, which needs [`Slow::EACH`] longer for each sample that it bounds.
#[derive(Default)]
struct Slow {
    bounded: Arc<AtomicUsize>,
}

impl Slow {
    const EACH: Duration = Duration::from_millis(40);
}

impl Engine<f32> for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn supports(&self, network: &Network, request: &BoundRequest) -> Support {
        Engine::<f32>::supports(&Reference, network, request)
    }

    fn load(&self, network: &Network, theta: &[f32], buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        Ok(Box::new(LoadedSlow { inner: Reference.load(network, theta, buffers)?, bounded: Arc::clone(&self.bounded) }))
    }
}

/// What [`Slow`] loads.
struct LoadedSlow {
    inner: Box<dyn Loaded<f32>>,
    bounded: Arc<AtomicUsize>,
}

impl Loaded<f32> for LoadedSlow {
    fn network(&self) -> &Network {
        self.inner.network()
    }

    fn theta(&self) -> &Arc<Vec<f32>> {
        self.inner.theta()
    }

    fn buffers(&self) -> &[f32] {
        self.inner.buffers()
    }

    fn with_buffers(&self, buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        Ok(Box::new(LoadedSlow { inner: self.inner.with_buffers(buffers)?, bounded: Arc::clone(&self.bounded) }))
    }

    fn load(&self, network: &Network, theta: &[f32], buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        self.inner.load(network, theta, buffers)
    }

    fn change(&mut self, edit: &mut dyn FnMut(&mut [f32])) -> Result<(), EngineError> {
        self.inner.change(edit)
    }

    fn forward(&self, inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.inner.forward(inputs)
    }

    fn forward_taped(&self, inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        self.inner.forward_taped(inputs)
    }

    fn forward_batch(&self, inputs: &[f32]) -> Result<BatchPass<f32>, EngineError> {
        self.inner.forward_batch(inputs)
    }

    fn bound(&self, region: &Region<f32>, spec: &Spec<f32>, request: BoundRequest) -> Result<Bounds<f32>, EngineError> {
        if request.relaxation != Relaxation::Ibp {
            self.bounded.fetch_add(region.batch(), Ordering::Relaxed);
            std::thread::sleep(Slow::EACH * region.batch() as u32);
        }
        self.inner.bound(region, spec, request)
    }

    fn bound_taped(
        &self,
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        self.inner.bound_taped(region, spec, request)
    }

    fn vjp(&self, tape: &Tape, cotangents: &Cotangents<f32>, wants: Wants) -> Result<Gradients<f32>, EngineError> {
        self.inner.vjp(tape, cotangents, wants)
    }

    fn vjp_spec(&self, tape: &Tape, lower: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.inner.vjp_spec(tape, lower)
    }

    fn members(
        &self,
        perturbation: Perturbation,
        pairs: Range<u64>,
        request: &MemberRequest<'_, f32>,
        loss: &MemberLoss<'_, f32>,
    ) -> Result<Vec<[f64; 2]>, EngineError> {
        self.inner.members(perturbation, pairs, request, loss)
    }

    fn substitute(
        &self,
        domain: &Domain<'_, f32>,
        start: NodeId,
        rows: Vec<f32>,
        count: usize,
        trace: Option<&mut Trace<f32>>,
        charges: Option<&Charges<f32>>,
    ) -> (Vec<f32>, Vec<f32>) {
        self.inner.substitute(domain, start, rows, count, trace, charges)
    }

    fn relaxed(&self, domain: &Domain<'_, f32>, last: NodeId, trace: &Trace<f32>, points: Vec<f32>) -> Vec<Vec<f32>> {
        self.inner.relaxed(domain, last, trace, points)
    }

    fn enclose(&self, node: NodeId, before: &[OutwardInterval<f32>], sets: usize) -> OutwardInterval<f32> {
        self.inner.enclose(node, before, sets)
    }

    fn summands(&self, node: NodeId, input: &[f32]) -> Option<[Vec<f32>; 2]> {
        self.inner.summands(node, input)
    }
}

fn certify(timeout: Duration, stages: Vec<Stage>, alpha: AlphaBudget) -> (usize, usize, Duration) {
    let (model, inputs, labels) = small();
    let slow = Slow::default();
    let target = Target::new(&model, &slow, &Reference).unwrap();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let threat = ThreatModel::new(tightrope_engine::Norm::Inf, 0.02, Some((0.0, 1.0)));
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
