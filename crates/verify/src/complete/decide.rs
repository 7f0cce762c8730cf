//! The order of things: units, bounds, attack on what they leave, branch and bound, case by case.

use std::time::{Duration, Instant};

use num_bigint::BigInt;
use rayon::prelude::*;
use tightrope_certificate::{Proof, Statement};
use tightrope_engine::Ball;
use tightrope_exact::Dyadic;
use tightrope_network::{Network, Weights};
use tightrope_vnnlib::{Case, Property};

use super::attack::CaseAttack;
use super::bound::ascent::Ascent;
use super::bound::prepared::{Learned, Prepared};
use super::bound::root::Setting;
use super::endgame::Endgame;
use super::integers::decide_whole;
use super::mixed::End;
use super::point::{Found, Judge, Point};
use super::problem::{Conjunction, conjunctions};
use super::record::Recorder;
use super::settings::{Branching, Decision, Outcome, Progress, Settings, Statistics};
use super::units::units;
use crate::VerifyError;
use crate::replay::statement;

/// Decides whether `property` holds for `network` with `weights`, read as a function of real numbers.
///
/// `progress` hears of every round of branch and bound.
///
/// # Errors
/// If the property does not fit the network, the network has layers of a kind that is not covered, or a setting makes no
/// sense.
pub fn decide(
    network: &Network,
    weights: &Weights,
    property: &Property,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Decision, VerifyError> {
    let start = Instant::now();
    // Constraints on inputs are constraints on the outputs of a network that has sums of its inputs among them.
    let Some(Statement { network, weights, property: all }) = statement(network, weights, property)? else {
        return decide_outputs(network, weights, property, settings, progress, start);
    };
    let mut decision = decide_outputs(&network, &weights, &all, settings, progress, start)?;
    if let Outcome::Violated { output, .. } = &mut decision.outcome {
        output.truncate(property.outputs);
    }
    Ok(decision)
}

/// [`decide`] for a property of outputs alone.
fn decide_outputs(
    network: &Network,
    weights: &Weights,
    property: &Property,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
    start: Instant,
) -> Result<Decision, VerifyError> {
    check(network, weights, property, settings)?;
    let prepared = Prepared::new(network, weights)?;
    match property.whole {
        true => decide_whole(&prepared, property, settings, progress, start),
        false => decide_prepared(&prepared, property, None, settings, None, progress, start),
    }
}

/// [`decide`] for a network that is loaded; the `ball` cuts the box of every case, and a search over the only case goes on
/// from what is `learned` about it. Only boxes have proofs.
pub(crate) fn decide_prepared(
    prepared: &Prepared<'_>,
    property: &Property,
    ball: Option<&Ball<f64>>,
    settings: &Settings,
    learned: Option<&Learned>,
    progress: &(dyn Fn(Progress) + Sync),
    start: Instant,
) -> Result<Decision, VerifyError> {
    let (network, weights) = (prepared.network, prepared.weights);
    let work = || {
        if ball.is_some() && settings.proof {
            return Err(VerifyError::Usage(
                "certificates are about boxes: ask for none over balls of other norms".into(),
            ));
        }
        let usual = || Work::new(prepared, (property, ball), settings, learned, progress, start).run();
        let Some(units) = units(prepared, property) else { return usual() };
        let (input, output) = (units[0], units[network.output()]);
        let scaled_ball = ball.map(|ball| ball_in_units(ball, input));
        match (network.in_units(weights, &units), in_units(property, input, output)) {
            (Some(model), Some(property)) if scaled_ball.as_ref().is_none_or(Option::is_some) => {
                let ball = scaled_ball.flatten();
                let weights = model.weights();
                let prepared = Prepared::new(&model.network, &weights)?;
                let decision =
                    Work::new(&prepared, (&property, ball.as_ref()), settings, None, progress, start).run()?;
                Ok(in_usual_units(decision, units, output))
            }
            _ => usual(),
        }
    };
    match settings.threads {
        None => work(),
        Some(threads) => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|e| VerifyError::Usage(format!("cannot start {threads} threads: {e}")))?.install(work)
        }
    }
}

/// The property for inputs in units of 2^input and outputs in units of 2^output; none if that leaves f64.
fn in_units(property: &Property, input: i32, output: i32) -> Option<Property> {
    let mut property = property.clone();
    for case in &mut property.cases {
        case.lower.iter_mut().chain(&mut case.upper).try_for_each(|end| convert(end, input))?;
        case.unsafe_outputs.iter_mut().flatten().try_for_each(|row| convert(&mut row.bound, output))?;
    }
    Some(property)
}

/// A ball around inputs in units of 2^input; none if that leaves f64.
fn ball_in_units(ball: &Ball<f64>, input: i32) -> Option<Ball<f64>> {
    let mut ball = ball.clone();
    ball.center.iter_mut().chain([&mut ball.epsilon]).try_for_each(|value| convert(value, input))?;
    Some(ball)
}

/// A number in units of 2^unit; none if that leaves f64.
fn convert(value: &mut f64, unit: i32) -> Option<()> {
    let scaled = Dyadic::from(*value).scaled(-i64::from(unit));
    *value = scaled.to_f64();
    (value.is_finite() && Dyadic::from(*value) == scaled).then_some(())
}

/// A fraction times 2^unit.
fn shifted(fraction: &str, unit: i32) -> String {
    let whole = |text: &str| text.parse::<BigInt>().unwrap_or_default();
    let (top, bottom) = fraction.split_once('/').map_or((whole(fraction), 1.into()), |(a, b)| (whole(a), whole(b)));
    match unit {
        0.. => format!("{}/{bottom}", top << unit),
        _ => format!("{top}/{}", bottom << -unit),
    }
}

/// What was decided in `units`, in units of 1.
fn in_usual_units(mut decision: Decision, units: Vec<i32>, output_unit: i32) -> Decision {
    let scale = |value: &mut f64, unit: i32| {
        if value.is_finite() {
            *value = Dyadic::from(*value).scaled(i64::from(unit)).to_f64();
        }
    };
    match &mut decision.outcome {
        Outcome::Holds { proof } => {
            if let Some(proof) = proof {
                proof.units = units;
            }
        }
        Outcome::Violated { input, output, fractions } => {
            input.iter_mut().for_each(|x| scale(x, units[0]));
            output.iter_mut().for_each(|y| scale(y, output_unit));
            if let Some(fractions) = fractions {
                fractions.iter_mut().for_each(|fraction| *fraction = shifted(fraction, units[0]));
            }
        }
        Outcome::Unknown { lower_bound } | Outcome::Timeout { lower_bound } => scale(lower_bound, output_unit),
    }
    decision
}

fn check(network: &Network, weights: &Weights, property: &Property, settings: &Settings) -> Result<(), VerifyError> {
    let refuse = |problem: String| Err(VerifyError::Usage(problem));
    network.check_weights(weights).map_err(|e| VerifyError::Usage(e.to_string()))?;
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
        if [&case.open_lower, &case.open_upper]
            .iter()
            .any(|open| !open.is_sorted_by(|a, b| a < b) || open.last().is_some_and(|&last| last as usize >= d))
        {
            return refuse(format!("case {index} does not list its open ends in increasing order"));
        }
        let mut rows = case.unsafe_outputs.iter().flatten();
        if rows
            .any(|r| r.coefficients.len() != k || !r.bound.is_finite() || r.coefficients.iter().any(|c| !c.is_finite()))
        {
            return refuse(format!("case {index} has a constraint that does not fit {k} outputs or is not finite"));
        }
    }
    if settings.proof {
        tightrope_certificate::check_kinds(network).map_err(certificate)?;
    }
    if settings.batch == 0 || settings.threads == Some(0) {
        return refuse("batch and threads must be at least 1".into());
    }
    Ok(())
}

/// Random starts of the attack before any bound is computed, and conjunctions that it takes: enough to spare properties
/// that are plainly violated the bounds, few enough not to be noticed by the others.
const FIRST_STARTS: usize = 2;
const FIRST_TARGETS: usize = 32;
/// Starts of the attack on what a search over a ball has left open.
const BALL_STARTS: usize = 64;
/// Cases beyond which bounds come first everywhere.
pub(super) const FIRST_CASES: usize = 64;
/// Cases worked on at a time; fixed, so that results do not depend on the number of threads.
const BLOCK: usize = 64;
/// Products that one cut of every input may take, for inputs to be split first.
const MOST_PRODUCTS: u64 = 1 << 43;

/// One call.
pub(super) struct Work<'a> {
    pub prepared: &'a Prepared<'a>,
    pub property: &'a Property,
    /// The ball that cuts every case's box.
    pub ball: Option<&'a Ball<f64>>,
    pub settings: &'a Settings,
    /// About the box of the only case.
    pub learned: Option<&'a Learned>,
    pub progress: &'a (dyn Fn(Progress) + Sync),
    pub start: Instant,
    pub deadline: Instant,
}

/// The search of one case.
#[derive(Clone, Copy)]
pub(super) struct CaseSearch<'a> {
    pub index: usize,
    pub setting: &'a Setting<'a>,
    pub conjunctions: &'a [Conjunction],
    pub attack: &'a CaseAttack<'a>,
    pub endgame: &'a Endgame<'a>,
    /// Inputs of positive width.
    pub varying: usize,
}

/// The proof so far, and the bytes by which it may grow.
struct Recording {
    proof: Proof,
    room: usize,
}

impl Recording {
    /// Goes on with the room that a case `left`, if it was recorded; without any there is no proof.
    fn go_on(recording: &mut Option<Self>, left: Option<Option<usize>>) {
        match (left, recording.as_mut()) {
            (Some(Some(room)), Some(recording)) => recording.room = room,
            (Some(None), _) => *recording = None,
            (None, _) | (_, None) => {}
        }
    }
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
        prepared: &'a Prepared<'a>,
        (property, ball): (&'a Property, Option<&'a Ball<f64>>),
        settings: &'a Settings,
        learned: Option<&'a Learned>,
        progress: &'a (dyn Fn(Progress) + Sync),
        start: Instant,
    ) -> Self {
        // Longer than any run lasts.
        let timeout = settings.timeout.min(Duration::from_secs(1 << 32));
        Work {
            prepared,
            property,
            ball,
            settings,
            learned: learned.filter(|_| property.cases.len() == 1),
            progress,
            start,
            deadline: start + timeout,
        }
    }

    fn run(&self) -> Result<Decision, VerifyError> {
        let mut statistics = Statistics::default();
        let mut proof =
            self.settings.proof.then(|| Recording { proof: Proof::default(), room: self.settings.proof_bytes });
        let (mut unknown, mut timeout) = (None, None);
        let least = |a: Option<f64>, b: f64| Some(a.map_or(b, |a: f64| a.min(b)));
        // Cases by the thousand are small, and side by side; few are large, and each has all threads. A proof is
        // recorded in order.
        let size = if proof.is_none() && self.property.cases.len() > FIRST_CASES { BLOCK } else { 1 };
        for (block, cases) in self.property.cases.chunks(size).enumerate() {
            if Instant::now() >= self.deadline {
                timeout = Some(f64::NEG_INFINITY);
                break;
            }
            let ends = match size {
                1 => vec![self.case(block, &cases[0], &mut proof, &mut statistics)?],
                _ => self.block(block * size, cases, &mut statistics)?,
            };
            for end in ends {
                match end {
                    CaseEnd::Holds => {}
                    CaseEnd::Violated(found) => {
                        let Found { input, output, fractions } = found;
                        return Ok(Decision { outcome: Outcome::Violated { input, output, fractions }, statistics });
                    }
                    CaseEnd::Unknown(bound) => unknown = least(unknown, bound),
                    CaseEnd::Timeout(bound) => timeout = least(timeout, bound),
                }
            }
        }
        let outcome = match (timeout, unknown) {
            (Some(t), u) => Outcome::Timeout { lower_bound: u.unwrap_or(t).min(t) },
            (None, Some(lower_bound)) => Outcome::Unknown { lower_bound },
            (None, None) => Outcome::Holds { proof: proof.map(|recording| recording.proof) },
        };
        Ok(Decision { outcome, statistics })
    }

    /// Cases from number `first` on, side by side.
    fn block(&self, first: usize, cases: &[Case], statistics: &mut Statistics) -> Result<Vec<CaseEnd>, VerifyError> {
        let results: Vec<Result<(CaseEnd, Statistics), VerifyError>> = cases
            .par_iter()
            .enumerate()
            .map(|(offset, case)| {
                let mut own = Statistics::default();
                self.case(first + offset, case, &mut None, &mut own).map(|end| (end, own))
            })
            .collect();
        let mut ends = Vec::with_capacity(cases.len());
        for result in results {
            let (end, own) = result?;
            ends.push(end);
            statistics.subproblems += own.subproblems;
            statistics.peak_open = statistics.peak_open.max(own.peak_open);
            statistics.attack_seconds += own.attack_seconds;
            statistics.root_seconds += own.root_seconds;
            statistics.branch_seconds += own.branch_seconds;
        }
        Ok(ends)
    }

    fn case(
        &self,
        index: usize,
        case: &Case,
        recording: &mut Option<Recording>,
        statistics: &mut Statistics,
    ) -> Result<CaseEnd, VerifyError> {
        let empty_box = case.lower.iter().zip(&case.upper).any(|(l, u)| l > u);
        if case.unsafe_outputs.is_empty() || empty_box {
            let recorder = self.recorder(recording, 0);
            let left = recorder.map(Recorder::finish).transpose().map_err(certificate)?;
            Recording::go_on(recording, left);
            return Ok(CaseEnd::Holds);
        }
        let setting = Setting::new(
            &self.prepared.fast,
            &self.prepared.exact,
            (&case.lower, &case.upper),
            self.ball,
            self.settings.sound,
        )
        .with_forms(!self.settings.proof);
        let list = conjunctions(case);
        let Prepared { exact, weights, exact_network, .. } = self.prepared;
        let judge = Judge { program: exact, weights, exact: exact_network, case, ball: self.ball };
        let attack = CaseAttack::new(&setting, judge, &list);
        let endgame = Endgame::new(&setting, &attack, &list, self.deadline);
        if list.iter().any(|conjunction| conjunction.len() == 0) {
            // Every output is unsafe: any point of the box will do, its middle for one.
            let sum = |(&l, &u): (&f64, &f64)| &Dyadic::from(l) + &Dyadic::from(u);
            let numerators = case.lower.iter().zip(&case.upper).map(sum).collect();
            let middle = Point { numerators, denominator: Dyadic::from(2.0) };
            return Ok(match attack.judge.settle(&middle, &[]) {
                Some(found) => CaseEnd::Violated(found),
                None => CaseEnd::Unknown(f64::NEG_INFINITY),
            });
        }
        let varying = case.lower.iter().zip(&case.upper).filter(|(l, u)| l < u).count();
        let (attack, endgame) = (&attack, &endgame);
        let search = CaseSearch { index, setting: &setting, conjunctions: &list, attack, endgame, varying };
        if self.attacks_first() {
            let first = self.settings.attack_restarts.min(FIRST_STARTS);
            let all: Vec<usize> = (0..list.len()).collect();
            let targets = if all.len() > FIRST_TARGETS { attack.nearest(&all, FIRST_TARGETS) } else { all };
            if let Some(found) = self.attack(&search, &targets, 0..first, statistics) {
                return Ok(CaseEnd::Violated(found));
            }
        }
        let mut recorder = self.recorder(recording, list.len());
        let end = if self.splits_inputs(varying) {
            self.by_inputs(search, recorder.as_mut(), statistics)
        } else {
            self.by_neurons(search, recorder.as_mut(), statistics)
        };
        Ok(match end {
            End::Refuted => {
                let left = recorder.map(Recorder::finish).transpose().map_err(certificate)?;
                Recording::go_on(recording, left);
                CaseEnd::Holds
            }
            End::Violated(found) => CaseEnd::Violated(found),
            End::Stuck(bound) => {
                // Over balls leaves have no linear programs, so that a search may end where there is a counterexample.
                let found = self.ball.and_then(|_| {
                    let all: Vec<usize> = (0..list.len()).collect();
                    self.attack(&search, &all, 0..BALL_STARTS, statistics)
                });
                found.map_or(CaseEnd::Unknown(bound), CaseEnd::Violated)
            }
            End::Timeout(bound) => CaseEnd::Timeout(bound),
        })
    }

    /// What records the proof of a case, if there is to be one.
    fn recorder<'r>(&'r self, recording: &'r mut Option<Recording>, conjunctions: usize) -> Option<Recorder<'r>> {
        let Recording { proof, room } = recording.as_mut()?;
        Some(Recorder::new(proof, &self.prepared.exact.pre, conjunctions, *room))
    }

    /// Whether a short attack comes before the bounds; not where there are so many cases that most will need none.
    fn attacks_first(&self) -> bool {
        self.settings.attack_restarts > 0 && self.property.cases.len() <= FIRST_CASES
    }

    /// Whether a search over `varying` inputs splits them first.
    fn splits_inputs(&self, varying: usize) -> bool {
        match self.settings.branching {
            Branching::Input => true,
            Branching::Auto => {
                // One cut of every input already makes 2^varying boxes, each bounded by a pass for each input at least.
                let passes =
                    (2 * varying as u64 + 2).saturating_mul(1_u64.checked_shl(varying as u32).unwrap_or(u64::MAX));
                let price = self.prepared.exact.products().saturating_mul(passes);
                self.settings.branch && varying <= self.settings.input_split_limit && price <= MOST_PRODUCTS
            }
            Branching::Babsr | Branching::Fsb => false,
        }
    }

    pub(super) fn attack(
        &self,
        search: &CaseSearch<'_>,
        targets: &[usize],
        restarts: std::ops::Range<usize>,
        statistics: &mut Statistics,
    ) -> Option<Found> {
        let begin = Instant::now();
        let settings = self.settings;
        let found = search.attack.restarts(targets, restarts, settings.attack_steps, settings.seed, self.deadline);
        statistics.attack_seconds += begin.elapsed().as_secs_f64();
        found
    }

    /// The rest of the random starts, on the conjunctions that bounds have left open.
    pub(super) fn attack_rest(
        &self,
        search: &CaseSearch<'_>,
        open: &[usize],
        statistics: &mut Statistics,
    ) -> Option<Found> {
        let all = self.attacks_first() && search.conjunctions.len() <= FIRST_TARGETS;
        let done = if all { FIRST_STARTS } else { 0 };
        let restarts = done.min(self.settings.attack_restarts)..self.settings.attack_restarts;
        self.attack(search, open, restarts, statistics)
    }

    pub(super) fn ascent(&self, iterations: usize) -> Ascent {
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
