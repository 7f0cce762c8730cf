//! How good estimates of the smoothed loss's gradient are for what they cost: a table of estimators, in Markdown.
//!
//! `cargo run --release -p tightrope --example gradients -- RUN SIGMA IMAGES REPEATS REFERENCE` takes the network that a run
//! has come to and the first images of its training set, in the folder that `TIGHTROPE_DATA` names. Columns: processor time of
//! one thread in evaluations of the loss; cosine with RGS of REFERENCE samples; and by how much a step of a tenth of the
//! noise's length down the estimate lowers the smoothed loss, which knows of jumps as RGS does not, in units of what the step
//! down the reference does. Means over REPEATS draws, with standard errors.

use std::error::Error;
use std::path::Path;

use rayon::ThreadPoolBuilder;
use statrs::distribution::{ContinuousCDF, Normal};
use tightrope_data::Split;
use tightrope_engine::{Engine, Loaded, Perturbation};
use tightrope_fused::Fused;
use tightrope_testkit::clock::thread_seconds;
use tightrope_train::methods::{Method, Minibatch, StepThreat, method};
use tightrope_train::smoothing::{Noise, pgpe};
use tightrope_train::{
    CONFIG_FILE, Config, Estimator, MethodSection, SmoothingKind, SmoothingSection, TrainError, estimate,
};

/// Steps of the noise that no estimate draws from.
const APART: u64 = 1 << 40;
/// Pairs of members by which a change of the smoothed loss is measured.
const PAIRS: u64 = 128;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// An estimator by name, and the methods that help it.
struct Candidate {
    name: &'static str,
    section: SmoothingSection,
    control: &'static str,
    guide: &'static str,
}

fn candidates() -> Vec<Candidate> {
    let of = |name, kind, samples, population, split, control, guide| Candidate {
        name,
        section: SmoothingSection { kind, samples, population, split, ..SmoothingSection::default() },
        control,
        guide,
    };
    use SmoothingKind::{Grad, Pgpe, Rgs};
    vec![
        of("grad", Grad, 1, 2, false, "", ""),
        of("rgs, 2 samples", Rgs, 2, 2, false, "", ""),
        of("rgs, 8 samples", Rgs, 8, 2, false, "", ""),
        of("pgpe, 64 losses", Pgpe, 2, 64, false, "", ""),
        of("pgpe, 256 losses", Pgpe, 2, 256, false, "", ""),
        of("pgpe, 256 losses, split", Pgpe, 2, 256, true, "", ""),
        of("pgpe, 256 losses, control ibp", Pgpe, 8, 256, false, "ibp", ""),
        of("pgpe, 256 losses, control crown-ibp", Pgpe, 8, 256, false, "crown-ibp", ""),
        of("pgpe, 256 losses, split, control crown-ibp", Pgpe, 8, 256, true, "crown-ibp", ""),
        of("pgpe, 16 losses, guide ibp (8 samples)", Pgpe, 8, 16, false, "", "ibp"),
        of("pgpe, 16 losses, guide crown-ibp (8 samples)", Pgpe, 8, 16, false, "", "crown-ibp"),
        of("pgpe, 8 losses, guide itself (2 samples)", Pgpe, 2, 8, false, "", "own"),
        of("pgpe, 16 losses, guide itself (8 samples)", Pgpe, 8, 16, false, "", "own"),
    ]
}

/// Noise whose members are chosen together and kept.
struct Chosen {
    sigma: f64,
    length: usize,
    members: Vec<f32>,
}

impl Chosen {
    /// Noise of all members' standard normal numbers, one member after the other.
    fn new(source: &Perturbation<'_>, length: usize, numbers: impl Iterator<Item = f64>) -> Self {
        let sigma = source.sigma();
        Chosen { sigma, length, members: numbers.map(|number| (sigma * number) as f32).collect() }
    }

    /// Gaussian draws made orthogonal to each other, each as long as it was.
    fn orthogonal(source: &Perturbation<'_>, length: usize, members: u64) -> Self {
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for member in 0..members {
            let mut row = drawn(source, member, length);
            let norm = |row: &[f64]| row.iter().map(|d| d * d).sum::<f64>().sqrt();
            let full = norm(&row);
            for other in &rows {
                let along = row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / norm(other).powi(2);
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let rest = norm(&row);
            row.iter_mut().for_each(|d| *d *= full / rest);
            rows.push(row);
        }
        Chosen::new(source, length, rows.into_iter().flatten())
    }

    /// A Latin hypercube (McKay et al. 1979): along every coordinate each member has a share of the probability for itself.
    /// The members' ranks are those of Gaussian draws, the places in the shares uniform.
    fn latin(source: &Perturbation<'_>, length: usize, members: u64) -> Self {
        let rows: Vec<Vec<f64>> = (0..members).map(|member| drawn(source, member, length)).collect();
        let other = |member| drawn(source, members + member, length);
        let places: Vec<Vec<f64>> = (0..members).map(other).collect();
        let mut chosen = vec![0.0; rows.len() * length];
        for i in 0..length {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by(|&a, &b| rows[a][i].total_cmp(&rows[b][i]));
            for (rank, &member) in order.iter().enumerate() {
                let share = (rank as f64 + probability(places[member][i])) / rows.len() as f64;
                chosen[member * length + i] = gaussian(share);
            }
        }
        Chosen::new(source, length, chosen.into_iter())
    }

    /// The sequence of Richtmyer (1951), multiples of the roots of primes modulo 1, from a random point on.
    fn lattice(source: &Perturbation<'_>, length: usize, members: u64) -> Self {
        let start = drawn(source, 0, length);
        let roots: Vec<f64> = primes(length).map(f64::sqrt).collect();
        let value = |member: u64, i: usize| gaussian((probability(start[i]) + member as f64 * roots[i]).fract());
        let members = (0..members).flat_map(|member| (0..length).map(move |i| (member, i)));
        Chosen::new(source, length, members.map(|(member, i)| value(member, i)))
    }
}

/// Independent standard normal draws.
fn drawn(source: &Perturbation<'_>, member: u64, length: usize) -> Vec<f64> {
    let mut drawn = vec![0.0; length];
    source.fill(member, 0, &mut drawn);
    drawn.into_iter().map(|draw| f64::from(draw) / source.sigma()).collect()
}

/// The probability below a standard normal draw, uniform.
fn probability(draw: f64) -> f64 {
    Normal::standard().cdf(draw)
}

/// The standard normal draw with so much probability below it.
fn gaussian(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability.clamp(1e-9, 1.0 - 1e-9))
}

/// The first primes.
fn primes(count: usize) -> impl Iterator<Item = f64> {
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (2_u64..).filter(is_prime).take(count).map(|prime| prime as f64)
}

impl Noise for Chosen {
    fn sigma(&self) -> f64 {
        self.sigma
    }

    fn fill(&self, member: u64, first: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.members[member as usize * self.length + first..][..out.len()]);
    }
}

/// A way to choose noise.
type Choice = fn(&Perturbation<'_>, usize, u64) -> Chosen;

/// Mean and standard error.
fn summary(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    format!("{mean:.3} ± {:.3}", (variance / n).sqrt())
}

/// Processor seconds of this thread, which does all the work.
fn processor_seconds() -> Outcome<f64> {
    thread_seconds().ok_or("this system does not tell a thread's processor time".into())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// What estimates are made on.
struct Place<'a> {
    method: &'a dyn Method,
    theta: &'a [f32],
    images: &'a [f32],
    labels: &'a [usize],
    threat: StepThreat,
    sigma: f64,
}

impl<'a> Place<'a> {
    fn batch(&self, step: u64) -> Minibatch<'a> {
        Minibatch::new(self.images, self.labels, self.threat, 1.0, 1, step)
    }

    /// By how much a step of a tenth of the noise's length against `direction` lowers the smoothed loss.
    fn descent(&self, direction: &[f32], at: &mut dyn Loaded<f32>) -> Result<f64, TrainError> {
        let length = 0.1 * self.sigma * (direction.len() as f64).sqrt() / dot(direction, direction).sqrt();
        let moved: Vec<f32> =
            self.theta.iter().zip(direction).map(|(&t, &d)| t - (length * f64::from(d)) as f32).collect();
        let noise = Perturbation::new(1, APART + 1, self.sigma as f32);
        let mut smoothed = |theta: &[f32]| {
            at.update(theta)?;
            let losses = self.method.population_loss(&self.batch(APART + 1), at, noise, 0..PAIRS)?;
            Ok::<_, TrainError>(losses.iter().flatten().sum::<f64>() / (2 * PAIRS) as f64)
        };
        Ok(smoothed(self.theta)? - smoothed(&moved)?)
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, sigma, images, repeats, reference] = &arguments[..] else {
        return Err("usage: gradients RUN SIGMA IMAGES REPEATS REFERENCE".into());
    };
    let (sigma, count): (f64, usize) = (sigma.parse()?, images.parse()?);
    let (repeats, reference): (u64, u64) = (repeats.parse()?, reference.parse()?);
    ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    let config = Config::read(&Path::new(run).join(CONFIG_FILE), &[])?;
    let model = tightrope::load_trainable(run)?;
    let data = tightrope::dataset(&config.dataset, Split::Train)?.limit(count);
    let engine = Fused::new()?;
    let mut at = engine.load(&model.network, &model.theta, &model.buffers)?;
    let mut sample = engine.load(&model.network, &model.theta, &model.buffers)?;
    let epsilon = config.train.eps.unwrap_or(config.eps) as f32;
    let threat = StepThreat { epsilon, norm: config.norm(), clip: config.clip() };
    let trained = method(&config.method)?;
    let images = data.images();
    let place = Place { method: &*trained, theta: &model.theta, images: &images, labels: &data.labels, threat, sigma };
    let named = |name: &str| match name {
        "" => Ok(None),
        "own" => method(&config.method).map(Some),
        _ => method(&MethodSection { name: name.into(), ..MethodSection::default() }).map(Some),
    };

    let section = SmoothingSection { kind: SmoothingKind::Rgs, samples: reference, ..SmoothingSection::default() };
    fn plain(smoothing: &SmoothingSection, sigma: f64) -> Estimator<'_> {
        Estimator { smoothing, sigma, scales: None, control: None, guide: None, sam: 0.0 }
    }
    let truth = estimate(&*trained, &place.batch(APART), &*at, &mut *sample, plain(&section, sigma), false)?;
    let truth = truth.estimate.gradient;
    let best = place.descent(&truth, &mut *sample)?;
    let start = processor_seconds()?;
    for _ in 0..16 {
        trained.loss(&place.batch(0), &*at)?;
    }
    let unit = (processor_seconds()? - start) / 16.0;
    println!(
        "{} of {}, σ = {sigma}, {count} images, {} parameters; {repeats} draws, reference RGS of {reference} samples, whose \
         step lowers the smoothed loss by {best:.4}\n",
        config.method.name,
        config.model,
        truth.len()
    );
    println!("| estimator | cost | cosine | descent |\n|---|---|---|---|");
    let row = |name: &str, seconds: f64, cosines: &[f64], descents: &[f64]| {
        let cost = seconds / repeats as f64 / unit;
        println!("| {name} | {cost:.0} | {} | {} |", summary(cosines), summary(descents));
    };
    for candidate in candidates() {
        let (control, guide) = (named(candidate.control)?, named(candidate.guide)?);
        let estimator =
            Estimator { control: control.as_deref(), guide: guide.as_deref(), ..plain(&candidate.section, sigma) };
        let (mut seconds, mut cosines, mut descents) = (0.0, Vec::new(), Vec::new());
        for step in 0..repeats {
            at.update(&model.theta)?;
            let start = processor_seconds()?;
            let found = estimate(&*trained, &place.batch(step), &*at, &mut *sample, estimator, false)?;
            seconds += processor_seconds()? - start;
            let found = found.estimate.gradient;
            cosines.push(dot(&found, &truth) / (dot(&found, &found) * dot(&truth, &truth)).sqrt());
            descents.push(place.descent(&found, &mut *at)? / best);
        }
        row(candidate.name, seconds, &cosines, &descents);
    }
    let choices: [(&str, Choice); 3] = [
        ("pgpe, 256 losses, orthogonal noise", Chosen::orthogonal),
        ("pgpe, 256 losses, Latin hypercube", Chosen::latin),
        ("pgpe, 256 losses, quasi-random sequence", Chosen::lattice),
    ];
    for (name, choose) in choices {
        let (mut seconds, mut cosines, mut descents) = (0.0, Vec::new(), Vec::new());
        for step in 0..repeats {
            let noise = choose(&Perturbation::new(1, step, sigma as f32), truth.len(), 128);
            let start = processor_seconds()?;
            let found = pgpe(&model.theta, &noise, 128, |theta: &[f32]| {
                sample.update(theta)?;
                Ok(trained.loss(&place.batch(step), &*sample)?.loss)
            })?;
            seconds += processor_seconds()? - start;
            let found = found.gradient;
            cosines.push(dot(&found, &truth) / (dot(&found, &found) * dot(&truth, &truth)).sqrt());
            descents.push(place.descent(&found, &mut *at)? / best);
        }
        row(name, seconds, &cosines, &descents);
    }
    Ok(())
}
