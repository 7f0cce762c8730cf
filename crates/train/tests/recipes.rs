//! Recipes are configurations that this program takes, with the values that are published.

use std::collections::HashSet;

use tightrope_train::Config;
use tightrope_train::recipe::{Profile, recipe, recipes};

fn resolved(name: &str, profile: Profile) -> Config {
    let text = recipe(name).unwrap().toml(profile);
    Config::parse(&text, name, &[]).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

#[test]
fn every_recipe_is_a_configuration_of_its_own() {
    let all = recipes();
    let names: HashSet<&str> = all.iter().map(|recipe| recipe.name()).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() > 300);
    for recipe in &all {
        for profile in Profile::ALL {
            let text = recipe.toml(profile);
            let config = Config::parse(&text, recipe.name(), &[]);
            let config = config.unwrap_or_else(|error| panic!("{}: {error}\n{text}", recipe.name()));
            let (shape, classes) = match &config.dataset[..] {
                "mnist" => ([1, 28, 28], 10),
                "cifar10" => ([3, 32, 32], 10),
                _ => ([3, 64, 64], 200),
            };
            // The network depends on the method by nothing.
            if profile == Profile::Smoke && recipe.name().contains("/ibp-") {
                config.network(&shape, classes).unwrap();
            }
            assert!(config.warmup.end.unwrap() <= config.train.epochs as f64, "{}", recipe.name());
            assert!(config.train.milestones.unwrap().iter().all(|&m| m <= config.train.epochs as f64));
        }
    }
}

#[test]
fn values_are_the_published_ones() {
    let ibp = resolved("mnist-0.1/cnn3/ibp", Profile::Paper);
    assert_eq!((ibp.train.epochs, ibp.train.batch, ibp.train.eps, ibp.eps), (70, 256, Some(0.2), 0.1));
    assert_eq!((ibp.method.robust_weight, ibp.train.l1, ibp.train.lr), (0.7, 2e-6, 5e-4));
    assert_eq!(ibp.method.settings["regulariser"].as_float(), Some(0.5));
    let mtl = resolved("cifar10-2_255/cnn7-bn/mtl-ibp-rgs", Profile::Paper);
    assert_eq!((mtl.train.milestones, mtl.warmup.start, mtl.warmup.end), (Some(vec![120.0, 140.0]), 1.0, Some(81.0)));
    assert_eq!(mtl.method.settings["alpha"].as_float(), Some(0.01));
    assert_eq!(mtl.method.settings["attack_eps_factor"].as_float(), Some(2.0));
    assert!(mtl.train.flip && mtl.train.crop == 2);
    let sabr = resolved("cifar10-2_255/cnn5/sabr-grad", Profile::Paper);
    assert_eq!((sabr.train.eps, sabr.method.settings["box_share"].as_float()), (Some(3.0 / 255.0), Some(0.1)));
    let tuned = resolved("cifar10-2_255/cnn5-bn:64/mtl-ibp-ctrain", Profile::Paper);
    assert_eq!((tuned.model.as_str(), tuned.train.lr, tuned.train.l1), ("cnn5-bn:64", 2.7e-3, 3e-6));
    let attack = tuned.method.settings["attack_eps_factor"].as_float().unwrap() * tuned.train.eps.unwrap() * 255.0;
    assert!((attack - 4.48).abs() < 1e-3, "{attack}");
    assert_eq!(resolved("tinyimagenet-1_255/cnn7-bn/ibp", Profile::Paper).model, "cnn7-tinyimagenet-bn");
}

#[test]
fn profiles_scale_length_and_ramps() {
    let name = "mnist-0.3/cnn3/deeppoly-pgpe";
    let [smoke, short, paper] = Profile::ALL.map(|profile| resolved(name, profile));
    assert_eq!([smoke.train.epochs, short.train.epochs, paper.train.epochs], [2, 7, 70]);
    assert_eq!([smoke.warmup.end, short.warmup.end, paper.warmup.end], [Some(1.0), Some(2.0), Some(20.0)]);
    assert_eq!([smoke.limit_train, short.limit_train, paper.limit_train], [8, 10_000, 0]);
    assert_eq!([smoke.smoothing.population, paper.smoothing.population], [2, 256]);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let message = recipe("mnist-0.1/cnn3/deepoly-rgs").err().unwrap().to_string();
    assert!(message.contains("did you mean `mnist-0.1/cnn3/deeppoly-rgs`"), "{message}");
    assert!(recipes().iter().all(|recipe| !recipe.name().contains("cnn7-bn/deeppoly")));
}
