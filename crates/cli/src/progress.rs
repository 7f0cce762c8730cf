//! Progress on standard error: a bar on a terminal, nothing elsewhere.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tightrope_train::{EpochMetrics, Flow, Plan, Progress, StepReport};

use crate::context::Context;
use crate::interruption::Interruption;
use crate::values::{counted, percent, rounded};

/// How often `-v` tells of a step.
const DETAIL_EVERY: Duration = Duration::from_secs(2);

/// A bar over items, steps or bytes.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar called `title` over `total` items; hidden unless standard error is a terminal.
    pub fn new(context: &Context, title: &str, total: usize) -> Self {
        Bar::styled(context, title, total as u64, "{prefix} {wide_bar} {pos}/{len} {msg} ETA {eta}")
    }

    /// A bar over the bytes of a file.
    pub fn bytes(context: &Context, title: &str, total: Option<u64>) -> Self {
        let template = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
        Bar::styled(context, title, total.unwrap_or(0), template)
    }

    /// Nothing to be seen.
    pub fn hidden() -> Self {
        Bar(ProgressBar::hidden())
    }

    /// A line of figures without an end in sight.
    pub fn line(context: &Context, title: &str) -> Self {
        Bar::styled(context, title, 0, "{prefix} {elapsed} {wide_msg}")
    }

    fn styled(context: &Context, title: &str, total: u64, template: &str) -> Self {
        if !context.bars {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(total).with_prefix(title.to_string());
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }

    /// `count` more are done.
    pub fn advance(&self, count: usize) {
        self.0.inc(count as u64);
    }

    /// `position` are done.
    pub fn place(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Figures beside the bar.
    pub fn message(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar over the images of a data set, which appears when the first are read and goes when it is dropped.
#[derive(Debug)]
pub struct Reading<'a> {
    context: &'a Context,
    title: String,
    bar: OnceLock<Bar>,
}

impl<'a> Reading<'a> {
    /// For the data set called `name`.
    pub fn new(context: &'a Context, name: &str) -> Self {
        Reading { context, title: format!("reading {name}"), bar: OnceLock::new() }
    }

    /// So many of `all` images are read.
    pub fn tell(&self, done: usize, all: usize) {
        let bar = self.bar.get_or_init(|| Bar::new(self.context, &self.title, all));
        // Another split begins anew.
        bar.0.set_length(all as u64);
        bar.place(done as u64);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish();
        }
    }
}

/// Follows a training run: a bar on a terminal, a line per epoch everywhere.
#[derive(Debug)]
pub struct Training<'a> {
    context: &'a Context,
    folder: &'a Path,
    interruption: &'a Interruption,
    bar: Bar,
    /// When `-v` told of a step last.
    told: Instant,
}

impl<'a> Training<'a> {
    /// For a run in `folder`.
    pub fn new(context: &'a Context, folder: &'a Path, interruption: &'a Interruption) -> Self {
        Training { context, folder, interruption, bar: Bar(ProgressBar::hidden()), told: Instant::now() }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish();
    }

    fn line(&self, line: &str) {
        self.bar.0.suspend(|| self.context.note(line));
    }
}

impl Progress for Training<'_> {
    fn started(&mut self, plan: &Plan) {
        let steps = plan.epochs * plan.steps_per_epoch;
        let resumed = match plan.steps_done as usize {
            0 => String::new(),
            done if done >= steps => format!(", finished already after step {done}: nothing is left to train"),
            done => format!(", resumed after step {done}"),
        };
        self.line(&format!(
            "training {} on {}, {}, in {}{resumed}",
            counted(plan.parameters, "parameter", "parameters"),
            counted(plan.samples, "sample", "samples"),
            counted(plan.epochs, "epoch", "epochs"),
            self.folder.display()
        ));
        self.bar = Bar::styled(self.context, "train", steps as u64, "{prefix} {wide_bar} {msg}");
    }

    fn step(&mut self, report: &StepReport) -> Flow {
        self.bar.place(report.step);
        self.bar.message(format!(
            "epoch {} loss {:.4}{}{} {:.0} images/s ETA {}",
            report.epoch,
            report.loss,
            accuracy(" natural", report.natural_accuracy),
            accuracy(" certified", report.certified_accuracy),
            report.images_per_second,
            duration(report.eta_seconds)
        ));
        if self.context.verbose && self.told.elapsed() >= DETAIL_EVERY {
            self.told = Instant::now();
            self.line(&format!(
                "  step {} of epoch {} ({} of {}): loss {} gradient norm {} ε {} lr {} {:.0} images/s, {} left",
                report.step,
                report.epoch,
                report.position,
                report.steps_per_epoch,
                rounded(report.loss),
                rounded(report.gradient_norm),
                rounded(report.epsilon),
                rounded(report.lr),
                report.images_per_second,
                duration(report.eta_seconds)
            ));
        }
        self.flow()
    }

    fn flow(&mut self) -> Flow {
        if self.interruption.came() { Flow::Stop } else { Flow::Continue }
    }

    fn remark(&mut self, text: &str) {
        self.line(text);
    }

    fn evaluating(&mut self, epoch: usize) {
        self.bar.message(format!("epoch {epoch}: evaluating"));
        if self.context.verbose {
            self.line(&format!("  epoch {epoch}: trained, evaluating"));
        }
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        let test = metrics.test.as_ref().map_or_else(String::new, |test| {
            let (natural, certified) = (percent(test.natural_accuracy), percent(test.certified_accuracy));
            format!("; {} natural {natural} certified {certified}", test.split)
        });
        // None were seen in this process if it goes on right behind an epoch's last step.
        let speed = metrics.images_per_second;
        let speed = if speed > 0.0 { format!(" {speed:.0} images/s") } else { String::new() };
        self.line(&format!(
            "epoch {} ε {} lr {} loss {}{}{}{speed}{test}",
            metrics.epoch,
            rounded(metrics.eps),
            rounded(metrics.lr),
            rounded(metrics.loss),
            accuracy(" natural", metrics.train_natural_accuracy),
            accuracy(" certified", metrics.train_certified_accuracy),
        ));
        if self.context.verbose {
            let test = metrics.test.as_ref().map_or_else(String::new, |test| {
                let (natural, certified) = (rounded(test.natural_loss), rounded(test.certified_loss));
                format!(", evaluated in {:.1} s: natural loss {natural}, certified loss {certified}", test.seconds)
            });
            self.line(&format!(
                "  σ {} robust weight {}, trained in {:.1} s{test}; metrics, model and checkpoint are written",
                rounded(metrics.sigma),
                rounded(metrics.robust_weight),
                metrics.seconds
            ));
        }
    }
}

fn accuracy(title: &str, value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{title} {}", percent(value)))
}

/// Whole seconds as h:mm:ss or m:ss.
fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_clock_times() {
        assert_eq!(duration(59.6), "1:00");
        assert_eq!(duration(3661.0), "1:01:01");
        assert_eq!(duration(f64::NAN), "0:00");
    }
}
