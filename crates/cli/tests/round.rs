//! From training to certificates and bounds, on small settings.

mod support;

use std::path::Path;

use safetensors::tensor::Dtype;
use support::{TINY, fails, files, model, read_tensors, succeeds, text, timeless_log, write_inputs};

/// Every kind of layer can be trained into a run that is whole, its ONNX file included.
#[test]
fn a_network_of_smooth_activations_and_max_pooling_ends_as_a_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let description = r#"
        input = [1, 28, 28]
        layers = [
            { kind = "conv2d", out_channels = 2, kernel = 5, stride = 3 },
            { kind = "tanh" },
            { kind = "maxpool2d", kernel = 2 },
            { kind = "sigmoid" },
            { kind = "flatten" },
            { kind = "linear", out_features = 12 },
            { kind = "leaky_relu", slope = 0.125 },
            { kind = "linear", out_features = 12 },
            { kind = "clip", lower = -0.5, upper = 1.0 },
            { kind = "linear", out_features = 10 },
        ]
    "#;
    std::fs::write(path("net.toml"), description).unwrap();
    let (model, run) = (path("net.toml"), path("run"));
    let train = ["train", "--out", text(&run), "--limit-train", "320", "--epochs", "1", "--eps", "0.02"];
    succeeds(&[&train[..], &TINY[..2], &["--model", text(&model), "--batch", "32"]].concat());
    let trained = tightrope_network::Model::load(&run.join("model.safetensors")).unwrap();
    let read = tightrope_onnx::import(&run.join("model.onnx")).unwrap();
    assert_eq!((&read.network, &read.theta), (&trained.network, &trained.theta));
    // What is exported is bounded as what was trained.
    let inputs = path("x.safetensors");
    write_inputs(&inputs);
    let bound = |model: &Path, name: &str| {
        let out = path(name);
        let settings = ["--eps", "0.02", "--method", "crown", "--layers", "-o", text(&out)];
        succeeds(&[&["bounds", text(model), "--inputs", text(&inputs)], &settings[..]].concat());
        std::fs::read(out).unwrap()
    };
    assert_eq!(bound(&run.join("model.onnx"), "a"), bound(&run, "b"));
}

fn values(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn train_certify_export_and_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = path("run");
    let train = [&["train", "--out", text(&run), "--limit-train", "1500", "--epochs", "3", "--eps", "0.02"], &TINY[..]];
    succeeds(&[&train.concat()[..], &["--lr", "5e-3", "--seed", "4"]].concat());
    for name in
        ["config.toml", "metrics.jsonl", "checkpoint.safetensors", "model.safetensors", "network.json", "model.onnx"]
    {
        assert!(run.join(name).is_file(), "{name} is missing");
    }
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("seed = 4") && config.contains("eps = 0.02") && config.contains("lr = 5e-3"), "{config}");

    // Data set and radius come from the run folder.
    let table = succeeds(&["certify", text(&run), "--limit", "150"]);
    assert!(table.contains("ε = 0.02, clipped to [0, 1]") && table.contains("95 % interval"), "{table}");
    let log = timeless_log(&run.join("certify.jsonl"));
    assert_eq!(log.len(), 151);
    for index in 0..150 {
        let record = log[1..].iter().find(|record| record["index"] == index).unwrap();
        // Branch and bound proves the sign of a margin, not its size.
        let proved = |m: f64| m > 0.0 || record["stage"] == "bab" && m == 0.0;
        assert_eq!(record["verdict"] == "verified", record["margin_lower"].as_f64().is_some_and(proved), "{record}");
    }
    let verified = log.iter().filter(|record| record["verdict"] == "verified").count();
    assert!(verified >= 15, "only {verified} of 150 verified");
    assert!(table.contains(&format!("{verified}/150")), "{table}");

    // The exported network is the same network.
    let (onnx, tensors) = (path("copy.onnx"), path("copy.safetensors"));
    succeeds(&["export", text(&run), "--to", "onnx", "-o", text(&onnx)]);
    succeeds(&["export", text(&onnx), "--to", "safetensors", "-o", text(&tensors)]);
    let inputs = path("x.safetensors");
    write_inputs(&inputs);
    let bound = |model: &Path, name: &str| {
        let out = path(name);
        let settings = ["--eps", "0.02", "--method", "crown", "--layers", "--gradients", "-o", text(&out)];
        succeeds(&[&["bounds", text(model), "--inputs", text(&inputs)], &settings[..]].concat());
        std::fs::read(out).unwrap()
    };
    let original = bound(&run, "a");
    assert!(bound(&onnx, "b") == original && bound(&tensors, "c") == original);
}

/// Batch norms are exported as they are, or folded into the layers before them: the run's function either way.
#[test]
fn batch_norms_are_exported_as_they_are_or_folded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = path("run");
    let train = ["train", "--out", text(&run), "--limit-train", "96", "--epochs", "1", "--eps", "0.02"];
    succeeds(&[&train[..], &["--dataset", "digits", "--model", "cnn3-tiny-bn", "--batch", "32"]].concat());
    let inputs = path("x.safetensors");
    write_inputs(&inputs);
    let logits = |model: &Path| {
        let out = path("out.safetensors");
        succeeds(&[
            "bounds",
            text(model),
            "--inputs",
            text(&inputs),
            "--eps",
            "0",
            "--method",
            "ibp",
            "-o",
            text(&out),
        ]);
        singles(&read_tensors(&out)["logits"].2)
    };
    let expected = logits(&run);
    let mut layers = Vec::new();
    for (name, to, flags) in [
        ("whole.onnx", "onnx", &[][..]),
        ("folded.onnx", "onnx", &["--fold-bn"]),
        ("whole.safetensors", "safetensors", &[]),
        ("folded.safetensors", "safetensors", &["--fold-bn"]),
    ] {
        let file = path(name);
        succeeds(&[&["export", text(&run), "--to", to, "-o", text(&file)], flags].concat());
        for (found, expected) in logits(&file).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{name}: {found} instead of {expected}");
        }
        layers.push(match to {
            "onnx" => tightrope_onnx::import(&file).unwrap().network.nodes().len(),
            _ => tightrope_network::Model::load(&file).unwrap().network.nodes().len(),
        });
    }
    let in_run = tightrope_onnx::import(&run.join("model.onnx")).unwrap().network.nodes().len();
    assert!(layers[0] == layers[2] && layers[1] == layers[3] && layers[1] < layers[0], "{layers:?}");
    assert_eq!(in_run, layers[1]);
}

#[test]
fn optimised_bounds_are_never_looser_than_crown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (onnx, inputs, out) = (path("model.onnx"), path("x.safetensors"), path("out.safetensors"));
    tightrope_onnx::export(&model(), &onnx).unwrap();
    write_inputs(&inputs);
    let bounds = |method: &str, precision: &str| {
        let base = ["bounds", text(&onnx), "--inputs", text(&inputs), "--eps", "0.05", "--clip", "0", "1"];
        let extra = ["--method", method, "--precision", precision, "--layers", "-o", text(&out)];
        succeeds(&[&base[..], &extra].concat());
        read_tensors(&out)
    };
    for precision in ["f32", "f64"] {
        let [crown, optimised] = ["crown", "alpha-crown"].map(|method| bounds(method, precision));
        assert_eq!(crown.keys().collect::<Vec<_>>(), optimised.keys().collect::<Vec<_>>());
        let numbers = |tensor: &(Dtype, Vec<usize>, Vec<u8>)| match precision {
            "f32" => singles(&tensor.2).into_iter().map(f64::from).collect(),
            _ => values(&tensor.2),
        };
        for (name, tensor) in &crown {
            let (before, after): (Vec<f64>, Vec<f64>) = (numbers(tensor), numbers(&optimised[name]));
            assert_eq!(before.len(), after.len());
            let pairs = || before.iter().zip(&after);
            let tighter = |(b, a): (&f64, &f64)| if name.ends_with("upper") { a < b } else { a > b };
            if name == "logits" {
                assert_eq!(before, after);
                continue;
            }
            assert!(pairs().all(|(b, a)| a == b || tighter((b, a))), "{name} is looser");
            // The first layer's bounds are exact already.
            let gained = pairs().filter(|&(b, a)| tighter((b, a))).count();
            assert!(gained > 0 || name.starts_with("layer0"), "{name} is no tighter");
        }
        for layer in 0..3 {
            let side = |side: &str| numbers(&optimised[&format!("layer{layer}.{side}")]);
            assert!(side("lower").iter().zip(side("upper")).all(|(l, u)| *l <= u), "layer {layer}");
        }
        let label_entries = numbers(&optimised["margins_lower"]).into_iter().step_by(11);
        assert!(label_entries.into_iter().all(|margin| margin == 0.0));
    }
}

#[test]
fn bounds_writes_the_tensors_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (onnx, inputs, out) = (path("model.onnx"), path("x.safetensors"), path("out.safetensors"));
    tightrope_onnx::export(&model(), &onnx).unwrap();
    write_inputs(&inputs);
    let bounds = |extra: &[&str]| {
        let base = ["bounds", text(&onnx), "--inputs", text(&inputs), "--eps", "0.05", "-o", text(&out)];
        succeeds(&[&base[..], extra].concat());
        read_tensors(&out)
    };
    let plain = bounds(&["--method", "ibp"]);
    assert_eq!(plain.keys().collect::<Vec<_>>(), ["logits", "margins_lower"]);
    assert_eq!(plain["logits"].1, [5, 10]);

    let full = bounds(&["--method", "crown-ibp", "--layers", "--gradients", "--precision", "f64"]);
    let shapes: [(&str, &[usize]); 15] = [
        ("grad.0.bias", &[2]),
        ("grad.0.weight", &[2, 1, 5, 5]),
        ("grad.2.bias", &[2]),
        ("grad.2.weight", &[2, 2, 4, 4]),
        ("grad.5.bias", &[10]),
        ("grad.5.weight", &[10, 98]),
        ("layer0.lower", &[5, 2, 14, 14]),
        ("layer0.upper", &[5, 2, 14, 14]),
        ("layer1.lower", &[5, 2, 7, 7]),
        ("layer1.upper", &[5, 2, 7, 7]),
        ("layer2.lower", &[5, 10]),
        ("layer2.upper", &[5, 10]),
        ("logits", &[5, 10]),
        ("loss", &[1]),
        ("margins_lower", &[5, 10]),
    ];
    for ((name, (dtype, shape, _)), (expected, expected_shape)) in full.iter().zip(shapes) {
        assert_eq!((name.as_str(), *dtype, shape.as_slice()), (expected, Dtype::F64, expected_shape));
    }
    assert_eq!(full.len(), shapes.len());
    let (lower, upper, logits) =
        (values(&full["layer2.lower"].2), values(&full["layer2.upper"].2), values(&full["logits"].2));
    assert!((0..50).all(|i| lower[i] < logits[i] && logits[i] < upper[i]));
    let margins = values(&full["margins_lower"].2);
    for (i, row) in margins.chunks(10).enumerate() {
        assert_eq!(row[i], 0.0);
        assert!((0..10).all(|j| j == i || row[j] < logits[i * 10 + i] - logits[i * 10 + j]));
    }
    let loss = margins.chunks(10).map(|row| row.iter().map(|m| (-m).exp()).sum::<f64>().ln()).sum::<f64>() / 5.0;
    assert!((values(&full["loss"].2)[0] - loss).abs() < 1e-12);

    // Clipping to the data range shrinks the region, so bounds can only rise.
    let clipped = bounds(&["--method", "ibp", "--clip", "0", "1"]);
    let (bare, cut) = (singles(&plain["margins_lower"].2), singles(&clipped["margins_lower"].2));
    assert!(cut.iter().zip(&bare).all(|(c, b)| c >= b) && cut != bare);
    assert_eq!(bounds(&["--method", "ibp", "--no-clip"]), plain);
    for norm in ["2", "1"] {
        let ball = singles(&bounds(&["--method", "ibp", "--norm", norm])["margins_lower"].2);
        assert!(ball.iter().zip(&bare).all(|(a, b)| a >= b) && ball != bare);
    }
}

/// The gradient of the mean loss over many samples does not depend on how they are cut into chunks.
#[test]
fn gradients_of_many_samples_are_those_of_the_mean() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let onnx = path("model.onnx");
    tightrope_onnx::export(&model(), &onnx).unwrap();
    let count = 150;
    let pixels: Vec<f32> = (0..count * 784).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    let labels: Vec<i64> = (0..count as i64).map(|i| i % 10).collect();
    let bound = |name: &str, range: std::ops::Range<usize>| {
        let (inputs, out) = (path(&format!("{name}.x")), path(name));
        let x = support::floats("x", &[range.len(), 1, 28, 28], &pixels[range.start * 784..range.end * 784]);
        support::write_tensors(&inputs, &[x, support::integers("y", &labels[range])]);
        let settings = ["--eps", "0.02", "--method", "ibp", "--gradients", "--precision", "f64", "-o", text(&out)];
        succeeds(&[&["bounds", text(&onnx), "--inputs", text(&inputs)], &settings[..]].concat());
        read_tensors(&out)
    };
    let whole = bound("whole", 0..count);
    let parts = [(bound("first", 0..40), 40.0), (bound("second", 40..count), 110.0)];
    for name in ["loss", "grad.0.weight", "grad.2.bias", "grad.5.weight"] {
        let joined = values(&whole[name].2);
        let pieces = parts.each_ref().map(|(tensors, weight)| (values(&tensors[name].2), weight / count as f64));
        for (i, value) in joined.iter().enumerate() {
            let mean: f64 = pieces.iter().map(|(piece, weight)| piece[i] * weight).sum();
            assert!((value - mean).abs() < 1e-12 * (1.0 + mean.abs()), "{name}[{i}]: {value} against {mean}");
        }
    }
}

#[test]
fn attacks_write_points_that_hold_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (onnx, inputs, out) = (path("model.onnx"), path("x.safetensors"), path("adversarial.safetensors"));
    let model = model();
    tightrope_onnx::export(&model, &onnx).unwrap();
    write_inputs(&inputs);
    let base = ["attack", text(&onnx), "--inputs", text(&inputs), "--eps", "0.1", "--steps", "10", "-o", text(&out)];
    let first = succeeds(&base);
    let written = read_tensors(&out);
    let (clean, worst) = (singles(&read_tensors(&inputs)["x"].2), singles(&written["x"].2));
    assert!(
        clean.iter().zip(&worst).all(|(c, w)| (f64::from(*c) - f64::from(*w)).abs() <= 0.1 && (0.0..=1.0).contains(w))
    );
    assert_eq!(written["y"].0, Dtype::I64);
    let target = tightrope_engine::Reference;
    let target = tightrope_attack::Target::new(&model, &target, &target).unwrap();
    let logits = target.logits(&worst).unwrap();
    for (label, (z, margin)) in logits.chunks(10).zip(singles(&written["margin"].2)).enumerate() {
        let rival = (0..10).filter(|&j| j != label).map(|j| z[j]).fold(f32::NEG_INFINITY, f32::max);
        assert!((z[label] - rival - margin).abs() < 1e-5);
    }
    assert_eq!(succeeds(&base), first);
    assert!(read_tensors(&out) == written);

    let settings = ["--attack", "all", "--restarts", "1", "--targets", "3", "--json"];
    let all: serde_json::Value = serde_json::from_str(&succeeds(&[&base[..], &settings].concat())).unwrap();
    let attacks = all["attacks"].as_array().unwrap();
    let names: Vec<&str> = attacks.iter().map(|attack| attack["attack"].as_str().unwrap()).collect();
    assert_eq!(names, ["pgd", "apgd-ce", "apgd-dlr", "apgd-targeted"]);
    let broken: u64 = attacks.iter().map(|attack| attack["broken"].as_u64().unwrap()).sum();
    let (natural, adversarial) = (all["natural"]["count"].as_u64().unwrap(), all["adversarial"]["count"].as_u64());
    assert_eq!(Some(natural - broken), adversarial);
}

#[test]
fn data_is_taken_from_folders_with_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mnist) = tightrope_testkit::shared::shared("data/mnist") else { return };
    let shared = mnist.parent().unwrap();
    let data = folder.path().join("data");
    let fetch = ["data", "fetch", "mnist", "--from", text(shared), "--data-dir", text(&data)];
    assert!(succeeds(&fetch).contains("ready"));
    let listed = succeeds(&["data", "list", "--data-dir", text(&data)]);
    assert!(listed.contains(text(&data)), "{listed}");
    let before = files(&data);
    assert!(succeeds(&fetch).contains("kept") && files(&data) == before);

    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for (path, bytes) in &before {
        std::fs::write(damaged.join(path.file_name().unwrap()), &bytes[..bytes.len() / 2]).unwrap();
    }
    let other = folder.path().join("other");
    fails(
        &["data", "fetch", "mnist", "--from", text(&damaged), "--data-dir", text(&other)],
        &["damaged", "copy it again"],
    );
    assert!(!other.exists());
}
