//! How long backward bounds take, so that none is begun which would overrun a sample's time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tightrope_engine::Relaxation;

use crate::Stage;

/// Samples bounded at a time where the time limit is close.
const PIECE: usize = 16;

/// A limit is far away if it is so many times what the first sample took; alone, a sample takes longer than among others.
const FAR: u32 = 8;

/// True for stages that an engine bounds in one call which may take long.
pub(crate) fn costs_time(stage: Stage) -> bool {
    matches!(stage, Stage::Bound(relaxation) if relaxation != Relaxation::Ibp)
}

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    measured: Vec<(Stage, Measured)>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Time of each sample of the last piece.
    each: Duration,
    /// Whether that was a single sample.
    alone: bool,
}

impl Pace {
    /// True once `stage` was tried.
    pub(crate) fn knows(&self, stage: Stage) -> bool {
        self.find(stage).is_some()
    }

    /// How many of the samples with the times `left` get `stage` next; none if it would take them too long, or there
    /// are no samples.
    pub(crate) fn next_piece(&self, stage: Stage, left: impl ExactSizeIterator<Item = Duration>) -> Option<usize> {
        let count = left.len();
        let (least, measured) = (left.min()?, self.find(stage)?);
        let threads = rayon::current_num_threads() as u32;
        // One sample alone keeps one thread busy; among others it costs at best its share.
        let hopeless = if measured.alone { measured.each / threads >= least } else { measured.each >= least };
        let far = measured.each.checked_mul(FAR).is_some_and(|time| time < least);
        match (hopeless, far) {
            (true, _) => None,
            (false, true) => Some(count),
            (false, false) => Some(PIECE.min(count)),
        }
    }

    /// A piece of `count` samples took `time` together.
    pub(crate) fn took(&mut self, stage: Stage, count: usize, time: Duration) {
        let measured = Measured { each: time / count as u32, alone: count == 1 };
        match self.measured.iter_mut().find(|(known, _)| *known == stage) {
            // A last sample left over says less than the piece before it.
            Some((_, known)) if !measured.alone => *known = measured,
            Some(_) => {}
            None => self.measured.push((stage, measured)),
        }
    }

    fn find(&self, stage: Stage) -> Option<Measured> {
        self.measured.iter().find(|(known, _)| *known == stage).map(|&(_, measured)| measured)
    }
}

/// Stages that take samples one by one and were found not to stop at their time: some of what they do cannot be cut short.
#[derive(Debug, Default)]
pub(crate) struct Overruns {
    /// The least time that such a stage took.
    least: Mutex<Vec<(Stage, Duration)>>,
}

impl Overruns {
    /// True if `stage` is known to take far longer than `left`, so that it would only use up other stages' time.
    pub(crate) fn forbid(&self, stage: Stage, left: Option<Duration>) -> bool {
        let least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
        let known = least.iter().find(|(known, _)| *known == stage);
        known.zip(left).is_some_and(|(&(_, least), left)| is_overrun(least, left))
    }

    /// `stage` took `time` of the `left` that it had.
    pub(crate) fn took(&self, stage: Stage, left: Option<Duration>, time: Duration) {
        if !left.is_some_and(|left| is_overrun(time, left)) {
            return;
        }
        let mut least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
        match least.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, known)) => *known = time.min(*known),
            None => least.push((stage, time)),
        }
    }
}

/// Twice the time, so that a busy machine does not make a stage look slow, and more than a moment.
fn is_overrun(time: Duration, left: Duration) -> bool {
    time > left.saturating_mul(2) && time > Duration::from_millis(500)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tightrope_engine::Relaxation;

    use super::{Overruns, Pace};
    use crate::Stage;

    const CROWN: Stage = Stage::Bound(Relaxation::Crown);

    fn next(pace: &Pace, left: f64, count: usize) -> Option<usize> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let left = std::iter::repeat_n(Duration::from_secs_f64(left), count);
        pool.install(|| pace.next_piece(CROWN, left))
    }

    #[test]
    fn a_slow_stage_is_begun_once_and_a_quick_one_takes_everyone() {
        let mut pace = Pace::default();
        assert!(!pace.knows(CROWN));
        pace.took(CROWN, 1, Duration::from_millis(10));
        assert_eq!(next(&pace, 1.0, 127), Some(127));
        assert_eq!(next(&pace, 1.0, 0), None);

        let mut slow = Pace::default();
        slow.took(CROWN, 1, Duration::from_secs(3));
        assert_eq!(next(&slow, 1.0, 127), None);
        // Two threads might do it in half the time.
        assert_eq!(next(&slow, 2.0, 127), Some(16));
        slow.took(CROWN, 16, Duration::from_secs(16 * 3));
        assert_eq!(next(&slow, 2.0, 111), None);
        assert_eq!(next(&slow, 4.0, 111), Some(16));
    }

    #[test]
    fn a_stage_that_cannot_stop_in_time_is_left_out_afterwards() {
        let (stage, seconds) = (Stage::AlphaCrown, |seconds| Some(Duration::from_secs(seconds)));
        let overruns = Overruns::default();
        overruns.took(stage, seconds(6), Duration::from_secs(7));
        assert!(!overruns.forbid(stage, seconds(1)));
        overruns.took(stage, seconds(2), Duration::from_secs(10));
        assert!(overruns.forbid(stage, seconds(2)) && overruns.forbid(stage, seconds(4)));
        assert!(!overruns.forbid(stage, seconds(5)) && !overruns.forbid(stage, None));
        assert!(!overruns.forbid(Stage::Bab, seconds(1)));
    }
}
