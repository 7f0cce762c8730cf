//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use tightrope_data::{Dataset, Split};
use tightrope_engine::{Engine, Loaded, Relaxation};
use tightrope_network::{Model, Network};

use crate::TrainError;
use crate::accumulate::Accumulated;
use crate::average::{self, Average};
use crate::batches::{Batch, Source};
use crate::collapse;
use crate::config::{Config, Scheduled};
use crate::divergence::Watch;
use crate::estimate::{Estimator, estimate};
use crate::evaluate::evaluate;
use crate::methods::{self, Method, Minibatch, StepThreat};
use crate::optimiser::{Optimiser, add_l1, clip_norm, weight_ranges};
use crate::progress::{EpochMetrics, Flow, Plan, Progress, StepReport, TestMetrics};
use crate::run::{RunFolder, seconds_since_1970};
use crate::smoothing::{Adaptation, SmoothingKind, relative_scales};
use crate::state::{State, Tally};
use crate::statistics;

/// Accuracies that do not fall off the loss are measured every so many steps of an epoch, so that they cost little.
const MEASURE_EVERY: usize = 10;

/// A training run that fits together: configuration, network, engine and data, the latter two shared with whoever else
/// holds them.
pub struct Job {
    pub(crate) config: Config,
    pub(crate) network: Network,
    pub(crate) engine: Arc<dyn Engine<f32>>,
    pub(crate) train: Arc<Dataset>,
    /// What evaluations look at: the validation split, where there is one, or the test set.
    pub(crate) test: Option<Arc<Dataset>>,
    /// Images of `train` that are not kept for validation.
    trained_on: usize,
    batches: Source,
    initial: Option<Initial>,
    method: Box<dyn Method>,
    /// The control variate of PGPE.
    control: Option<Box<dyn Method>>,
    /// The guide of PGPE.
    guide: Option<Box<dyn Method>>,
    relaxation: Relaxation,
}

/// The numbers that a run starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Initial {
    /// Parameters, laid out as [`Network::parameters`].
    pub theta: Vec<f32>,
    /// Buffers, laid out as [`Network::buffers`].
    pub buffers: Vec<f32>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The network with θ and buffers as they are now, or their average where one has begun.
    pub model: Model,
    /// Metrics of every epoch, those before a resumption included.
    pub metrics: Vec<EpochMetrics>,
    /// False if the observer stopped the run.
    pub finished: bool,
    /// What is wrong with the trained network, if it has collapsed.
    pub warning: Option<String>,
}

impl Job {
    /// The job that `config` describes, with the network that it names and a fresh θ.
    ///
    /// Evaluations look at `test`, which may be a validation split; where `config` keeps a part of the training images for
    /// validation, they look at that part and `test` is not touched.
    ///
    /// # Errors
    /// If the configuration is out of range, or network and data do not fit each other.
    pub fn new(
        config: &Config,
        engine: Arc<dyn Engine<f32>>,
        train: Arc<Dataset>,
        test: Option<Arc<Dataset>>,
    ) -> Result<Self, TrainError> {
        let network = config.network_for(&train)?;
        Job::with_network(config, network, None, engine, train, test)
    }

    /// As [`Job::new`], with a network of the caller's and, if `initial` is given, its numbers to start from.
    ///
    /// # Errors
    /// As [`Job::new`], and if the numbers do not fit the network.
    pub fn with_network(
        config: &Config,
        network: Network,
        initial: Option<Initial>,
        engine: Arc<dyn Engine<f32>>,
        train: Arc<Dataset>,
        test: Option<Arc<Dataset>>,
    ) -> Result<Self, TrainError> {
        let config = config.clone().resolved()?;
        if let Some(Initial { theta, buffers }) = &initial {
            network.check_theta(theta)?;
            network.check_buffers(buffers)?;
        }
        for data in [Some(&train), test.as_ref()].into_iter().flatten() {
            check_data(data, &network)?;
        }
        let (chosen, test) = validation(&config, &train, test)?;
        let batches = Source::new(&config, &train, &chosen)?;
        let method = methods::method(&config.method)?;
        let (control, guide) = (config.control()?, config.guide()?);
        let relaxation = config.eval_relaxation()?;
        Ok(Job {
            config,
            network,
            engine,
            train,
            test,
            trained_on: chosen.len(),
            batches,
            initial,
            method,
            control,
            guide,
            relaxation,
        })
    }

    /// The configuration with every key resolved.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network's structure.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Training samples per epoch.
    pub(crate) fn samples(&self) -> usize {
        self.batches.samples()
    }

    /// Images of the training set that are not kept for validation.
    pub(crate) fn trained_on(&self) -> usize {
        self.trained_on
    }

    /// θ, buffers and optimiser before the first step.
    pub(crate) fn initial_state(&self) -> Result<State, TrainError> {
        let Initial { theta, buffers } = match &self.initial {
            Some(initial) => initial.clone(),
            None => Initial {
                theta: self.config.initialisation()?.theta(&self.network, self.config.seed),
                buffers: self.network.initial_buffers(),
            },
        };
        let optimiser = Optimiser::new(self.config.train.optimiser(), theta.len());
        Ok(State::new(theta, buffers, optimiser, Adaptation::new(&self.config.smoothing)))
    }

    /// The network as it is evaluated and certified, with its batch norms frozen; none for networks without any, whose
    /// handle for training does.
    fn evaluated(&self, theta: &[f32], buffers: &[f32]) -> Result<Option<Box<dyn Loaded<f32>>>, TrainError> {
        if buffers.is_empty() {
            return Ok(None);
        }
        let model = Model { buffers: buffers.to_vec(), ..Model::new(self.network.clone(), theta.to_vec()) };
        let frozen = model.frozen()?;
        Ok(Some(self.engine.load(&frozen.network, &frozen.theta, &frozen.buffers)?))
    }

    /// Samples per optimiser step.
    fn samples_per_step(&self) -> usize {
        self.config.train.batch * self.config.train.accumulate
    }

    /// The network at the average, if there is one.
    fn averaged(&self, average: Option<&Average>) -> Result<Option<Box<dyn Loaded<f32>>>, TrainError> {
        let load = |average: &Average| self.engine.load(&self.network, &average.theta, &average.buffers);
        Ok(average.map(load).transpose()?)
    }

    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.samples().div_ceil(self.samples_per_step())
    }
}

/// The training images that are trained on, and what evaluations look at.
fn validation(
    config: &Config,
    train: &Dataset,
    test: Option<Arc<Dataset>>,
) -> Result<(Vec<usize>, Option<Arc<Dataset>>), TrainError> {
    let part = config.train.validation;
    if part == 0.0 {
        return Ok(((0..train.len()).collect(), test));
    }
    let fail = |allowed: String| Err(TrainError::value("train.validation", part, allowed));
    if test.is_some_and(|set| set.split == Split::Validation) {
        return fail(format!("must be 0 for `{}`, which has a validation split of its own", train.name));
    }
    let parts = train.parts(part, config.seed);
    if parts.validation.is_empty() {
        return fail(format!("keeps none of the {} images of `{}`; give a larger part", train.len(), train.name));
    }
    let kept = train.part(Split::Validation, &parts.validation);
    Ok((parts.train, Some(Arc::new(kept))))
}

fn check_data(data: &Dataset, network: &Network) -> Result<(), TrainError> {
    let fail = |problem: String| Err(TrainError::Data { dataset: data.name.clone(), problem });
    if data.is_empty() {
        return fail(format!("the {} split has no samples", data.split));
    }
    if data.values() != data.len() * network.input_len() {
        return fail(format!(
            "images of {:?} do not fit the network's input {:?}; use a network for this data set",
            data.shape,
            network.input_shape()
        ));
    }
    if let Some(sample) = data.labels.iter().position(|&label| label >= network.output_len()) {
        return fail(format!(
            "sample {sample} of the {} split has label {}, but the network has only {} logits",
            data.split,
            data.labels[sample],
            network.output_len()
        ));
    }
    if let Some(image) = data.not_finite() {
        return fail(format!("image {image} of the {} split has a pixel that is no number", data.split));
    }
    Ok(())
}

/// Trains `job` to its last epoch, in `folder` if one is given (which may hold a run to go on with).
///
/// Each step estimates the gradient of the smoothed loss on a minibatch or several, adds ℓ1, clips and takes a step of the
/// optimiser; each epoch ends with the population statistics of batch norms, an evaluation, a line of metrics and a
/// checkpoint. The result depends neither on the number of threads nor on interruptions.
///
/// # Errors
/// If the engine refuses, the loss diverges or the folder cannot be written.
pub fn train(job: &Job, folder: Option<&mut RunFolder>, progress: &mut dyn Progress) -> Result<Outcome, TrainError> {
    let mut run = Run { job, folder, clock: Clock::default(), metrics: Vec::new(), warning: None };
    let mut state = run.open(progress)?;
    let mut at = job.engine.load(&job.network, &state.theta, &state.buffers)?;
    // The estimators' own handle, for perturbed parameters.
    let mut sample = job.engine.load(&job.network, &state.theta, &state.buffers)?;
    let steps = job.steps_per_epoch();
    let weights = weight_ranges(&job.network);
    progress.started(&run.plan(&state));
    while state.epoch < job.config.train.epochs {
        run.clock.start_epoch();
        for Batch { inputs, labels } in job.batches.ahead(state.epoch, state.position) {
            let mut scheduled = job.config.at(state.epoch as f64 + state.position as f64 / steps as f64);
            let adapted = state.adaptation.map(|adaptation| adaptation.applied(&job.config.smoothing, &mut scheduled));
            let measure = state.position.is_multiple_of(MEASURE_EVERY);
            let (smoothing, sam) = (adapted.as_ref().unwrap_or(&job.config.smoothing), job.config.train.sam);
            let scales = smoothing.relative.then(|| relative_scales(&job.network, &state.theta));
            let (control, guide) = (job.control.as_deref(), job.guide.as_deref());
            let (sigma, scales) = (scheduled.sigma, scales.as_deref());
            let estimator = Estimator { smoothing, sigma, scales, control, guide, sam };
            let mut step = Accumulated::default();
            let batch = job.config.train.batch;
            for (inputs, labels) in inputs.chunks(batch * job.network.input_len()).zip(labels.chunks(batch)) {
                let mut batch = minibatch(job, inputs, labels, &scheduled, state.step);
                batch.first = step.samples();
                step.add(estimate(&*job.method, &batch, &*at, &mut *sample, estimator, measure)?, labels.len());
            }
            let (loss, mut gradient) = step.mean();
            add_l1(&mut gradient, &state.theta, &weights, job.config.train.l1);
            let norm = clip_norm(&mut gradient, job.config.train.grad_clip);
            let watch = Watch { job, scheduled: &scheduled };
            watch.loss(&state, loss)?;
            watch.norm(&state, norm)?;
            // The handle's is the only one then, and changes where it lies.
            state.theta = Arc::default();
            at.change(&mut |theta| state.optimiser.update(theta, &gradient, scheduled.lr))?;
            state.theta = Arc::clone(at.theta());
            watch.moved(&state)?;
            for (statistics, samples) in &step.statistics {
                statistics::advance(&job.network, &mut state.buffers, statistics, *samples);
            }
            watch.statistics(&state, &state.buffers)?;
            if let (Some(adaptation), Some(signal)) = (&mut state.adaptation, step.signal()) {
                adaptation.observe(&job.config.smoothing, signal);
            }
            state.tally.add(&step.tally);
            state.position += 1;
            state.step += 1;
            run.clock.images += step.samples();
            average::after_step(&job.config.train, &mut state, steps);
            let flow = progress.step(&run.report(&state, &scheduled, norm));
            run.checkpoint_if_due(&state, flow)?;
            if flow == Flow::Stop {
                return Ok(run.outcome(state, false));
            }
        }
        let Some(metrics) = run.end_epoch(&mut state, &*at, progress)? else { return Ok(run.outcome(state, false)) };
        progress.epoch(&metrics);
        run.metrics.push(metrics);
    }
    run.finish()?;
    let average = job.averaged(state.average.as_ref())?;
    let (theta, buffers) = state.shown();
    let frozen = job.evaluated(theta, buffers)?;
    let evaluated = frozen.as_deref().or(average.as_deref()).unwrap_or(&*at);
    if let Some(warning) = collapse::warning(job, evaluated, run.metrics.last())? {
        progress.remark(&format!("warning: {warning}"));
        run.warning = Some(warning);
    }
    Ok(run.outcome(state, true))
}

fn minibatch<'b>(
    job: &'b Job,
    inputs: &'b [f32],
    labels: &'b [usize],
    scheduled: &Scheduled,
    step: u64,
) -> Minibatch<'b> {
    let threat = StepThreat { epsilon: scheduled.epsilon as f32, norm: job.config.norm(), clip: job.config.clip() };
    let mut batch = Minibatch::new(inputs, labels, threat, scheduled.robust_weight, job.config.seed, step);
    batch.warmup = scheduled.warmup;
    batch
}

/// The model as it is now.
fn model(job: &Job, state: &State) -> Model {
    let (theta, buffers) = state.shown();
    Model { buffers: buffers.to_vec(), ..Model::new(job.network.clone(), theta.to_vec()) }
}

/// Wall-clock times; they go into reports and metrics, never into the state.
struct Clock {
    epoch_start: Instant,
    run_start: Instant,
    checkpoint: Instant,
    /// Images since the start of the epoch or the resumption.
    images: usize,
    /// Steps done when the run started or resumed.
    first_step: u64,
}

impl Default for Clock {
    fn default() -> Self {
        let now = Instant::now();
        Clock { epoch_start: now, run_start: now, checkpoint: now, images: 0, first_step: 0 }
    }
}

impl Clock {
    fn start_epoch(&mut self) {
        self.epoch_start = Instant::now();
        self.images = 0;
    }

    fn images_per_second(&self) -> f64 {
        self.images as f64 / self.epoch_start.elapsed().as_secs_f64().max(1e-9)
    }
}

/// A job under way: what surrounds the steps.
struct Run<'a> {
    job: &'a Job,
    folder: Option<&'a mut RunFolder>,
    clock: Clock,
    metrics: Vec<EpochMetrics>,
    warning: Option<String>,
}

impl Run<'_> {
    /// The state to start from, and the folder's first files.
    fn open(&mut self, progress: &mut dyn Progress) -> Result<State, TrainError> {
        let mut state = self.job.initial_state()?;
        if let Some(folder) = &mut self.folder {
            let begun = folder.begin(self.job, state)?;
            (state, self.metrics) = (begun.state, begun.metrics);
            begun.remarks.iter().for_each(|remark| progress.remark(remark));
        }
        self.clock.first_step = state.step;
        Ok(state)
    }

    fn plan(&self, state: &State) -> Plan {
        Plan {
            epochs: self.job.config.train.epochs,
            epochs_done: state.epoch,
            steps_per_epoch: self.job.steps_per_epoch(),
            steps_done: state.step,
            samples: self.job.samples(),
            parameters: state.theta.len(),
        }
    }

    fn report(&self, state: &State, scheduled: &Scheduled, gradient_norm: f64) -> StepReport {
        let steps_per_epoch = self.job.steps_per_epoch();
        let left = (self.job.config.train.epochs * steps_per_epoch) as f64 - state.step as f64;
        let done = (state.step - self.clock.first_step) as f64;
        StepReport {
            epoch: state.epoch + 1,
            position: state.position,
            steps_per_epoch,
            step: state.step,
            loss: state.tally.mean_loss(),
            natural_accuracy: state.tally.natural_accuracy(),
            certified_accuracy: state.tally.certified_accuracy(),
            gradient_norm,
            lr: scheduled.lr,
            epsilon: scheduled.epsilon,
            images_per_second: self.clock.images_per_second(),
            eta_seconds: self.clock.run_start.elapsed().as_secs_f64() / done * left,
        }
    }

    fn checkpoint_if_due(&mut self, state: &State, flow: Flow) -> Result<(), TrainError> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let train = &self.job.config.train;
        let by_steps = train.checkpoint_steps > 0 && state.step.is_multiple_of(train.checkpoint_steps);
        let seconds = self.clock.checkpoint.elapsed().as_secs_f64();
        let by_time = train.checkpoint_seconds > 0.0 && seconds >= train.checkpoint_seconds;
        if by_steps || by_time || flow == Flow::Stop {
            folder.checkpoint(self.job, state)?;
            self.clock.checkpoint = Instant::now();
        }
        Ok(())
    }

    /// Evaluates, moves on to the next epoch and writes metrics, model and checkpoint, in this order; none if the
    /// observer stopped the evaluation, of which only a checkpoint before it is kept.
    fn end_epoch(
        &mut self,
        state: &mut State,
        at: &dyn Loaded<f32>,
        progress: &mut dyn Progress,
    ) -> Result<Option<EpochMetrics>, TrainError> {
        let job = self.job;
        let steps = job.steps_per_epoch();
        let mut scheduled = job.config.at(state.epoch as f64 + (steps - 1) as f64 / steps as f64);
        let adapted = state.adaptation.map(|adaptation| adaptation.applied(&job.config.smoothing, &mut scheduled));
        let smoothing = adapted.as_ref().unwrap_or(&job.config.smoothing);
        let smooths = smoothing.kind != SmoothingKind::Grad;
        let (images_per_second, seconds) =
            (self.clock.images_per_second(), self.clock.epoch_start.elapsed().as_secs_f64());
        let epoch = state.epoch + 1;
        let every = job.config.train.eval_every;
        let due = every > 0 && (epoch.is_multiple_of(every) || epoch == job.config.train.epochs);
        // Nothing of the state changes before all of this is done: a run that is stopped in between does it again.
        let mut average = average::after_epoch(&job.config.train, state);
        let averaged = job.averaged(average.as_ref())?;
        let at = averaged.as_deref().unwrap_or(at);
        let mut buffers = state.buffers.clone();
        // Running statistics are of θ along the way, not of its average.
        if !buffers.is_empty() && (job.config.train.precise_bn || average.is_some()) {
            let Some(precise) = self.population(state, at, progress)? else {
                self.checkpoint_if_due(state, Flow::Stop)?;
                return Ok(None);
            };
            let watch = Watch { job, scheduled: &scheduled };
            watch.statistics(state, &precise)?;
            match &mut average {
                Some(average) => average.buffers = precise,
                None => buffers = precise,
            }
        }
        let test = match &job.test {
            Some(data) if due => {
                progress.evaluating(epoch);
                let frozen =
                    job.evaluated(at.theta(), average.as_ref().map_or(&buffers, |average| &average.buffers))?;
                let Some(metrics) = self.evaluate(data, frozen.as_deref().unwrap_or(at), progress)? else {
                    self.checkpoint_if_due(state, Flow::Stop)?;
                    return Ok(None);
                };
                Some(metrics)
            }
            _ => None,
        };
        let metrics = EpochMetrics {
            epoch,
            step: state.step,
            time: seconds_since_1970(),
            loss: state.tally.mean_loss(),
            train_natural_accuracy: state.tally.natural_accuracy(),
            train_certified_accuracy: state.tally.certified_accuracy(),
            lr: scheduled.lr,
            eps: scheduled.epsilon,
            sigma: if smooths { scheduled.sigma } else { 0.0 },
            population: if smooths { smoothing.members() } else { 0 },
            snr: state.adaptation.map(|adaptation| adaptation.ratio),
            robust_weight: scheduled.robust_weight,
            images_per_second,
            seconds,
            test,
        };
        (state.epoch, state.position, state.tally) = (epoch, 0, Tally::default());
        (state.buffers, state.average) = (buffers, average);
        if let Some(folder) = &mut self.folder {
            folder.append(&metrics)?;
            folder.save_model(&model(job, state))?;
            folder.checkpoint(job, state)?;
            self.clock.checkpoint = Instant::now();
        }
        Ok(Some(metrics))
    }

    /// The statistics of batch norms at θ over the training set, in the minibatches of the epoch at hand.
    fn population(
        &self,
        state: &State,
        at: &dyn Loaded<f32>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let job = self.job;
        let micro = job.config.train.batch * job.network.input_len();
        let steps = job.batches.ahead(state.epoch, 0);
        let batches = steps.flat_map(|step| step.inputs.chunks(micro).map(<[f32]>::to_vec).collect::<Vec<_>>());
        statistics::population(at, batches, || progress.flow() == Flow::Stop)
    }

    fn evaluate(
        &self,
        data: &Dataset,
        at: &dyn Loaded<f32>,
        progress: &mut dyn Progress,
    ) -> Result<Option<TestMetrics>, TrainError> {
        let (job, start) = (self.job, Instant::now());
        let config = &job.config;
        let threat = StepThreat { epsilon: config.eps as f32, norm: config.norm(), clip: config.clip() };
        let limit = config.train.eval_limit.unwrap_or(0);
        let stop = || progress.flow() == Flow::Stop;
        let Some(result) = evaluate(at, data, limit, threat, job.relaxation, stop)? else {
            return Ok(None);
        };
        Ok(Some(TestMetrics {
            split: data.split.name().into(),
            samples: result.samples,
            eps: config.eps,
            relaxation: job.relaxation.name().into(),
            natural_accuracy: result.natural_accuracy(),
            certified_accuracy: result.certified_accuracy(),
            natural_loss: result.natural_loss,
            certified_loss: result.certified_loss,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }

    fn finish(&mut self) -> Result<(), TrainError> {
        match &mut self.folder {
            Some(folder) => folder.finish(),
            None => Ok(()),
        }
    }

    fn outcome(self, state: State, finished: bool) -> Outcome {
        Outcome { model: model(self.job, &state), metrics: self.metrics, finished, warning: self.warning }
    }
}
