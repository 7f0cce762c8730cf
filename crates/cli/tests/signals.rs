//! Signals and limits of the system: nothing is lost, and the exit code tells.
#![cfg(unix)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{TINY, files, succeeds, text, timeless_log};

fn start(arguments: &[&str]) -> Child {
    support::command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The output of a child that must end with `code`, and what it said on standard error.
fn ended(child: Child, code: i32) -> (Output, String) {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{:?}: {errors}", output.status.signal());
    (output, errors)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn an_interrupted_training_writes_its_checkpoint_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let train = |out: &Path| {
        let settings = ["--limit-train", "1920", "--epochs", "40", "--smoothing", "rgs"];
        let settings = [&settings[..], &["--set", "train.checkpoint_seconds=0"]].concat();
        [&["train", "--out", text(out)], &TINY[..], &settings[..]].concat().join("\n")
    };
    succeeds(&train(&whole).lines().collect::<Vec<_>>());
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let arguments = train(&stopped);
        let resume = ["train", "--out", text(&stopped), "--resume"];
        let begun = stopped.join("config.toml").exists();
        let child = if begun { start(&resume) } else { start(&arguments.lines().collect::<Vec<_>>()) };
        let before = lines(&stopped.join("metrics.jsonl"));
        wait_for(|| lines(&stopped.join("metrics.jsonl")) > before);
        signal(&child, name);
        let (output, errors) = ended(child, code);
        assert!(output.stdout.is_empty());
        assert!(
            errors.contains("interrupted: the checkpoint is written; go on with: tightrope train --out"),
            "{errors}"
        );
        assert!(errors.contains("--resume"), "{errors}");
    }
    succeeds(&["train", "--out", text(&stopped), "--resume"]);
    for name in ["checkpoint.safetensors", "model.safetensors", "model.onnx"] {
        assert!(
            std::fs::read(whole.join(name)).unwrap() == std::fs::read(stopped.join(name)).unwrap(),
            "{name} differs"
        );
    }
}

#[test]
fn an_interrupted_certification_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&[&["train", "--out", text(&run), "--limit-train", "1500", "--epochs", "2"], &TINY[..]].concat());
    let log = run.join("certify.jsonl");
    let certify = ["certify", text(&run), "--eps", "0.02", "--stages", "pgd", "--steps", "300", "--timeout", "1000"];
    let child = start(&certify);
    wait_for(|| lines(&log) > 1);
    signal(&child, "INT");
    let (_, errors) = ended(child, 130);
    let done = lines(&log) - 1;
    assert!(done < 2000 && errors.contains(&format!("interrupted: {done} of 2000 samples are in")), "{errors}");
    let next = errors.lines().find_map(|line| line.split_once("go on with: tightrope ")).unwrap().1;
    assert!(next.ends_with("--timeout 1000 --resume"), "{next}");
    succeeds(&[&certify[..], &["--resume", "--limit", "400"]].concat());
    assert!(timeless_log(&log).len() > 400);
}

/// While a sample is worked on that takes long, the process still ends soon, and at once at a second signal.
#[test]
fn nobody_waits_long_after_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&[&["train", "--out", text(&run), "--limit-train", "320", "--epochs", "1"], &TINY[..]].concat());
    let certify =
        ["certify", text(&run), "--eps", "0.02", "--stages", "pgd", "--steps", "1000000", "--timeout", "1000"];
    for second in [false, true] {
        let child = start(&[&certify[..], &["--overwrite"]].concat());
        wait_for(|| lines(&run.join("certify.jsonl")) == 1);
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, "TERM");
        let asked = Instant::now();
        if second {
            std::thread::sleep(Duration::from_millis(200));
            signal(&child, "TERM");
        }
        let (_, errors) = ended(child, 143);
        let limit = Duration::from_millis(if second { 2500 } else { 15_000 });
        assert!(asked.elapsed() < limit, "{:?}", asked.elapsed());
        assert_eq!(errors.contains("interrupted: 0 of 2000"), !second, "{errors}");
        assert_eq!(timeless_log(&run.join("certify.jsonl")).len(), 1);
    }
}

#[test]
fn an_interrupted_list_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&support::model(), &path("net.onnx")).unwrap();
    let mut property = String::new();
    (0..784).for_each(|i| property.push_str(&format!("(declare-const X_{i} Real)(assert (<= 0 X_{i} 1))\n")));
    (0..10).for_each(|i| property.push_str(&format!("(declare-const Y_{i} Real)\n")));
    std::fs::write(path("far.vnnlib"), property + "(assert (>= Y_0 1e6))\n").unwrap();
    let count = 200;
    std::fs::write(path("list.csv"), "net.onnx,far.vnnlib,100\n".repeat(count)).unwrap();
    let (list, results) = (path("list.csv"), path("results.csv"));
    let verify = ["verify", text(&list), "--results-file", text(&results)];
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let before = lines(&results);
        let child = if before == 0 { start(&verify) } else { start(&[&verify[..], &["--resume"]].concat()) };
        wait_for(|| lines(&results) > before);
        signal(&child, name);
        let (_, errors) = ended(child, code);
        let done = lines(&results);
        assert!(
            done < count && errors.contains(&format!("interrupted: {done} of {count} instances are in")),
            "{errors}"
        );
        let next = errors.lines().find_map(|line| line.split_once("go on with: tightrope ")).unwrap().1;
        assert!(next.starts_with("verify ") && next.ends_with(" --resume"), "{next}");
    }
    succeeds(&[&verify[..], &["--resume"]].concat());
    assert_eq!(lines(&results), count);
}

#[test]
fn an_interrupted_sweep_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let recipe =
        "dataset = \"digits\"\nmodel = \"cnn3-tiny\"\nlimit_train = 320\n[train]\nepochs = 2\neval_limit = 64\n";
    std::fs::write(path("recipe.toml"), recipe).unwrap();
    let (recipe, out) = (path("recipe.toml"), path("sweep"));
    let rates = "train.lr=1e-3,2e-3,3e-3,4e-3";
    let sweep = ["sweep", text(&recipe), "--grid", rates, "--limit", "50", "--stages", "ibp", "--out", text(&out)];
    let child = start(&sweep);
    wait_for(|| lines(&out.join("journal.jsonl")) > 3);
    signal(&child, "INT");
    let (_, errors) = ended(child, 130);
    assert!(errors.contains("interrupted: ") && errors.contains("--resume"), "{errors}");
    succeeds(&[&sweep[..], &["--resume"]].concat());
    assert_eq!(lines(&out.join("results.jsonl")), 4);
}

/// Shells start background commands so that Ctrl-C, which is meant for another, does not reach them.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = [&["train", "--out", text(&out), "--limit-train", "960", "--epochs", "4"], &TINY[..]].concat();
    let script = "trap '' INT; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tightrope")]).args(&train);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| lines(&out.join("metrics.jsonl")) > 0);
    signal(&child, "INT");
    ended(child, 0);
    assert_eq!(lines(&out.join("metrics.jsonl")), 4);
}

#[test]
fn an_interrupted_quickstart_can_be_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("quick");
    let quickstart = ["quickstart", "--out", text(&out)];
    let child = start(&quickstart);
    wait_for(|| out.join("checkpoint.safetensors").exists());
    signal(&child, "INT");
    let (_, errors) = ended(child, 130);
    assert!(errors.contains("go on with: tightrope quickstart --out") && !errors.contains("--resume"), "{errors}");
    // It goes on where it was, and may be interrupted again.
    let metrics = out.join("metrics.jsonl");
    let before = lines(&metrics);
    let child = start(&quickstart);
    wait_for(|| lines(&metrics) > before);
    signal(&child, "TERM");
    let (_, errors) = ended(child, 143);
    assert!(errors.contains("resumed after step") && errors.contains("go on with: tightrope quickstart"), "{errors}");
    let steps = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
    let written = std::fs::read_to_string(&metrics).unwrap();
    let steps: Vec<u64> = written.lines().map(steps).collect();
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    // Another seed is another quickstart.
    support::fails(&["quickstart", "--out", text(&out), "--seed", "1"], &["not empty", "another with --out"]);
}

/// Runs the program in a shell that limits itself by `ulimit`.
fn limited(limit: &str, arguments: &[&str]) -> Output {
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_tightrope");
    Command::new("sh").args(["-c", &script, program]).args(arguments).output().unwrap()
}

#[test]
fn limits_of_memory_and_files_end_with_an_error_that_says_what_was_needed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = [
        "train",
        "--dataset",
        "digits",
        "--model",
        "cnn3",
        "--epochs",
        "1",
        "--limit-train",
        "256",
        "--out",
        text(&out),
    ];
    let refused = |limit: &str, arguments: &[&str], part: &str| {
        let output = limited(limit, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{limit}: {:?} {errors}", output.status.signal());
        assert!(errors.contains(part) && !errors.contains("internal error"), "{limit}: {errors}");
    };
    // Blocks of 512 bytes: the checkpoint is larger.
    refused("-f 200", &train, "while writing");
    let left = files(&out);
    assert!(left.keys().all(|path| path.extension().is_none_or(|extension| extension != "tmp")), "{:?}", left.keys());
    let model = support::model();
    let onnx = folder.path().join("model.onnx");
    tightrope_onnx::export(&model, &onnx).unwrap();
    support::write_inputs(&folder.path().join("x.safetensors"));
    let adversarial = folder.path().join("adversarial.safetensors");
    let inputs = folder.path().join("x.safetensors");
    let attack =
        ["attack", text(&onnx), "--inputs", text(&inputs), "--eps", "0.1", "--steps", "1", "-o", text(&adversarial)];
    refused("-f 10", &attack, "that it needs");
    assert!(!adversarial.exists());
    // A verdict is told before its files are written, and each of these is tried.
    let property = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))(assert (>= Y_0 0))";
    std::fs::write(folder.path().join("any.vnnlib"), property).unwrap();
    let mut builder = tightrope_network::NetworkBuilder::new(&[1]).unwrap();
    builder.linear("only", 1, false, builder.input()).unwrap();
    let small = tightrope_network::Model::new(builder.build().unwrap(), vec![1.0]);
    tightrope_onnx::export(&small, &folder.path().join("small.onnx")).unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let (net, any, witness, results) = (path("small.onnx"), path("any.vnnlib"), path("w"), path("r"));
    let output = limited("-f 0", &["verify", &net, &any, "--witness", &witness, "--results-file", &results]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("violated\n"), "{errors}");
    assert!(errors.contains(&witness) && errors.contains(&results), "{errors}");
    #[cfg(target_os = "linux")]
    {
        let anew = |model: &str, more: &[&str]| -> Vec<String> {
            let train = train.map(|word| if word == "cnn3" { model } else { word });
            [&train[..], &["--threads", "1", "--overwrite"], more]
                .concat()
                .iter()
                .map(|word| word.to_string())
                .collect()
        };
        let refused = |limit: &str, arguments: Vec<String>, part: &str| {
            refused(limit, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), part);
        };
        // Less than the data alone needs; it depends on the machine whether that is known before or found out.
        refused("-v 40000", anew("cnn3", &[]), "memory");
        // What data and parameters need is known before, what gradients of a batch need the allocator finds out.
        refused("-v 400000", anew("cnn7:2048", &[]), "needed for data and parameters");
        refused("-v 360000", anew("cnn5", &["--method", "deeppoly", "--batch", "256"]), "kB more are needed");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn leftovers_of_dead_processes_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&support::model(), &path("model.onnx")).unwrap();
    let leftovers = ["new.onnx.4294967295.tmp", "model.certify.jsonl.4294967295.tmp"].map(path);
    leftovers.iter().for_each(|path| std::fs::write(path, b"half").unwrap());
    succeeds(&["export", text(&path("model.onnx")), "--to", "onnx", "-o", text(&path("new.onnx"))]);
    let certify = ["certify", "model.onnx", "--dataset", "digits", "--eps", "0.01", "--limit", "1"];
    assert!(support::command(&certify).current_dir(folder.path()).output().unwrap().status.success());
    assert!(leftovers.iter().all(|path| !path.exists()));
}
