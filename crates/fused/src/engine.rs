//! The [`Engine`] implementation: checks arguments, cuts the batch into chunks and picks the instruction set.
//!
//! A batch is cut into chunks whose size depends on the batch alone; chunks run in parallel, each
//! gradient slot takes a fixed set of chunks, and slots are summed in order. Results are therefore
//! the same for any number of threads.

use std::ops::Range;
use std::sync::Arc;

use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, EngineError, Gradients, LayerBounds, LayerSlopes, Perturbation,
    PopulationBatch, Reference, Region, Relaxation, Spec, Tape, Wants,
};
use tightrope_network::Network;

use crate::backward::rows::signs::SignLayout;
use crate::backward::rows::slopes::SlopeRequest;
use crate::bound::batch::{bound_all, pull_back_chunks};
use crate::bound::forward::ChunkBounds;
use crate::bound::interval::pull_back_all;
use crate::bound::job::BoundJob;
use crate::bound::scratch::StageBounds;
use crate::clean::batch::{backward_all, forward_all};
use crate::clean::chunk::Activations;
use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::Interval;
use crate::kernels::product::Shape;
use crate::net::Net;
use crate::net::accumulate::Accumulator;
use crate::net::plan::Plan;
use crate::net::spec::Specification;
use crate::net::split::{bands, bound_chunk, image_chunk, parts};
use crate::net::weights::Layouts;
use crate::population::losses;
use crate::scratch::Scratch;
use crate::simd::isa::{Isa, on_isa};
use crate::simd::lanes::{Lanes, WIDTH};

/// The fused engine.
///
/// Holds no state but scratch memory, which grows to what the calls need and is reused.
#[derive(Clone)]
pub struct Fused {
    isa: Isa,
    scratch: Arc<Scratch>,
}

/// What a taped call leaves behind, and the network it belongs to: the nodes' sizes and the length of θ.
struct FusedTape {
    signature: (Vec<usize>, usize),
    record: Record,
    scratch: Arc<Scratch>,
}

impl Drop for FusedTape {
    /// Fresh memory costs more than a pass: a batch's maps serve the next batch.
    fn drop(&mut self) {
        match &mut self.record {
            Record::Clean { chunks, .. } => {
                chunks.drain(..).for_each(|chunk| self.scratch.clean.activations.give(chunk))
            }
            Record::Bound(record) => {
                record.intervals.drain(..).for_each(|pass| self.scratch.bounds.intervals.give(pass));
                let signs = record.kept.drain(..).flatten().flat_map(|kept| kept.signs);
                signs.for_each(|signs| self.scratch.bounds.signs.give(signs));
            }
            Record::Reference(_) => {}
        }
    }
}

fn signature(network: &Network) -> (Vec<usize>, usize) {
    (network.nodes().iter().map(|node| node.len()).collect(), network.parameters().total())
}

/// Everything needed to bound again, unless passes are kept, and the bounds that walks found.
struct BoundRecord {
    region: Region<f32>,
    spec: Spec<f32>,
    request: BoundRequest,
    slopes: Vec<LayerSlopes<f32>>,
    kept: Vec<Option<StageBounds>>,
    /// The passes of a bound by interval arithmetic alone.
    intervals: Vec<Interval>,
}

enum Record {
    /// Activations per chunk, and the batch.
    Clean {
        chunks: Vec<Activations>,
        batch: usize,
    },
    Bound(Box<BoundRecord>),
    /// A network left to the reference engine.
    Reference(Tape),
}

/// The shape of panels for so many planes, and images at once.
fn panels(isa: Isa, planes: usize, images: usize) -> Shape {
    unsafe fn of<S: Lanes>(planes: usize, images: usize) -> Shape {
        Shape::of::<S>(planes, images.div_ceil(WIDTH))
    }
    on_isa!(isa, of, planes, images)
}

impl Fused {
    /// The engine on the best instruction set of this machine, or the one that `TIGHTROPE_ISA` names.
    ///
    /// # Errors
    /// If the variable names no instruction set, or one that the machine lacks.
    pub fn new() -> Result<Self, EngineError> {
        Fused::on(Isa::detect()?)
    }

    /// The engine on a given instruction set.
    ///
    /// # Errors
    /// If the machine lacks it.
    pub fn on(isa: Isa) -> Result<Self, EngineError> {
        let isa = Isa::named(isa.name())?;
        Ok(Fused { isa, scratch: Arc::default() })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// True if the kernels cover `network`; others are computed by the reference engine.
    pub fn covers(network: &Network) -> bool {
        Plan::new(network).is_some()
    }
}

fn batch_of(network: &Network, inputs: &[f32]) -> Result<usize, EngineError> {
    let d = network.input_len();
    if !inputs.len().is_multiple_of(d) {
        return Err(EngineError::Usage(format!(
            "{} input values are no multiple of the network's input size {d} ({:?})",
            inputs.len(),
            network.input_shape()
        )));
    }
    Ok(inputs.len() / d)
}

fn check_theta(network: &Network, theta: &[f32]) -> Result<(), EngineError> {
    EngineError::check_length("θ", theta.len(), network.parameters().total())
}

impl Fused {
    /// Runs `work` with the job that the arguments describe.
    fn with_job<R: Send>(
        &self,
        network: &Network,
        plan: &Plan,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
        slopes: SlopeRequest<'_>,
        [keep, adjoint]: [bool; 2],
        work: impl FnOnce(&BoundJob<'_>) -> R + Send,
    ) -> Result<R, EngineError> {
        check_theta(network, theta)?;
        EngineError::check_length("the region's samples", region.dimension(), network.input_len())?;
        let alone = request.relaxation == Relaxation::Ibp;
        let chunk = bound_chunk(request.relaxation, region.batch());
        let chunks = region.batch().div_ceil(chunk).max(1);
        let layouts = Layouts::bounds(plan, request.relaxation, panels(self.isa, 2, chunk), adjoint);
        // One way into the pool: each from outside costs more than the parallel work of a small batch.
        rayon::scope(|_| {
            self.scratch.weights.with(|weights| {
                // The adjoint's region was checked when its tape was recorded, which may not even hold its numbers.
                let check = || match adjoint {
                    true => Ok(()),
                    false => {
                        region.check()?;
                        spec.check(region.batch(), network.output_len())?;
                        LayerSlopes::check(slopes.given, network, region.batch(), request.relaxation)
                    }
                };
                let pack = || weights.pack(plan, network.parameters(), theta, layouts);
                rayon::join(check, pack).0?;
                let mut net = Net::new(plan, weights, alone.then_some((network.parameters(), theta)));
                if alone {
                    net.bands = bands(chunks);
                }
                let ball = region.ball.as_ref().map(|ball| BallRows::new(&net, ball.norm, region.clipped));
                Ok(work(&BoundJob {
                    net: &net,
                    region,
                    specification: Specification::new(spec, plan, weights),
                    relaxation: request.relaxation,
                    upper: request.upper,
                    layers: request.layers,
                    keep,
                    ball: ball.as_ref(),
                    signs: (keep || adjoint).then(|| SignLayout::wanted(plan, request.relaxation, region)).flatten(),
                    slopes,
                    images: None,
                    parts: parts(plan, request.relaxation, chunks),
                    scratch: &self.scratch.bounds,
                    gradients: &self.scratch.gradients,
                }))
            })
        })
    }

    /// Runs `work` with the clean network at θ, for so many images.
    fn with_net<R: Send>(
        &self,
        network: &Network,
        plan: &Plan,
        theta: &[f32],
        batch: usize,
        adjoints: [bool; 2],
        work: impl FnOnce(&Net<'_>) -> R + Send,
    ) -> R {
        let layouts = Layouts::points(plan, panels(self.isa, 1, image_chunk(batch)), adjoints);
        rayon::scope(|_| {
            self.scratch.weights.with(|weights| {
                weights.pack(plan, network.parameters(), theta, layouts);
                let mut net = Net::new(plan, weights, Some((network.parameters(), theta)));
                net.bands = bands(batch.div_ceil(image_chunk(batch)).max(1));
                work(&net)
            })
        })
    }

    /// Adds what `sums` hold to the gradient with respect to θ; there are none for an empty batch.
    fn unpack(
        &self,
        network: &Network,
        plan: &Plan,
        theta: &[f32],
        sums: Option<Accumulator>,
        gradient: Option<&mut [f32]>,
    ) {
        if let (Some(sums), Some(gradient)) = (sums, gradient) {
            sums.sums.unpack(plan, network.parameters(), theta, gradient);
            self.scratch.gradients.accumulators.give(sums);
        }
    }

    /// A tape with what `record` says.
    fn tape(&self, network: &Network, record: Record) -> Tape {
        Tape(Box::new(FusedTape { signature: signature(network), record, scratch: Arc::clone(&self.scratch) }))
    }

    fn collect(plan: &Plan, spec: &Spec<f32>, request: BoundRequest, chunks: &[ChunkBounds]) -> Bounds<f32> {
        let join =
            |pick: &dyn Fn(&ChunkBounds) -> &[f32]| chunks.iter().flat_map(|c| pick(c).iter().copied()).collect();
        let layer = |index: usize| LayerBounds {
            node: plan.stages[index].node,
            lower: join(&|c| &c.layers[index][0]),
            upper: join(&|c| &c.layers[index][1]),
        };
        Bounds {
            rows: spec.rows(plan.classes),
            lower: join(&|c| &c.lower),
            upper: request.upper.then(|| join(&|c| &c.upper)),
            layers: if request.layers { (0..plan.hidden()).map(layer).collect() } else { Vec::new() },
        }
    }
}

fn check_cotangents(plan: &Plan, batch: usize, rows: usize, cotangents: &Cotangents<f32>) -> Result<(), EngineError> {
    EngineError::check_length("cotangent of the lower bounds", cotangents.lower.len(), batch * rows)?;
    if !cotangents.upper.is_empty() {
        EngineError::check_length("cotangent of the upper bounds", cotangents.upper.len(), batch * rows)?;
    }
    for layer in &cotangents.layers {
        let Some(stage) = plan.stages[..plan.hidden()].iter().find(|stage| stage.node == layer.node) else {
            return Err(EngineError::Usage(format!("node {} is no pre-activation and has no bounds", layer.node)));
        };
        let n = stage.output.len();
        EngineError::check_length("cotangent of a layer's lower bounds", layer.lower.len(), batch * n)?;
        EngineError::check_length("cotangent of a layer's upper bounds", layer.upper.len(), batch * n)?;
    }
    Ok(())
}

impl Engine<f32> for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn forward(&self, network: &Network, theta: &[f32], inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        let Some(plan) = Plan::new(network) else { return Reference.forward(network, theta, inputs) };
        check_theta(network, theta)?;
        let batch = batch_of(network, inputs)?;
        let forward = |net: &Net<'_>| on_isa!(self.isa, forward_all, &self.scratch.clean, net, inputs, false);
        Ok(self.with_net(network, &plan, theta, batch, [false; 2], forward).0)
    }

    fn forward_taped(&self, network: &Network, theta: &[f32], inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        let Some(plan) = Plan::new(network) else {
            let (logits, tape) = Reference.forward_taped(network, theta, inputs)?;
            return Ok((logits, self.tape(network, Record::Reference(tape))));
        };
        check_theta(network, theta)?;
        let batch = batch_of(network, inputs)?;
        let forward = |net: &Net<'_>| on_isa!(self.isa, forward_all, &self.scratch.clean, net, inputs, true);
        let (logits, chunks) = self.with_net(network, &plan, theta, batch, [false; 2], forward);
        Ok((logits, self.tape(network, Record::Clean { chunks, batch })))
    }

    fn bound(
        &self,
        network: &Network,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<Bounds<f32>, EngineError> {
        let Some(plan) = Plan::new(network) else { return Reference.bound(network, theta, region, spec, request) };
        self.with_job(network, &plan, theta, region, spec, request, SlopeRequest::default(), [false; 2], |job| {
            let (chunks, _) = on_isa!(self.isa, bound_all, job);
            Fused::collect(&plan, spec, request, &chunks)
        })
    }

    fn bound_taped(
        &self,
        network: &Network,
        theta: &[f32],
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        self.bound_with_slopes(network, theta, region, spec, request, &[])
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
        let Some(plan) = Plan::new(network) else {
            let (bounds, tape) = Reference.bound_with_slopes(network, theta, region, spec, request, slopes)?;
            return Ok((bounds, self.tape(network, Record::Reference(tape))));
        };
        let given = SlopeRequest { given: slopes, wanted: false };
        self.with_job(network, &plan, theta, region, spec, request, given, [true, false], |job| {
            let (chunks, intervals) = on_isa!(self.isa, bound_all, job);
            let bounds = Fused::collect(&plan, spec, request, &chunks);
            let kept = chunks.into_iter().map(|chunk| chunk.kept).collect();
            // The kept passes hold the images already.
            let region = if request.relaxation == Relaxation::Ibp { region.outline() } else { region.clone() };
            let slopes = slopes.to_vec();
            let record = BoundRecord { region, spec: spec.clone(), request, slopes, kept, intervals };
            (bounds, self.tape(network, Record::Bound(Box::new(record))))
        })
    }

    fn vjp(
        &self,
        network: &Network,
        theta: &[f32],
        tape: &Tape,
        cotangents: &Cotangents<f32>,
        wants: Wants,
    ) -> Result<Gradients<f32>, EngineError> {
        let Some(tape) = tape.0.downcast_ref::<FusedTape>() else {
            return Err(EngineError::Usage("this tape was recorded by another engine or in another precision".into()));
        };
        if tape.signature != signature(network) {
            return Err(EngineError::Usage("this tape was recorded with another network; record it anew".into()));
        }
        let tape = &tape.record;
        let plan = match (tape, Plan::new(network)) {
            (Record::Reference(tape), _) => return Reference.vjp(network, theta, tape, cotangents, wants),
            (_, Some(plan)) => plan,
            (_, None) => return Err(EngineError::Usage("this tape was recorded for another network".into())),
        };
        check_theta(network, theta)?;
        let mut gradient = wants.theta.then(|| vec![0.0; theta.len()]);
        let on_theta = gradient.as_deref_mut();
        match tape {
            Record::Clean { chunks, batch } => {
                EngineError::check_length("logit cotangent", cotangents.lower.len(), batch * plan.classes)?;
                if !cotangents.upper.is_empty() || !cotangents.layers.is_empty() {
                    return Err(EngineError::Usage("a clean pass has cotangents on its logits only".into()));
                }
                if wants.slopes {
                    return Err(EngineError::Usage("a clean pass has no slopes".into()));
                }
                let layouts = [true, wants.input];
                let (sums, input) = self.with_net(network, &plan, theta, *batch, layouts, |net| {
                    let Scratch { clean, gradients, .. } = &*self.scratch;
                    let lower = &cotangents.lower;
                    on_isa!(self.isa, backward_all, clean, gradients, net, chunks, *batch, lower, on_theta, wants.input)
                });
                self.unpack(network, &plan, theta, sums, gradient.as_deref_mut());
                Ok(Gradients { theta: gradient, input, region: None, slopes: None })
            }
            Record::Bound(record) => {
                let BoundRecord { region, spec, request, slopes, kept, intervals } = &**record;
                check_cotangents(&plan, region.batch(), spec.rows(plan.classes), cotangents)?;
                let alone = request.relaxation == Relaxation::Ibp;
                if wants.slopes && alone {
                    return Err(EngineError::Usage(
                        "ibp has no slopes; record a tape of crown-ibp, crown or its variants".into(),
                    ));
                }
                let slopes = SlopeRequest { given: slopes, wanted: wants.slopes };
                let pulled =
                    self.with_job(network, &plan, theta, region, spec, *request, slopes, [false, true], |job| {
                        if alone {
                            on_isa!(self.isa, pull_back_all, job, intervals, cotangents, on_theta, wants.input)
                        } else {
                            on_isa!(self.isa, pull_back_chunks, job, kept, cotangents, wants)
                        }
                    })?;
                self.unpack(network, &plan, theta, pulled.sums, gradient.as_deref_mut());
                Ok(Gradients { theta: gradient, input: None, region: pulled.region, slopes: pulled.slopes })
            }
            Record::Reference(_) => unreachable!("handled above"),
        }
    }

    fn population_loss(
        &self,
        network: &Network,
        theta: &[f32],
        perturbation: Perturbation,
        pairs: Range<u64>,
        batch: &PopulationBatch<'_, f32>,
    ) -> Result<Vec<[f64; 2]>, EngineError> {
        let Some(plan) = Plan::new(network) else {
            return Reference.population_loss(network, theta, perturbation, pairs, batch);
        };
        check_theta(network, theta)?;
        let samples = batch.labels.len();
        if batch.robust_weight < 1.0 {
            EngineError::check_length("the clean inputs", batch.inputs.len(), samples * plan.dimension)?;
        }
        EngineError::check_length("the region's samples", batch.region.dimension(), plan.dimension)?;
        batch.region.check()?;
        Spec::<f32>::Margins { labels: batch.labels.to_vec() }.check(batch.region.batch(), plan.classes)?;
        let layout = network.parameters();
        Ok(on_isa!(self.isa, losses, &self.scratch, &plan, layout, theta, perturbation, pairs, batch))
    }
}
