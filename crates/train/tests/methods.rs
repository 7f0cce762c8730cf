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

/// The method called `name` with these settings beside its defaults.
fn with(name: &str, settings: &str) -> Box<dyn Method> {
    method(&toml::from_str(&format!("name = \"{name}\"\n{settings}")).unwrap()).unwrap()
}

/// As [`plain`], with what makes the gradient that of a function: worst points stay those of θ, and latent points are
/// those at fixed shares of their box.
fn smooth(name: &str) -> Box<dyn Method> {
    let info = METHODS.iter().find(|info| info.name == name).unwrap();
    let keys = info.keys().unwrap();
    let settings = [
        ("attack_at", "\"mean\""),
        ("latent_steps", "0"),
        ("latent_link", "1"),
        ("latent_share", "0.5"),
        ("regulariser", "0.25"),
        ("shrinkage", "0.8"),
    ];
    let taken = settings.iter().filter(|(key, _)| keys.iter().any(|own| own.path == format!("method.{key}")));
    with(name, &taken.map(|(key, value)| format!("{key} = {value}\n")).collect::<String>())
}

/// The batch as at the first step: nothing is kept of other methods.
fn fresh<'a>(batch: &Minibatch<'a>) -> Minibatch<'a> {
    let mut new = Minibatch::new(batch.inputs, batch.labels, batch.threat, batch.robust_weight, batch.seed, batch.step);
    new.warmup = batch.warmup;
    new
}

fn load(network: &Network, theta: &[f32]) -> Box<dyn Loaded<f32>> {
    Reference.load(network, theta, &[]).unwrap()
}

fn with_batch(robust_weight: f64, test: impl Fn(&Network, &Minibatch<'_>, &[f32])) {
    let data = bars(Split::Train, 12);
    let network = Preset::Mlp.build(&data.shape, 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let threat = StepThreat { epsilon: 0.03, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
    let images = data.images();
    let batch = Minibatch::new(&images, &data.labels, threat, robust_weight, 0, 0);
    test(&network, &batch, &theta);
}

/// L(θ+hd) − L(θ−hd) along the gradient is 2h·(g·d).
#[test]
fn gradients_are_those_of_the_loss() {
    for (robust_weight, epsilon) in [(1.0, 1.0), (0.4, 1.0), (0.0, 1.0), (1.0, 0.5)] {
        with_batch(robust_weight, |network, batch, theta| {
            let at_theta = load(network, theta);
            for name in METHODS.map(|info| info.name) {
                let method = smooth(name);
                if !method.differentiable() {
                    continue;
                }
                let batch = &mut fresh(batch);
                batch.warmup.epsilon = epsilon;
                let batch = &*batch;
                method.prepare(batch, &*at_theta).unwrap();
                let (evaluated, gradient) = method.gradient(batch, &*at_theta).unwrap();
                assert_eq!(evaluated, method.loss(batch, &*at_theta).unwrap(), "{name}");
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let at = |distance: f64| {
                    let step = |(&t, &g): (&f32, &f32)| (f64::from(t) + distance * f64::from(g) / norm) as f32;
                    let moved: Vec<f32> = theta.iter().zip(&gradient).map(step).collect();
                    method.loss(batch, &*load(network, &moved)).unwrap().loss
                };
                // Regularisers jump where a neuron becomes active; between two jumps there is a step that fits.
                let mut slopes = [1e-2, 3e-3, 1e-3, 3e-4].map(|h| (at(h) - at(-h)) / (2.0 * h)).to_vec();
                // Hybrid zonotopes jump as well, wherever one of many neurons loses its form by becoming unstable. A jump on
                // one side lies in all differences of both sides that are wide enough for f32, but not in the other side's.
                if name == "hbox" {
                    slopes.extend([1e-2, -1e-2, 2e-3, -2e-3, 5e-4, -5e-4].map(|h| (at(h) - evaluated.loss) / h));
                }
                let fits = |slope: &f64| (slope - norm).abs() < 2e-2 * norm;
                assert!(slopes.iter().any(fits), "{name} w = {robust_weight}: slopes {slopes:?} against {norm}");
            }
        });
    }
}

/// Where methods are others with a setting at its end, they are them bit for bit, gradients included.
#[test]
fn the_ends_of_settings_are_other_methods() {
    with_batch(0.75, |network, batch, theta| {
        let at = load(network, theta);
        let evaluated = |method: Box<dyn Method>| {
            let (evaluated, gradient) = method.gradient(&fresh(batch), &*at).unwrap();
            (evaluated.loss, evaluated.natural_loss, gradient)
        };
        let (ibp, pgd, sabr) = (evaluated(plain("ibp")), evaluated(plain("pgd")), evaluated(plain("sabr")));
        assert_eq!(evaluated(with("sabr", "box_share = 1")), ibp);
        assert_eq!(evaluated(with("taps", "latent_layers = 0")), ibp);
        assert_eq!(evaluated(with("staps", "latent_layers = 0\nbox_share = 1")), ibp);
        assert_eq!(evaluated(with("staps", "latent_layers = 0")), sabr);
        assert_eq!(evaluated(with("staps", "box_share = 1")), evaluated(plain("taps")));
        assert_eq!(evaluated(with("crown-ibp", "beta_start = 0\nbeta_end = 0")), ibp);
        for name in ["mtl-ibp", "cc-ibp", "exp-ibp"] {
            assert_eq!(evaluated(with(name, "alpha = 1")), ibp, "{name}");
            assert_eq!(evaluated(with(name, "alpha = 0")), pgd, "{name}");
            let deeppoly = with(name, "alpha = 1\nrelaxation = \"crown\"");
            assert_eq!(evaluated(deeppoly), evaluated(plain("deeppoly")), "{name}");
            let between = evaluated(plain(name)).0;
            assert!(pgd.0 < between && between < ibp.0, "{name}: {} < {between} < {}", pgd.0, ibp.0);
        }
        assert!(pgd.0 < sabr.0 && sabr.0 < ibp.0);
        assert_eq!(evaluated(with("sabr", "shrinkage = 1")), sabr);
        let shrunk = evaluated(with("sabr", "shrinkage = 0.5"));
        assert!(pgd.0 < shrunk.0 && shrunk.0 < sabr.0);
    });
}

/// Margins of shrunk ReLUs certify nothing, and are counted as nothing.
#[test]
fn shrunk_relus_train_alone() {
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let certified = |settings: &str| with("sabr", settings).loss(&fresh(batch), &*at).unwrap().certified;
        assert!(certified("box_share = 1").is_some());
        assert_eq!(certified("box_share = 1\nshrinkage = 0.5"), None);
        let perturbation = Perturbation::new(5, 1, 0.02);
        let losses =
            |settings: &str| with("sabr", settings).population_loss(&fresh(batch), &*at, perturbation, 0..3).unwrap();
        let [whole, shrunk] = ["1", "0.5"].map(|c| losses(&format!("box_share = 1\nshrinkage = {c}")));
        assert!(whole.iter().flatten().zip(shrunk.iter().flatten()).all(|(whole, shrunk)| shrunk < whole));
    });
    let refused = tightrope_train::Config::parse(
        "model = \"mlp\"\n[method]\nname = \"sabr\"\nrelaxation = \"crown\"\nshrinkage = 0.5",
        "(test)",
        &[],
    );
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("method.shrinkage") && message.contains("method.relaxation"), "{message}");
}

/// Attacks raise the loss, more with more steps, and stay where they may be.
#[test]
fn attacks_raise_the_loss() {
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let loss = |settings: &str| with("pgd", settings).loss(&fresh(batch), &*at).unwrap().loss;
        let natural = plain("standard").loss(batch, &*at).unwrap().loss;
        let (random, attacked) = (loss("attack_steps = 0"), loss("attack_steps = 10"));
        assert!(natural < attacked && random < attacked, "{natural}, {random}, {attacked}");
        assert!(loss("attack_restarts = 3") >= loss("attack_restarts = 1"));
        assert!((loss("attack_eps_factor = 0") - natural).abs() < 1e-6);
        assert!(loss("attack_eps_factor = 2") > attacked);
        assert!(attacked <= plain("crown-ibp").loss(batch, &*at).unwrap().loss);
    });
}

/// Under smoothing, every member is attacked from the same starts; with "mean", all are evaluated at the points of θ.
#[test]
fn members_are_attacked_each_or_together() {
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let mut moved = theta.to_vec();
        Perturbation::new(1, 2, 0.05).perturb(theta, 0, 1.0, &mut moved);
        let moved = load(network, &moved);
        let own = plain("pgd").loss(&fresh(batch), &*moved).unwrap().loss;
        let mean = with("pgd", "attack_at = \"mean\"");
        let shared = fresh(batch);
        mean.prepare(&shared, &*at).unwrap();
        let together = mean.loss(&shared, &*moved).unwrap().loss;
        assert!(together < own, "{together} against {own}");
        assert_eq!(mean.loss(&shared, &*at).unwrap(), plain("pgd").loss(&fresh(batch), &*at).unwrap());
        let again = fresh(batch);
        plain("pgd").prepare(&again, &*at).unwrap();
        assert_eq!(plain("pgd").loss(&again, &*moved).unwrap().loss, own);
    });
}

/// β falls with the time of the warm-up, regularisers with ε, latent parts wait until ε is up.
#[test]
fn parts_follow_the_warm_up() {
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let loss = |method: &dyn Method, time: f64, epsilon: f64| {
            let mut batch = fresh(batch);
            (batch.warmup.time, batch.warmup.epsilon) = (time, epsilon);
            method.loss(&batch, &*at).unwrap().loss
        };
        let (ibp, crown) = (plain("ibp"), plain("crown-ibp"));
        let falling = with("crown-ibp", "beta_end = 0");
        assert_eq!(loss(&*falling, 0.0, 0.5), loss(&*crown, 0.0, 0.5));
        assert_eq!(loss(&*falling, 1.0, 1.0), loss(&*ibp, 1.0, 1.0));
        let half = loss(&*falling, 0.5, 0.5);
        assert!(loss(&*crown, 0.5, 0.5) < half && half < loss(&*ibp, 0.5, 0.5));
        let regularised = with("ibp", "regulariser = 0.5");
        let excess = |epsilon: f64| loss(&*regularised, 0.5, epsilon) - loss(&*ibp, 0.5, epsilon);
        assert_eq!(excess(1.0), 0.0);
        assert!(excess(0.5) > 0.0 && (excess(0.0) - 2.0 * excess(0.5)).abs() < 1e-6 * excess(0.0));
        let taps = plain("taps");
        assert_eq!(loss(&*taps, 0.9, 0.9), loss(&*ibp, 0.9, 0.9));
        assert_ne!(loss(&*taps, 1.0, 1.0), loss(&*ibp, 1.0, 1.0));
    });
}

/// What has no gradient is refused under anything but pgpe, and trains there.
#[test]
fn certified_error_is_for_pgpe() {
    let refused = |kind: &str| {
        let text = format!(
            "model = \"mlp\"\n[method]\nname = \"deeppoly\"\nobjective = \"certified-error\"\n[smoothing]\nkind = \"{kind}\""
        );
        tightrope_train::Config::parse(&text, "(test)", &[]).err().map(|error| error.to_string())
    };
    assert!(refused("grad").unwrap().contains("smoothing.kind"));
    assert!(refused("rgs").unwrap().contains("pgpe"));
    assert_eq!(refused("pgpe"), None);
    let perturbation = Perturbation::new(3, 8, 0.3);
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let method = with("deeppoly", "objective = \"certified-error\"");
        let losses = method.population_loss(batch, &*at, perturbation, 0..4).unwrap();
        let count = batch.labels.len() as f64;
        assert!(losses.iter().flatten().all(|loss| (loss * count - (loss * count).round()).abs() < 1e-9));
        assert!(losses.iter().flatten().any(|&loss| loss != losses[0][0]));
    });
}

/// Optimised slopes lie between DeepPoly's loss, which is theirs without a step, and that of an attack; they are for pgpe
/// alone, for the 0/1 error as well.
#[test]
fn optimised_slopes_train_by_pgpe_alone() {
    let parsed = |objective: &str, kind: &str| {
        let text = format!(
            "model = \"mlp\"\n[method]\nname = \"alpha-crown\"\nobjective = \"{objective}\"\n[smoothing]\nkind = \"{kind}\""
        );
        tightrope_train::Config::parse(&text, "(test)", &[]).err().map(|error| error.to_string())
    };
    for kind in ["grad", "rgs"] {
        let message = parsed("cross-entropy", kind).unwrap();
        assert!(["smoothing.kind", "alpha-crown", "pgpe"].iter().all(|part| message.contains(part)), "{message}");
    }
    assert_eq!([parsed("cross-entropy", "pgpe"), parsed("certified-error", "pgpe")], [None, None]);
    with_batch(1.0, |network, batch, theta| {
        let theta: Vec<f32> = theta.iter().map(|t| 3.0 * t).collect();
        let at = load(network, &theta);
        let loss = |method: Box<dyn Method>| method.loss(&fresh(batch), &*at).unwrap().loss;
        let slopes = |steps: usize| loss(with("alpha-crown", &format!("slope_steps = {steps}")));
        let (deeppoly, attacked) = (loss(plain("deeppoly")), loss(with("pgd", "attack_steps = 20")));
        let (few, many) = (slopes(2), slopes(10));
        assert_eq!(slopes(0), deeppoly);
        assert!(attacked <= many && many <= few && few < deeppoly, "{attacked}, {many}, {few}, {deeppoly}");
        assert_eq!(few, slopes(2));
        let cheap =
            |steps: usize| loss(with("alpha-crown", &format!("slope_steps = {steps}\nintermediate = \"crown-ibp\"")));
        assert_eq!(cheap(0), loss(plain("crown-ibp")));
        assert!(attacked <= cheap(5) && cheap(5) < cheap(0));
        let section = toml::from_str("name = \"alpha-crown\"\nintermediate = \"ibp\"").unwrap();
        let message = method(&section).err().unwrap().to_string();
        assert!(message.contains("method.intermediate") && message.contains("crown-skip-ibp"), "{message}");
        assert!(plain("alpha-crown").gradient(&fresh(batch), &*at).is_err());
        let errors = |name: &str| loss(with(name, "objective = \"certified-error\""));
        assert!(errors("alpha-crown") <= errors("deeppoly"));
        let perturbation = Perturbation::new(3, 8, 0.05);
        let on = |threads: usize, name: &str| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| plain(name).population_loss(&fresh(batch), &*at, perturbation, 0..4).unwrap())
        };
        assert_eq!(on(1, "alpha-crown"), on(3, "alpha-crown"));
        let pairs = on(1, "alpha-crown").concat().into_iter().zip(on(1, "deeppoly").concat());
        assert!(pairs.into_iter().all(|(optimised, plain)| optimised < plain));
    });
}

/// The fused loss lies above what an attack reaches, here between the losses of margins and of intervals, and has the
/// gradient of its differences. It counts nothing as certified.
#[test]
fn the_fused_loss_bounds_the_cross_entropy() {
    let fused = |more: &str| with("crown-ibp", &format!("loss_fusion = true\n{more}"));
    for epsilon in [0.01, 0.03, 0.1, 0.3] {
        with_batch(1.0, |network, batch, theta| {
            let at = load(network, theta);
            let threat = StepThreat { epsilon, ..batch.threat };
            let batch = Minibatch::new(batch.inputs, batch.labels, threat, 1.0, 0, 0);
            let loss = |method: Box<dyn Method>| method.loss(&fresh(&batch), &*at).unwrap();
            let found = loss(fused(""));
            assert_eq!(found.certified, None);
            let attacked = loss(with("pgd", "attack_steps = 20\nattack_restarts = 3")).loss;
            assert!(found.loss > attacked, "ε = {epsilon}: {} and {attacked}", found.loss);
            let (margins, intervals) = (loss(plain("crown-ibp")).loss, loss(plain("ibp")).loss);
            assert!(
                margins < found.loss && found.loss < intervals,
                "ε = {epsilon}: {}, {margins}, {intervals}",
                found.loss
            );
        });
    }
    for (robust_weight, epsilon, more) in [(1.0, 1.0, ""), (0.6, 0.5, "regulariser = 0.25")] {
        with_batch(robust_weight, |network, batch, theta| {
            let at = load(network, theta);
            let mut batch = fresh(batch);
            batch.warmup.epsilon = epsilon;
            let method = fused(more);
            let (evaluated, gradient) = method.gradient(&batch, &*at).unwrap();
            assert_eq!(evaluated, method.loss(&batch, &*at).unwrap());
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let moved = |distance: f64| {
                let step = |(&t, &g): (&f32, &f32)| (f64::from(t) + distance * f64::from(g) / norm) as f32;
                let theta: Vec<f32> = theta.iter().zip(&gradient).map(step).collect();
                method.loss(&batch, &*load(network, &theta)).unwrap().loss
            };
            let slopes = [1e-2, 3e-3, 1e-3].map(|h| (moved(h) - moved(-h)) / (2.0 * h));
            assert!(slopes.iter().any(|slope| (slope - norm).abs() < 1e-2 * norm), "{slopes:?} against {norm}");
        });
    }
    for other in ["beta_end = 0.5", "objective = \"certified-error\""] {
        let section = toml::from_str(&format!("name = \"crown-ibp\"\nloss_fusion = true\n{other}")).unwrap();
        assert!(method(&section).err().unwrap().to_string().contains("method.loss_fusion"), "{other}");
    }
}

/// A part of the network that cannot be cut so is refused with the numbers that can.
#[test]
fn cuts_that_do_not_exist_are_refused() {
    with_batch(1.0, |network, batch, theta| {
        let at = load(network, theta);
        let message = with("taps", "latent_layers = 7").loss(&fresh(batch), &*at).unwrap_err().to_string();
        assert!(message.contains("method.latent_layers") && message.contains("at most"), "{message}");
    });
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
    let perturbation = Perturbation::new(3, 8, 0.01);
    with_batch(0.5, |network, batch, theta| {
        let at = load(network, theta);
        for name in METHODS.map(|info| info.name) {
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
