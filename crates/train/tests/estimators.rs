//! Estimates of a step's gradient: control variates, and pairs with images of their own.

mod common;

use common::bars;
use tightrope_data::Split;
use tightrope_engine::{Engine, Norm, Perturbation, Reference};
use tightrope_network::{Initialisation, Preset};
use tightrope_train::methods::{Method, Minibatch, StepThreat, method};
use tightrope_train::smoothing::{relative_scales, rgs};
use tightrope_train::{Config, Estimator, MethodSection, SmoothingKind, SmoothingSection, StepEstimate, estimate};

const SIGMA: f64 = 0.01;

fn plain(name: &str) -> Box<dyn Method> {
    method(&MethodSection { name: name.into(), ..MethodSection::default() }).unwrap()
}

/// What is estimated for `bars` on a network of random parameters at step `step`, and θ.
fn estimated(
    name: &str,
    smoothing: &SmoothingSection,
    (control, guide): (Option<&dyn Method>, Option<&dyn Method>),
    [images, step]: [usize; 2],
    relative: bool,
) -> (StepEstimate, Vec<f32>) {
    let data = bars(Split::Train, images);
    let network = Preset::Mlp.build(&data.shape, 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let threat = StepThreat { epsilon: 0.03, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    let inputs = data.images();
    let batch = Minibatch::new(&inputs, &data.labels, threat, 1.0, 7, step as u64);
    let at = Reference.load(&network, &theta, &[]).unwrap();
    let mut sample = Reference.load(&network, &theta, &[]).unwrap();
    let scales = relative.then(|| relative_scales(&network, &theta));
    let scales = scales.as_deref();
    let estimator = Estimator { smoothing, sigma: SIGMA, scales, control, guide, sam: 0.0 };
    (estimate(&*plain(name), &batch, &*at, &mut *sample, estimator, false).unwrap(), theta)
}

fn pgpe(population: u64, split: bool) -> SmoothingSection {
    SmoothingSection { kind: SmoothingKind::Pgpe, population, split, ..SmoothingSection::default() }
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum();
    let [na, nb] = [a.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>(), b.iter().map(|b| b * b).sum()];
    dot / (na * nb).sqrt()
}

/// Where the control is the loss itself, nothing is left to PGPE: the estimate is that of RGS, bit for bit.
#[test]
fn a_loss_controlled_by_itself_is_left_to_its_gradients() {
    let ibp = plain("ibp");
    let (controlled, _) = estimated("ibp", &pgpe(8, false), (Some(&*ibp), None), [12, 3], false);
    let rgs = SmoothingSection { kind: SmoothingKind::Rgs, ..SmoothingSection::default() };
    let (direct, _) = estimated("ibp", &rgs, (None, None), [12, 3], false);
    assert_eq!(controlled.estimate.gradient, direct.estimate.gradient);
    let (plain, _) = estimated("ibp", &pgpe(8, false), (None, None), [12, 3], false);
    assert_eq!(controlled.estimate.loss, plain.estimate.loss);
}

/// Estimates with and without a control, and with pairs on images of their own, have one mean: along the gradient their
/// average is as long as the gradient, within what their spread over steps allows. A control that is much like the loss brings
/// single estimates nearer to the gradient.
#[test]
fn all_estimates_have_one_mean_and_a_control_has_less_noise() {
    let near = plain("crown-ibp");
    let rgs_section = SmoothingSection { kind: SmoothingKind::Rgs, samples: 100, ..SmoothingSection::default() };
    let (reference, _) = estimated("deeppoly", &rgs_section, (None, None), [12, 1000], false);
    let reference: Vec<f64> = reference.estimate.gradient.iter().map(|&g| f64::from(g)).collect();
    let square: f64 = reference.iter().map(|g| g * g).sum();
    let cases: [(&str, SmoothingSection, Option<&dyn Method>); 4] = [
        ("plain", pgpe(64, false), None),
        ("split", pgpe(64, true), None),
        ("control", pgpe(64, false), Some(&*near)),
        ("both", pgpe(64, true), Some(&*near)),
    ];
    let steps = 48;
    let mut single = Vec::new();
    for (name, section, control) in &cases {
        let (mut along, mut cosines) = (Vec::new(), 0.0);
        for step in 0..steps {
            let (found, _) = estimated("deeppoly", section, (*control, None), [12, step], false);
            let gradient = &found.estimate.gradient;
            cosines += cosine(gradient, &reference);
            along.push(gradient.iter().zip(&reference).map(|(&g, r)| f64::from(g) * r).sum::<f64>() / square);
        }
        let count = along.len() as f64;
        let mean = along.iter().sum::<f64>() / count;
        let squares: f64 = along.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        // The reference has an error of its own of some per cent.
        assert!((mean - 1.0).abs() < 4.0 * error + 0.05 && error < 0.25, "{name}: {mean} ± {error}");
        single.push(cosines / count);
    }
    assert!(single[2] > 1.1 * single[0] && single[3] > 1.5 * single[1], "{single:?}");
}

/// A guide whose loss is the method's has, by a few pairs, about the gradient that RGS has from the same samples; one that is
/// much like it points much the same way. Plain PGPE of as many losses does not.
#[test]
fn a_guide_is_followed_as_far_as_losses_fall() {
    let reference = SmoothingSection { kind: SmoothingKind::Rgs, samples: 100, ..SmoothingSection::default() };
    let (reference, _) = estimated("deeppoly", &reference, (None, None), [12, 1000], false);
    let reference: Vec<f64> = reference.estimate.gradient.iter().map(|&g| f64::from(g)).collect();
    let of = |guide: Option<&dyn Method>| {
        let (found, _) = estimated("deeppoly", &pgpe(8, false), (None, guide), [12, 3], false);
        found.estimate.gradient
    };
    let (own, near) = (plain("deeppoly"), plain("crown-ibp"));
    let [own, near, none] = [of(Some(&*own)), of(Some(&*near)), of(None)].map(|g| (cosine(&g, &reference), g));
    assert!(own.0 > 0.9 && near.0 > 0.5 && none.0 < 0.5, "{} {} {}", own.0, near.0, none.0);
    let along = |g: &[f32]| g.iter().zip(&reference).map(|(&g, r)| f64::from(g) * r).sum::<f64>();
    let square: f64 = reference.iter().map(|r| r * r).sum();
    assert!((along(&own.1) / square - 1.0).abs() < 0.2, "{}", along(&own.1) / square);
}

/// With noise of no size to speak of, every pair measures its images' loss at θ, and the parts weigh as many images as they
/// have, also where they do not divide evenly.
#[test]
fn parts_are_weighted_by_their_images() {
    for (images, population) in [(12, 8), (11, 6), (3, 12), (5, 4)] {
        let section = |split| pgpe(population, split);
        let of = |split| estimated("ibp", &section(split), (None, None), [images, 1], false).0.estimate.loss;
        let (whole, parts) = (of(false), of(true));
        // Noise of 1e-2 moves losses by some 1e-2 of their size; a part with a wrong weight would by a tenth or more.
        assert!((whole - parts).abs() < 0.05 * whole.abs(), "{images}, {population}: {whole} and {parts}");
    }
}

/// Relative noise is that of the engine with the factors of the layers' weights.
#[test]
fn relative_noise_has_the_sizes_of_the_weights() {
    let section =
        SmoothingSection { kind: SmoothingKind::Rgs, samples: 1, relative: true, ..SmoothingSection::default() };
    let (found, theta) = estimated("ibp", &section, (None, None), [12, 1], true);
    let data = bars(Split::Train, 12);
    let network = Preset::Mlp.build(&data.shape, 3, None).unwrap();
    let scales = relative_scales(&network, &theta);
    for node in network.nodes() {
        let Some(weight) = node.layer.parameters().weight else { continue };
        let weights = &theta[network.parameters().get(weight).range()];
        let rms = (weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64).sqrt();
        for id in node.layer.parameters().iter() {
            assert!(
                scales[network.parameters().get(id).range()].iter().all(|&s| (f64::from(s) - rms).abs() < 1e-6 * rms)
            );
        }
    }
    let noise = Perturbation { scales: Some(&scales), ..Perturbation::new(7, 1, SIGMA as f32) };
    let threat = StepThreat { epsilon: 0.03, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    let inputs = data.images();
    let batch = Minibatch::new(&inputs, &data.labels, threat, 1.0, 7, 1);
    let direct = rgs(&theta, &noise, 1, |moved| {
        let at = Reference.load(&network, moved, &[]).unwrap();
        let (evaluated, gradient) = plain("ibp").gradient(&batch, &*at)?;
        Ok((evaluated.loss, gradient))
    });
    assert_eq!(found.estimate.gradient, direct.unwrap().gradient);
}

#[test]
fn what_only_pgpe_has_is_refused_elsewhere() {
    let message = |text: &str| Config::parse(text, "(test)", &["model=mlp".into()]).unwrap_err().to_string();
    assert!(message("[smoothing]\nkind = \"rgs\"\ncontrol = \"ibp\"").contains("smoothing.control"));
    assert!(message("[smoothing]\nsplit = true").contains("smoothing.split"));
    assert!(message("[smoothing]\nkind = \"pgpe\"\ncontrol = \"ibq\"").contains("did you mean `ibp`"));
    assert!(message("[smoothing]\nkind = \"pgpe\"\ncontrol = \"alpha-crown\"").contains("has no gradient"));
    // The run's own method is helped by with its own objective: what is advised must not be what is refused.
    for (name, other) in [("crown-ibp", "choose ibp, or"), ("ibp", "choose crown-ibp, or")] {
        let text = |control: &str| {
            let method = format!("[method]\nname = \"{name}\"\nobjective = \"certified-error\"");
            format!("{method}\n[smoothing]\nkind = \"pgpe\"\ncontrol = \"{control}\"")
        };
        let told = message(&text(name));
        assert!(
            told.contains("smoothing.control") && told.contains("method.objective") && told.contains(other),
            "{told}"
        );
        let advised = if name == "ibp" { "crown-ibp" } else { "ibp" };
        Config::parse(&text(advised), "(test)", &["model=mlp".into()]).unwrap();
    }
    Config::parse("[smoothing]\nkind = \"pgpe\"\ncontrol = \"ibp\"\nsplit = true", "(test)", &["model=mlp".into()])
        .unwrap();
}
