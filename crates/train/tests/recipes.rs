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
            // The network depends on the method by its cost alone.
            if profile == Profile::Smoke && ["/ibp-", "/deeppoly-"].iter().any(|part| recipe.name().contains(part)) {
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
}

/// The files in the repository's folder are the table's own; `TIGHTROPE_BLESS=1` writes them anew.
#[test]
fn files_of_the_repository_are_those_of_the_table() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut names: Vec<String> = Vec::new();
    for recipe in recipes() {
        let Some(name) = recipe.name().strip_prefix("example/") else { continue };
        let (path, text) = (folder.join(format!("{name}.toml")), recipe.toml(Profile::Paper));
        if std::env::var_os("TIGHTROPE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{}", path.display());
        names.push(format!("{name}.toml"));
    }
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

/// Every setting has every network with every method, whatever it takes; the smoke profile narrows the dearest.
#[test]
fn nothing_is_left_out_for_its_cost() {
    let all = recipes();
    let count = |setting: &str, network: &str| {
        all.iter().filter(|recipe| recipe.name().starts_with(&format!("{setting}/{network}/"))).count()
    };
    for setting in ["mnist-0.1", "mnist-0.3", "cifar10-2_255", "cifar10-8_255", "tinyimagenet-1_255", "mnist-l2-0.3"] {
        let [cnn3, cnn5, cnn7] = ["cnn3", "cnn5", "cnn7-bn"].map(|network| count(setting, network));
        assert!(cnn3 >= 39 && cnn5 == cnn3 && cnn7 == cnn3, "{setting}: {cnn3}, {cnn5}, {cnn7}");
    }
    let model = |name: &str, profile| resolved(name, profile).model;
    assert_eq!(model("cifar10-2_255/cnn7-bn/deeppoly-rgs", Profile::Paper), "cnn7-bn");
    assert_eq!(model("cifar10-2_255/cnn7-bn/deeppoly-rgs", Profile::Smoke), "cnn7-bn:4");
    assert_eq!(model("tinyimagenet-1_255/cnn7-bn/deeppoly", Profile::Smoke), "cnn7-tinyimagenet-bn:4");
    assert_eq!(model("cifar10-2_255/cnn7-bn/ibp", Profile::Smoke), "cnn7-bn");
    // Two losses cannot move a network of millions of parameters.
    assert_eq!(model("cifar10-8_255/cnn7-bn/taps-pgpe", Profile::Smoke), "cnn7-bn:4");
    assert_eq!(model("tinyimagenet-1_255/cnn5/alpha-crown-pgpe", Profile::Smoke), "cnn5:4");
    assert_eq!(model("tinyimagenet-1_255/cnn5/alpha-crown-pgpe", Profile::Paper), "cnn5");
    assert_eq!(model("mnist-0.1/cnn3/ibp-pgpe", Profile::Smoke), "cnn3");
    let told = |name: &str| recipe(name).unwrap().toml(Profile::Paper).contains("# Dear: ");
    assert!(told("mnist-0.1/cnn7-bn/deeppoly") && told("mnist-l2-0.3/cnn7-bn/ibp") && !told("mnist-0.1/cnn7-bn/ibp"));
}

/// Balls of other norms have recipes for what covers them, and methods without a gradient those by loss values.
#[test]
fn norms_and_estimators_are_those_that_methods_cover() {
    let l2 = resolved("mnist-l2-0.3/cnn3/deeppoly-rgs", Profile::Paper);
    assert_eq!((l2.norm(), l2.eps, l2.train.epochs), (tightrope_engine::Norm::L2, 0.3, 70));
    let l1 = resolved("cifar10-l1-2/cnn5/ibp", Profile::Paper);
    assert_eq!((l1.norm(), l1.eps, l1.train.flip), (tightrope_engine::Norm::L1, 2.0, true));
    let has = |part: &str| recipes().iter().any(|recipe| recipe.name().contains(part));
    assert!(
        has("mnist-0.1/cnn3/alpha-crown-pgpe") && has("mnist-0.1/cnn3/sabr-rgs") && has("mnist-l2-0.3/cnn3/pgd-grad")
    );
    for part in ["alpha-crown-grad", "alpha-crown-rgs", "mnist-l2-0.3/cnn3/sabr", "mnist-l1-1/cnn3/alpha-crown"] {
        assert!(!has(part), "{part}");
    }
    let sabr = "norm = \"2\"\n[method]\nname = \"sabr\"\n";
    let message = Config::parse(sabr, "(test)", &[]).unwrap_err().to_string();
    assert!(message.contains("`norm` = \"2\"") && message.contains("sabr"), "{message}");
    assert!(Config::parse(&format!("{sabr}box_share = 1.0"), "(test)", &[]).is_ok());
}

/// A beginning is answered with what begins so.
#[test]
fn beginnings_are_answered_with_the_names() {
    let message = recipe("mnist-0.1/cnn3/deep").err().unwrap().to_string();
    assert!(message.contains("3 begin so") && message.contains("mnist-0.1/cnn3/deeppoly-pgpe"), "{message}");
    let message = recipe("mnist").err().unwrap().to_string();
    assert!(message.contains(" more; "), "{message}");
}
