//! The stages that take samples one by one, each on a thread of its own: α-CROWN and branch and bound.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tightrope_attack::{Target, ThreatModel};
use tightrope_engine::{Ball, Norm};
use tightrope_vnnlib::{Case, Constraint, Property};

use crate::cascade::Open;
use crate::cascade::log::Verdict;
use crate::complete::{AlphaCrown, AlphaSettings, Outcome, Settings, decide_prepared};
use crate::{Stage, VerifyError};

/// One sample with the exact set of its perturbations: a box, or a box that a ball cuts.
pub(crate) struct SampleQuery<'a> {
    pub target: &'a Target<'a>,
    pub threat: &'a ThreatModel,
    pub x: &'a [f32],
    /// Time that is left for it.
    pub left: Option<Duration>,
}

impl SampleQuery<'_> {
    fn sides(&self) -> (Vec<f64>, Vec<f64>) {
        self.threat.sides(self.x).unzip()
    }

    fn ball(&self) -> Option<Ball<f64>> {
        let center = || self.x.iter().map(|&value| value.into()).collect();
        let norm = self.threat.norm;
        (norm != Norm::Inf).then(|| Ball { norm, center: center(), epsilon: self.threat.epsilon.largest() })
    }

    /// A point of f32 numbers in the set, next to `input`.
    fn single(&self, input: &[f64]) -> Vec<f32> {
        let (lower, upper) = self.sides();
        let inside = |(&x, (&l, &u)): (&f64, (&f64, &f64))| match x as f32 {
            below if f64::from(below) < l => below.next_up(),
            above if f64::from(above) > u => above.next_down(),
            inside => inside,
        };
        let mut point: Vec<f32> = input.iter().zip(lower.iter().zip(&upper)).map(inside).collect();
        if self.threat.norm != Norm::Inf {
            // Never farther from the centre than in f64: rounding must not carry a point out of the ball.
            for ((p, &exact), &centre) in point.iter_mut().zip(input).zip(self.x) {
                let centre = f64::from(centre);
                if (f64::from(*p) - centre).abs() > (exact - centre).abs() {
                    *p = if f64::from(*p) > centre { p.next_down() } else { p.next_up() };
                }
            }
        }
        point
    }

    /// Bounds the margins to the rivals that are still open by α-CROWN.
    pub(crate) fn alpha_crown(
        &self,
        alpha: &AlphaCrown<'_>,
        iterations: usize,
        sample: &mut Open,
    ) -> Result<(), VerifyError> {
        let (lower, upper) = self.sides();
        let (label, rivals) = (sample.record.label, sample.open_rivals());
        let classes = sample.margins.len();
        let mut rows = vec![0.0; rivals.len() * classes];
        for (row, &rival) in rows.chunks_exact_mut(classes).zip(&rivals) {
            row[label] = 1.0;
            row[rival] = -1.0;
        }
        let settings = AlphaSettings { iterations, timeout: self.left, goal: GOAL, ..AlphaSettings::default() };
        let (bounds, learned) = alpha.learn((&lower, &upper), self.ball().as_ref(), &rows, &settings)?;
        sample.improve(rivals.into_iter().zip(bounds.rows), Stage::AlphaCrown);
        sample.learned = Some(Arc::new(learned));
        Ok(())
    }

    /// Decides whether a rival that is still open can reach the label, by branch and bound.
    ///
    /// The search goes on from the bounds and slopes that α-CROWN has found for the sample.
    pub(crate) fn bab(&self, alpha: &AlphaCrown<'_>, seed: u64, sample: &mut Open) -> Result<(), VerifyError> {
        let start = Instant::now();
        let (lower, upper) = self.sides();
        let (label, rivals) = (sample.record.label, sample.open_rivals());
        let classes = sample.margins.len();
        let reaches = |&rival: &usize| {
            let mut coefficients = vec![0.0; classes];
            coefficients[label] = 1.0;
            coefficients[rival] = -1.0;
            vec![Constraint::at_most(coefficients, 0.0)]
        };
        let case = Case::closed(lower, upper, rivals.iter().map(reaches).collect());
        let property = Property::new(self.x.len(), classes, vec![case]);
        let ball = self.ball();
        let settings = Settings {
            timeout: self.left.unwrap_or(Duration::MAX),
            queue_bytes: QUEUE_BYTES,
            seed,
            ..Settings::default()
        };
        let learned = sample.learned.take();
        let prepared = &alpha.prepared;
        let decision =
            decide_prepared(prepared, &property, ball.as_ref(), &settings, learned.as_deref(), &|_| (), start)?;
        match decision.outcome {
            // The proof says that every margin is above 0, not by how much.
            Outcome::Holds { .. } => {
                sample.improve(rivals.into_iter().map(|rival| (rival, 0.0)), Stage::Bab);
                sample.record.decide(Verdict::Verified, Stage::Bab.name());
            }
            Outcome::Violated { input, .. } => {
                let input = self.single(&input);
                if let Some(margin) = self.target.replay(self.threat, self.x, &input, label)? {
                    let margin = f64::from(margin);
                    sample.record.margin_attack = Some(sample.record.margin_attack.map_or(margin, |m| m.min(margin)));
                    sample.record.decide(Verdict::Falsified, Stage::Bab.name());
                }
            }
            Outcome::Unknown { lower_bound } | Outcome::Timeout { lower_bound } => {
                // The bound of the worst rival holds for all that were asked about; undecided, it proves nothing.
                let bound = lower_bound.min(0.0);
                sample.improve(rivals.into_iter().map(|rival| (rival, bound)), Stage::Bab);
            }
        }
        Ok(())
    }
}

/// A margin whose bound exceeds it is not optimised further: it is proved.
const GOAL: f64 = 1e-4;

/// Bytes that the open subproblems of one sample may hold; as many samples as threads are worked on at once.
const QUEUE_BYTES: usize = 256 << 20;

/// Runs `work` on 0 .. `count`, several at a time, and hands the results to `finished` in that order as they come.
///
/// Each runs inside a thread pool of its own, of one thread unless there are fewer items than threads: an item that
/// waits for its own subtasks must not pick up another item meanwhile, or both would run out of time.
///
/// # Errors
/// The first error of `work` or `finished`; nothing new is begun after it.
pub(crate) fn in_order<R: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<R, VerifyError> + Sync,
    mut finished: impl FnMut(usize, R) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let threads = rayon::current_num_threads();
    let workers = threads.min(count);
    if workers == 0 {
        return Ok(());
    }
    let pool = || rayon::ThreadPoolBuilder::new().num_threads(threads / workers).build();
    let pools: Vec<_> = (0..workers)
        .map(|_| pool().map_err(|e| VerifyError::Usage(format!("cannot start a thread: {e}"))))
        .collect::<Result<_, _>>()?;
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for pool in pools {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    if item >= count || sender.send((item, pool.install(|| work(item)))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = std::collections::BTreeMap::new();
        let mut due = 0;
        let outcome = receiver.iter().try_for_each(|(item, result)| {
            early.insert(item, result?);
            while let Some(result) = early.remove(&due) {
                finished(due, result)?;
                due += 1;
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::in_order;
    use crate::VerifyError;

    #[test]
    fn results_come_in_order_and_errors_stop() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for count in [0, 1, 2, 17] {
                    let mut seen = Vec::new();
                    let work = |item: usize| {
                        // Later items are quicker.
                        std::thread::sleep(std::time::Duration::from_millis(5 * u64::from(item.is_multiple_of(3))));
                        Ok(item * item)
                    };
                    in_order(count, work, |item, result| {
                        seen.push((item, result));
                        Ok(())
                    })
                    .unwrap();
                    assert_eq!(seen, (0..count).map(|i| (i, i * i)).collect::<Vec<_>>());
                }
                let fail = |item: usize| if item == 3 { Err(VerifyError::Usage("three".into())) } else { Ok(item) };
                let mut last = None;
                let problem = in_order(100, fail, |item, _| {
                    last = Some(item);
                    Ok(())
                });
                assert_eq!(problem.unwrap_err().to_string(), "three");
                assert!(last.is_none_or(|item| item < 3), "{last:?}");
            });
        }
    }
}
