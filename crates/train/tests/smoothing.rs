//! The estimators against closed forms, published references and each other.

mod common;

use common::golden;
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, Norm, Perturbation, Reference, Region, Relaxation, Spec, Wants,
};
use tightrope_network::Preset;
use tightrope_testkit::golden::TensorFile;
use tightrope_train::smoothing::{Estimate, Noise, grad, guided, lengths, pgpe, pgpe_gradient, rgs};
use tightrope_train::{TrainError, certified_cross_entropy};

const SIGMAS: [(&str, f32); 3] = [("0.001", 1e-3), ("0.01", 1e-2), ("0.1", 1e-1)];

fn noise(step: u64, sigma: f32) -> Perturbation<'static> {
    Perturbation::new(5, step, sigma)
}

/// L = ½(θ−a)ᵀA(θ−a) + bᵀθ of the reference file, with its gradient.
struct Quadratic {
    matrix: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Quadratic {
    fn of(file: &TensorFile) -> Self {
        Quadratic { matrix: file.values("quad.A"), a: file.values("quad.a"), b: file.values("quad.b") }
    }

    fn at(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        let n = theta.len();
        let x: Vec<f64> = theta.iter().zip(&self.a).map(|(t, a)| t - a).collect();
        let ax: Vec<f64> = (0..n).map(|i| (0..n).map(|j| self.matrix[i * n + j] * x[j]).sum()).collect();
        let dot = |u: &[f64], v: &[f64]| u.iter().zip(v).map(|(u, v)| u * v).sum::<f64>();
        (0.5 * dot(&x, &ax) + dot(&self.b, theta), ax.iter().zip(&self.b).map(|(g, b)| g + b).collect())
    }
}

/// Σ w|θ − a| of the reference file, with its gradient.
fn absolute(file: &TensorFile) -> impl Fn(&[f64]) -> (f64, Vec<f64>) {
    let (w, a) = (file.values("abs.w"), file.values("abs.a"));
    move |theta| {
        let loss = theta.iter().zip(&a).zip(&w).map(|((t, a), w)| w * (t - a).abs()).sum();
        (loss, theta.iter().zip(&a).zip(&w).map(|((t, a), w)| w * (t - a).signum()).collect())
    }
}

type Loss<'a> = &'a dyn Fn(&[f64]) -> (f64, Vec<f64>);

/// Mean and standard error over independent estimates of one quantity per element.
fn statistics(estimates: &[Estimate<f64>]) -> Vec<(f64, f64)> {
    let n = estimates.len() as f64;
    let columns = |e: &Estimate<f64>| [&[e.loss], &e.gradient[..]].concat();
    let rows: Vec<Vec<f64>> = estimates.iter().map(columns).collect();
    (0..rows[0].len())
        .map(|j| {
            let mean = rows.iter().map(|r| r[j]).sum::<f64>() / n;
            let variance = rows.iter().map(|r| (r[j] - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (mean, (variance / n).sqrt())
        })
        .collect()
}

/// Every element within 4 standard errors; of a thousand elements, one may lie between 4 and 5 by chance.
fn assert_agrees(what: &str, ours: &[(f64, f64)], reference: &[f64], reference_error: &[f64]) {
    let mut far = 0;
    for (i, (&(mean, error), (r, re))) in ours.iter().zip(reference.iter().zip(reference_error)).enumerate() {
        // The floor is rounding, where the estimate has no spread at all.
        let scale = (error.powi(2) + re.powi(2)).sqrt().max(1e-7 * (1.0 + r.abs()));
        let z = (mean - r) / scale;
        assert!(z.abs() < 5.0, "{what} element {i}: {mean} ± {error} against {r} ± {re}, z = {z:.2}");
        far += usize::from(z.abs() >= 4.0);
    }
    assert!(far <= ours.len() / 1000, "{what}: {far} of {} elements lie beyond 4 standard errors", ours.len());
}

#[test]
fn estimators_match_the_closed_forms() {
    let Some(file) = golden("smoothing/closed_form.safetensors") else { return };
    let quadratic = Quadratic::of(&file);
    let absolute = absolute(&file);
    let losses: [(&str, Loss<'_>); 2] = [("quad", &|t| quadratic.at(t)), ("abs", &absolute)];
    for (name, loss) in losses {
        let theta = file.values(&format!("{name}.theta"));
        for (text, sigma) in SIGMAS {
            let key = |what: &str| file.values(&format!("{name}.sigma_{text}.{what}"));
            let run = |step| pgpe(&theta, &noise(step, sigma), 200, |t| Ok::<_, TrainError>(loss(t).0)).unwrap();
            let pgpe: Vec<_> = (0..400).map(run).collect();
            let run = |step| rgs(&theta, &noise(step, sigma), 200, |t| Ok(loss(t))).unwrap();
            let rgs: Vec<_> = (1000..1400).map(run).collect();
            let exact = [key("exact_loss"), key("exact_grad")].concat();
            for (estimator, estimates) in [("pgpe", &pgpe), ("rgs", &rgs)] {
                let what = format!("{name} {estimator} σ = {text}");
                let ours = statistics(estimates);
                assert_agrees(&what, &ours, &exact, &vec![0.0; exact.len()]);
                let gradient = |suffix: &str| key(&format!("mc_{estimator}_grad{suffix}"));
                let reference = [key("mc_loss"), gradient("")].concat();
                let error = [key("mc_loss_se"), gradient("_se")].concat();
                assert_agrees(&format!("{what} (Monte Carlo)"), &ours, &reference, &error);
            }
        }
    }
}

/// On a quadratic L(θ+δ) − L(θ−δ) = 2 δ·∇L(θ): PGPE is (1/n) Σ δ (δ·∇L)/σ² to rounding.
#[test]
fn pgpe_on_a_quadratic_is_a_projection_of_the_gradient() {
    let quadratic = Quadratic {
        matrix: vec![2.0, 0.3, 0.0, 0.3, 1.0, -0.4, 0.0, -0.4, 3.0],
        a: vec![1.0, -1.0, 0.5],
        b: vec![0.1; 3],
    };
    let theta = [0.3, 0.2, -0.7];
    let source = noise(3, 0.05);
    let pairs = 7;
    let estimate = pgpe(&theta, &source, pairs, |t| Ok(quadratic.at(t).0)).unwrap();
    let (loss, gradient) = quadratic.at(&theta);
    let mut expected = [0.0; 3];
    for member in 0..pairs {
        let mut delta = [0.0; 3];
        source.fill(member, 0, &mut delta);
        let along: f64 = delta.iter().zip(&gradient).map(|(&d, g)| f64::from(d) * g).sum();
        for (e, &d) in expected.iter_mut().zip(&delta) {
            *e += f64::from(d) * along / source.sigma().powi(2) / pairs as f64;
        }
    }
    for (g, e) in estimate.gradient.iter().zip(expected) {
        assert!((g - e).abs() < 1e-10, "{g} against {e}");
    }
    assert!(estimate.loss > loss, "the smoothed convex loss lies above the loss");
}

/// On a linear loss one guided pair gives the gradient's part along the direction, whatever its length and the noise are, in
/// the metric of the noise's scales too: there the estimate is the projection of S∇L on S·direction.
#[test]
fn a_guided_estimate_is_a_projection_on_its_direction() {
    let slope = [0.4, -1.0, 2.0, 0.5];
    let direction = [1.0, 0.5, 0.25, -3.0];
    let scales = [0.5_f32, 2.0, 1.0, 0.0];
    for scales in [None, Some(&scales[..])] {
        let source = Perturbation { scales, ..noise(3, 0.05) };
        let loss = |t: &[f64]| Ok(t.iter().zip(slope).map(|(t, s)| t * s).sum());
        let estimate = guided(&[0.3, 0.2, -0.7, 1.0], &source, &direction, 2, &lengths(5, 3, 1), loss).unwrap();
        let weight = |i: usize| scales.map_or(1.0, |s| f64::from(s[i]).powi(2));
        let product = |a: &[f64; 4], b: &[f64; 4]| (0..4).map(|i| weight(i) * a[i] * b[i]).sum::<f64>();
        let factor = product(&slope, &direction) / product(&direction, &direction);
        for (g, d) in estimate.gradient.iter().zip(direction) {
            assert!((g - factor * d).abs() < 1e-9, "{g} against {}", factor * d);
        }
    }
    let none = guided(&[0.3], &noise(3, 0.05), &[0.0], 0, &[1.0], |t: &[f64]| Ok(t[0])).unwrap();
    assert_eq!(none.gradient, [0.0]);
    assert!(guided(&[0.3], &noise(3, 0.0), &[1.0], 0, &[1.0], |t: &[f64]| Ok(t[0])).is_err());
    assert!(guided(&[0.3], &noise(3, 0.1), &[1.0], 0, &[], |t: &[f64]| Ok(t[0])).is_err());
}

/// A jump has a slope after smoothing, which gradients do not see: for the step at a·θ = b, s = (a·S²·d)/(|S·a|·|S·d|)·φ(t)/σ
/// along a direction d, t being the step's distance in standard deviations. A bend and a wave beside it make the loss one that
/// lengths matter to.
#[test]
fn guided_estimates_of_a_step_have_the_smoothed_slope_as_their_mean() {
    let (a, direction, scales) = ([1.0, -2.0, 0.5], [0.3, -1.0, 2.0], [1.0_f32, 0.5, 2.0]);
    let (theta, sigma) = ([0.2, 0.1, -0.3], 0.1_f64);
    let dot = |u: &[f64], v: &[f64], power: i32| -> f64 {
        u.iter().zip(v).zip(scales).map(|((u, v), s)| u * v * f64::from(s).powi(power)).sum()
    };
    let spread = sigma * dot(&a, &a, 2).sqrt();
    let at = dot(&a, &theta, 0);
    let step = at + 0.7 * spread;
    let loss = |t: &[f64]| {
        let x = dot(&a, t, 0);
        Ok(f64::from(u8::from(x > step)) + (3.0 * x).sin())
    };
    let estimate = |run: u64| {
        let source = Perturbation { scales: Some(&scales), ..noise(run, sigma as f32) };
        guided(&theta, &source, &direction, 1, &lengths(5, run, 4), loss).unwrap()
    };
    let runs: Vec<_> = (0..20_000).map(estimate).collect();
    let density = (-0.5 * 0.7_f64.powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt() / spread;
    let wave = 3.0 * (3.0 * at).cos() * (-4.5 * spread * spread).exp();
    // The gradient of the smoothed loss is (density + wave)·a, and its part along the direction in the metric of the scales:
    let factor = (density + wave) * dot(&a, &direction, 2) / dot(&direction, &direction, 2);
    for (i, (mean, error)) in statistics(&runs).into_iter().skip(1).enumerate() {
        let expected = factor * direction[i];
        assert!((mean - expected).abs() < 4.0 * error && error < 0.02 * expected.abs(), "{mean} ± {error}: {expected}");
    }
}

/// Noise of a file instead of a generator.
struct Fixed {
    sigma: f64,
    parameters: usize,
    values: Vec<f32>,
}

impl Noise for Fixed {
    fn sigma(&self) -> f64 {
        self.sigma
    }

    fn fill(&self, member: u64, first: usize, out: &mut [f32]) {
        let start = member as usize * self.parameters + first;
        out.copy_from_slice(&self.values[start..start + out.len()]);
    }
}

/// The IBP loss of a real network with the noise of the reference, in f64.
#[test]
fn estimators_match_the_reference_on_a_network() {
    let Some(file) = golden("smoothing/cnn3_tiny_ibp_loss.safetensors") else { return };
    let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
    let theta = file.values("theta");
    let labels: Vec<usize> = file.values("y").iter().map(|&y| y as usize).collect();
    let region = Region::ball(&file.values("x"), 784, file.values("eps")[0], Norm::Inf, None).unwrap();
    let spec = Spec::Margins { labels: labels.clone() };
    let request = BoundRequest::lower(Relaxation::Ibp);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let loss = |theta: &[f64]| -> Result<f64, TrainError> {
        let bounds = Reference.load(&network, theta, &[])?.bound(&region, &spec, request)?;
        Ok(mean(&certified_cross_entropy(&bounds.lower, &labels).per_sample))
    };
    let gradient = |theta: &[f64]| -> Result<(f64, Vec<f64>), TrainError> {
        let at = Reference.load(&network, theta, &[])?;
        let (bounds, tape) = at.bound_taped(&region, &spec, request)?;
        let certified = certified_cross_entropy(&bounds.lower, &labels);
        let cotangents = Cotangents::on_lower(certified.cotangent);
        let gradients = at.vjp(&tape, &cotangents, Wants::THETA)?;
        Ok((mean(&certified.per_sample), gradients.theta.unwrap()))
    };
    let close = |what: &str, ours: &[f64], reference: &[f64]| {
        let largest = reference.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
        assert_eq!(ours.len(), reference.len());
        for (i, (o, r)) in ours.iter().zip(reference).enumerate() {
            assert!((o - r).abs() <= 1e-8 * (1.0 + largest), "{what} element {i}: {o} against {r}");
        }
    };
    let plain = grad(&theta, gradient).unwrap();
    close("loss", &[plain.loss], &file.values("loss"));
    close("gradient", &plain.gradient, &file.values("grad"));
    for (text, sigma) in SIGMAS {
        let key = |what: &str| file.values(&format!("sigma_{text}.{what}"));
        let values: Vec<f32> = key("fixed_noise").iter().map(|&v| v as f32).collect();
        let fixed = Fixed { sigma: text.parse().unwrap(), parameters: theta.len(), values };
        let (plus, minus) = (key("fixed_loss_plus"), key("fixed_loss_minus"));
        let estimate = pgpe(&theta, &fixed, 8, loss).unwrap();
        close("pgpe loss", &[estimate.loss], &[(mean(&plus) + mean(&minus)) / 2.0]);
        close("pgpe gradient", &estimate.gradient, &key("fixed_pgpe_grad"));
        let estimate = rgs(&theta, &fixed, 8, gradient).unwrap();
        close("rgs loss", &[estimate.loss], &[mean(&plus)]);
        close("rgs gradient", &estimate.gradient, &key("fixed_rgs_grad"));
        // The project's own noise: mean over the pseudo-random directions of a few hundred estimates.
        let ours: Vec<_> = (0..100).map(|step| rgs(&theta, &noise(step, sigma), 4, gradient).unwrap()).collect();
        let reference = [key("mc_loss"), key("mc_rgs_antithetic_grad")].concat();
        let error = [key("mc_loss_se"), key("mc_rgs_antithetic_grad_se")].concat();
        assert_agrees(&format!("rgs σ = {text}"), &statistics(&ours), &reference, &error);
        let ours: Vec<_> = (0..100).map(|step| pgpe(&theta, &noise(step, sigma), 4, loss).unwrap()).collect();
        let reference = [key("mc_loss"), key("mc_pgpe_grad")].concat();
        let error = [key("mc_loss_se"), key("mc_pgpe_grad_se")].concat();
        assert_agrees(&format!("pgpe σ = {text}"), &statistics(&ours), &reference, &error);
    }
}

/// A loss in f32 whose gradient has awkward bits, a negative zero among them.
fn awkward(theta: &[f32]) -> Result<(f64, Vec<f32>), TrainError> {
    let gradient = theta.iter().map(|&t| if t > 1.0 { -0.0 } else { (t * 0.1).sin() / 3.0 }).collect();
    Ok((theta.iter().map(|&t| f64::from(t.cos())).sum(), gradient))
}

#[test]
fn rgs_without_noise_is_grad_bit_for_bit() {
    let theta: Vec<f32> = (0..10_000).map(|i| (i as f32 * 0.37).sin() * 1.2).collect();
    let bits = |estimate: &Estimate<f32>| estimate.gradient.iter().map(|g| g.to_bits()).collect::<Vec<_>>();
    let plain = grad(&theta, awkward).unwrap();
    for samples in [1, 2, 3, 7, 10] {
        let zero_sigma = rgs(&theta, &noise(1, 0.0), samples, awkward).unwrap();
        assert_eq!(bits(&zero_sigma), bits(&plain), "σ = 0, {samples} samples");
        assert_eq!(zero_sigma.loss.to_bits(), plain.loss.to_bits());
        let zeros = Fixed { sigma: 1.0, parameters: theta.len(), values: vec![0.0; theta.len() * samples as usize] };
        let zero_noise = rgs(&theta, &zeros, samples, awkward).unwrap();
        assert_eq!(bits(&zero_noise), bits(&plain), "zero noise, {samples} samples");
    }
    assert_ne!(bits(&rgs(&theta, &noise(1, 0.1), 2, awkward).unwrap()), bits(&plain));
}

#[test]
fn perturbed_parameters_are_those_of_the_engine() {
    let theta: Vec<f32> = (0..9001).map(|i| (i as f32).cos()).collect();
    let source = noise(4, 0.01);
    let mut delta = vec![0.0; theta.len()];
    source.stream(2).gaussian(0, &mut delta);
    for sign in [1.0_f32, -1.0] {
        let mut sample = vec![0.0; theta.len()];
        source.perturb(&theta, 2, sign, &mut sample);
        for i in 0..theta.len() {
            assert_eq!(sample[i].to_bits(), (theta[i] + sign * source.sigma * delta[i]).to_bits(), "element {i}");
        }
    }
}

#[test]
fn estimates_do_not_depend_on_the_number_of_threads() {
    let theta: Vec<f32> = (0..20_000).map(|i| (i as f32 * 0.11).sin()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let a = pgpe(&theta, &noise(9, 0.01), 6, |t| awkward(t).map(|(loss, _)| loss)).unwrap();
            let b = rgs(&theta, &noise(9, 0.01), 3, awkward).unwrap();
            (a, b)
        })
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(5));
}

#[test]
fn estimators_refuse_what_they_cannot_do() {
    let refusal = pgpe(&[0.0_f32], &noise(0, 0.0), 2, |_| Ok(1.0)).unwrap_err().to_string();
    assert!(refusal.contains("σ > 0") && refusal.contains("smoothing.sigma"), "{refusal}");
    let refusal = pgpe_gradient::<f32>(3, &noise(0, 0.1), &[]).unwrap_err().to_string();
    assert!(refusal.contains("pair"), "{refusal}");
    let refusal = rgs(&[0.0_f32], &noise(0, 0.1), 0, awkward).unwrap_err().to_string();
    assert!(refusal.contains("at least one sample"), "{refusal}");
}

/// With factors, ∇L_σ of a linear loss stays its slope, what has the factor 0 stays where it is, and δ has the deviations
/// σ·s that were asked for.
#[test]
fn factors_of_sigma_leave_the_gradient_of_a_linear_loss() {
    let slope: Vec<f64> = (0..40).map(|i| f64::from(i % 7) - 3.0).collect();
    let scales: Vec<f32> = (0..40).map(|i| [0.0, 0.01, 1.0, 30.0][i % 4]).collect();
    let theta = vec![0.5_f64; 40];
    let noise = Perturbation { scales: Some(&scales), ..noise(3, 0.1) };
    let mut squares = vec![0.0; 40];
    let pairs = 2_000;
    let loss = |sample: &[f64]| Ok(sample.iter().zip(&slope).map(|(t, a)| t * a).sum());
    let found = pgpe(&theta, &noise, pairs, |sample| {
        squares.iter_mut().zip(sample).for_each(|(sum, t)| *sum += (t - 0.5).powi(2));
        loss(sample)
    })
    .unwrap();
    let exact = rgs(&theta, &noise, 2, |sample| Ok((loss(sample)?, slope.clone()))).unwrap();
    for (i, &s) in scales.iter().enumerate() {
        let deviation = (squares[i] / (2 * pairs) as f64).sqrt();
        // Six standard errors of a deviation.
        let error = 6.0 * 0.1 * f64::from(s) / f64::from(2 * pairs as u32).sqrt();
        assert!((deviation - 0.1 * f64::from(s)).abs() <= error, "{i}: {deviation}");
        assert_eq!(exact.gradient[i], slope[i]);
        // The standard error of Σⱼ aⱼ δⱼ δᵢ / δᵢ²: what the other elements move the loss by, in units of this one's noise.
        let others: f64 = (0..40).map(|j| (slope[j] * f64::from(scales[j])).powi(2)).sum();
        let error = if s > 0.0 { (others / pairs as f64).sqrt() / f64::from(s) } else { 0.0 };
        let expected = if s > 0.0 { slope[i] } else { 0.0 };
        assert!((found.gradient[i] - expected).abs() <= 6.0 * error, "{i}: {} not {expected}", found.gradient[i]);
    }
}
