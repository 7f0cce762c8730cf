//! Estimates that know their variance: mixtures by it, populations and σ fitted to it, and the runs that do so.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{bars, config};
use tightrope_data::Split;
use tightrope_engine::{Perturbation, Reference};
use tightrope_train::smoothing::{
    Adaptation, AdaptationKind, Measured, Noise, Shifted, Signal, guided, guided_measured, lengths, mixed, pgpe,
    pgpe_measured, rgs, rgs_measured,
};
use tightrope_train::{
    CHECKPOINT_FILE, Config, EpochMetrics, Flow, Job, Outcome, Progress, RunFolder, Silent, SmoothingKind,
    SmoothingSection, StepReport, TrainError, train,
};

const SIGMA: f32 = 0.1;

fn noise(step: u64, sigma: f32) -> Perturbation<'static> {
    Perturbation::new(5, step, sigma)
}

/// L = Σ hᵢ(θᵢ − 1)²/2, whose smoothed gradient is its own and whose gradients scatter by σ²Σhᵢ².
struct Quadratic(Vec<f64>);

impl Quadratic {
    fn of(size: usize, bend: f64) -> Self {
        Quadratic((0..size).map(|i| bend * (1.0 + 0.3 * (i as f64).cos())).collect())
    }

    fn at(&self, theta: &[f64]) -> Result<(f64, Vec<f64>), TrainError> {
        let parts = || theta.iter().zip(&self.0).map(|(t, h)| (t - 1.0, h));
        Ok((parts().map(|(x, h)| h * x * x / 2.0).sum(), parts().map(|(x, h)| h * x).collect()))
    }

    /// Gradient and Hessian squared.
    fn squares(&self, theta: &[f64]) -> [f64; 2] {
        [&self.at(theta).unwrap().1, &self.0].map(|values| values.iter().map(|v| v * v).sum())
    }

    fn losses(&self, theta: &[f64], noise: &Perturbation<'_>, pairs: u64) -> Vec<[f64; 2]> {
        let mut sample = vec![0.0; theta.len()];
        let mut at = |member, sign| {
            noise.perturb(theta, member, sign, &mut sample);
            self.at(&sample).unwrap().0
        };
        (0..pairs).map(|member| [at(member, 1.0), at(member, -1.0)]).collect()
    }
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// The variance that runs tell in the mean, that by which they scatter, and the mean gradient with its errors.
struct Runs {
    told: (f64, f64),
    scatter: f64,
    square: (f64, f64),
    gradient: Vec<(f64, f64)>,
}

fn runs(count: u64, run: impl Fn(u64) -> Measured<f64>) -> Runs {
    let all: Vec<Measured<f64>> = (0..count).map(run).collect();
    let of = |value: &dyn Fn(&Measured<f64>) -> f64| mean(&all.iter().map(value).collect::<Vec<_>>());
    let size = all[0].estimate.gradient.len();
    let gradient: Vec<(f64, f64)> = (0..size).map(|i| of(&|m| m.estimate.gradient[i])).collect();
    let scatter = gradient.iter().map(|(_, error)| error.powi(2) * count as f64).sum();
    let square = of(&|m| m.signal().unwrap().square);
    Runs { told: of(&|m| m.variance.unwrap()), scatter, square, gradient }
}

fn near((mean, error): (f64, f64), expected: f64, what: &str) {
    assert!((mean - expected).abs() <= 4.0 * error + 1e-6 * expected.abs(), "{what}: {mean} ± {error}, not {expected}");
}

/// RGS on a quadratic: σ²‖H‖²/n. PGPE on anything without a third derivative: tₖ = zₖ/sₖ·(Sz·∇L) has the mean ∇L and the
/// second moments |S∇L|²/sₖ² + 2(∇L)ₖ², so that the trace is (|S∇L|² Σ 1/sₖ² + |∇L|²)/n, or (|θ| + 1)|∇L|²/n.
#[test]
fn variances_are_those_of_the_estimates() {
    let (quadratic, theta) = (Quadratic::of(5, 2.0), [0.2, 1.5, 0.7, -0.4, 1.1]);
    let [slope, bend] = quadratic.squares(&theta);
    let sigma2 = f64::from(SIGMA).powi(2);
    let gradients = runs(3000, |step| rgs_measured(&theta, &noise(step, SIGMA), 3, |t| quadratic.at(t)).unwrap());
    near(gradients.told, sigma2 * bend / 3.0, "rgs");
    near(gradients.square, slope, "rgs, signal");
    assert!((gradients.scatter / gradients.told.0 - 1.0).abs() < 0.1, "{} {:?}", gradients.scatter, gradients.told);
    let scales = [0.5_f32, 1.0, 2.0, 1.5, 1.0];
    for scales in [None, Some(&scales[..])] {
        let scale = |i: usize| scales.map_or(1.0, |s| f64::from(s[i]));
        let values = runs(6000, |step| {
            let noise = Perturbation { scales, ..noise(step, SIGMA) };
            pgpe_measured(5, &noise, &quadratic.losses(&theta, &noise, 4)).unwrap()
        });
        let gradient = quadratic.at(&theta).unwrap().1;
        let stretched: f64 = gradient.iter().enumerate().map(|(i, g)| (scale(i) * g).powi(2)).sum();
        let inverse: f64 = (0..5).map(|i| scale(i).powi(-2)).sum();
        near(values.told, (stretched * inverse + slope) / 4.0, "pgpe");
        near(values.square, slope, "pgpe, signal");
        assert!((values.scatter / values.told.0 - 1.0).abs() < 0.1, "{} {:?}", values.scatter, values.told);
    }
    // Along a fixed direction, on a loss that bends in it.
    let direction = [1.0, -0.5, 0.3, 0.0, 2.0];
    let bent = |t: &[f64]| Ok(t.iter().enumerate().map(|(i, t)| (3.0 * t + i as f64).sin()).sum());
    let along = runs(3000, |step| {
        guided_measured(&theta, &noise(step, 0.5), &direction, 0, &lengths(5, step, 5), bent).unwrap()
    });
    assert!((along.scatter / along.told.0 - 1.0).abs() < 0.1, "{} {:?}", along.scatter, along.told);
}

/// What measures is to the bit what does not, and one member tells no variance.
#[test]
fn measuring_changes_no_bit() {
    let (quadratic, theta) = (Quadratic::of(9000, 2.0), vec![0.3; 9000]);
    let noise = noise(1, SIGMA);
    let loss = |t: &[f64]| Ok(quadratic.at(t)?.0);
    for count in [1, 3] {
        let measured = rgs_measured(&theta, &noise, count, |t| quadratic.at(t)).unwrap();
        assert_eq!(measured.estimate, rgs(&theta, &noise, count, |t| quadratic.at(t)).unwrap());
        let plain = pgpe(&theta, &noise, count, loss).unwrap();
        let values = pgpe_measured(9000, &noise, &quadratic.losses(&theta, &noise, count)).unwrap();
        assert_eq!(values.estimate, plain);
        let lengths = lengths(5, 1, count);
        let along = guided_measured(&theta, &noise, &plain.gradient, 7, &lengths, loss).unwrap();
        assert_eq!(along.estimate, guided(&theta, &noise, &plain.gradient, 7, &lengths, loss).unwrap());
        for variance in [measured.variance, values.variance, along.variance] {
            assert_eq!(variance.is_some(), count > 1);
        }
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for threads in [1, 3] {
            pool(threads).install(|| {
                assert_eq!(rgs_measured(&theta, &noise, count, |t| quadratic.at(t)).unwrap(), measured);
                assert_eq!(pgpe_measured(9000, &noise, &quadratic.losses(&theta, &noise, count)).unwrap(), values);
            });
        }
    }
}

/// The mixture of `pairs` and `samples` on a loss, with members of their own.
fn mixture(
    theta: &[f64],
    noise: &Perturbation<'_>,
    [pairs, samples]: [u64; 2],
    losses: &[[f64; 2]],
    gradient: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), TrainError>,
) -> Measured<f64> {
    let gradients = rgs_measured(theta, &Shifted { noise, first: pairs }, samples, gradient).unwrap();
    let values = pgpe_measured(theta.len(), noise, losses).unwrap();
    mixed([&gradients, &values], [samples, 2 * pairs]).unwrap()
}

/// With enough members, the mixture has the mean ∇L_σ and the variance v₁v₂/(v₁ + v₂) of the closed forms above, which is less
/// than either's.
#[test]
fn a_mixture_has_the_gradient_and_less_variance_than_its_parts() {
    let (quadratic, theta) = (Quadratic::of(5, 2.0), [0.9, 1.05, 1.1, 0.95, 1.1]);
    let [slope, bend] = quadratic.squares(&theta);
    let [pairs, samples] = [40, 24];
    let parts = [6.0 * slope / 40.0, f64::from(SIGMA).powi(2) * bend / 24.0];
    let expected = parts[0] * parts[1] / (parts[0] + parts[1]);
    assert!(parts.iter().all(|&part| expected < 0.8 * part), "{parts:?} are no case for a mixture");
    let found = runs(2000, |step| {
        let noise = noise(step, SIGMA);
        mixture(&theta, &noise, [pairs, samples], &quadratic.losses(&theta, &noise, pairs), |t| quadratic.at(t))
    });
    for ((i, found), exact) in found.gradient.iter().enumerate().zip(&quadratic.at(&theta).unwrap().1) {
        // Weights from the same members cost a bias of the order of 1/40.
        let (value, error) = *found;
        assert!((value - exact).abs() < 4.0 * error + 0.02 * exact.abs(), "{i}: {value} ± {error}, not {exact}");
    }
    assert!((found.told.0 / expected - 1.0).abs() < 0.1, "{:?} {expected}", found.told);
    assert!((found.scatter / expected - 1.0).abs() < 0.15, "{} {expected}", found.scatter);
}

/// What the documentation warns of: a step has a slope after smoothing, gradients see none of it, and as they do not scatter,
/// either, a mixture believes them alone.
#[test]
fn a_mixture_misses_jumps_as_gradients_do() {
    let step = |t: &[f64]| f64::from(u8::from(t[0] > 0.0));
    let noise = noise(1, SIGMA);
    let values = pgpe(&[0.0], &noise, 50, |t| Ok(step(t))).unwrap();
    assert!(values.gradient[0] > 2.0, "{values:?}");
    let losses: Vec<[f64; 2]> = (0..50)
        .map(|member| {
            let mut delta = [0.0];
            noise.fill(member, 0, &mut delta);
            [step(&[f64::from(delta[0])]), step(&[-f64::from(delta[0])])]
        })
        .collect();
    let found = mixture(&[0.0], &noise, [50, 4], &losses, |t| Ok((step(t), vec![0.0])));
    assert_eq!((found.estimate.gradient[0], found.variance), (0.0, Some(0.0)));
}

/// The section and what it has come to after so many steps of an estimator that `measure` stands for.
fn adapted(
    smoothing: &SmoothingSection,
    steps: u64,
    measure: impl Fn(u64, &SmoothingSection, f32) -> Signal,
) -> Adaptation {
    let mut state = Adaptation::new(smoothing).unwrap();
    for step in 0..steps {
        let mut scheduled = Config::default().at(0.0);
        scheduled.sigma = smoothing.sigma;
        let now = state.applied(smoothing, &mut scheduled);
        state.observe(smoothing, measure(step, &now, scheduled.sigma as f32));
    }
    state
}

/// Members and σ come to where the ratio lies between once and twice the one that is wanted, from both sides, and stop at
/// their bounds: for RGS on a quadratic it is n|∇L|²/(σ²|H|²), for PGPE n/(|θ| + 1).
#[test]
fn adaptation_finds_the_ratio() {
    let theta = vec![0.5; 15];
    let quadratic = Quadratic::of(15, 1.0);
    let [slope, bend] = quadratic.squares(&theta);
    let rgs = |step, now: &SmoothingSection, sigma: f32| {
        let noise = noise(step, sigma);
        rgs_measured(&theta, &noise, now.samples, |t| quadratic.at(t)).unwrap().signal().unwrap()
    };
    let pgpe = |step, now: &SmoothingSection, sigma: f32| {
        let noise = noise(step, sigma);
        let losses = quadratic.losses(&theta, &noise, now.population / 2);
        pgpe_measured::<f64>(15, &noise, &losses).unwrap().signal().unwrap()
    };
    let section = |kind, adapt, members, sigma| SmoothingSection {
        kind,
        adapt,
        samples: members,
        population: members,
        sigma,
        population_min: Some(4),
        population_max: Some(512),
        sigma_min: Some(1e-3),
        sigma_max: Some(10.0),
        ..SmoothingSection::default()
    };
    let (population, sigma) = (AdaptationKind::Population, AdaptationKind::Sigma);
    // σ = 1.5: eight to sixteen samples or so, with what the means leave of chance.
    let per_sample = slope / (1.5_f64.powi(2) * bend);
    for start in [4, 256] {
        let found = adapted(&section(SmoothingKind::Rgs, population, start, 1.5), 400, rgs);
        let ratio = found.members as f64 * per_sample;
        assert!((0.7..2.9).contains(&ratio), "from {start} samples to {found:?}, ratio {ratio}");
        let found = adapted(&section(SmoothingKind::Pgpe, population, start, 0.1), 400, pgpe);
        let ratio = found.members as f64 / 2.0 / 16.0;
        assert!((0.7..2.9).contains(&ratio), "from {start} losses to {found:?}, ratio {ratio}");
    }
    for start in [0.01, 5.0] {
        let found = adapted(&section(SmoothingKind::Rgs, sigma, 8, start), 600, rgs);
        let ratio = 8.0 * slope / (found.sigma.powi(2) * bend);
        assert!((0.7..2.9).contains(&ratio), "from σ = {start} to {found:?}, ratio {ratio}");
    }
    // Far too much noise, and none to speak of.
    assert_eq!(adapted(&section(SmoothingKind::Rgs, population, 4, 50.0), 200, rgs).members, 512);
    assert_eq!(adapted(&section(SmoothingKind::Rgs, population, 256, 1e-3), 200, rgs).members, 4);
    // Ripples of a length far below σ are noise of 1/σ to plain PGPE, which looks beyond them with a larger σ.
    let rippled = |t: &[f64]| t.iter().map(|&t| t + 2.0 * (400.0 * t).sin()).sum::<f64>();
    let start = SmoothingSection { snr: 4.0, ..section(SmoothingKind::Pgpe, sigma, 256, 0.05) };
    let found = adapted(&start, 400, |step, now, sigma| {
        let (noise, theta) = (noise(step, sigma), [0.0; 4]);
        let mut sample = [0.0; 4];
        let mut at = |member, sign| {
            noise.perturb(&theta, member, sign, &mut sample);
            rippled(&sample)
        };
        let losses: Vec<[f64; 2]> = (0..now.population / 2).map(|m| [at(m, 1.0), at(m, -1.0)]).collect();
        pgpe_measured::<f64>(4, &noise, &losses).unwrap().signal().unwrap()
    });
    assert!(found.sigma > 0.2 && found.ratio > 3.0, "{found:?}");
}

/// Ends after so many steps.
struct Stop(u64);

impl Progress for Stop {
    fn step(&mut self, report: &StepReport) -> Flow {
        if report.step >= self.0 { Flow::Stop } else { Flow::Continue }
    }
}

fn job(overrides: &[&str]) -> Job {
    let base = ["model=mlp:8", "train.epochs=5", "smoothing.sigma=0.02"];
    let config = config(&[&base[..], overrides].concat());
    Job::new(&config, Arc::new(Reference), bars(Split::Train, 70).into(), Some(bars(Split::Test, 30).into())).unwrap()
}

fn in_folder(path: &Path, resume: bool, job: &Job, progress: &mut dyn Progress) -> Outcome {
    let mut folder = if resume { RunFolder::resume(path, &[]).unwrap() } else { RunFolder::create(path, &[]).unwrap() };
    train(job, Some(&mut folder), progress).unwrap()
}

fn timeless(metrics: &[EpochMetrics]) -> Vec<EpochMetrics> {
    let strip = |m: &EpochMetrics| {
        let mut m = EpochMetrics { time: 0.0, seconds: 0.0, images_per_second: 0.0, ..m.clone() };
        m.test.iter_mut().for_each(|test| test.seconds = 0.0);
        m
    };
    metrics.iter().map(strip).collect()
}

/// Runs of 25 steps, whose population or σ changes after the tenth and the twentieth, interrupted before and between, on one
/// thread and on three.
#[test]
fn adapted_runs_do_not_depend_on_threads_or_interruptions() {
    let population = ["smoothing.adapt=population", "smoothing.snr=1e6"];
    let sigma = ["smoothing.adapt=sigma", "smoothing.snr=1e6"];
    let mixed = ["smoothing.kind=mixed", "smoothing.population=4"];
    for overrides in [
        [&population[..], &["smoothing.kind=rgs"]].concat(),
        [&sigma[..], &["smoothing.kind=rgs", "smoothing.relative=true"]].concat(),
        [&sigma[..], &["smoothing.kind=pgpe", "smoothing.population=4", "smoothing.split=true"]].concat(),
        [&population[..], &["smoothing.kind=pgpe", "smoothing.population=4", "smoothing.guide=ibp"]].concat(),
        [&population[..], &["smoothing.kind=pgpe", "smoothing.population=4", "smoothing.control=ibp"]].concat(),
        [&population[..], &mixed, &["train.batch=8", "train.accumulate=2"]].concat(),
        mixed.to_vec(),
    ] {
        let job = job(&overrides);
        let root = tempfile::tempdir().unwrap();
        let (whole, parts) = (root.path().join("whole"), root.path().join("parts"));
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let expected = pool(1).install(|| in_folder(&whole, false, &job, &mut Silent));
        assert!(!in_folder(&parts, false, &job, &mut Stop(7)).finished);
        assert!(!in_folder(&parts, true, &job, &mut Stop(14)).finished);
        let outcome = pool(3).install(|| in_folder(&parts, true, &job, &mut Silent));
        assert_eq!(outcome.model, expected.model, "{overrides:?}");
        assert_eq!(timeless(&outcome.metrics), timeless(&expected.metrics), "{overrides:?}");
        let read = |folder: &Path| fs::read(folder.join(CHECKPOINT_FILE)).unwrap();
        assert!(read(&whole) == read(&parts), "{overrides:?}");
        let (first, last) = (&expected.metrics[0], &expected.metrics[4]);
        let adapts = |kind| job.config().smoothing.adapt == kind;
        assert_eq!(last.population > first.population, adapts(AdaptationKind::Population), "{overrides:?}");
        assert_eq!(last.sigma != first.sigma, adapts(AdaptationKind::Sigma), "{overrides:?}");
        assert_eq!(last.snr.is_some_and(f64::is_finite), !adapts(AdaptationKind::None), "{overrides:?}");
    }
}

#[test]
fn mixtures_learn() {
    let overrides = ["smoothing.kind=mixed", "smoothing.population=8", "train.epochs=8", "init=default"];
    let adaptive = [&overrides[..], &["smoothing.adapt=population", "smoothing.snr=4"]].concat();
    for overrides in [&overrides[..], &adaptive] {
        let metrics = train(&job(overrides), None, &mut Silent).unwrap().metrics;
        let losses = [0, 7].map(|epoch: usize| metrics[epoch].test.as_ref().unwrap().certified_loss);
        assert!(losses[1] < 0.8 * losses[0], "{overrides:?}: {losses:?}");
    }
}

/// Lines that programs without `population` and `snr` wrote.
#[test]
fn metrics_without_members_are_read() {
    let line = r#"{"epoch":1,"step":2,"time":1.0,"loss":2.0,"train_natural_accuracy":0.5,"train_certified_accuracy":null,
        "lr":0.002,"eps":0.05,"sigma":0.0,"robust_weight":1.0,"images_per_second":10.0,"seconds":3.0,"test":null}"#;
    let metrics: EpochMetrics = serde_json::from_str(line).unwrap();
    assert_eq!((metrics.population, metrics.snr), (0, None));
}

/// The configuration of these keys of `[smoothing]`.
fn read(words: &str) -> Result<SmoothingSection, String> {
    let overrides: Vec<String> = words.split(' ').map(|word| format!("smoothing.{word}")).collect();
    Config::parse("method.robust_weight = 0.5", "(test)", &overrides)
        .map(|config| config.smoothing)
        .map_err(|e| e.to_string())
}

#[test]
fn what_cannot_be_measured_or_adapted_is_refused_by_key() {
    for (words, parts) in [
        ("adapt=population", ["`smoothing.adapt`", "smoothing.kind"]),
        ("adapt=both kind=rgs", ["smoothing.adapt", "`sigma`"]),
        ("adapt=population kind=rgs samples=1", ["`smoothing.samples`", "at least 2"]),
        ("adapt=population kind=pgpe population=2", ["`smoothing.population`", "at least 4"]),
        ("adapt=population kind=pgpe control=ibp samples=1", ["`smoothing.samples`", "at least 2"]),
        ("kind=mixed samples=1", ["`smoothing.samples`", "\"mixed\""]),
        ("kind=mixed population=2", ["`smoothing.population`", "\"mixed\""]),
        ("kind=mixed population=7", ["`smoothing.population`", "even"]),
        ("kind=mixed sigma=0", ["`smoothing.sigma`", "mixed"]),
        ("kind=mixed guide=ibp", ["`smoothing.guide`", "not \"mixed\""]),
        ("kind=mixed control=ibp", ["`smoothing.control`", "not \"mixed\""]),
        ("kind=rgs split=true", ["`smoothing.split`", "\"pgpe\" and \"mixed\""]),
        ("adapt=population kind=pgpe population_min=5", ["`smoothing.population_min`", "even"]),
        ("adapt=population kind=pgpe population_max=301", ["`smoothing.population_max`", "even"]),
        ("adapt=population kind=pgpe population_min=2", ["`smoothing.population_min`", "at least 4"]),
        ("adapt=population kind=pgpe population_min=300", ["`smoothing.population_min`", "= 256"]),
        ("adapt=population kind=rgs samples=4 population_max=3", ["`smoothing.population_max`", "samples = 4"]),
        ("adapt=sigma kind=rgs sigma_end=1e-4", ["`smoothing.adapt`", "sigma_end"]),
        ("adapt=sigma kind=rgs sigma_milestones=[3]", ["`smoothing.adapt`", "sigma_milestones"]),
        ("adapt=sigma kind=rgs sigma=0", ["`smoothing.sigma_min`", "above 0"]),
        ("adapt=sigma kind=pgpe sigma_min=1e-7", ["`smoothing.sigma_min`", "1e-6"]),
        ("adapt=sigma kind=rgs sigma_min=0.1", ["`smoothing.sigma_min`", "= 0.001"]),
        ("adapt=sigma kind=rgs sigma_max=1e-4", ["`smoothing.sigma_max`", "= 0.001"]),
        ("adapt=sigma kind=rgs snr=0", ["`smoothing.snr`", "> 0"]),
    ] {
        let message = read(words).expect_err(words);
        assert!(parts.iter().all(|part| message.contains(part)), "{words}: {message}");
    }
    let no_gradient = ["method.name=alpha-crown", "smoothing.kind=mixed"].map(String::from);
    let message = Config::parse("", "(test)", &no_gradient).unwrap_err().to_string();
    assert!(message.contains("`smoothing.kind`") && message.contains("\"pgpe\""), "{message}");
    let bounds = |words| {
        let section = read(words).unwrap();
        (section.population_min, section.population_max, section.sigma_min, section.sigma_max)
    };
    assert_eq!(bounds("kind=pgpe adapt=population"), (Some(64), Some(1024), Some(1e-4), Some(1e-2)));
    assert_eq!(bounds("kind=rgs samples=6 sigma=0"), (Some(2), Some(24), Some(0.0), Some(0.0)));
    assert!(read("kind=mixed split=true adapt=population").unwrap().split);
}
