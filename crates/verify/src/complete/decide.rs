//! The order of things: attack, root bounds, branch and bound, case by case.

use std::time::{Duration, Instant};

use tightrope_certificate::{Proof, TreeBuilder};
use tightrope_network::Network;
use tightrope_vnnlib::{Case, Property};

use super::ascent::Ascent;
use super::boxes::Boxes;
use super::branch::Choice;
use super::problem::{Conjunction, conjunctions};
use super::program::Program;
use super::record::Recorder;
use super::region::Regions;
use super::root::Setting;
use super::search::{Found, Hunt};
use super::settings::{Branching, Decision, Outcome, Progress, Settings, Statistics};
use super::tree::{End, Round, Tree};
use crate::VerifyError;

/// Decides whether `property` holds for `network` with parameters `theta`.
///
/// `progress` hears of every round of branch and bound.
///
/// # Errors
/// If the property does not fit the network or a setting makes no sense.
pub fn decide(
    network: &Network,
    theta: &[f32],
    property: &Property,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Decision, VerifyError> {
    check(network, theta, property, settings)?;
    let work = || Work::new(network, theta, property, settings, progress).run();
    match settings.threads {
        None => work(),
        Some(threads) => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|e| VerifyError::Usage(format!("cannot start {threads} threads: {e}")))?.install(work)
        }
    }
}

fn check(network: &Network, theta: &[f32], property: &Property, settings: &Settings) -> Result<(), VerifyError> {
    let refuse = |problem: String| Err(VerifyError::Usage(problem));
    network.check_theta(theta).map_err(|e| VerifyError::Usage(e.to_string()))?;
    let (d, k) = (network.input_len(), network.output_len());
    if (property.inputs, property.outputs) != (d, k) {
        return refuse(format!(
            "the property speaks of {} inputs and {} outputs, the network has {d} and {k}; give the property's own network",
            property.inputs, property.outputs
        ));
    }
    for (index, case) in property.cases.iter().enumerate() {
        if case.lower.len() != d || case.upper.len() != d {
            return refuse(format!("case {index} does not bound every input"));
        }
        if case.lower.iter().chain(&case.upper).any(|v| !v.is_finite()) {
            return refuse(format!(
                "case {index} has an input without finite bounds; bound every input from both sides"
            ));
        }
        let mut rows = case.unsafe_outputs.iter().flatten();
        if rows
            .any(|r| r.coefficients.len() != k || !r.bound.is_finite() || r.coefficients.iter().any(|c| !c.is_finite()))
        {
            return refuse(format!("case {index} has a constraint that does not fit {k} outputs or is not finite"));
        }
    }
    if settings.batch == 0 || settings.threads == Some(0) {
        return refuse("batch and threads must be at least 1".into());
    }
    Ok(())
}

/// One call.
struct Work<'a> {
    fast: Program<'a, f32>,
    exact: Program<'a, f64>,
    theta: &'a [f32],
    property: &'a Property,
    settings: &'a Settings,
    progress: &'a (dyn Fn(Progress) + Sync),
    start: Instant,
    deadline: Instant,
}

/// One case on its way.
struct Place<'a> {
    index: usize,
    setting: &'a Setting<'a>,
    list: &'a [Conjunction],
    hunt: &'a Hunt<'a>,
}

/// What is known about one case.
enum CaseEnd {
    Holds,
    Violated(Found),
    Unknown(f64),
    Timeout(f64),
}

impl<'a> Work<'a> {
    fn new(
        network: &'a Network,
        theta: &'a [f32],
        property: &'a Property,
        settings: &'a Settings,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Self {
        let start = Instant::now();
        // Longer than any run lasts.
        let timeout = settings.timeout.min(Duration::from_secs(1 << 32));
        Work {
            fast: Program::new(network, theta),
            exact: Program::new(network, theta),
            theta,
            property,
            settings,
            progress,
            start,
            deadline: start + timeout,
        }
    }

    fn run(&self) -> Result<Decision, VerifyError> {
        let mut statistics = Statistics::default();
        let mut proof = self.settings.proof.then(Proof::default);
        let (mut unknown, mut timeout) = (None, None);
        let least = |a: Option<f64>, b: f64| Some(a.map_or(b, |a: f64| a.min(b)));
        for (index, case) in self.property.cases.iter().enumerate() {
            match self.case(index, case, proof.as_mut(), &mut statistics)? {
                CaseEnd::Holds => {}
                CaseEnd::Violated(found) => {
                    let outcome = Outcome::Violated { input: found.input, output: found.output };
                    return Ok(Decision { outcome, statistics });
                }
                CaseEnd::Unknown(bound) => unknown = least(unknown, bound),
                CaseEnd::Timeout(bound) => timeout = least(timeout, bound),
            }
        }
        let outcome = match (timeout, unknown) {
            (Some(t), u) => Outcome::Timeout { lower_bound: u.unwrap_or(t).min(t) },
            (None, Some(lower_bound)) => Outcome::Unknown { lower_bound },
            (None, None) => Outcome::Holds { proof },
        };
        Ok(Decision { outcome, statistics })
    }

    fn case(
        &self,
        index: usize,
        case: &Case,
        proof: Option<&mut Proof>,
        statistics: &mut Statistics,
    ) -> Result<CaseEnd, VerifyError> {
        let empty_box = case.lower.iter().zip(&case.upper).any(|(l, u)| l > u);
        if case.unsafe_outputs.is_empty() || empty_box {
            if let Some(proof) = proof {
                Recorder::new(proof, &self.exact.pre, 0).finish().map_err(certificate)?;
            }
            return Ok(CaseEnd::Holds);
        }
        let setting = Setting::new(&self.fast, &self.exact, &case.lower, &case.upper, self.settings.sound);
        let list = conjunctions(case);
        let hunt = Hunt::new(&setting, self.theta, self.property, &list);
        let begin = Instant::now();
        let targets: Vec<usize> = (0..list.len()).collect();
        let found = self.attack(&hunt, &targets);
        statistics.attack_seconds += begin.elapsed().as_secs_f64();
        if let Some(found) = found {
            return Ok(CaseEnd::Violated(found));
        }
        if list.iter().any(|conjunction| conjunction.len() == 0) {
            // Every output is unsafe, yet no f32 input lies in the box.
            return Ok(CaseEnd::Unknown(f64::NEG_INFINITY));
        }
        let mut recorder = proof.map(|proof| Recorder::new(proof, &self.exact.pre, list.len()));
        let place = Place { index, setting: &setting, list: &list, hunt: &hunt };
        let end = if self.splits_inputs(case) {
            self.by_inputs(&place, recorder.as_mut(), statistics)
        } else {
            self.by_relus(&place, recorder.as_mut(), statistics)
        };
        Ok(match end {
            End::Refuted => {
                if let Some(recorder) = recorder {
                    recorder.finish().map_err(certificate)?;
                }
                CaseEnd::Holds
            }
            End::Violated(found) => CaseEnd::Violated(found),
            End::Stuck(bound) => CaseEnd::Unknown(bound),
            End::Timeout(bound) => CaseEnd::Timeout(bound),
        })
    }

    fn splits_inputs(&self, case: &Case) -> bool {
        let varying = case.lower.iter().zip(&case.upper).filter(|(l, u)| l < u).count();
        match self.settings.branching {
            Branching::Input => true,
            Branching::Auto => self.settings.branch && varying <= self.settings.input_split_limit,
            Branching::Babsr | Branching::Fsb => false,
        }
    }

    fn by_inputs(
        &self,
        place: &Place<'_>,
        mut recorder: Option<&mut Recorder<'_>>,
        statistics: &mut Statistics,
    ) -> End {
        let begin = Instant::now();
        let root = place.setting.root(&self.ascent(0), self.deadline);
        statistics.root_seconds += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let boxes = Boxes {
            setting: place.setting,
            rounding: &root.rounding,
            conjunctions: place.list,
            hunt: place.hunt,
            batch: self.settings.batch,
            queue_bytes: self.settings.queue_bytes,
            deadline: self.deadline,
        };
        let nodes = vec![TreeBuilder::ROOT; place.list.len()];
        let refinement = recorder.as_deref_mut().map(|recorder| recorder.refinement(&[], true, |_, _| false));
        let end = boxes.search(&nodes, recorder.zip(refinement), &mut self.reporter(place.index, statistics));
        statistics.branch_seconds += begin.elapsed().as_secs_f64();
        end
    }

    fn by_relus(&self, place: &Place<'_>, mut recorder: Option<&mut Recorder<'_>>, statistics: &mut Statistics) -> End {
        let begin = Instant::now();
        let ascent = self.ascent(self.settings.root_iterations);
        let share = self.settings.timeout.mul_f64(self.settings.root_share.clamp(0.0, 1.0));
        let root = place.setting.root(&ascent, (begin + share).min(self.deadline));
        let nodes: Vec<usize> = match recorder.as_deref_mut() {
            Some(recorder) => {
                let is_unstable = |p: usize, i: usize| root.layers.lower[p][i] < 0.0 && root.layers.upper[p][i] > 0.0;
                let refinement = recorder.refinement(&root.derivation(), true, is_unstable);
                (0..place.list.len()).map(|c| recorder.refine(c, TreeBuilder::ROOT, refinement)).collect()
            }
            None => Vec::new(),
        };
        let bias = biases(&self.fast);
        let tree = Tree {
            setting: place.setting,
            root: &root,
            conjunctions: place.list,
            hunt: place.hunt,
            regions: Regions {
                setting: place.setting,
                root: &root,
                conjunctions: place.list,
                bias: &bias,
                ascent: self.ascent(self.settings.region_iterations),
                keep: recorder.is_some(),
            },
            ascent: self.ascent(self.settings.node_iterations),
            choice: match self.settings.branching {
                Branching::Babsr => Choice::Babsr,
                _ => Choice::Filtered(self.settings.candidates),
            },
            batch: self.settings.batch,
            queue_bytes: self.settings.queue_bytes,
            unstable: unstable(&root.layers.lower, &root.layers.upper),
            bias: &bias,
            deadline: self.deadline,
        };
        let open = tree.begin(&ascent, recorder.as_deref_mut(), &nodes);
        statistics.root_seconds += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let end = if open.is_empty() {
            End::Refuted
        } else if !self.settings.branch {
            End::Stuck(open.iter().map(|(bound, _)| *bound).fold(f64::INFINITY, f64::min))
        } else {
            tree.search(open, recorder, &mut self.reporter(place.index, statistics))
        };
        statistics.branch_seconds += begin.elapsed().as_secs_f64();
        end
    }

    /// Adds up what the search of one case reports.
    fn reporter<'s>(&'s self, case: usize, statistics: &'s mut Statistics) -> impl FnMut(&Round) + 's {
        let before = statistics.subproblems;
        move |round| {
            statistics.subproblems = before + round.subproblems;
            statistics.peak_open = statistics.peak_open.max(round.open);
            (self.progress)(Progress {
                case,
                cases: self.property.cases.len(),
                subproblems: statistics.subproblems,
                open: round.open,
                lower_bound: round.lower_bound,
                seconds: self.start.elapsed().as_secs_f64(),
            });
        }
    }

    fn attack(&self, hunt: &Hunt<'_>, targets: &[usize]) -> Option<Found> {
        let settings = self.settings;
        hunt.restarts(targets, settings.attack_restarts, settings.attack_steps, settings.seed, self.deadline)
    }

    fn ascent(&self, iterations: usize) -> Ascent {
        Ascent {
            iterations,
            slope_rate: self.settings.slope_rate as f32,
            multiplier_rate: self.settings.multiplier_rate as f32,
            decay: self.settings.rate_decay as f32,
            deadline: self.deadline,
        }
    }
}

fn certificate(error: tightrope_certificate::CertificateError) -> VerifyError {
    VerifyError::Usage(error.to_string())
}

/// (position, element) of the unstable neurons.
fn unstable(lower: &[Vec<f64>], upper: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let mut list = Vec::new();
    for (position, (lower, upper)) in lower.iter().zip(upper).enumerate() {
        list.extend((0..lower.len()).filter(|&i| lower[i] < 0.0 && upper[i] > 0.0).map(|i| (position, i)));
    }
    list
}

/// The bias of the layer of each pre-activation, by position; 0 where it is no affine layer's output.
fn biases(program: &Program<'_, f32>) -> Vec<Vec<f32>> {
    let bias = |&id: &usize| {
        let mut bias = vec![0.0; program.network.node(id).len()];
        if let Some(map) = &program.maps[id] {
            map.add_bias(&mut bias);
        }
        bias
    };
    program.pre.iter().map(bias).collect()
}
