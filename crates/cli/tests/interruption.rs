//! Killing the program at any moment and going on gives what an undisturbed run gives; so does any number of threads.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::{TINY, fails, read_tensors, run, succeeds, text, timeless_log, write_inputs};

/// Kills the program after ever longer times until it ends by itself; the number of kills.
///
/// `--resume` is given once `begun` is there.
fn kill_until_done(arguments: &[&str], begun: &Path) -> usize {
    for kills in 0.. {
        let resume: &[&str] = if begun.exists() { &["--resume"] } else { &[] };
        let mut child = support::command(&[arguments, resume].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Long enough to get anywhere in the end, odd enough to hit different moments.
        std::thread::sleep(Duration::from_millis(150 + 170 * kills as u64));
        let running = child.try_wait().unwrap().is_none();
        if running {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.code().is_some() {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return kills;
        }
    }
    unreachable!("the loop ends with the program")
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_killed_training_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let settings =
        ["--limit-train", "640", "--epochs", "30", "--set", "train.checkpoint_steps=3", "--smoothing", "rgs"];
    let train = |out: &Path| [&["train", "--out", text(out)], &TINY[..], &settings[..]].concat().join("\n");
    succeeds(&train(&whole).lines().collect::<Vec<_>>());
    let arguments = train(&killed);
    let kills = kill_until_done(&arguments.lines().collect::<Vec<_>>(), &killed.join("config.toml"));
    assert!(kills >= 2, "the run ended after {kills} kills; make it longer");
    for name in ["checkpoint.safetensors", "model.safetensors", "network.json", "model.onnx", "config.toml"] {
        assert!(bytes(&whole, name) == bytes(&killed, name), "{name} differs");
    }
    let losses = |folder: &Path| -> Vec<_> {
        let lines = String::from_utf8(bytes(folder, "metrics.jsonl")).unwrap();
        let metrics = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        metrics.map(|m| (m["epoch"].clone(), m["loss"].clone(), m["test"]["certified_loss"].clone())).collect()
    };
    assert_eq!(losses(&whole), losses(&killed));
    // Done is done: resuming once more changes nothing, and says so.
    let again = run(&["train", "--out", text(&killed), "--resume"]);
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("finished already"));
    assert!(bytes(&whole, "checkpoint.safetensors") == bytes(&killed, "checkpoint.safetensors"));
    fails(&["train", "--out", text(&killed), "--resume", "--seed", "9"], &["cannot resume", "seed"]);
}

#[test]
fn a_killed_certification_resumes_without_gaps_or_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = ["train", "--out", text(&run), "--limit-train", "1500", "--epochs", "4", "--method", "standard"];
    succeeds(&[&train[..], &TINY[..], &["--lr", "3e-3"]].concat());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    // A time limit that no sample comes near, so that results do not depend on the machine.
    let settings = ["--stages", "ibp,alpha-crown,bab", "--timeout", "1000", "--limit", "300"];
    let certify = |out: &Path| {
        [&["certify", text(&run), "--eps", "0.015", "--out", text(out)], &settings[..]].concat().join("\n")
    };
    succeeds(&certify(&whole).lines().collect::<Vec<_>>());
    let resume = format!("{}\n--resume", certify(&killed));
    let resume: Vec<&str> = resume.lines().collect();
    let kills = kill_until_done(&resume[..resume.len() - 1], &killed.join("certify.jsonl"));
    assert!(kills >= 2, "the certification was not interrupted; make it longer");
    let (expected, found) = (timeless_log(&whole.join("certify.jsonl")), timeless_log(&killed.join("certify.jsonl")));
    assert_eq!(expected.len(), 301);
    let mut indices: Vec<u64> = found[1..].iter().map(|record| record["index"].as_u64().unwrap()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..300).collect::<Vec<_>>());
    let branched = found.iter().filter(|record| record["stage_seconds"]["bab"].is_number()).count();
    assert!(branched > 10, "only {branched} samples came to branch and bound");
    assert_eq!(found.len(), expected.len());
    for (a, b) in expected.iter().zip(&found) {
        assert_eq!(a, b);
    }
    let other = [&resume[..3], &["0.3"], &resume[4..]].concat();
    fails(&other, &["eps: 0.015 there, 0.3 now", "--overwrite"]);
    fails(&[&resume[..], &["--seed", "5"]].concat(), &["seed: 0 there, 5 now"]);
    // Beginning anew is refused, and replaces the log where it is asked for.
    let anew = [&resume[..resume.len() - 2], &["10"]].concat();
    let before = bytes(&killed, "certify.jsonl");
    fails(&anew, &["certify.jsonl", "--resume", "--overwrite"]);
    assert!(bytes(&killed, "certify.jsonl") == before);
    succeeds(&[&anew[..], &["--overwrite"]].concat());
    assert_eq!(timeless_log(&killed.join("certify.jsonl")).len(), 11);
    assert_eq!(std::fs::read_dir(&killed).unwrap().count(), 1);
    // A record that is about something else is not taken over.
    let log = String::from_utf8(bytes(&killed, "certify.jsonl")).unwrap();
    let (at, _) = log.match_indices("\"label\":").nth(3).unwrap();
    let digit = log.as_bytes()[at + 8];
    let other = if digit == b'0' { '1' } else { '0' };
    std::fs::write(killed.join("certify.jsonl"), format!("{}{other}{}", &log[..at + 8], &log[at + 9..])).unwrap();
    fails(&[&anew[..], &["--resume"]].concat(), &["the record of sample", "--overwrite"]);
    // Nor one of a sample that is not there.
    let record = log.lines().last().unwrap();
    let rest = record.split_once("\"index\":").unwrap().1.trim_start_matches(|digit: char| digit.is_ascii_digit());
    std::fs::write(killed.join("certify.jsonl"), format!("{log}{{\"index\":5000{rest}\n")).unwrap();
    fails(&[&anew[..], &["--resume"]].concat(), &["has a record of sample 5000, but there are only"]);
    // Whatever else lies in the folder is nobody's but the user's.
    let old = killed.join("certify.previous.jsonl");
    std::fs::write(&old, "an older one").unwrap();
    succeeds(&[&anew[..], &["--overwrite"]].concat());
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "an older one");
}

/// Whoever comes second to a log is refused, however it asks, and the first one's log stays whole.
#[test]
fn a_running_certification_keeps_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&[&["train", "--out", text(&run), "--limit-train", "320", "--epochs", "1"], &TINY[..]].concat());
    let log = run.join("certify.jsonl");
    let certify = ["certify", text(&run), "--eps", "0.1", "--steps", "2000", "--timeout", "1000", "--stages", "pgd"];
    let mut first = support::command(&certify).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !log.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for extra in [&["--overwrite"][..], &["--resume"]] {
        fails(&[&certify[..], extra].concat(), &["another process"]);
    }
    fails(&certify, &["holds a certification already"]);
    fails(&[&["train", "--out", text(&run), "--overwrite"], &TINY[..]].concat(), &["certify.jsonl", "another process"]);
    assert!(first.try_wait().unwrap().is_none(), "the first ended too early to be disturbed");
    first.kill().unwrap();
    first.wait().unwrap();
    // A third start goes on with the log of the first.
    let resumed = ["certify", text(&run), "--eps", "0.1", "--steps", "2000", "--timeout", "1000", "--stages", "pgd"];
    let limited = [&resumed[..], &["--resume", "--limit", "1"]].concat();
    succeeds(&limited);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = folder.path().join("x.safetensors");
    write_inputs(&inputs);
    let outputs = ["1", "2"].map(|threads| {
        let place = folder.path().join(threads);
        let path = |name: &str| place.join(name);
        std::fs::create_dir(&place).unwrap();
        let run = path("run");
        let with = |arguments: &[&str]| succeeds(&[arguments, &["--threads", threads, "--seed", "11"]].concat());
        let small = ["--limit-train", "160", "--epochs", "2", "--method", "deeppoly", "--smoothing", "pgpe"];
        with(&[&["train", "--out", text(&run), "--population", "4"], &small[..], &TINY[..]].concat());
        with(&["certify", text(&run), "--eps", "0.01", "--limit", "150", "--timeout", "1000"]);
        let (adversarial, bounds) = (path("adversarial"), path("bounds"));
        with(&["attack", text(&run), "--eps", "0.05", "--limit", "140", "--steps", "5", "-o", text(&adversarial)]);
        let bound = ["--eps", "0.05", "--method", "crown", "--gradients", "--layers", "-o", text(&bounds)];
        with(&[&["bounds", text(&run), "--inputs", text(&inputs)], &bound[..]].concat());
        let same = ["checkpoint.safetensors", "model.safetensors", "model.onnx"].map(|name| bytes(&run, name));
        let optimised = path("optimised");
        let bound = ["--eps", "0.05", "--method", "alpha-crown", "--layers", "-o", text(&optimised)];
        with(&[&["bounds", text(&run), "--inputs", text(&inputs)], &bound[..]].concat());
        let tensors = [bounds, adversarial, optimised].map(|path| read_tensors(&path));
        (same, timeless_log(&path("run/certify.jsonl")), tensors)
    });
    let [one, two] = outputs;
    assert!(one.0 == two.0, "training differs");
    assert_eq!(one.1, two.1);
    assert!(one.2 == two.2, "bounds or attacks differ");
}
