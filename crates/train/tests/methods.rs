//! The training losses and their gradients.

mod common;

use common::bars;
use tightrope_data::Split;
use tightrope_engine::{Engine, Loaded, Norm, Perturbation, Reference};
use tightrope_network::{Initialisation, Network, Preset};
use tightrope_train::MethodSection;
use tightrope_train::methods::{METHODS, Method, Minibatch, StepThreat, method};
use tightrope_train::smoothing::Noise;

/// The method called `name` with its default settings.
fn plain(name: &str) -> Box<dyn Method> {
    method(&MethodSection { name: name.into(), ..MethodSection::default() }).unwrap()
}

fn load(network: &Network, theta: &[f32]) -> Box<dyn Loaded<f32>> {
    Reference.load(network, theta, &[]).unwrap()
}

fn with_batch(robust_weight: f64, test: impl Fn(&Network, &Minibatch<'_>, &[f32])) {
    let data = bars(Split::Train, 12);
    let network = Preset::Mlp.build(&data.shape, 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let threat = StepThreat { epsilon: 0.03, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    let batch = Minibatch::new(&data.images, &data.labels, threat, robust_weight, 0, 0);
    test(&network, &batch, &theta);
}

/// (L(θ±hd) − L(θ))/h along the gradient is ±g·d; the loss jumps where a lower slope flips, and for `hbox` wherever one of
/// many neurons becomes unstable, so one side and one step will do.
#[test]
fn gradients_are_those_of_the_loss() {
    for robust_weight in [1.0, 0.4, 0.0] {
        with_batch(robust_weight, |network, batch, theta| {
            let at_theta = load(network, theta);
            for name in METHODS.map(|info| info.name) {
                let method = plain(name);
                let (evaluated, gradient) = method.gradient(batch, &*at_theta).unwrap();
                assert_eq!(evaluated, method.loss(batch, &*at_theta).unwrap(), "{name}");
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let at = |h: f64| {
                    let step = |(&t, &g): (&f32, &f32)| (f64::from(t) + h * f64::from(g) / norm) as f32;
                    let moved: Vec<f32> = theta.iter().zip(&gradient).map(step).collect();
                    method.loss(batch, &*load(network, &moved)).unwrap().loss
                };
                let slopes = [1e-2, -1e-2, 2e-3, -2e-3, 5e-4, -5e-4].map(|h| (at(h) - evaluated.loss) / h);
                let fits = |slope: &f64| (slope - norm).abs() < 2e-2 * norm;
                assert!(slopes.iter().any(fits), "{name} w = {robust_weight}: slopes {slopes:?} against {norm}");
            }
        });
    }
}

/// The mixture is made of the natural and the certified loss, and parts of weight 0 leave no trace.
#[test]
fn robust_weight_mixes_the_two_losses() {
    with_batch(0.25, |network, batch, theta| {
        let (ibp, loaded) = (plain("ibp"), load(network, theta));
        let at = |robust_weight| {
            let mut batch = batch.clone();
            batch.robust_weight = robust_weight;
            ibp.gradient(&batch, &*loaded).unwrap()
        };
        let ((natural, natural_g), (certified, certified_g), (mixed, mixed_g)) = (at(0.0), at(1.0), at(0.25));
        assert!((mixed.loss - 0.75 * natural.loss - 0.25 * certified.loss).abs() < 1e-6);
        for ((m, n), c) in mixed_g.iter().zip(&natural_g).zip(&certified_g) {
            assert!((m - 0.75 * n - 0.25 * c).abs() < 1e-5);
        }
        assert_eq!((natural.certified, certified.natural_correct), (None, None));
        assert!(mixed.certified.is_some() && mixed.natural_correct.is_some());
        let standard = plain("standard").gradient(batch, &*loaded).unwrap();
        assert_eq!(standard.1, natural_g);
        assert!(certified.loss > natural.loss, "the certified loss is an upper bound of the natural one");
    });
}

/// Losses of a population, by the engine or one by one, are the losses at the perturbed parameters.
#[test]
fn population_losses_are_losses_at_perturbed_parameters() {
    let perturbation = Perturbation { seed: 3, step: 8, sigma: 0.01 };
    with_batch(0.5, |network, batch, theta| {
        let at = load(network, theta);
        for name in ["ibp", "deeppoly", "standard"] {
            let method = plain(name);
            let losses = method.population_loss(batch, &*at, perturbation, 2..5).unwrap();
            assert_eq!(losses.len(), 3);
            for (pair, both) in (2..5).zip(losses) {
                for (value, sign) in both.into_iter().zip([1.0, -1.0]) {
                    let mut sample = vec![0.0; theta.len()];
                    perturbation.perturb(theta, pair, sign, &mut sample);
                    let expected = method.loss(batch, &*load(network, &sample)).unwrap().loss;
                    assert!((value - expected).abs() < 1e-6 * (1.0 + expected), "{name}: {value} against {expected}");
                }
            }
        }
    });
}

#[test]
fn every_name_makes_the_method_and_others_are_answered_with_the_list() {
    for info in METHODS {
        for name in [info.name].iter().chain(info.aliases) {
            assert_eq!(plain(name).name(), info.name, "{name}");
        }
    }
    let message = method(&MethodSection { name: "deeppony".into(), ..MethodSection::default() }).err().unwrap();
    let message = message.to_string();
    assert!(METHODS.iter().all(|info| message.contains(&info.listed())), "{message}");
    assert!(message.contains("did you mean `deeppoly`"), "{message}");
}
