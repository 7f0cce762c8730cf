//! The [`Engine`] implementation: checks arguments, cuts the batch into chunks and picks the instruction set.
//!
//! A batch is cut into chunks whose size depends on the batch alone; chunks run in parallel, each
//! gradient slot takes a fixed set of chunks, and slots are summed in order. Results are therefore
//! the same for any number of threads.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, EngineError, Gradients, LayerBounds, Perturbation, PopulationBatch,
    Reference, Region, RegionGradient, Relaxation, Spec, Tape, Wants,
};
use tightrope_network::Network;

use crate::accumulate::Accumulator;
use crate::ball::BallRows;
use crate::bound::{ChunkBounds, Job, Part, StageBounds, Worker, walks};
use crate::buffer::Buffer;
use crate::clean::{Activations, CleanCotangents};
use crate::clean_batch::{backward_all, forward_all};
use crate::interval::{Interval, IntervalCotangents};
use crate::interval_batch::{self, pull_back_all};
use crate::isa::Isa;
use crate::lanes::{Lanes, WIDTH, scalar::Scalar};
use crate::net::Net;
use crate::plan::Plan;
use crate::population::{MemberScratch, losses};
use crate::pullback::{ChunkRegion, Sums};
use crate::signs::SignLayout;
use crate::specification::Specification;
use crate::walk_adjoint::NeuronSums;
use crate::weights::{Layouts, Weights};

/// Calls a function generic over [`Lanes`] for the engine's instruction set.
macro_rules! on_isa {
    ($isa:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        // SAFETY: an engine's instruction set was checked against the machine when it was made.
        unsafe {
            match $isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => $function::<$crate::lanes::avx512::Avx512>($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => $function::<$crate::lanes::avx2::Avx2>($($argument),*),
                _ => $function::<Scalar>($($argument),*),
            }
        }
    };
}

/// Most gradient accumulators for one batch; bounds their memory.
const SLOTS: usize = 16;
/// The same for networks of more than [`LARGE`] parameters.
const SLOTS_LARGE: usize = 4;
const LARGE: usize = 1 << 22;
/// Below this many chunks an image's tiles are divided as well.
const BUSY: usize = 8;
/// Chunks that pass dense stages together where nothing is kept; bounds the memory.
pub(crate) const GROUP: usize = 8;

/// The fused engine.
///
/// Holds no state but scratch memory, which grows to what the calls need and is reused.
#[derive(Clone)]
pub struct Fused {
    isa: Isa,
    pub(crate) pool: Arc<Pool>,
}

/// Free scratch memory: at most as many of each as ever ran at once.
#[derive(Default)]
pub(crate) struct Pool {
    pub(crate) workers: Mutex<Vec<Worker>>,
    pub(crate) activations: Mutex<Vec<Activations>>,
    pub(crate) clean: Mutex<Vec<CleanCotangents>>,
    pub(crate) intervals: Mutex<Vec<Interval>>,
    pub(crate) cotangents: Mutex<Vec<IntervalCotangents>>,
    /// Inputs of dense stages with elements in lanes.
    pub(crate) panels: Mutex<Vec<Buffer>>,
    pub(crate) parts: Mutex<Vec<Part>>,
    pub(crate) members: Mutex<Vec<MemberScratch>>,
    weights: Mutex<Vec<Weights>>,
    pub(crate) accumulators: Mutex<Vec<Accumulator>>,
    neurons: Mutex<Vec<NeuronSums>>,
}

pub(crate) fn take<T: Default>(pool: &Mutex<Vec<T>>) -> T {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

pub(crate) fn give<T>(pool: &Mutex<Vec<T>>, item: T) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

pub(crate) fn with<T: Default, R>(pool: &Mutex<Vec<T>>, work: impl FnOnce(&mut T) -> R) -> R {
    let mut item = take(pool);
    let result = work(&mut item);
    give(pool, item);
    result
}

/// Sums of one slot and what each of its chunks returned.
type SlotResult<T, R> = (T, Vec<(usize, R)>);

/// What a taped call leaves behind, and the network it belongs to: the nodes' sizes and the length of θ.
struct FusedTape {
    signature: (Vec<usize>, usize),
    record: Record,
    pool: Arc<Pool>,
}

impl Drop for FusedTape {
    /// Fresh memory costs more than a pass: a batch's maps serve the next batch.
    fn drop(&mut self) {
        match &mut self.record {
            Record::Clean { chunks, .. } => chunks.drain(..).for_each(|chunk| give(&self.pool.activations, chunk)),
            Record::Bound { intervals, .. } => intervals.drain(..).for_each(|pass| give(&self.pool.intervals, pass)),
            Record::Reference(_) => {}
        }
    }
}

fn signature(network: &Network) -> (Vec<usize>, usize) {
    (network.nodes().iter().map(|node| node.len()).collect(), network.parameters().total())
}

enum Record {
    /// Activations per chunk, and the batch.
    Clean { chunks: Vec<Activations>, batch: usize },
    /// Everything needed to run again, unless passes are kept, and the bounds that walks found.
    Bound {
        region: Region<f32>,
        spec: Spec<f32>,
        request: BoundRequest,
        kept: Vec<Option<StageBounds>>,
        /// The passes of a bound by interval arithmetic alone.
        intervals: Vec<Interval>,
    },
    /// A network left to the reference engine.
    Reference(Tape),
}

/// Images in lanes for a batch.
pub(crate) fn image_chunk(batch: usize) -> usize {
    if batch > WIDTH { 2 * WIDTH } else { WIDTH }
}

pub(crate) fn bound_chunk(relaxation: Relaxation, batch: usize) -> usize {
    match relaxation {
        Relaxation::Ibp => image_chunk(batch),
        // The interval pass is a good part of the work: fill its lanes.
        Relaxation::CrownIbp if batch >= WIDTH => WIDTH,
        _ if batch >= BUSY * WIDTH => WIDTH,
        _ => batch.div_ceil(SLOTS).clamp(1, WIDTH),
    }
}

/// Gradient accumulators for so many chunks.
pub(crate) fn slots(plan: &Plan, chunks: usize) -> usize {
    let parameters: usize = plan.stages.iter().map(|s| s.taps() * s.input.c * s.output.c).sum();
    chunks.min(if parameters > LARGE { SLOTS_LARGE } else { SLOTS })
}

/// Bands of rows that each of so many chunks is divided into.
fn bands(chunks: usize) -> usize {
    (BUSY / chunks).max(1)
}

/// Most outputs of a block that works on so many vectors per output.
fn block_size(isa: Isa, vectors: usize) -> usize {
    unsafe fn of<S: Lanes>(vectors: usize) -> usize {
        S::BLOCK[vectors / 2]
    }
    on_isa!(isa, of, vectors)
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
        Ok(Fused { isa, pool: Arc::default() })
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

/// Sums slots in order; their memory goes back to the pool, but for the first's, which holds the total.
pub(crate) fn reduce(pool: &Pool, slots: Vec<Accumulator>) -> Option<Accumulator> {
    let mut slots = slots.into_iter();
    let mut total = slots.next()?;
    for slot in slots {
        total.sums.add(&slot.sums);
        give(&pool.accumulators, slot);
    }
    Some(total)
}

unsafe fn bound_chunks<S: Lanes>(pool: &Pool, job: &Job<'_>) -> Vec<ChunkBounds> {
    let batch = job.region.batch();
    let chunk = bound_chunk(job.relaxation, batch);
    (0..batch.div_ceil(chunk))
        .into_par_iter()
        .map(|index| {
            let first = index * chunk;
            let count = chunk.min(batch - first);
            with(&pool.workers, |worker| {
                // SAFETY: the machine has `S`; a chunk has at most 16 images.
                unsafe { job.bound::<S, 1>(worker, first, count) }
            })
        })
        .collect()
}

unsafe fn pull_back_chunks<S: Lanes>(
    pool: &Pool,
    job: &Job<'_>,
    kept: &[Option<StageBounds>],
    cotangents: &Cotangents<f32>,
    wants: Wants,
) -> (Option<Accumulator>, Option<RegionGradient<f32>>) {
    let batch = job.region.batch();
    let chunk = bound_chunk(job.relaxation, batch);
    let chunks = batch.div_ceil(chunk);
    let slots = slots(job.net.plan, chunks);
    let results: Vec<SlotResult<Vec<Accumulator>, ChunkRegion>> = (0..slots)
        .into_par_iter()
        .map(|slot| {
            let mut sums = Sums::new(job, || (wants.theta.then(|| take(&pool.accumulators)), take(&pool.neurons)));
            let mut regions = Vec::new();
            with(&pool.workers, |worker| {
                for index in (slot..chunks).step_by(slots) {
                    let first = index * chunk;
                    let place = [first, chunk.min(batch - first)];
                    let kept = kept.get(index).and_then(Option::as_ref);
                    // SAFETY: as in the forward pass.
                    let region =
                        unsafe { job.pull_back::<S, 1>(worker, &mut sums, place, kept, cotangents, wants.input) };
                    regions.extend(region.map(|region| (index, region)));
                }
            });
            let finished = sums.parts.into_iter().filter_map(|part| {
                give(&pool.neurons, part.neurons);
                let mut accumulator = part.accumulator?;
                // SAFETY: the machine has `S`.
                unsafe { accumulator.finish::<S>() };
                Some(accumulator)
            });
            (finished.collect(), regions)
        })
        .collect();
    let (mut sums, mut regions) = (Vec::new(), Vec::new());
    for (slot, own) in results {
        sums.extend(slot);
        regions.extend(own);
    }
    (reduce(pool, sums), wants.input.then(|| join_regions(regions)))
}

/// Chunks' gradients in order.
pub(crate) fn join_regions(mut regions: Vec<(usize, ChunkRegion)>) -> RegionGradient<f32> {
    regions.sort_by_key(|(index, _)| *index);
    let mut total = RegionGradient { center: Vec::new(), radius: Vec::new() };
    for (_, region) in regions {
        total.center.extend(region.center);
        total.radius.extend(region.radius);
    }
    total
}

/// Bounds of all chunks, and the interval passes that the adjoint of interval arithmetic needs.
pub(crate) unsafe fn bound_all<S: Lanes>(pool: &Pool, job: &Job<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    // SAFETY: the machine has `S`.
    unsafe {
        if job.relaxation == Relaxation::Ibp {
            return interval_batch::bound_all::<S>(pool, job);
        }
        (bound_chunks::<S>(pool, job), Vec::new())
    }
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
        [keep, adjoint]: [bool; 2],
        work: impl FnOnce(&Job<'_>) -> R + Send,
    ) -> Result<R, EngineError> {
        check_theta(network, theta)?;
        EngineError::check_length("the region's samples", region.dimension(), network.input_len())?;
        let alone = request.relaxation == Relaxation::Ibp;
        let chunk = bound_chunk(request.relaxation, region.batch());
        let chunks = region.batch().div_ceil(chunk).max(1);
        let most = block_size(self.isa, 2 * chunk.div_ceil(WIDTH));
        let layouts = Layouts::bounds(plan, request.relaxation, most, adjoint);
        // One way into the pool: each from outside costs more than the parallel work of a small batch.
        rayon::scope(|_| {
            with(&self.pool.weights, |weights| {
                // The adjoint's region was checked when its tape was recorded, which may not even hold its numbers.
                let check = || match adjoint {
                    true => Ok(()),
                    false => region.check().and_then(|()| spec.check(region.batch(), network.output_len())),
                };
                let pack = || weights.pack(plan, network.parameters(), theta, layouts);
                rayon::join(check, pack).0?;
                let mut net = Net::new(plan, weights, alone.then_some((network.parameters(), theta)));
                if alone {
                    net.bands = bands(chunks);
                }
                let ball = region.ball.as_ref().map(|ball| BallRows::new(&net, ball.norm, region.clipped));
                Ok(work(&Job {
                    net: &net,
                    region,
                    specification: Specification::new(spec, plan, weights),
                    relaxation: request.relaxation,
                    upper: request.upper,
                    layers: request.layers,
                    keep,
                    ball: ball.as_ref(),
                    signs: (keep || adjoint).then(|| SignLayout::wanted(plan, request.relaxation, region)).flatten(),
                    images: None,
                    parts: if chunks < BUSY && walks(request.relaxation) { BUSY.div_ceil(chunks) } else { 1 },
                    pool: &self.pool.parts,
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
        let chunk = image_chunk(batch);
        let layouts = Layouts::points(plan, block_size(self.isa, chunk / WIDTH), adjoints);
        rayon::scope(|_| {
            with(&self.pool.weights, |weights| {
                weights.pack(plan, network.parameters(), theta, layouts);
                let mut net = Net::new(plan, weights, Some((network.parameters(), theta)));
                net.bands = bands(batch.div_ceil(chunk).max(1));
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
            give(&self.pool.accumulators, sums);
        }
    }

    /// A tape with what `record` says.
    fn tape(&self, network: &Network, record: Record) -> Tape {
        Tape(Box::new(FusedTape { signature: signature(network), record, pool: Arc::clone(&self.pool) }))
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
        let forward = |net: &Net<'_>| on_isa!(self.isa, forward_all, &self.pool, net, inputs, false);
        Ok(self.with_net(network, &plan, theta, batch, [false; 2], forward).0)
    }

    fn forward_taped(&self, network: &Network, theta: &[f32], inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        let Some(plan) = Plan::new(network) else {
            let (logits, tape) = Reference.forward_taped(network, theta, inputs)?;
            return Ok((logits, self.tape(network, Record::Reference(tape))));
        };
        check_theta(network, theta)?;
        let batch = batch_of(network, inputs)?;
        let forward = |net: &Net<'_>| on_isa!(self.isa, forward_all, &self.pool, net, inputs, true);
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
        self.with_job(network, &plan, theta, region, spec, request, [false; 2], |job| {
            let (chunks, _) = on_isa!(self.isa, bound_all, &self.pool, job);
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
        let Some(plan) = Plan::new(network) else {
            let (bounds, tape) = Reference.bound_taped(network, theta, region, spec, request)?;
            return Ok((bounds, self.tape(network, Record::Reference(tape))));
        };
        self.with_job(network, &plan, theta, region, spec, request, [true, false], |job| {
            let (chunks, intervals) = on_isa!(self.isa, bound_all, &self.pool, job);
            let bounds = Fused::collect(&plan, spec, request, &chunks);
            let kept = chunks.into_iter().map(|chunk| chunk.kept).collect();
            // The kept passes hold the images already.
            let region = if request.relaxation == Relaxation::Ibp { region.outline() } else { region.clone() };
            let record = Record::Bound { region, spec: spec.clone(), request, kept, intervals };
            (bounds, self.tape(network, record))
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
                let layouts = [true, wants.input];
                let (sums, input) = self.with_net(network, &plan, theta, *batch, layouts, |net| {
                    let (pool, lower) = (&self.pool, &cotangents.lower);
                    on_isa!(self.isa, backward_all, pool, net, chunks, *batch, lower, on_theta, wants.input)
                });
                self.unpack(network, &plan, theta, sums, gradient.as_deref_mut());
                Ok(Gradients { theta: gradient, input, region: None })
            }
            Record::Bound { region, spec, request, kept, intervals } => {
                check_cotangents(&plan, region.batch(), spec.rows(plan.classes), cotangents)?;
                let (sums, region) =
                    self.with_job(network, &plan, theta, region, spec, *request, [false, true], |job| {
                        let pool = &self.pool;
                        if request.relaxation == Relaxation::Ibp {
                            on_isa!(self.isa, pull_back_all, pool, job, intervals, cotangents, on_theta, wants.input)
                        } else {
                            on_isa!(self.isa, pull_back_chunks, pool, job, kept, cotangents, wants)
                        }
                    })?;
                self.unpack(network, &plan, theta, sums, gradient.as_deref_mut());
                Ok(Gradients { theta: gradient, input: None, region })
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
        Ok(on_isa!(self.isa, losses, &self.pool, &plan, layout, theta, perturbation, pairs, batch))
    }
}
