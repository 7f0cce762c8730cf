//! `verify` and `check`: verdicts, exit codes, witnesses, certificates, lists that are interrupted, and bad input.

mod support;

use std::path::Path;

use support::{fails, files, run, succeeds, text};
use tightrope_network::{Layer, Model, NetworkBuilder};

/// y = |x₀ + x₁| − |x₀ + x₁|, each by neurons of its own: 0, which only splits show.
fn model() -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let first = builder.linear("first", 4, false, builder.input()).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[first]).unwrap();
    builder.linear("last", 1, true, relu).unwrap();
    let theta = [[1.0; 2], [-1.0; 2], [1.0; 2], [-1.0; 2]].concat();
    Model::new(builder.build().unwrap(), [&theta[..], &[1.0, 1.0, -1.0, -1.0, 0.0]].concat())
}

/// y = x₀ / f32(0.3), which no binary number is for most x₀.
fn quotient() -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let scale = 1.0 / f64::from(0.3_f32);
    let quotient = builder.normalise("quotient", vec![scale; 2], vec![0.0; 2], builder.input()).unwrap();
    builder.linear("first", 1, false, quotient).unwrap();
    Model::new(builder.build().unwrap(), vec![1.0, 0.0])
}

/// A property of [`model`] over the box [−1, 1]².
fn property(path: &Path, assertions: &str) {
    let mut text = "; a test\n".to_string();
    for name in ["X_0", "X_1", "Y_0"] {
        text.push_str(&format!("(declare-const {name} Real)\n"));
    }
    std::fs::write(path, format!("{text}(assert (and (<= -1 X_0 1) (<= -1 X_1 1)))\n{assertions}\n")).unwrap();
}

/// A folder with the model and properties that hold, are violated, and cannot be decided.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&model(), &path("net.onnx")).unwrap();
    property(&path("holds.vnnlib"), "(assert (or (<= Y_0 -2.5) (and (>= Y_0 2.5) (<= Y_0 10))))");
    property(&path("violated.vnnlib"), "(assert (>= Y_0 -0.5)) (assert (>= X_0 0.25))");
    // True at x₀ = f32(0.3) alone, where the quotient is known to hundreds of digits but not to be 1.
    tightrope_onnx::export(&quotient(), &path("quotient.onnx")).unwrap();
    property(&path("unknown.vnnlib"), "(assert (= Y_0 1))");
    // Nothing but splits shows it.
    property(&path("hard.vnnlib"), "(assert (<= Y_0 -0.25))");
    // Every output is unsafe.
    property(&path("always.vnnlib"), "");
    folder
}

/// Runs `verify` and returns exit code, standard output and standard error.
fn verify(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = [&["verify"], arguments].concat();
    let output = support::command(&arguments).current_dir(folder).output().unwrap();
    let words = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), words(output.stdout), words(output.stderr))
}

#[test]
fn verdicts_and_exit_codes() {
    let folder = folder();
    for (net, name, code) in [("net.onnx", "holds", 0), ("net.onnx", "violated", 1), ("quotient.onnx", "unknown", 2)] {
        let file = format!("{name}.vnnlib");
        for extra in [&[][..], &["--no-sound"], &["--sound", "--seed", "3", "--threads", "1"]] {
            let arguments = [&[net, &file, "--branching", "babsr"], extra].concat();
            let (found, output, errors) = verify(folder.path(), &arguments);
            assert_eq!(found, Some(code), "{file}: {errors}");
            assert!(output.starts_with(&format!("{name}\n")), "{output}");
        }
        let (_, output, _) = verify(folder.path(), &[net, &file, "--branching", "babsr", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(document["verdict"], name);
        assert_eq!(document["counterexample"].is_null(), code != 1);
    }
    assert_eq!(verify(folder.path(), &["net.onnx", "always.vnnlib"]).0, Some(1));
    // Too short for the splits that the property needs.
    let arguments = ["net.onnx", "hard.vnnlib", "--timeout", "1e-9"];
    let (code, output, _) = verify(folder.path(), &arguments);
    assert_eq!((code, output.lines().next()), (Some(3), Some("timeout")));
}

#[test]
fn witnesses_and_results_files() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let arguments = ["net.onnx", "violated.vnnlib", "--witness", "w.txt", "--results-file", "r.txt"];
    assert_eq!(verify(folder.path(), &arguments).0, Some(1));
    let witness = read("w.txt");
    assert_eq!(read("r.txt"), format!("sat\n{witness}"));
    let inside = witness.trim().strip_prefix("((").and_then(|rest| rest.strip_suffix("))")).unwrap();
    let values: Vec<(&str, f64)> = inside
        .split(")\n (")
        .map(|pair| pair.split_once(' ').map(|(name, value)| (name, value.parse().unwrap())).unwrap())
        .collect();
    assert_eq!(values.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["X_0", "X_1", "Y_0"]);
    assert!((0.25..=1.0).contains(&values[0].1) && (-1.0..=1.0).contains(&values[1].1) && values[2].1 >= -0.5);

    let arguments = ["net.onnx", "holds.vnnlib", "--witness", "none.txt", "--results-file", "r.txt"];
    assert_eq!(verify(folder.path(), &arguments).0, Some(0));
    assert_eq!(read("r.txt"), "unsat\n");
    assert!(!path("none.txt").exists());
}

#[test]
fn certificates() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let (net, holds, certificate) = (path("net.onnx"), path("holds.vnnlib"), path("proof.cert"));
    let (net, holds, certificate) = (text(&net), text(&holds), text(&certificate));
    assert_eq!(verify(folder.path(), &[net, holds, "--certificate", certificate]).0, Some(0));
    assert!(succeeds(&["check", certificate, net, holds]).starts_with("holds\n2 conjunctions"));
    let document: serde_json::Value =
        serde_json::from_str(&succeeds(&["check", certificate, net, holds, "--json"])).unwrap();
    assert_eq!(document["conjunctions"], 2);
    assert!(document["smallest_bound"].as_f64().unwrap() > 0.0);
    for name in ["network_sha256", "property_sha256"] {
        let digest = document[name].as_str().unwrap();
        assert!(digest.len() == 64 && succeeds(&["check", certificate, net, holds]).contains(digest), "{name}");
    }
    assert!(document["arithmetic"].as_str().unwrap().contains("every rounding against the proof"));

    // Nothing is written where nothing is proved.
    let (none, violated) = (path("none.cert"), path("violated.vnnlib"));
    assert_eq!(verify(folder.path(), &[net, text(&violated), "--certificate", text(&none)]).0, Some(1));
    assert!(!none.exists());

    fails(&["check", certificate, net, text(&violated)], &["another property"]);
    let mut other = model();
    other.theta[0] = 1.5;
    let other_path = path("other.onnx");
    tightrope_onnx::export(&other, &other_path).unwrap();
    fails(&["check", certificate, text(&other_path), holds], &["another network"]);
    let bytes = std::fs::read(certificate).unwrap();
    let damaged = path("damaged.cert");
    for position in [0, 9, 20, bytes.len() / 2, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x10;
        std::fs::write(&damaged, &bytes).unwrap();
        fails(&["check", text(&damaged), net, holds], &["damaged.cert"]);
        std::fs::write(&damaged, &bytes[..position]).unwrap();
        fails(&["check", text(&damaged), net, holds], &["damaged.cert"]);
    }
    fails(&["check", net, net, holds], &["does not begin as a certificate"]);
    fails(&["check", text(&path("absent.cert")), net, holds], &["absent.cert", "give a certificate"]);
}

/// Small inputs whose verdict once was wrong.
#[test]
fn cases_that_failed_once_are_right() {
    let Some(cases) = tightrope_testkit::shared::shared("cases/verify") else { return };
    let expected = std::fs::read(cases.join("expected.json")).unwrap();
    let expected: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.len() >= 5);
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof.cert");
    for (name, verdict) in &expected {
        let (net, property) = (cases.join(format!("{name}.onnx")), cases.join(format!("{name}.vnnlib")));
        let arguments = [text(&net), text(&property), "--timeout", "60", "--certificate", text(&proof)];
        let (_, output, errors) = verify(folder.path(), &arguments);
        assert_eq!(output.lines().next(), verdict.as_str(), "{name}: {errors}");
        assert_eq!(errors.contains("holds trivially"), name == "empty_box", "{errors}");
        assert_eq!(proof.exists(), verdict == "holds", "{name}");
        if proof.exists() {
            succeeds(&["check", text(&proof), text(&net), text(&property)]);
        }
    }
}

/// What an earlier run left is taken away where it does not belong to the new verdict.
#[test]
fn witnesses_and_certificates_belong_to_the_last_verdict() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let files = ["--witness", "w.txt", "--certificate", "p.cert"];
    assert_eq!(verify(folder.path(), &[&["net.onnx", "violated.vnnlib"][..], &files].concat()).0, Some(1));
    assert!(path("w.txt").exists() && !path("p.cert").exists());
    let (code, _, errors) = verify(folder.path(), &[&["net.onnx", "holds.vnnlib"][..], &files].concat());
    assert!(code == Some(0) && errors.contains("the witness of an earlier run, removed"), "{errors}");
    assert!(!path("w.txt").exists() && path("p.cert").exists());
    assert_eq!(verify(folder.path(), &[&["net.onnx", "violated.vnnlib"][..], &files].concat()).0, Some(1));
    assert!(path("w.txt").exists() && !path("p.cert").exists());
}

/// The rows of a results file without the seconds.
fn timeless(path: &Path) -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), 6, "{line}");
        assert!([3, 5].iter().all(|&seconds| fields[seconds].parse::<f64>().unwrap() >= 0.0), "{line}");
        [0, 1, 2, 4].map(|field| fields[field].to_string())
    };
    text.lines().map(row).collect()
}

#[test]
fn lists_are_worked_through_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = folder.path().join("bench");
    std::fs::rename(self::folder().keep(), &bench).unwrap();
    let path = |name: &str| bench.join(name);
    let list = "net.onnx,holds.vnnlib,20\n./net.onnx,violated.vnnlib,20\n\nnet.onnx,absent.vnnlib,20\nquotient.onnx,unknown.vnnlib,20\n";
    std::fs::write(path("instances.csv"), list).unwrap();
    let arguments = ["bench/instances.csv", "--results-file", "results.csv", "--branching", "babsr"];
    let (code, output, errors) = verify(folder.path(), &arguments);
    assert_eq!(code, Some(4), "one instance is missing: {errors}");
    assert!(errors.contains("absent.vnnlib: cannot be read"), "{errors}");
    assert!(output.contains("4 instances: 1 holds, 1 violated, 1 unknown, 0 timeout, 1 error"), "{output}");
    let results = folder.path().join("results.csv");
    let expected = [
        ["bench", "net.onnx", "holds.vnnlib", "unsat"],
        ["bench", "./net.onnx", "violated.vnnlib", "sat"],
        ["bench", "net.onnx", "absent.vnnlib", "error"],
        ["bench", "quotient.onnx", "unknown.vnnlib", "unknown"],
    ];
    assert_eq!(timeless(&results), expected);
    let whole = std::fs::read_to_string(&results).unwrap();

    // Unasked, nothing is overwritten.
    let (code, _, errors) = verify(folder.path(), &arguments);
    assert!(code == Some(4) && errors.contains("--resume"), "{errors}");
    assert_eq!(std::fs::read_to_string(&results).unwrap(), whole);
    // Killed in the middle of the second line.
    let second = whole.find('\n').unwrap() + 10;
    std::fs::write(&results, &whole[..second]).unwrap();
    let (code, output, errors) = verify(folder.path(), &[&arguments[..], &["--resume", "--json"]].concat());
    assert_eq!(code, Some(4), "{errors}");
    assert!(errors.contains("1 of 4 instances are done already"), "{errors}");
    assert_eq!(timeless(&results), expected);
    assert!(std::fs::read_to_string(&results).unwrap().starts_with(&whole[..=whole.find('\n').unwrap()]));
    let document: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&document["counts"]["holds"], document["instances"].as_array().unwrap().len()), (&1.into(), 4));

    std::fs::write(path("other.csv"), "net.onnx,violated.vnnlib,20\n").unwrap();
    let other = ["bench/other.csv", "--results-file", "results.csv", "--resume"];
    let (code, _, errors) = verify(folder.path(), &other);
    assert!(code == Some(4) && errors.contains("row 1 belongs to another list"), "{errors}");
    std::fs::write(&results, "something else\n").unwrap();
    let (code, _, errors) = verify(folder.path(), &[&arguments[..], &["--resume"]].concat());
    assert!(code == Some(4) && errors.contains("row 1 is no result"), "{errors}");
    assert_eq!(std::fs::read_to_string(&results).unwrap(), "something else\n");
}

#[test]
fn parts_of_a_list_are_put_together() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let list = "net.onnx,holds.vnnlib,20\nnet.onnx,violated.vnnlib,20\nnet.onnx,holds.vnnlib,21\n";
    std::fs::write(path("instances.csv"), list).unwrap();
    let part = |results: &str, more: &[&str]| {
        let arguments = [&["instances.csv", "--results-file", results, "--branching", "babsr"], more].concat();
        let (code, _, errors) = verify(folder.path(), &arguments);
        assert_eq!(code, Some(0), "{errors}");
    };
    part("whole.csv", &[]);
    part("one.csv", &["--shard", "1/2"]);
    part("two.csv", &["--shard", "2/2"]);
    part("none.csv", &["--shard", "4/4"]);
    assert_eq!((timeless(&path("one.csv")).len(), timeless(&path("two.csv")).len()), (2, 1));
    assert!(std::fs::read(path("none.csv")).unwrap().is_empty());
    let merge = |parts: &[&str]| {
        let mut command = support::command(&[&["merge", "-o", "merged.csv", "--overwrite"], parts].concat());
        let output = command.current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(merge(&["one.csv", "two.csv"]).0, Some(0));
    assert_eq!(timeless(&path("merged.csv")), timeless(&path("whole.csv")));
    let (code, errors) = merge(&["two.csv", "one.csv"]);
    assert!(code == Some(4) && errors.contains("one.csv: has 2 rows where two.csv has 1"), "{errors}");
    let (code, errors) = merge(&["none.csv"]);
    assert!(code == Some(4) && errors.contains("no results"), "{errors}");
    let (code, _, errors) = verify(folder.path(), &["net.onnx", "holds.vnnlib", "--shard", "1/2"]);
    assert!(code == Some(4) && errors.contains("--shard divides a list"), "{errors}");
}

/// Rows that tell of an error are worked on again when asked, in their places; two processes do not share a file.
#[test]
fn rows_of_lists_are_retried_and_locked() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let list = "net.onnx,absent.vnnlib,20\nnet.onnx,holds.vnnlib,20\nquotient.onnx,unknown.vnnlib,20\n";
    std::fs::write(path("instances.csv"), list).unwrap();
    let arguments = ["instances.csv", "--results-file", "results.csv", "--branching", "babsr"];
    assert_eq!(verify(folder.path(), &arguments).0, Some(4));
    let results = path("results.csv");
    let verdicts = || timeless(&results).into_iter().map(|row| row[3].clone()).collect::<Vec<_>>();
    assert_eq!(verdicts(), ["error", "unsat", "unknown"]);
    std::fs::copy(path("violated.vnnlib"), path("absent.vnnlib")).unwrap();
    let resume = [&arguments[..], &["--resume"]].concat();
    assert_eq!(verify(folder.path(), &resume).0, Some(4));
    assert_eq!(verdicts(), ["error", "unsat", "unknown"]);
    let retry = [&resume[..], &["--retry", "errors"]].concat();
    assert_eq!(verify(folder.path(), &retry).0, Some(0));
    assert_eq!(verdicts(), ["sat", "unsat", "unknown"]);
    let (code, _, errors) = verify(folder.path(), &[&arguments[..], &["--retry", "errors"]].concat());
    assert!(code == Some(4) && errors.contains("--resume"), "{errors}");

    let held = std::fs::OpenOptions::new().append(true).open(&results).unwrap();
    held.try_lock().unwrap();
    let (code, _, errors) = verify(folder.path(), &resume);
    assert!(code == Some(4) && errors.contains("another process writes to this file"), "{errors}");
}

/// Outputs that are inputs, or each other, are refused before anything is read.
#[test]
fn outputs_over_inputs_are_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("earlier.csv"), "test,net.onnx,holds.vnnlib,0.001,unsat,0.010\n").unwrap();
    let before = files(folder.path());
    for (arguments, part) in [
        (&["net.onnx", "holds.vnnlib", "--witness", "./net.onnx"][..], "is the input itself"),
        (&["net.onnx", "holds.vnnlib", "--results-file", "holds.vnnlib"], "is the input itself"),
        (&["net.onnx", "holds.vnnlib", "--witness", "a", "--certificate", "./a"], "--witness writes the same file"),
        (
            &["net.onnx", "holds.vnnlib", "--witness", "a", "--certificate", "b", "--results-file", "./b"],
            "--results-file writes the same file",
        ),
        (&["net.onnx", "holds.vnnlib", "--results-file", "earlier.csv"], "holds the results of a list"),
    ] {
        let (code, _, errors) = verify(folder.path(), arguments);
        assert!(code == Some(4) && errors.contains(part), "{errors}");
    }
    assert!(files(folder.path()) == before);
    // Of a list, whatever it names, also where it is asked to go on with the file.
    std::fs::write(folder.path().join("list.csv"), "net.onnx,holds.vnnlib,20\n./net.onnx,violated.vnnlib,20\n")
        .unwrap();
    let before = files(folder.path());
    for name in ["list.csv", "net.onnx", "./violated.vnnlib"] {
        for more in [&[][..], &["--resume"]] {
            let arguments = [&["list.csv", "--results-file", name][..], more].concat();
            let (code, _, errors) = verify(folder.path(), &arguments);
            assert!(code == Some(4) && errors.contains("is the input itself"), "{errors}");
        }
    }
    assert!(files(folder.path()) == before);
}

/// What stands behind the last line break of a file is cut off only if a kill may have left it.
#[test]
fn files_that_are_no_results_keep_their_last_line() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("list.csv"), "net.onnx,holds.vnnlib,20\n").unwrap();
    let resume = ["list.csv", "--results-file", "results.csv", "--resume"];
    let category = folder.path().file_name().unwrap().to_str().unwrap();
    let row = format!("{category},net.onnx,holds.vnnlib,");
    for text in ["notes without a line break".to_string(), format!("{row}0.001,unsat,0.002\nand more"), row[1..].into()]
    {
        std::fs::write(path("results.csv"), &text).unwrap();
        let (code, _, errors) = verify(folder.path(), &resume);
        assert!(code == Some(4) && errors.contains("is no result; name another file"), "{errors}");
        assert_eq!(std::fs::read_to_string(path("results.csv")).unwrap(), text);
    }
    for torn in ["", &row[..5], &row, &format!("{row}0.0")] {
        std::fs::write(path("results.csv"), torn).unwrap();
        assert_eq!(verify(folder.path(), &resume).0, Some(0), "{torn}");
        assert_eq!(timeless(&path("results.csv")), [[category, "net.onnx", "holds.vnnlib", "unsat"]], "{torn}");
    }
}

/// What is told under `-v` counts in the singular where there is one, and does not tell of a bound that is none.
#[test]
fn details_are_in_plain_words() {
    let folder = folder();
    let (code, _, errors) = verify(folder.path(), &["net.onnx", "hard.vnnlib", "-v"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("hard.vnnlib: 1 case, 1 conjunction\n"), "{errors}");
    assert!(errors.contains("subproblem") && !errors.contains("inf"), "{errors}");
    let (_, output, errors) = verify(folder.path(), &["net.onnx", "hard.vnnlib", "-v", "--timeout", "1e-9"]);
    assert!(output.contains("no lower bound was found") && !errors.contains("inf"), "{output}{errors}");
}

/// A line on a terminal tells how the search goes, and nothing of it is left.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_how_the_search_goes() {
    use std::io::Read;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    let folder = folder();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = std::fs::OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap();
    // True at one point, which no split finds: the search lasts as long as it may.
    let mut child = support::command(&["verify", "quotient.onnx", "unknown.vnnlib", "--branching", "babsr"])
        .current_dir(folder.path())
        .stderr(terminal)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    // The other end is closed when the process is gone, which a read tells by an error.
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    let mut reader = std::fs::File::from(master);
    while let Ok(count @ 1..) = reader.read(&mut part) {
        shown.extend_from_slice(&part[..count]);
    }
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("case 1/") && shown.contains("open, lower bound"), "{shown:?}");
    // Seconds of the search, as 0s, 1s, …; at the end the line is cleared.
    let seconds: Vec<&str> = shown.split("verify ").skip(1).filter_map(|rest| rest.split('s').next()).collect();
    assert!(seconds.iter().any(|text| text.parse::<u64>().is_ok()), "{shown:?}");
    assert!(shown.trim_end_matches('\r').ends_with("\u{1b}[2K"), "{shown:?}");
}

#[test]
fn bad_input_is_refused() {
    let folder = folder();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let (net, holds, list) = (path("net.onnx"), path("holds.vnnlib"), path("instances.csv"));
    let refused = |arguments: &[&str], parts: &[&str]| {
        let before = files(folder.path());
        fails(&[&["verify"], arguments].concat(), parts);
        assert!(files(folder.path()) == before, "{arguments:?} changed files");
    };
    refused(&[], &["MODEL"]);
    refused(&[&net], &["MODEL PROPERTY.vnnlib, or an INSTANCES.csv"]);
    refused(&[&net, &path("absent.vnnlib")], &["absent.vnnlib: cannot be read"]);
    refused(&[&path("absent.onnx"), &holds], &["absent.onnx", "no such file"]);
    refused(&[&net, &net], &["net.onnx, line"]);
    refused(&[&holds, &holds], &["holds.vnnlib: no model"]);
    refused(&[&net, &holds, "--timeout", "0"], &["--timeout", "positive"]);
    refused(&[&net, &holds, "--timeout", "-1"], &["--timeout", "positive"]);
    refused(&[&net, &holds, "--batch", "0"], &["--batch 0"]);
    refused(&[&net, &holds, "--branching", "best"], &["best", "auto"]);
    refused(&[&net, &holds, "--resume"], &["--resume"]);
    // Before the search, of which nothing is told.
    if Path::new("/proc/self").exists() {
        for option in ["--witness", "--results-file", "--certificate"] {
            refused(&[&net, &holds, option, "/proc/tightrope-out"], &[option, "cannot be written"]);
        }
    }
    for option in ["--witness", "--results-file", "--certificate"] {
        refused(&[&net, &holds, option, &path("missing/file")], &[option, "missing does not exist"]);
        refused(&[&net, &holds, option, &path("")], &[option, "is a folder"]);
    }
    for (name, content, part) in [
        ("cut.onnx", &std::fs::read(&net).unwrap()[..40], "cut.onnx"),
        ("noise.onnx", &[0x5a; 4000], "noise.onnx"),
        ("empty.onnx", b"", "empty.onnx"),
    ] {
        std::fs::write(path(name), content).unwrap();
        refused(&[&path(name), &holds], &[part]);
    }
    let more = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))";
    for (name, content, part) in [
        ("size.vnnlib", more, "1 inputs and 1 outputs"),
        ("empty.vnnlib", "", "no input is declared"),
        ("open.vnnlib", "(assert (<= X_0 1)", "line 1, column 13"),
        ("free.vnnlib", "(declare-const X_0 Real)(declare-const Y_0 Real)", "X_0 has no lower bound"),
    ] {
        std::fs::write(path(name), content).unwrap();
        refused(&[&net, &path(name)], &[part]);
    }
    refused(&[&list], &["instances.csv: cannot be read"]);
    for (content, part) in [
        ("", "holds no instances"),
        ("net.onnx,holds.vnnlib\n", "line 1, column 1: has 2 fields"),
        ("net.onnx,holds.vnnlib,soon\n", "`soon` is no number"),
    ] {
        std::fs::write(&list, content).unwrap();
        refused(&[&list], &[part]);
    }
    std::fs::write(&list, "net.onnx,holds.vnnlib,20\n").unwrap();
    refused(&[&list, &holds], &["names its properties itself"]);
    refused(&[&list, "--witness", &path("w")], &["--witness is for one property"]);
    refused(&[&list, "--certificate", &path("c")], &["--certificate is for one property"]);
    refused(&[&list, "--resume"], &["--results-file"]);
    refused(&[&list, "--results-file", &path("missing/file")], &["missing does not exist"]);
    assert_eq!(run(&["verify", &list]).status.code(), Some(0));
}
