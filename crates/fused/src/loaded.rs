//! The [`Loaded`] implementation: checks arguments, cuts the batch into chunks and keeps θ packed.
//!
//! A batch is cut into chunks whose size depends on the batch alone; chunks run in parallel, each
//! gradient slot takes a fixed set of chunks, and slots are summed in order. Results are therefore
//! the same for any number of threads.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use tightrope_engine::{
    BatchPass, BoundRequest, Bounds, Charges, Cotangents, Domain, Engine, EngineError, Gradients, LayerBounds, Loaded,
    MemberLoss, MemberRequest, OutwardInterval, Perturbation, Reference, Region, Spec, Tape, Trace, Wants,
};
use tightrope_network::{Network, NodeId};

use crate::Fused;
use crate::backward::rows::signs::SignLayout;
use crate::bound::batch::{bound_all, pull_back_chunks};
use crate::bound::forward::ChunkBounds;
use crate::bound::interval::pull_back_all;
use crate::bound::job::{BoundJob, passes_whole};
use crate::bound::narrow::narrow_stages;
use crate::clean::batch::{backward_all, forward_all};
use crate::engine::leaves;
use crate::interval::ball_rows::BallRows;
use crate::kernels::product::Shape;
use crate::net::accumulate::Accumulator;
use crate::net::plan::Plan;
use crate::net::spec::Specification;
use crate::net::split::{bands, bound_chunk, image_chunk, parts};
use crate::net::weights::Layouts;
use crate::net::{Net, Tables};
use crate::packed::Packed;
use crate::population::{Population, losses};
use crate::simd::isa::{Isa, on_isa};
use crate::simd::lanes::{Lanes, WIDTH};
use crate::tape::{BoundRecord, FusedTape, Record};

/// A network that the kernels cover, at one θ.
pub struct LoadedFused {
    pub(crate) engine: Fused,
    network: Network,
    pub(crate) plan: Plan,
    tables: Tables,
    theta: Arc<Vec<f32>>,
    packed: Packed,
    /// For requests that the kernels lack, once there is one.
    reference: OnceLock<Box<dyn Loaded<f32>>>,
}

/// The shape of panels for so many planes, and images at once.
fn panels(isa: Isa, planes: usize, images: usize) -> Shape {
    unsafe fn of<S: Lanes>(planes: usize, images: usize) -> Shape {
        Shape::of::<S>(planes, images.div_ceil(WIDTH))
    }
    on_isa!(isa, of, planes, images)
}

impl LoadedFused {
    /// `network` at `theta`.
    pub fn new(engine: Fused, network: &Network, plan: Plan, theta: Arc<Vec<f32>>) -> Result<Self, EngineError> {
        EngineError::check_length("θ", theta.len(), network.parameters().total())?;
        Ok(LoadedFused {
            engine,
            network: network.clone(),
            tables: Tables::new(&plan),
            plan,
            theta,
            packed: Packed::default(),
            reference: OnceLock::new(),
        })
    }

    /// The same network and θ on the reference engine.
    fn reference(&self) -> Result<&dyn Loaded<f32>, EngineError> {
        if let Some(reference) = self.reference.get() {
            return Ok(&**reference);
        }
        let loaded = Reference.load(&self.network, &self.theta, &[])?;
        Ok(&**self.reference.get_or_init(|| loaded))
    }

    /// [`Self::reference`], which accepts the θ that this handle has accepted.
    fn checked_reference(&self) -> &dyn Loaded<f32> {
        match self.reference() {
            Ok(reference) => reference,
            Err(problem) => unreachable!("θ was checked when it was loaded: {problem}"),
        }
    }

    /// Images in `inputs`.
    pub(crate) fn batch_of(&self, inputs: &[f32]) -> Result<usize, EngineError> {
        let d = self.plan.dimension;
        if !inputs.len().is_multiple_of(d) {
            return Err(EngineError::Usage(format!(
                "{} input values are no multiple of the network's input size {d} ({:?})",
                inputs.len(),
                self.network.input_shape()
            )));
        }
        Ok(inputs.len() / d)
    }

    /// Runs `work` with the job that the arguments describe; `keep` what the adjoint needs, or run the adjoint itself.
    fn with_job<R: Send>(
        &self,
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
        [keep, adjoint]: [bool; 2],
        work: impl FnOnce(&BoundJob<'_>) -> R + Send,
    ) -> Result<R, EngineError> {
        let (plan, parameters, scratch) = (&self.plan, self.network.parameters(), &*self.engine.scratch);
        EngineError::check_length("the region's samples", region.dimension(), plan.dimension)?;
        request.check()?;
        let whole = passes_whole(request, plan, region, spec);
        let chunk = bound_chunk(request.relaxation, region.batch());
        let chunks = region.batch().div_ceil(chunk).max(1);
        let panels = panels(self.engine.isa, 2, chunk);
        // What is kept for the adjoint will be read by it: one copy serves both, and an ascent goes up as the adjoint does.
        let goes_up = keep || adjoint || request.climbs().is_some();
        let layouts = Layouts::bounds(plan, request.relaxation, panels, goes_up, whole);
        // One way into the pool: each from outside costs more than the parallel work of a small batch.
        rayon::scope(|_| {
            // The adjoint's region was checked when its tape was recorded, which may not even hold its numbers.
            let check = || match adjoint {
                true => Ok(()),
                false => {
                    region.check()?;
                    spec.check(region.batch(), plan.classes)
                }
            };
            let weights = match self.packed.find(&layouts) {
                Some(weights) => {
                    check()?;
                    weights
                }
                None => {
                    let pack = || self.packed.get(self.engine.isa, plan, parameters, &self.theta, layouts, scratch);
                    let (checked, weights) = rayon::join(check, pack);
                    checked?;
                    weights
                }
            };
            let own = whole.then_some((parameters, &self.theta[..]));
            let mut net = Net::new(plan, &self.tables, &weights, own);
            if whole {
                net.bands = bands(chunks);
            }
            let ball = region.ball.as_ref().map(|ball| BallRows::new(&net, ball.norm, region.clipped));
            let narrow = narrow_stages(plan, request.relaxation, region);
            Ok(work(&BoundJob {
                net: &net,
                region,
                specification: Specification::new(spec, plan, &weights),
                relaxation: request.relaxation,
                shrinkage: request.shrinkage as f32,
                ascent: request.climbs(),
                whole,
                upper: request.upper,
                layers: request.layers,
                keep,
                ball: ball.as_ref(),
                narrow,
                signs: (keep || adjoint)
                    .then(|| SignLayout::wanted(plan, request.relaxation, region, narrow))
                    .flatten(),
                images: None,
                parts: parts(plan, request.relaxation, chunks),
                scratch: &scratch.bounds,
                gradients: &scratch.gradients,
            }))
        })
    }

    /// Runs `work` with the network for clean passes of so many images.
    pub(crate) fn with_net<R: Send>(&self, batch: usize, adjoint: bool, work: impl FnOnce(&Net<'_>) -> R + Send) -> R {
        let (plan, parameters) = (&self.plan, self.network.parameters());
        let panels = panels(self.engine.isa, 1, image_chunk(batch));
        let layouts = Layouts::points(plan, panels, [adjoint; 2]);
        rayon::scope(|_| {
            let weights =
                self.packed.get(self.engine.isa, plan, parameters, &self.theta, layouts, &self.engine.scratch);
            let mut net = Net::new(plan, &self.tables, &weights, Some((parameters, &self.theta)));
            net.bands = bands(batch.div_ceil(image_chunk(batch)).max(1));
            work(&net)
        })
    }

    /// The gradient with respect to θ, if it is wanted: what is there and what `sums` hold; there are none for an empty batch.
    ///
    /// # Safety
    /// All of `gradient` is written.
    pub(crate) unsafe fn finish(
        &self,
        gradient: Option<Vec<MaybeUninit<f32>>>,
        sums: Option<Accumulator>,
    ) -> Option<Vec<f32>> {
        let mut gradient = ManuallyDrop::new(gradient?);
        let (start, len, capacity) = (gradient.as_mut_ptr().cast(), gradient.len(), gradient.capacity());
        // SAFETY: these are a vector's, whose numbers are there by the caller's word.
        let mut gradient = unsafe { Vec::from_raw_parts(start, len, capacity) };
        if let Some(sums) = sums {
            sums.sums.unpack(&self.plan, self.network.parameters(), &self.theta, &mut gradient);
            self.engine.scratch.gradients.accumulators.give(sums);
        }
        Some(gradient)
    }

    fn collect(&self, spec: &Spec<f32>, request: BoundRequest, chunks: &[ChunkBounds]) -> Bounds<f32> {
        let join =
            |pick: &dyn Fn(&ChunkBounds) -> &[f32]| chunks.iter().flat_map(|c| pick(c).iter().copied()).collect();
        let layer = |index: usize| LayerBounds {
            node: self.plan.stages[index].node,
            lower: join(&|c| &c.layers[index][0]),
            upper: join(&|c| &c.layers[index][1]),
        };
        Bounds {
            rows: spec.rows(self.plan.classes),
            lower: join(&|c| &c.lower),
            upper: request.upper.then(|| join(&|c| &c.upper)),
            layers: if request.layers { (0..self.plan.hidden()).map(layer).collect() } else { Vec::new() },
        }
    }

    fn tape(&self, record: Record) -> Tape {
        FusedTape::tape(&self.network, record, &self.engine.scratch)
    }

    fn check_cotangents(&self, batch: usize, rows: usize, cotangents: &Cotangents<f32>) -> Result<(), EngineError> {
        let plan = &self.plan;
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
}

impl Drop for LoadedFused {
    /// What was packed has the size that the next handle needs.
    fn drop(&mut self) {
        self.packed.clear(&self.engine.scratch);
    }
}

impl Loaded<f32> for LoadedFused {
    fn network(&self) -> &Network {
        &self.network
    }

    fn theta(&self) -> &Arc<Vec<f32>> {
        &self.theta
    }

    fn buffers(&self) -> &[f32] {
        &[]
    }

    fn with_buffers(&self, buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        EngineError::check_length("the buffers", buffers.len(), 0)?;
        let (engine, plan) = (self.engine.clone(), self.plan.clone());
        Ok(Box::new(LoadedFused::new(engine, &self.network, plan, Arc::clone(&self.theta))?))
    }

    fn load(&self, network: &Network, theta: &[f32], buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        self.engine.load(network, theta, buffers)
    }

    fn change(&mut self, edit: &mut dyn FnMut(&mut [f32])) -> Result<(), EngineError> {
        edit(Arc::make_mut(&mut self.theta).as_mut_slice());
        self.packed.clear(&self.engine.scratch);
        self.reference = OnceLock::new();
        Ok(())
    }

    fn forward(&self, inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        let batch = self.batch_of(inputs)?;
        let clean = &self.engine.scratch.clean;
        let forward = |net: &Net<'_>| on_isa!(self.engine.isa, forward_all, clean, net, inputs, false);
        Ok(self.with_net(batch, false, forward).0)
    }

    fn forward_taped(&self, inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        let batch = self.batch_of(inputs)?;
        let clean = &self.engine.scratch.clean;
        let forward = |net: &Net<'_>| on_isa!(self.engine.isa, forward_all, clean, net, inputs, true);
        // The adjoint will read what is packed now.
        let (logits, chunks) = self.with_net(batch, true, forward);
        Ok((logits, self.tape(Record::Clean { chunks, batch })))
    }

    /// Networks with batch norms have a handle of their own.
    fn forward_batch(&self, inputs: &[f32]) -> Result<BatchPass<f32>, EngineError> {
        let (logits, tape) = self.forward_taped(inputs)?;
        Ok(BatchPass { logits, statistics: Vec::new(), tape })
    }

    fn bound(&self, region: &Region<f32>, spec: &Spec<f32>, request: BoundRequest) -> Result<Bounds<f32>, EngineError> {
        if leaves(&request, region, spec) {
            return self.reference()?.bound(region, spec, request);
        }
        self.with_job(region, spec, request, [false; 2], |job| {
            let (chunks, _) = on_isa!(self.engine.isa, bound_all, job);
            self.collect(spec, request, &chunks)
        })
    }

    fn bound_taped(
        &self,
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        request.check_taped()?;
        if leaves(&request, region, spec) {
            let (bounds, tape) = self.reference()?.bound_taped(region, spec, request)?;
            return Ok((bounds, self.tape(Record::Reference(tape))));
        }
        self.with_job(region, spec, request, [true, false], |job| {
            let (chunks, intervals) = on_isa!(self.engine.isa, bound_all, job);
            let bounds = self.collect(spec, request, &chunks);
            let (mut kept, mut packets) = (Vec::new(), Vec::new());
            for chunk in chunks {
                kept.push(chunk.kept);
                packets.extend(chunk.packet);
            }
            // Kept interval passes hold the images already; the gradient of given rows asks the reference engine, which does not
            // read those.
            let rows = matches!(spec, Spec::Matrix { .. });
            let region = if job.whole && !rows { region.outline() } else { region.clone() };
            let record = BoundRecord { region, spec: spec.clone(), request, kept, intervals, packets };
            (bounds, self.tape(Record::Bound(Box::new(record))))
        })
    }

    fn vjp(&self, tape: &Tape, cotangents: &Cotangents<f32>, wants: Wants) -> Result<Gradients<f32>, EngineError> {
        let buffers = wants.buffers.then(Vec::new);
        EngineError::check_length("cotangent of the statistics", cotangents.buffers.len(), 0)?;
        let start = |net: &Net<'_>| wants.theta.then(|| net.gradient(self.theta.len()));
        match FusedTape::read(tape, &self.network)? {
            Record::Reference(tape) => self.reference()?.vjp(tape, cotangents, wants),
            Record::Batch(_) => {
                Err(EngineError::Usage("this tape was recorded with another network; record it anew".into()))
            }
            Record::Clean { chunks, batch } => {
                EngineError::check_length("logit cotangent", cotangents.lower.len(), batch * self.plan.classes)?;
                if !cotangents.upper.is_empty() || !cotangents.layers.is_empty() {
                    return Err(EngineError::Usage("a clean pass has cotangents on its logits only".into()));
                }
                let ((sums, input), gradient) = self.with_net(*batch, true, |net| {
                    let mut gradient = start(net);
                    let on_theta = gradient.as_deref_mut();
                    let (clean, sums) = (&self.engine.scratch.clean, &self.engine.scratch.gradients);
                    let (isa, lower, on_input) = (self.engine.isa, &cotangents.lower, wants.input);
                    (on_isa!(isa, backward_all, clean, sums, net, chunks, *batch, lower, on_theta, on_input), gradient)
                });
                // SAFETY: the pass has written the dense stages' part.
                let theta = unsafe { self.finish(gradient, sums) };
                Ok(Gradients { theta, buffers, input, region: None })
            }
            Record::Bound(record) => {
                let BoundRecord { region, spec, request, kept, intervals, packets } = &**record;
                self.check_cotangents(region.batch(), spec.rows(self.plan.classes), cotangents)?;
                let isa = self.engine.isa;
                let (pulled, gradient) = self.with_job(region, spec, *request, [false, true], |job| {
                    let mut gradient = start(job.net);
                    let on_theta = gradient.as_deref_mut();
                    let pulled = if job.whole {
                        on_isa!(isa, pull_back_all, job, intervals, packets, cotangents, on_theta, wants.input)
                    } else {
                        on_isa!(isa, pull_back_chunks, job, kept, cotangents, wants)
                    };
                    (pulled, gradient)
                })?;
                // SAFETY: the pass has written the dense stages' part; chunks by themselves have no such stages.
                let theta = unsafe { self.finish(gradient, pulled.sums) };
                Ok(Gradients { theta, buffers, input: None, region: pulled.region })
            }
        }
    }

    /// By the reference engine, which bounds once more.
    fn vjp_spec(&self, tape: &Tape, lower: &[f32]) -> Result<Vec<f32>, EngineError> {
        let reference = self.reference()?;
        match FusedTape::read(tape, &self.network)? {
            Record::Reference(tape) => reference.vjp_spec(tape, lower),
            Record::Clean { .. } | Record::Batch(_) => {
                Err(EngineError::Usage("a clean pass has no specification".into()))
            }
            Record::Bound(record) => {
                if record.region.center.len() != record.region.batch() * record.region.dimension() {
                    let problem = "the gradient of a specification is that of a matrix of rows; ask for Spec::Matrix";
                    return Err(EngineError::Usage(problem.into()));
                }
                let (_, tape) = reference.bound_taped(&record.region, &record.spec, record.request)?;
                reference.vjp_spec(&tape, lower)
            }
        }
    }

    fn members(
        &self,
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
        request: &MemberRequest<'_, f32>,
        loss: &MemberLoss<'_, f32>,
    ) -> Result<Vec<[f64; 2]>, EngineError> {
        if let Some(inputs) = request.inputs {
            self.batch_of(inputs)?;
        }
        if let Some((region, spec, how)) = request.bounds {
            if leaves(&how, region, spec) {
                return self.reference()?.members(perturbation, pairs, request, loss);
            }
            EngineError::check_length("the region's samples", region.dimension(), self.plan.dimension)?;
            region.check()?;
            spec.check(region.batch(), self.plan.classes)?;
            how.check()?;
        }
        let population = Population {
            scratch: &self.engine.scratch,
            plan: &self.plan,
            tables: &self.tables,
            layout: self.network.parameters(),
            theta: &self.theta,
            request,
            loss,
            collect: &|spec, how, chunks| self.collect(spec, how, chunks),
        };
        Ok(on_isa!(self.engine.isa, losses, &population, perturbation, pairs))
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
        self.checked_reference().substitute(domain, start, rows, count, trace, charges)
    }

    fn relaxed(&self, domain: &Domain<'_, f32>, last: NodeId, trace: &Trace<f32>, points: Vec<f32>) -> Vec<Vec<f32>> {
        self.checked_reference().relaxed(domain, last, trace, points)
    }

    fn enclose(&self, node: NodeId, before: &[OutwardInterval<f32>], sets: usize) -> OutwardInterval<f32> {
        self.checked_reference().enclose(node, before, sets)
    }

    fn summands(&self, node: NodeId, input: &[f32]) -> Option<[Vec<f32>; 2]> {
        self.checked_reference().summands(node, input)
    }
}
