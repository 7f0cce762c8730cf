//! The training losses and their gradients.

mod common;

use common::bars;
use tightrope_data::Split;
use tightrope_engine::{Norm, Perturbation, Reference};
use tightrope_network::{Initialisation, Network, Preset};
use tightrope_train::methods::{METHODS, Minibatch, method};
use tightrope_train::smoothing::Noise;

fn with_batch(robust_weight: f64, test: impl Fn(&Network, &Minibatch<'_>, &[f32])) {
    let data = bars(Split::Train, 12);
    let network = Preset::Mlp.build(&data.shape, 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let batch = Minibatch {
        engine: &Reference,
        network: &network,
        inputs: &data.images,
        labels: &data.labels,
        epsilon: 0.03,
        norm: Norm::Inf,
        clip: Some((0.0, 1.0)),
        robust_weight,
        seed: 0,
        step: 0,
    };
    test(&network, &batch, &theta);
}

/// L(θ+hd) − L(θ−hd) along the gradient and along random directions is 2h·(g·d).
#[test]
fn gradients_are_those_of_the_loss() {
    for robust_weight in [1.0, 0.4, 0.0] {
        with_batch(robust_weight, |_, batch, theta| {
            for name in METHODS {
                let method = method(name).unwrap();
                let (evaluated, gradient) = method.gradient(batch, theta).unwrap();
                assert_eq!(evaluated, method.loss(batch, theta).unwrap(), "{name}");
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let h = 1e-2;
                let at = |sign: f64| {
                    let step = |(&t, &g): (&f32, &f32)| (f64::from(t) + sign * h * f64::from(g) / norm) as f32;
                    let moved: Vec<f32> = theta.iter().zip(&gradient).map(step).collect();
                    method.loss(batch, &moved).unwrap().loss
                };
                let slope = (at(1.0) - at(-1.0)) / (2.0 * h);
                assert!((slope - norm).abs() < 2e-2 * norm, "{name} w = {robust_weight}: slope {slope} against {norm}");
            }
        });
    }
}

/// The mixture is made of the natural and the certified loss, and parts of weight 0 leave no trace.
#[test]
fn robust_weight_mixes_the_two_losses() {
    with_batch(0.25, |_, batch, theta| {
        let ibp = method("ibp").unwrap();
        let at = |robust_weight| ibp.gradient(&Minibatch { robust_weight, ..*batch }, theta).unwrap();
        let ((natural, natural_g), (certified, certified_g), (mixed, mixed_g)) = (at(0.0), at(1.0), at(0.25));
        assert!((mixed.loss - 0.75 * natural.loss - 0.25 * certified.loss).abs() < 1e-6);
        for ((m, n), c) in mixed_g.iter().zip(&natural_g).zip(&certified_g) {
            assert!((m - 0.75 * n - 0.25 * c).abs() < 1e-5);
        }
        assert_eq!((natural.certified, certified.natural_correct), (None, None));
        assert!(mixed.certified.is_some() && mixed.natural_correct.is_some());
        let standard = method("standard").unwrap().gradient(batch, theta).unwrap();
        assert_eq!(standard.1, natural_g);
        assert!(certified.loss > natural.loss, "the certified loss is an upper bound of the natural one");
    });
}

/// Losses of a population, by the engine or one by one, are the losses at the perturbed parameters.
#[test]
fn population_losses_are_losses_at_perturbed_parameters() {
    let perturbation = Perturbation { seed: 3, step: 8, sigma: 0.01 };
    with_batch(0.5, |_, batch, theta| {
        for name in ["ibp", "deeppoly", "standard"] {
            let method = method(name).unwrap();
            let losses = method.population_loss(batch, theta, perturbation, 2..5).unwrap();
            assert_eq!(losses.len(), 3);
            for (pair, both) in (2..5).zip(losses) {
                for (value, sign) in both.into_iter().zip([1.0, -1.0]) {
                    let mut sample = vec![0.0; theta.len()];
                    perturbation.perturb(theta, pair, sign, &mut sample);
                    let expected = method.loss(batch, &sample).unwrap().loss;
                    assert!((value - expected).abs() < 1e-6 * (1.0 + expected), "{name}: {value} against {expected}");
                }
            }
        }
    });
}

#[test]
fn methods_of_later_versions_say_so() {
    for name in ["sabr", "taps", "staps", "mtl-ibp", "cc-ibp", "exp-ibp", "pgd"] {
        let message = method(name).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("not in this version") && message.contains("deeppoly"), "{name}: {message}");
    }
    assert!(METHODS.iter().all(|name| method(name).is_ok_and(|method| method.name() == *name)));
}
