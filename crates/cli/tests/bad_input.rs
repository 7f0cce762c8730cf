//! Every bad input ends with exit code 4, a message that says how to mend it, and nothing half-written.

mod support;

use std::path::Path;

use safetensors::tensor::Dtype;
use support::{Tensor, fails, files, floats, integers, model, run, text, write_inputs, write_tensors};

/// A folder with a model, its ONNX file and inputs that fit it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    model().save(&run).unwrap();
    tightrope_onnx::export(&model(), &folder.path().join("model.onnx")).unwrap();
    write_inputs(&folder.path().join("x.safetensors"));
    folder
}

/// Fails as [`fails`] and leaves the files in `folder` as they were.
fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = files(folder);
    fails(arguments, parts);
    assert!(files(folder) == before, "{arguments:?} changed files");
}

/// Bounds of `model` over `inputs` in `folder` must be refused.
fn bounds_refused(folder: &Path, model: &str, inputs: &str, extra: &[&str], parts: &[&str]) {
    let path = |name: &str| text(&folder.join(name)).to_string();
    let (model, inputs, output) = (path(model), path(inputs), path("out.safetensors"));
    let mut arguments = vec!["bounds", &model, "--inputs", &inputs, "-o", &output];
    arguments.extend(extra);
    for (option, value) in [("--eps", "0.1"), ("--method", "ibp")] {
        if !extra.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    refused(folder, &arguments, parts);
}

/// Data set files in the IDX format: training and test images and labels.
fn write_mnist(folder: &Path, images: &[u8], labels: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    for split in ["train", "t10k"] {
        std::fs::write(folder.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn idx(magic: u32, sizes: &[u32], bytes: usize) -> Vec<u8> {
    let header = std::iter::once(&magic).chain(sizes).flat_map(|v| v.to_be_bytes());
    header.chain(std::iter::repeat_n(0, bytes)).collect()
}

fn certify_refused(folder: &Path, parts: &[&str]) {
    let (run, data) = (folder.join("run"), folder.join("data"));
    let arguments = ["certify", text(&run), "--dataset", "mnist", "--eps", "0.1", "--data-dir", text(&data)];
    refused(folder, &arguments, parts);
}

#[test]
fn truncated_idx() {
    let folder = folder();
    let whole = idx(0x803, &[4, 28, 28], 4 * 784);
    write_mnist(&folder.path().join("data/mnist"), &whole[..whole.len() - 100], &idx(0x801, &[4], 4));
    certify_refused(folder.path(), &["t10k-images-idx3-ubyte", "data fetch mnist"]);
}

#[test]
fn idx_with_wrong_magic() {
    let folder = folder();
    write_mnist(&folder.path().join("data/mnist"), &idx(0x1234, &[4, 28, 28], 4 * 784), &idx(0x801, &[4], 4));
    certify_refused(folder.path(), &["t10k-images-idx3-ubyte", "magic"]);
}

#[test]
fn missing_data_set() {
    let folder = folder();
    certify_refused(folder.path(), &["data set `mnist` not found", "tightrope data fetch mnist"]);
    let (out, data) = (folder.path().join("new"), folder.path().join("data"));
    let arguments = ["train", "--dataset", "mnist", "--data-dir", text(&data), "--out", text(&out)];
    refused(folder.path(), &arguments, &["tightrope data fetch mnist"]);
    fails(&["train", "--dataset", "minst", "--out", text(&out)], &["did you mean `mnist`"]);
    fails(&["data", "fetch", "mnist", "--from", text(&out), "--data-dir", text(&data)], &[text(&out)]);
    assert!(!data.exists());
}

#[test]
fn data_that_does_not_fit_the_model() {
    let folder = folder();
    let run = folder.path().join("small");
    std::fs::create_dir(&run).unwrap();
    let network = tightrope_network::Preset::Cnn3Tiny.build(&[3, 32, 32], 10, None).unwrap();
    let theta = tightrope_network::Initialisation::Default.theta(&network, 0);
    tightrope_network::Model::new(network, theta).save(&run).unwrap();
    let arguments = ["certify", text(&run), "--dataset", "digits", "--eps", "0.1"];
    refused(folder.path(), &arguments, &["[1, 28, 28]", "[3, 32, 32]"]);
}

#[test]
fn onnx_with_an_unknown_operator() {
    let folder = folder();
    let path = folder.path().join("model.onnx");
    let mut bytes = std::fs::read(&path).unwrap();
    let position = bytes.windows(4).position(|window| window == b"Relu").unwrap();
    bytes[position..position + 4].copy_from_slice(b"Sinh");
    std::fs::write(&path, bytes).unwrap();
    bounds_refused(folder.path(), "model.onnx", "x.safetensors", &[], &["model.onnx", "Sinh", "node"]);
}

#[test]
fn damaged_models() {
    let folder = folder();
    let path = folder.path().join("cut.onnx");
    let bytes = std::fs::read(folder.path().join("model.onnx")).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    bounds_refused(folder.path(), "cut.onnx", "x.safetensors", &[], &["cut.onnx"]);

    let weights = folder.path().join("run/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    bounds_refused(folder.path(), "run", "x.safetensors", &[], &["model.safetensors", "write it again"]);
    bounds_refused(folder.path(), "none.onnx", "x.safetensors", &[], &["none.onnx", "no such file"]);
    bounds_refused(folder.path(), "x.safetensors", "x.safetensors", &[], &["no network description"]);
}

#[test]
fn nan_weights() {
    let folder = folder();
    let mut model = model();
    model.theta[7] = f32::NAN;
    let tensors =
        model.network.parameters().iter().map(|info| floats(&info.name, &info.shape, &model.theta[info.range()]));
    write_tensors(&folder.path().join("run/model.safetensors"), &tensors.collect::<Vec<_>>());
    let parts = ["`0.weight`", "NaN at element 7", "damaged or the training diverged"];
    bounds_refused(folder.path(), "run", "x.safetensors", &[], &parts);
    let (run, out) = (folder.path().join("run"), folder.path().join("new.onnx"));
    refused(folder.path(), &["export", text(&run), "--to", "onnx", "-o", text(&out)], &parts);
}

#[test]
fn inputs_that_do_not_fit() {
    let pixels = vec![0.5; 2 * 784];
    let mut broken = pixels.clone();
    broken[800] = f32::NAN;
    let good_x = || floats("x", &[2, 1, 28, 28], &pixels);
    let good_y = || integers("y", &[0, 9]);
    let whole: Tensor<'_> = ("x", Dtype::I32, vec![2, 1, 28, 28], vec![0; 2 * 784 * 4]);
    let real: Tensor<'_> = ("y", Dtype::F32, vec![2], vec![0; 8]);
    let single = || floats("x", &[1, 28, 28], &pixels[..784]);
    let cases: [(&str, Vec<Tensor<'_>>, Vec<&str>); 12] = [
        ("no batch axis", vec![floats("x", &[28, 28], &pixels[..784]), integers("y", &[3])], vec!["[N, 1, 28, 28]"]),
        (
            "no batch axis of labels",
            vec![single(), ("y", Dtype::I64, vec![], 3_i64.to_le_bytes().to_vec())],
            vec!["`y`", "[]", "1 sample;", "an axis for the samples"],
        ),
        ("label above", vec![good_x(), integers("y", &[0, 10])], vec!["sample 1 has label 10", "classes 0 to 9"]),
        ("label below", vec![good_x(), integers("y", &[-1, 0])], vec!["sample 0 has label -1", "classes 0 to 9"]),
        ("labels too few", vec![good_x(), integers("y", &[0])], vec!["`y`", "[1]", "2 samples"]),
        ("labels real", vec![good_x(), real], vec!["`y`", "F32", "store it as I64"]),
        ("shape", vec![floats("x", &[2, 28, 28, 1], &pixels), good_y()], vec!["[2, 28, 28, 1]", "[N, 1, 28, 28]"]),
        ("none", vec![floats("x", &[0, 1, 28, 28], &[]), integers("y", &[])], vec!["no samples"]),
        ("nan", vec![floats("x", &[2, 1, 28, 28], &broken), good_y()], vec!["NaN in sample 1, element 16"]),
        ("integers", vec![whole, good_y()], vec!["`x`", "I32", "store it as F32"]),
        ("no x", vec![good_y()], vec!["no tensor `x`", "`y`"]),
        ("no y", vec![good_x()], vec!["no tensor `y`", "`x`"]),
    ];
    let folder = folder();
    for (name, tensors, parts) in cases {
        eprintln!("case: {name}");
        write_tensors(&folder.path().join("bad.safetensors"), &tensors);
        bounds_refused(folder.path(), "model.onnx", "bad.safetensors", &[], &parts);
    }
    std::fs::write(folder.path().join("bad.safetensors"), b"not tensors").unwrap();
    bounds_refused(folder.path(), "model.onnx", "bad.safetensors", &[], &["bad.safetensors", "write it again"]);
    bounds_refused(folder.path(), "model.onnx", "absent.safetensors", &[], &["absent.safetensors", "cannot read"]);
}

#[test]
fn options_out_of_range() {
    let folder = folder();
    let refused = |extra: &[&str], parts: &[&str]| {
        bounds_refused(folder.path(), "run", "x.safetensors", extra, parts);
    };
    refused(&["--eps", "-0.1"], &["--eps", "finite number ≥ 0"]);
    refused(&["--eps", "nan"], &["--eps", "finite number ≥ 0"]);
    refused(&["--clip", "1", "0"], &["--clip 1 0:", "LO < HI"]);
    refused(&["--clip", "2", "3"], &["outside the data range", "--clip"]);
    refused(&["--method", "zonotop"], &["unknown method `zonotop`", "crown-ibp"]);
    refused(&["--method", "crwn"], &["crwn", "crown"]);
    refused(&["--method", "alpha-crown", "--gradients"], &["--gradients", "no gradient", "--method crown"]);
    refused(&["--engine", "fused", "--precision", "f64"], &["--engine fused", "--precision f32"]);
    refused(&["--device", "cuda:0"], &["--device cpu"]);
    refused(&["--threads", "0"], &["--threads 0", "at least one"]);
    refused(&["--no-such-option"], &["--no-such-option"]);
    let model = folder.path().join("model.onnx");
    let certify = |extra: &[&str], parts: &[&str]| {
        fails(&[&["certify", text(&model), "--dataset", "digits"], extra].concat(), parts);
    };
    certify(&["--eps", "0.1", "--stages", "pgd,pgd"], &["--stages", "`pgd` stands twice"]);
    certify(&["--eps", "0.1", "--stages", "pgd,foo"], &["unknown stage `foo`"]);
    certify(&["--eps", "0.1", "--limit", "0"], &["--limit 0"]);
    certify(&["--eps", "0.1", "--timeout", "-3"], &["--timeout", "positive"]);
    certify(&[], &["--eps E is needed"]);
    fails(&["attack", text(&model), "--eps", "0.1"], &["--dataset D or --inputs"]);
    fails(&["attack", text(&model), "--eps", "0.1", "--dataset", "digits", "--restarts", "0"], &["--restarts 0"]);
    fails(&["attack", text(&model), "--eps", "0.1", "--dataset", "digits", "--steps", "0"], &["--steps 0"]);
    let digits = ["attack", text(&model), "--eps", "0.1", "--dataset", "digits"];
    fails(&[&digits[..], &["--targets", "0"]].concat(), &["--targets 0"]);
    fails(&[&digits[..], &["--attack", "apgd"]].concat(), &["apgd-ce", "all"]);
    certify(&["--eps", "0.1", "--steps", "0"], &["--steps 0"]);
    certify(&["--eps", "0.1", "--stages", "pgd,ipb"], &["did you mean `ibp`"]);
    refused(&["--method", "ipb"], &["did you mean `ibp`"]);
    for (flags, part) in [
        (["--seed", "-1"], "2^63-1"),
        (["--seed", "18446744073709551615"], "2^63-1"),
        (["--threads", "-1"], "whole number"),
        (["--limit", "-1"], "whole number"),
        (["--steps", "-1"], "whole number"),
        (["--eps", "1e39"], "3.4e38"),
        (["--threads", "1000000"], "leave it out"),
    ] {
        certify(&flags, &[flags[0], part]);
    }
    certify(&["--eps", "0.1", "--clip", "0", "1e-400"], &["'1e-400'", "--clip", "beyond double precision"]);
    certify(&["--eps", "0.1", "--clip", "0", "1e-60"], &["--clip 0 1e-60", "single precision"]);
    let absent = folder.path().join("absent");
    fails(&["certify", text(&absent)], &["absent: no such file or folder"]);
    fails(&["attack", text(&absent)], &["absent: no such file or folder"]);
    fails(&["prove", "model.onnx", "property.vnnlib"], &["unrecognized subcommand"]);
    fails(&[], &["Usage"]);
}

#[test]
fn unknown_configuration_keys_are_named_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = (folder.path().join("recipe.toml"), folder.path().join("out"));
    std::fs::write(&recipe, "dataset = \"digits\"\n[train]\nepoch = 3\n").unwrap();
    refused(
        folder.path(),
        &["train", text(&recipe), "--out", text(&out)],
        &["`train.epoch`", "`train.epochs`", "recipe.toml"],
    );
    std::fs::write(&recipe, "dataset = \"digits\n").unwrap();
    refused(folder.path(), &["train", text(&recipe), "--out", text(&out)], &["recipe.toml", "line 1"]);
    let set = ["train", "--dataset", "digits", "--out", text(&out), "--set"];
    refused(folder.path(), &[&set[..], &["train.lrr=1"]].concat(), &["`train.lrr`", "`train.lr`"]);
    refused(folder.path(), &[&set[..], &["train.lr=fast"]].concat(), &["`train.lr`", "fast"]);
    let train = ["train", "--dataset", "digits", "--out", text(&out)];
    refused(
        folder.path(),
        &[&train[..], &["--method", "saber"]].concat(),
        &["saber", "no such method", "crown-skip-ibp"],
    );
    refused(folder.path(), &[&train[..], &["--model", "cnn9"]].concat(), &["cnn9", "cnn3-tiny"]);
    refused(folder.path(), &[&train[..], &["--method", "ipb"]].concat(), &["did you mean `ibp`"]);
    refused(folder.path(), &[&train[..], &["--model", "nope.toml"]].concat(), &["nope.toml", "name a preset"]);
    refused(folder.path(), &[&set[..], &["=3"]].concat(), &["the key is empty"]);
    refused(folder.path(), &[&set[..], &["norm=3"]].concat(), &["use inf, 2 or 1"]);
    refused(folder.path(), &[&set[..], &["train.epochs=x"]].concat(), &["a whole number ≥ 0"]);
    refused(folder.path(), &[&set[..], &["train.epochs=-1"]].concat(), &["a whole number ≥ 0"]);
    refused(folder.path(), &[&set[..], &["seed=18446744073709551615"]].concat(), &["--set seed=184", "2^63-1"]);
    refused(folder.path(), &[&train[..], &["--batch", "-1"]].concat(), &["--batch", "whole number"]);
    refused(folder.path(), &[&set[..], &["smoothing.population=x"]].concat(), &["a whole number ≥ 0"]);
    refused(folder.path(), &[&set[..], &["train.lr=x"]].concat(), &["expected a number"]);
    let recipe_refused = |recipe: &Path, parts: &[&str]| {
        refused(folder.path(), &["train", text(recipe), "--out", text(&out)], parts);
    };
    recipe_refused(&folder.path().join("absent.toml"), &["absent.toml", "no such recipe"]);
    recipe_refused(folder.path(), &["is a folder, not a recipe"]);
    std::fs::write(&recipe, [0xff, 0xfe]).unwrap();
    recipe_refused(&recipe, &["no UTF-8 text"]);
    refused(folder.path(), &[&train[..], &["--lr", "-1"]].concat(), &["train.lr", "> 0"]);
    refused(folder.path(), &[&train[..], &["--epochs", "0"]].concat(), &["--epochs", "whole number ≥ 1"]);
    refused(folder.path(), &[&train[..], &["--epochs", "-1"]].concat(), &["--epochs", "whole number ≥ 1"]);
    refused(folder.path(), &[&set[..], &["eps=1e39"]].concat(), &["`eps`", "single precision"]);
    refused(folder.path(), &[&set[..], &["clip=[0, 1e-400]"]].concat(), &["`clip`", "low < high"]);
    refused(
        folder.path(),
        &[&train[..], &["--model", "net.onnx"]].concat(),
        &["tightrope export net.onnx", "--init-from"],
    );
    // What a long text is refused for fits a screen.
    std::fs::write(&recipe, format!("dataset = \"digits{}\n", "x".repeat(100_000))).unwrap();
    let output = run(&["train", text(&recipe), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stderr.len() < 4000, "{} bytes", output.stderr.len());
    let output = run(&["train", "--eps", &"9".repeat(100_000)]);
    assert!(output.status.code() == Some(4) && output.stderr.len() < 4000, "{} bytes", output.stderr.len());
}

/// Tests may run as root, so places are chosen that nobody can write: below a file, and in /proc.
#[test]
fn unwritable_outputs() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), b"").unwrap();
    let below = path("file/out");
    let mut places = vec![text(&below)];
    if Path::new("/proc/self").exists() {
        places.push("/proc/tightrope-out");
    }
    let (model, inputs) = (path("model.onnx"), path("x.safetensors"));
    let (model, inputs) = (text(&model), text(&inputs));
    for place in places {
        let tensors = format!("{place}.safetensors");
        let small = ["--dataset", "digits", "--limit-train", "32", "--epochs", "1", "--model", "cnn3-tiny"];
        let cases = [
            [&["train", "--out", place], &small[..]].concat(),
            vec!["quickstart", "--out", place],
            vec!["bounds", model, "--inputs", inputs, "--eps", "0.1", "--method", "ibp", "-o", &tensors],
            vec!["attack", model, "--inputs", inputs, "--eps", "0.1", "-o", &tensors],
            vec!["export", model, "--to", "safetensors", "-o", &tensors],
            vec!["certify", model, "--dataset", "digits", "--eps", "0.1", "--limit", "1", "--out", place],
        ];
        for arguments in cases {
            refused(folder.path(), &arguments, &[place, "choose a"]);
        }
    }
}

#[test]
fn outputs_are_not_overwritten_unasked() {
    let folder = folder();
    let (model, out) = (folder.path().join("model.onnx"), folder.path().join("run"));
    refused(folder.path(), &["export", text(&model), "--to", "onnx"], &["is the input itself", "-o"]);
    refused(folder.path(), &["train", "--dataset", "digits", "--out", text(&out)], &["not empty", "--out"]);
    refused(folder.path(), &["quickstart", "--out", text(&out)], &["not empty", "another with --out"]);
}

#[test]
fn inputs_and_other_outputs_are_not_written() {
    let folder = folder();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let (model, run, inputs) = (path("model.onnx"), path("run"), path("x.safetensors"));
    let attack = ["attack", &model, "--inputs", &inputs, "--eps", "0.1", "-o"];
    refused(folder.path(), &[&attack[..], &[&inputs]].concat(), &["is the input itself", "name another"]);
    refused(folder.path(), &[&attack[..], &[&model]].concat(), &["is the input itself", "name another"]);
    let bounds = ["bounds", &model, "--inputs", &inputs, "--eps", "0.1", "--method", "ibp", "-o"];
    refused(folder.path(), &[&bounds[..], &[&inputs]].concat(), &["is the input itself", "name another"]);
    refused(folder.path(), &[&bounds[..], &[&model]].concat(), &["is the input itself", "name another"]);
    let weights = path("run/model.safetensors");
    let of_run = ["bounds", &run, "--inputs", &inputs, "--eps", "0.1", "--method", "ibp", "-o", &weights];
    refused(folder.path(), &of_run, &["belongs to the input"]);
    // A log in place of the arrays that it would be about.
    let log = path("certify.jsonl");
    std::fs::copy(&inputs, &log).unwrap();
    let certify = ["certify", &model, "--inputs", &log, "--eps", "0.1", "--out", text(folder.path()), "--overwrite"];
    refused(folder.path(), &certify, &["is the input itself"]);
    refused(folder.path(), &["export", &run, "--to", "safetensors", "-o", &weights], &["belongs to the input"]);
    let onnx = path("run/network.json");
    refused(folder.path(), &["export", &run, "--to", "onnx", "-o", &onnx], &["belongs to the input"]);
    // The description of the output would be the one that the input is read with.
    std::fs::copy(path("run/model.safetensors"), path("net.safetensors")).unwrap();
    std::fs::copy(path("run/network.json"), path("net.json")).unwrap();
    refused(
        folder.path(),
        &["export", &path("net.safetensors"), "--to", "onnx", "-o", &path("net.json")],
        &["belongs to the input"],
    );
    // The network of foreign weights.
    std::fs::copy(path("run/model.safetensors"), path("foreign.safetensors")).unwrap();
    std::fs::copy(path("run/network.json"), path("described.json")).unwrap();
    let export = ["export", &path("foreign.safetensors"), "--network", &path("described.json"), "--to", "onnx"];
    refused(folder.path(), &[&export[..], &["-o", &path("described.json")]].concat(), &["is the input itself"]);
    // Arrays in the folder of a run that is to be replaced.
    let train = ["train", "--inputs", &path("run/../run/x.safetensors"), "--out", &run, "--overwrite"];
    std::fs::copy(&inputs, path("run/x.safetensors")).unwrap();
    refused(folder.path(), &train, &["lies in the folder", "--overwrite"]);
}

/// The four commands that write one file, asked to write it to `place`.
fn written_to(folder: &Path, place: &str, parts: &[&str]) {
    let (model, inputs) = (folder.join("model.onnx"), folder.join("x.safetensors"));
    let (model, inputs) = (text(&model), text(&inputs));
    refused(folder, &["bounds", model, "--inputs", inputs, "--eps", "0.1", "--method", "ibp", "-o", place], parts);
    refused(folder, &["attack", model, "--inputs", inputs, "--eps", "0.1", "-o", place], parts);
    refused(folder, &["export", model, "--to", "onnx", "-o", place], parts);
}

#[test]
fn only_regular_files_are_written() {
    let folder = folder();
    let run = folder.path().join("run");
    written_to(folder.path(), text(&run), &["is a folder", "choose another path"]);
    let missing = folder.path().join("missing/file.safetensors");
    written_to(folder.path(), text(&missing), &["missing does not exist", "create it"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        written_to(folder.path(), "/dev/null", &["is a device", "choose another path"]);
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        // A pipe that nobody writes to: reading it, to see what it holds, would take for ever.
        let elsewhere = tempfile::tempdir().unwrap();
        let pipe = elsewhere.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        written_to(folder.path(), text(&pipe), &["choose another path"]);
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_no_text_are_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let out = folder.path().join(OsStr::from_bytes(b"out-\xff.safetensors"));
    let (model, inputs) = (folder.path().join("model.onnx"), folder.path().join("x.safetensors"));
    let (model, inputs) = (text(&model), text(&inputs));
    for arguments in [
        &["bounds", model, "--inputs", inputs, "--eps", "0.1", "--method", "ibp", "--json", "-o"][..],
        &["attack", model, "--inputs", inputs, "--eps", "0.1", "--steps", "1", "--json", "-o"],
        &["export", model, "--to", "safetensors", "--json", "-o"],
    ] {
        let output = support::command(arguments).arg(&out).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
        std::fs::remove_file(&out).unwrap();
    }
}

#[test]
fn only_a_begun_run_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let resume = ["train", "--out", text(&out), "--resume"];
    refused(folder.path(), &resume, &["no run", "leave out --resume"]);
    assert!(!out.exists());
    std::fs::create_dir(&out).unwrap();
    refused(folder.path(), &resume, &["no run", "leave out --resume"]);
    // What a run leaves that is killed before its first checkpoint.
    let train = [&["train", "--out", text(&out), "--limit-train", "64", "--epochs", "1"], &support::TINY[..]].concat();
    support::succeeds(&train);
    let weights = std::fs::read(out.join("model.safetensors")).unwrap();
    let config = std::fs::read(out.join("config.toml")).unwrap();
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("config.toml"), config).unwrap();
    let output = run(&resume);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("begins from the start"), "{errors}");
    assert!(std::fs::read(out.join("model.safetensors")).unwrap() == weights);
}

/// What is left of a run that diverged at once, and of a recipe whose name was wrong.
#[test]
fn a_run_without_a_model_and_an_empty_recipe_are_told() {
    let folder = folder();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let run = path("begun");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(path("begun/config.toml"), "eps = 0.1\n").unwrap();
    refused(
        folder.path(),
        &["certify", &run, "--eps", "0.1", "--dataset", "digits"],
        &["run without a model", "--resume"],
    );
    std::fs::write(path("recipe.toml"), " \n").unwrap();
    refused(folder.path(), &["train", &path("recipe.toml"), "--out", &path("new")], &["recipe.toml", "is empty"]);
}

/// One output has no margins to tell that its bounds are no numbers.
#[test]
fn bounds_of_layers_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layers = r#"input = [3]
        layers = [{ kind = "exp" }, { kind = "linear", out_features = 1 }]"#;
    let network = tightrope_network::Description::from_toml(layers, "test").unwrap().build().unwrap();
    let model = tightrope_network::Model::new(network, vec![1.0, -1.0, 0.5, 0.0]);
    std::fs::create_dir(folder.path().join("run")).unwrap();
    model.save(&folder.path().join("run")).unwrap();
    let inputs = [floats("x", &[1, 3], &[0.0, 5.0, -5.0]), integers("y", &[0])];
    write_tensors(&folder.path().join("x.safetensors"), &inputs);
    let arguments = ["--eps", "200", "--layers"];
    bounds_refused(folder.path(), "run", "x.safetensors", &arguments, &["bounds of layers of sample 0", "smaller ε"]);
}

#[test]
fn the_log_of_a_bare_model_goes_to_the_current_folder() {
    let folder = folder();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let arguments = ["certify", "../model.onnx", "--dataset", "digits", "--eps", "0.01", "--limit", "1"];
    let output = support::command(&arguments).current_dir(&work).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(work.join("model.certify.jsonl").is_file());
}

#[test]
fn a_closed_standard_output_is_no_crash() {
    let folder = folder();
    let (model, out) = (folder.path().join("model.onnx"), folder.path().join("new.safetensors"));
    let mut child = support::command(&["export", text(&model), "--to", "safetensors", "-o", text(&out)])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}
