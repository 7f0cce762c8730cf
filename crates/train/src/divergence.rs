//! Runs whose numbers leave all sense: what stops them, and the likely cause, as far as the run can see it.

use tightrope_network::number_text;

use crate::TrainError;
use crate::config::Scheduled;
use crate::schedule::RampShape;
use crate::smoothing::SmoothingKind;
use crate::state::State;
use crate::trainer::Job;

/// A mean cross-entropy beyond it is no number of use: in single precision its margins are all rounding.
const LARGEST_LOSS: f64 = 1e15;
/// Weights or pixels of this size are beyond sense.
const HUGE: f64 = 1e3;

/// Looks at the numbers of one step. What it says follows from the state, so that a resumed run says the same.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub(crate) job: &'a Job,
    pub(crate) scheduled: &'a Scheduled,
}

impl Watch<'_> {
    /// Fails if the mean loss of the step after `state` is none.
    pub(crate) fn loss(self, state: &State, value: f64) -> Result<(), TrainError> {
        self.check(state, "the loss", value, LARGEST_LOSS, false)
    }

    /// Fails if the norm of its gradient is no finite number.
    pub(crate) fn norm(self, state: &State, value: f64) -> Result<(), TrainError> {
        self.check(state, "the gradient norm", value, f64::MAX, false)
    }

    /// Fails if a parameter of `state`, which the optimiser has moved by now, is no finite number.
    pub(crate) fn moved(self, state: &State) -> Result<(), TrainError> {
        match state.theta.iter().find(|value| !value.is_finite()) {
            Some(&value) => self.check(state, "a parameter", f64::from(value), f64::MAX, true),
            None => Ok(()),
        }
    }

    /// Fails if one of the statistics of batch norms is no finite number.
    pub(crate) fn statistics(self, state: &State, values: &[f32]) -> Result<(), TrainError> {
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => self.check(state, "a statistic of a batch norm", f64::from(value), f64::MAX, false),
            None => Ok(()),
        }
    }

    /// `moved`: whether the parameters of `state` are those after its step.
    fn check(self, state: &State, what: &'static str, value: f64, largest: f64, moved: bool) -> Result<(), TrainError> {
        if value.abs() <= largest {
            return Ok(());
        }
        let cause = self.cause(state, state.step == 0 && !moved);
        Err(TrainError::Diverged { what, value, step: state.step, epoch: state.epoch + 1, cause })
    }

    /// The first of the usual causes that this run shows, with what to change. `first`: whether the parameters of `state` are
    /// those that the run starts from.
    fn cause(self, state: &State, first: bool) -> String {
        let config = &self.job.config;
        let (train, smoothing, warmup) = (&config.train, &config.smoothing, &config.warmup);
        let &Scheduled { lr, epsilon, sigma, .. } = self.scheduled;
        let parameters = state.theta.len();
        let population = state.adaptation.map_or(smoothing.population, |adaptation| adaptation.members);
        let norm = state.theta.iter().map(|&t| f64::from(t).powi(2)).sum::<f64>().sqrt();
        // The root of the mean square; beyond all bounds where a parameter is no number.
        let size = (norm / (parameters as f64).sqrt()).max(if norm.is_nan() { f64::INFINITY } else { 0.0 });
        let pixel = self.job.train.images().iter().fold(0.0_f64, |largest, &pixel| largest.max(f64::from(pixel.abs())));
        if pixel > HUGE {
            return format!("the data, whose pixels are as large as {}; scale them to [0, 1]", short(pixel));
        }
        if first && size > HUGE {
            return format!(
                "the parameters that it starts from, of the size {}; choose another init or init_from",
                short(size)
            );
        }
        if smoothing.kind != SmoothingKind::Grad && sigma > size {
            return format!(
                "the noise on the parameters, of standard deviation {} where they have the size {}; lower smoothing.sigma",
                short(sigma),
                short(size)
            );
        }
        if size > HUGE || lr > size {
            return format!(
                "the learning rate, {}, where parameters have the size {}; lower train.lr",
                short(lr),
                short(size)
            );
        }
        if train.sam > norm {
            return format!(
                "the step uphill of SAM, {}, longer than all parameters together, {}; lower train.sam",
                short(train.sam),
                short(norm)
            );
        }
        if smoothing.kind == SmoothingKind::Pgpe && smoothing.guide == "none" && population < parameters as u64 / 100 {
            return format!(
                "the gradient, estimated from {population} losses for {parameters} parameters; raise smoothing.population, or \
                 lower train.lr"
            );
        }
        let end = warmup.end.unwrap_or(warmup.start);
        let ramped = warmup.shape != RampShape::Constant && end > warmup.start;
        let epoch = (state.epoch + 1) as f64;
        if epsilon > 0.0 && !ramped && epoch <= warmup.start + 2.0 {
            return format!(
                "ε, which has its full size {} from the first step on; let it rise by warmup.shape and warmup.end, or lower \
                 train.eps",
                short(epsilon)
            );
        }
        // The epoch after the ramp counts as its end.
        if epsilon > 0.0 && ramped && epoch <= end.ceil() + 1.0 {
            return format!(
                "the rise of ε, now {} of {}; lengthen it by warmup.end (now {}), or lower train.eps",
                short(epsilon),
                short(train.eps.unwrap_or(config.eps)),
                short(end)
            );
        }
        if train.grad_clip == 0.0 {
            return "gradients, whose norm nothing limits; set train.grad_clip, or lower train.lr".into();
        }
        format!("the learning rate, {}; lower train.lr", short(lr))
    }
}

/// A number in three digits.
fn short(value: f64) -> String {
    number_text(format!("{value:.2e}").parse().unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tightrope_data::{Split, load};
    use tightrope_engine::Reference;

    use super::Watch;
    use crate::trainer::Job;
    use crate::{Config, State, TrainError};

    /// What a run with these settings says when its loss is no number, after `change` to its state.
    fn cause(overrides: &[&str], change: impl Fn(&mut State)) -> String {
        let base = ["dataset=digits", "model=mlp:10", "train.epochs=20", "warmup.end=6"];
        let overrides: Vec<String> = base.iter().chain(overrides).map(|text| text.to_string()).collect();
        let config = Config::parse("", "(test)", &overrides).unwrap();
        let data = Arc::new(load("digits", Split::Train, None).unwrap());
        let job = Job::new(&config, Arc::new(Reference), data, None).unwrap();
        let mut state = job.initial_state().unwrap();
        state.step = 1;
        change(&mut state);
        let scheduled = config.at(state.epoch as f64 + 0.5);
        let watch = Watch { job: &job, scheduled: &scheduled };
        assert!(watch.loss(&state, -1e10).is_ok() && watch.norm(&state, 1e300).is_ok());
        assert!(watch.loss(&state, 1e16).is_err() && watch.norm(&state, f64::INFINITY).is_err());
        assert!(watch.statistics(&state, &[1.0, f32::MAX]).is_ok());
        assert!(watch.statistics(&state, &[1.0, f32::NAN]).is_err());
        match watch.loss(&state, f64::NAN) {
            Err(TrainError::Diverged { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn causes_are_told_by_what_the_run_shows() {
        let epoch = |epoch: usize| move |state: &mut State| state.epoch = epoch;
        let late = epoch(15);
        for (overrides, change, parts) in [
            (vec![], &late as &dyn Fn(&mut State), ["the learning rate, 4e-4", "lower train.lr"]),
            (vec!["train.grad_clip=0"], &late, ["norm nothing limits", "train.grad_clip"]),
            (vec!["train.lr=3"], &late, ["the learning rate, 0.6, where parameters have the size", "lower train.lr"]),
            (vec![], &|state: &mut State| Arc::make_mut(&mut state.theta)[0] = f32::NAN, ["size inf", "train.lr"]),
            (vec![], &|state: &mut State| Arc::make_mut(&mut state.theta).fill(2e4), ["size 2e4", "train.lr"]),
            (
                vec![],
                &|state: &mut State| (state.step, Arc::make_mut(&mut state.theta)[0]) = (0, 1e9),
                ["it starts from", "init_from"],
            ),
            (vec!["smoothing.kind=rgs", "smoothing.sigma=5"], &late, ["standard deviation 5", "smoothing.sigma"]),
            (
                vec!["smoothing.kind=pgpe", "smoothing.population=6"],
                &late,
                ["6 losses for 8070", "smoothing.population"],
            ),
            (vec!["train.sam=1e6"], &late, ["SAM, 1e6", "train.sam"]),
            (vec!["warmup.shape=constant"], &epoch(1), ["full size 0.1", "warmup.end"]),
            (vec![], &epoch(5), ["the rise of ε, now 0.0897 of 0.1", "warmup.end (now 6)"]),
            (vec!["train.eps=0"], &epoch(1), ["the learning rate, 2e-3", "train.lr"]),
        ] {
            let cause = cause(&overrides, change);
            for part in parts {
                assert!(cause.contains(part), "{overrides:?}: {cause}");
            }
        }
    }
    /// What the first step has made of parameters that were in order is not their fault.
    #[test]
    fn a_first_step_that_is_too_long_is_the_rate_s() {
        let overrides = ["dataset=digits", "model=mlp:10", "train.lr=3e38", "train.grad_clip=0", "train.milestones=[]"];
        let config = Config::parse("", "(test)", &overrides.map(String::from)).unwrap();
        let data = Arc::new(load("digits", Split::Train, None).unwrap());
        let job = Job::new(&config, Arc::new(Reference), data, None).unwrap();
        let mut state = job.initial_state().unwrap();
        let scheduled = config.at(0.0);
        let watch = Watch { job: &job, scheduled: &scheduled };
        assert!(watch.moved(&state).is_ok());
        Arc::make_mut(&mut state.theta)[0] = f32::NEG_INFINITY;
        let told = watch.moved(&state).unwrap_err().to_string();
        assert!(told.contains("a parameter is -inf at step 0") && told.contains("the learning rate, 3e38"), "{told}");
    }
}
