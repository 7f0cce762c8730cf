//! The [`Loaded`] implementation for networks with batch norms.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use tightrope_engine::{
    BatchPass, BoundRequest, Bounds, Charges, Cotangents, Domain, Engine, EngineError, Gradients, Loaded, MemberLoss,
    MemberRequest, OutwardInterval, Perturbation, Reference, Region, Spec, Tape, Trace, Wants, members_in_turn,
};
use tightrope_network::{Network, NodeId};

use crate::engine::leaves;
use crate::loaded::LoadedFused;
use crate::net::Net;
use crate::normed::batch::{BatchCotangents, BatchRecord, NormGradients, Pass, Pulled, backward_all, forward_all};
use crate::normed::folding::{Folding, folded_plan};
use crate::simd::isa::on_isa;
use crate::tape::{FusedTape, Record};

/// A network with batch norms that the kernels cover, at one θ and given statistics.
pub struct LoadedNormed {
    /// The network without its batch norms, from which only passes of [`crate::normed::batch`] are asked; shared by handles
    /// of the same θ.
    bare: Arc<LoadedFused>,
    buffers: Vec<f32>,
    /// The batch norms folded at `buffers`, once something is asked of it.
    folded: OnceLock<LoadedFused>,
    /// For requests that the kernels lack, once there is one.
    reference: OnceLock<Box<dyn Loaded<f32>>>,
}

impl LoadedNormed {
    /// The network of `bare`, whose batch norms nothing has been done about, at `buffers`.
    pub fn new(bare: LoadedFused, buffers: &[f32]) -> Result<Self, EngineError> {
        LoadedNormed::at(Arc::new(bare), buffers)
    }

    fn at(bare: Arc<LoadedFused>, buffers: &[f32]) -> Result<Self, EngineError> {
        EngineError::check_length("the buffers", buffers.len(), bare.network().buffers().total())?;
        Ok(LoadedNormed { bare, buffers: buffers.to_vec(), folded: OnceLock::new(), reference: OnceLock::new() })
    }

    fn folding(&self) -> Folding<'_> {
        let bare = &*self.bare;
        Folding { network: bare.network(), plan: &bare.plan, theta: bare.theta(), buffers: &self.buffers }
    }

    /// The folded network.
    fn folded(&self) -> Result<&LoadedFused, EngineError> {
        if let Some(folded) = self.folded.get() {
            return Ok(folded);
        }
        let (plan, theta) = (folded_plan(&self.bare.plan), self.folding().theta());
        let loaded = LoadedFused::new(self.bare.engine.clone(), self.bare.network(), plan, Arc::new(theta))?;
        Ok(self.folded.get_or_init(|| loaded))
    }

    /// The same network and numbers on the reference engine.
    fn reference(&self) -> Result<&dyn Loaded<f32>, EngineError> {
        if let Some(reference) = self.reference.get() {
            return Ok(&**reference);
        }
        let loaded = Reference.load(self.network(), self.theta(), &self.buffers)?;
        Ok(&**self.reference.get_or_init(|| loaded))
    }

    /// [`Self::reference`], which accepts the numbers that this handle has accepted.
    fn checked_reference(&self) -> &dyn Loaded<f32> {
        match self.reference() {
            Ok(reference) => reference,
            Err(problem) => unreachable!("θ was checked when it was loaded: {problem}"),
        }
    }

    fn pass<'a>(&'a self, net: &'a Net<'a>) -> Pass<'a> {
        Pass { scratch: &self.bare.engine.scratch.normed, net, network: self.network(), theta: self.theta() }
    }

    /// Pulls cotangents back through a pass on a batch's own statistics; nothing depends on the buffers in place.
    fn batch_vjp(
        &self,
        record: &BatchRecord,
        cotangents: &Cotangents<f32>,
        wants: Wants,
    ) -> Result<Gradients<f32>, EngineError> {
        let (bare, network) = (&*self.bare, self.network());
        let (logits, statistics) = (&cotangents.lower[..], &cotangents.buffers[..]);
        EngineError::check_length("logit cotangent", logits.len(), record.batch * network.output_len())?;
        if !statistics.is_empty() {
            EngineError::check_length("cotangent of the statistics", statistics.len(), self.buffers.len())?;
        }
        if !cotangents.upper.is_empty() || !cotangents.layers.is_empty() {
            return Err(EngineError::Usage("a batch's pass has cotangents on its logits and statistics only".into()));
        }
        let isa = bare.engine.isa;
        let (theta, inputs) = bare.with_net(record.batch, true, |net| {
            let mut gradient = wants.theta.then(|| net.gradient(bare.theta().len()));
            let (pass, scratch, on_theta) = (self.pass(net), &bare.engine.scratch.gradients, gradient.as_deref_mut());
            let on = BatchCotangents { logits, statistics };
            let pulled = on_isa!(isa, backward_all, pass, scratch, record, on, on_theta, wants.input);
            let Pulled { sums, norms, inputs } = pulled;
            // SAFETY: the pass has written the dense stages' part.
            let mut theta = unsafe { bare.finish(gradient, sums) };
            let layout = network.parameters();
            for (stage, norm) in bare.plan.stages.iter().zip(&norms) {
                let (Some(theta), Some(NormGradients { norm, weight, summand, bias })) = (&mut theta, norm) else {
                    continue;
                };
                layout.slice_mut(theta, norm.weight).copy_from_slice(weight);
                layout.slice_mut(theta, norm.bias).copy_from_slice(summand);
                if let Some(id) = stage.bias {
                    layout.slice_mut(theta, id).copy_from_slice(bias);
                }
            }
            (theta, inputs)
        });
        let buffers = wants.buffers.then(|| vec![0.0; self.buffers.len()]);
        Ok(Gradients { theta, buffers, input: inputs, region: None })
    }
}

impl Loaded<f32> for LoadedNormed {
    fn network(&self) -> &Network {
        self.bare.network()
    }

    fn theta(&self) -> &Arc<Vec<f32>> {
        self.bare.theta()
    }

    fn buffers(&self) -> &[f32] {
        &self.buffers
    }

    fn with_buffers(&self, buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        Ok(Box::new(LoadedNormed::at(Arc::clone(&self.bare), buffers)?))
    }

    fn load(&self, network: &Network, theta: &[f32], buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        self.bare.engine.load(network, theta, buffers)
    }

    fn change(&mut self, edit: &mut dyn FnMut(&mut [f32])) -> Result<(), EngineError> {
        if Arc::get_mut(&mut self.bare).is_none() {
            let (engine, plan, theta) =
                (self.bare.engine.clone(), self.bare.plan.clone(), Arc::clone(self.bare.theta()));
            self.bare = Arc::new(LoadedFused::new(engine, self.bare.network(), plan, theta)?);
        }
        if let Some(bare) = Arc::get_mut(&mut self.bare) {
            bare.change(edit)?;
        }
        (self.folded, self.reference) = (OnceLock::new(), OnceLock::new());
        Ok(())
    }

    fn forward(&self, inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.folded()?.forward(inputs)
    }

    fn forward_taped(&self, inputs: &[f32]) -> Result<(Vec<f32>, Tape), EngineError> {
        self.folded()?.forward_taped(inputs)
    }

    fn forward_batch(&self, inputs: &[f32]) -> Result<BatchPass<f32>, EngineError> {
        let bare = &*self.bare;
        let batch = bare.batch_of(inputs)?;
        if batch == 0 {
            return Err(EngineError::Usage("an empty batch has no statistics; give at least one input".into()));
        }
        let (logits, record) =
            bare.with_net(batch, true, |net| on_isa!(bare.engine.isa, forward_all, self.pass(net), inputs));
        let statistics = record.statistics.clone();
        let tape = FusedTape::tape(self.network(), Record::Batch(record), &bare.engine.scratch);
        Ok(BatchPass { logits, statistics, tape })
    }

    fn bound(&self, region: &Region<f32>, spec: &Spec<f32>, request: BoundRequest) -> Result<Bounds<f32>, EngineError> {
        match leaves(&request, region, spec) {
            true => self.reference()?.bound(region, spec, request),
            false => self.folded()?.bound(region, spec, request),
        }
    }

    fn bound_taped(
        &self,
        region: &Region<f32>,
        spec: &Spec<f32>,
        request: BoundRequest,
    ) -> Result<(Bounds<f32>, Tape), EngineError> {
        if !leaves(&request, region, spec) {
            return self.folded()?.bound_taped(region, spec, request);
        }
        let (bounds, tape) = self.reference()?.bound_taped(region, spec, request)?;
        Ok((bounds, FusedTape::tape(self.network(), Record::Reference(tape), &self.bare.engine.scratch)))
    }

    fn vjp(&self, tape: &Tape, cotangents: &Cotangents<f32>, wants: Wants) -> Result<Gradients<f32>, EngineError> {
        match FusedTape::read(tape, self.network())? {
            Record::Reference(tape) => self.reference()?.vjp(tape, cotangents, wants),
            Record::Batch(record) => self.batch_vjp(record, cotangents, wants),
            Record::Clean { .. } | Record::Bound(_) => {
                let folded = Wants { theta: wants.theta || wants.buffers, buffers: false, ..wants };
                let mut gradients = self.folded()?.vjp(tape, cotangents, folded)?;
                let buffers = gradients.theta.as_mut().map(|theta| self.folding().carry_back(theta));
                gradients.buffers = buffers.filter(|_| wants.buffers);
                gradients.theta = gradients.theta.filter(|_| wants.theta);
                Ok(gradients)
            }
        }
    }

    /// By the reference engine, which bounds once more.
    fn vjp_spec(&self, tape: &Tape, lower: &[f32]) -> Result<Vec<f32>, EngineError> {
        match FusedTape::read(tape, self.network())? {
            Record::Reference(tape) => self.reference()?.vjp_spec(tape, lower),
            Record::Batch(_) | Record::Clean { .. } => {
                Err(EngineError::Usage("a clean pass has no specification".into()))
            }
            Record::Bound(record) => {
                let reference = self.reference()?;
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
        let (engine, plan) = (self.bare.engine.clone(), self.bare.plan.clone());
        let bare = LoadedFused::new(engine, self.network(), plan, Arc::clone(self.theta()))?;
        let mut own = LoadedNormed::new(bare, &self.buffers)?;
        members_in_turn(&mut own, perturbation, pairs, request, loss)
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
