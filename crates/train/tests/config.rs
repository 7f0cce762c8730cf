//! Reading, checking and writing configurations.

use tightrope_train::{Clip, Config, Init, SmoothingKind};

fn parse(text: &str, overrides: &[&str]) -> Result<Config, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Config::parse(text, "recipe.toml", &overrides).map_err(|e| e.to_string())
}

#[test]
fn defaults_resolve_and_survive_writing() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.init, Some(Init::Ibp));
    assert_eq!(config.train.milestones.as_deref(), Some(&[14.0, 17.0][..]));
    assert_eq!((config.train.eps, config.warmup.end), (Some(0.1), Some(6.0)));
    assert_eq!(parse(&config.to_toml(), &[]).unwrap(), config);
    assert_eq!(Config::default().resolved().unwrap(), config);
    assert!(config.differences(&config).is_empty());
}

#[test]
fn numbers_are_written_short_and_read_back() {
    let overrides = ["eps=1e-10", "train.l1=1e-30", "train.grad_clip=1e25", "train.lr=5e-4", "clip=[-1, 0.1]"];
    let config = parse("", &overrides).unwrap();
    let text = config.to_toml();
    for line in ["eps = 1e-10", "l1 = 1e-30", "grad_clip = 1e25", "lr = 5e-4", "clip = [-1.0, 0.1]", "start = 0.0"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert_eq!(parse(&text, &[]).unwrap(), config);
}

/// The table of keys is what users are told; it must be all of them and nothing else.
#[test]
fn every_key_is_documented_and_no_other() {
    fn paths(prefix: &str, table: &toml::Table, list: &mut Vec<String>) {
        for (key, value) in table {
            match value.as_table() {
                Some(inner) => paths(&format!("{prefix}{key}."), inner, list),
                None => list.push(format!("{prefix}{key}")),
            }
        }
    }
    let mut written = Vec::new();
    // A method without keys of its own.
    paths("", &parse("method.name = \"standard\"", &[]).unwrap().to_toml().parse().unwrap(), &mut written);
    let mut documented: Vec<String> = Config::keys().iter().map(|key| key.path.to_string()).collect();
    written.sort();
    documented.sort();
    assert_eq!(written, documented);
}

/// Examples must work and change something, and defaults given as a value must be the true ones.
#[test]
fn examples_and_defaults_of_keys_are_true() {
    let plain = parse("", &[]).unwrap();
    for key in Config::keys() {
        let example = format!("{} = {}", key.path, key.example);
        // Keys of the same example that belong together.
        let with = match key.path {
            "warmup.start" | "train.milestones" | "smoothing.sigma_milestones" => vec!["train.epochs=70"],
            "smoothing.split" | "smoothing.control" | "smoothing.guide" => vec!["smoothing.kind=pgpe"],
            "smoothing.adapt" => vec!["smoothing.kind=rgs"],
            _ => vec![],
        };
        let before = parse("", &with).unwrap();
        let after = parse("", &[&with[..], &[&example]].concat()).unwrap_or_else(|e| panic!("{example}: {e}"));
        assert!(!before.differences(&after).is_empty(), "{example} changes nothing");
        assert!(!key.default.is_empty(), "{}", key.path);
        if format!("v = {}", key.default).parse::<toml::Table>().is_ok() {
            let default = parse("", &[&format!("{} = {}", key.path, key.default)]).unwrap();
            assert_eq!(plain.differences(&default), [], "{}", key.path);
        }
    }
}

/// Ranges that are told are those that are checked.
#[test]
fn numbers_beyond_the_range_of_their_key_are_refused() {
    for key in Config::keys() {
        let outside = match key.range.split_once(' ') {
            Some((">", least)) => vec![least.into(), "-1".into(), "nan".into(), "inf".into()],
            Some((">=", "0")) if key.kind == "whole number" => vec!["-1".into()],
            Some((">=", "0")) => vec!["-1e-9".into(), "nan".into(), "inf".into()],
            Some((">=", "0, ascending")) => vec!["[-1]".into(), "[2, 1]".into(), "[1, 1]".into(), "[inf]".into()],
            Some(("in", interval)) => {
                let zero = if interval.starts_with('(') { "0" } else { "-1e-9" };
                vec![zero.into(), "1.001".into(), "nan".into()]
            }
            Some(("from", ends)) => {
                let (least, most) = ends.split_once(" to ").unwrap();
                let (least, most): (u64, u64) = (least.parse().unwrap(), most.parse().unwrap());
                vec![(least - 1).to_string(), (most + 1).to_string()]
            }
            None => vec![],
            other => panic!("{}: {other:?}", key.path),
        };
        for value in outside {
            let message = parse("", &[&format!("{}={value}", key.path)]).expect_err(&format!("{} = {value}", key.path));
            assert!(message.contains(&format!("`{}`", key.path)), "{message}");
        }
    }
}

/// A number that TOML cannot hold may come from code.
#[test]
fn numbers_beyond_toml_are_refused() {
    let mut config = Config::default();
    config.smoothing.population = u64::MAX;
    assert!(config.resolved().unwrap_err().to_string().contains("2^63-1"));
}

#[test]
fn radii_and_ranges_that_single_precision_cannot_hold_are_refused_by_key() {
    for (override_, key) in [
        ("eps=1e39", "`eps`"),
        ("train.eps=1e39", "`train.eps`"),
        ("clip=[0, 1e-400]", "`clip`"),
        ("clip=[0, 1e-60]", "`clip`"),
        ("clip=[0, 1e39]", "`clip`"),
    ] {
        let message = parse("", &[override_]).unwrap_err();
        assert!(message.contains(key) && message.contains("single precision"), "{message}");
    }
}

#[test]
fn a_trained_network_is_no_architecture() {
    let config = parse("", &["model=nets/first.onnx"]).unwrap();
    let message = config.network(&[1, 28, 28], 10).unwrap_err().to_string();
    for part in [
        "tightrope export nets/first.onnx",
        "--model nets/first-start.json",
        "--init-from nets/first-start.safetensors",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn recipes_and_overrides() {
    let text =
        "eps = \"2/255\"\nclip = false\n[train]\nepochs = 40\nmilestones = [10, 30.5]\n[smoothing]\nkind = \"pgpe\"";
    let overrides =
        ["train.lr=1e-3", "model=cnn5", "method.name=crown", "train.eps=4/255", "smoothing.sigma = 0.01", "norm=\"2\""];
    let config = parse(text, &overrides).unwrap();
    assert_eq!((config.eps, config.train.eps), (2.0 / 255.0, Some(4.0 / 255.0)));
    assert_eq!((config.train.lr, config.model.as_str(), config.method.name.as_str()), (1e-3, "cnn5", "deeppoly"));
    assert_eq!((config.smoothing.kind, config.smoothing.sigma), (SmoothingKind::Pgpe, 0.01));
    assert_eq!(config.train.milestones, Some(vec![10.0, 30.5]));
    assert_eq!((config.clip, config.clip()), (Clip::Unit(false), None));
    assert_eq!((config.train.eval_relaxation.as_deref(), config.train.eval_limit), (Some("crown"), Some(1000)));
    assert_eq!(parse("", &["clip=true"]).unwrap().clip(), Some((0.0, 1.0)));
    assert_eq!(parse("", &["clip=[-1, 1]"]).unwrap().clip(), Some((-1.0, 1.0)));
    assert_eq!(parse("", &["method.name=standard"]).unwrap().init, Some(Init::Default));
    let last = parse("[train]\nepochs = 3", &["train.epochs=4", "train.epochs=5"]).unwrap();
    assert_eq!(last.train.epochs, 5);
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (text, overrides, parts) in [
        ("[train]\nepoch = 3", vec![], ["recipe.toml", "`train.epoch`", "`train.epochs`"]),
        ("lr = 0.1", vec![], ["recipe.toml", "`lr`", "`train.lr`"]),
        ("[smothing]\nsigma = 0.1", vec![], ["recipe.toml", "`smothing.sigma`", "`smoothing.sigma`"]),
        ("", vec!["method.robust_wieght=1"], ["--set", "`method.robust_wieght`", "`method.robust_weight`"]),
        ("[trian]", vec![], ["recipe.toml", "`trian`", "unknown key"]),
        ("[eps]\nx = 1", vec![], ["recipe.toml", "`eps.x`", "unknown key"]),
        ("qqqq = 1", vec![], ["recipe.toml", "`qqqq`", "unknown key"]),
    ] {
        let message = parse(text, &overrides).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{text} {overrides:?}: {message}");
        }
    }
    assert!(!parse("qqqq = 1", &[]).unwrap_err().contains("did you mean"));
}

#[test]
fn bad_values_name_the_key_and_the_range() {
    for (text, parts) in [
        ("train.epochs=0", ["train.epochs", "1 to 100000"]),
        ("train.lr=-1", ["train.lr", "> 0"]),
        ("train.lr=nan", ["train.lr", "> 0"]),
        ("train.lr_decay=1.5", ["train.lr_decay", "(0, 1]"]),
        ("train.milestones=[5, 3]", ["train.milestones", "ascending"]),
        ("eps=-0.1", ["eps", ">= 0"]),
        ("eps=inf", ["eps", ">= 0"]),
        ("eps=1/0", ["eps", ">= 0"]),
        ("eps=small", ["`small`", "2/255"]),
        ("clip=[1, 0]", ["clip", "low < high"]),
        ("clip=7", ["clip", "[low, high]"]),
        ("method.robust_weight=2", ["method.robust_weight", "[0, 1]"]),
        ("smoothing.population=3", ["smoothing.population", "even"]),
        ("smoothing.samples=0", ["smoothing.samples", "1 to"]),
        ("smoothing.kind=es", ["smoothing.kind", "pgpe"]),
        ("norm=3", ["`norm`", "`3`"]),
        ("train.batch=-5", ["train.batch", "-5"]),
        ("train=3", ["`train`", "section"]),
        ("train.epochs", ["key=value", "train.epochs"]),
        ("method.name=ibq", ["method.name", "crown-ibp"]),
        ("method.name=saber", ["method.name", "no such method"]),
        ("train.eval_relaxation=box", ["train.eval_relaxation", "crown-ibp"]),
        ("warmup={start = 5, end = 2}", ["warmup.end", "warmup.start"]),
        ("smoothing={kind = \"pgpe\", sigma = 0.0}", ["smoothing.sigma", "pgpe"]),
        ("smoothing={sigma_end = 0.1, sigma_milestones = [3]}", ["smoothing.sigma_end", "sigma_milestones"]),
        ("seed=18446744073709551615", ["seed", ""]),
    ] {
        let message = parse("", &[text]).expect_err(text);
        for part in parts {
            assert!(message.contains(part), "{text}: {message}");
        }
    }
    let message = parse("eps = = 1", &[]).unwrap_err();
    assert!(message.contains("recipe.toml") && message.contains("line 1"), "{message}");
}

#[test]
fn schedules_follow_the_configuration() {
    let config = parse(
        "eps = 0.1\n[train]\nepochs = 10\neps = 0.2\nlr = 1.0\nlr_decay = 0.5\nmilestones = [4, 8]\n\
         [warmup]\nshape = \"linear\"\nstart = 1\nend = 5\n\
         [method]\nrobust_weight = 0.5\nrobust_weight_start = 0.0\n[smoothing]\nsigma = 0.1\nsigma_end = 0.0",
        &[],
    )
    .unwrap();
    let (start, middle, end) = (config.at(0.0), config.at(3.0), config.at(10.0));
    assert_eq!((start.epsilon, start.robust_weight, start.lr, start.sigma), (0.0, 0.0, 1.0, 0.1));
    assert_eq!((middle.epsilon, middle.robust_weight, middle.lr), (0.1, 0.25, 1.0));
    assert!((middle.sigma - 0.07).abs() < 1e-15);
    assert_eq!((end.epsilon, end.robust_weight, end.lr, end.sigma), (0.2, 0.5, 0.25, 0.0));
    let config = parse("[smoothing]\nsigma = 0.1\nsigma_milestones = [2, 3]\nsigma_decay = 0.1", &[]).unwrap();
    assert!((config.at(1.9).sigma - 0.1).abs() < 1e-15 && (config.at(3.0).sigma - 0.001).abs() < 1e-15);
}
