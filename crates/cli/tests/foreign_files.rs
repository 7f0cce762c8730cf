//! Foreign files, whole, hostile and damaged, through the entries of the fuzz targets: read or refused, never a panic,
//! and never much more memory than the file takes.

#[path = "../../../fuzz/src/lib.rs"]
mod entries;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{fails, run, text};
use tightrope_network::{Description, Initialisation, Model, Normalisation, Preset};
use tightrope_testkit::random::Rng;
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};

/// Counts the bytes in use and their maximum.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time, so that the memory counted is that of its entry.
static TURN: Mutex<()> = Mutex::new(());

/// Most bytes that a file of `length` bytes for `target` may claim while it is read.
fn allowance(target: &str, length: usize) -> usize {
    let fixed = match target {
        // A property may hold 256 MiB of numbers, twice while it is put together: two words declare millions of outputs.
        "vnnlib" => 512 << 20,
        // A padding of a few bytes may ask for a tensor of millions of elements, with an index for each.
        "onnx" => 512 << 20,
        _ => 64 << 20,
    };
    fixed + 400 * length
}

/// Feeds one file to the entry of `target`; whether it was accepted.
fn feed(target: &str, name: &str, entry: fn(&[u8]) -> bool, data: &[u8]) -> bool {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let accepted = entry(data);
    let claimed = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(
        claimed <= allowance(target, data.len()),
        "{name}: {claimed} bytes for a file of {}: {:?}",
        data.len(),
        shown(data)
    );
    accepted
}

fn shown(data: &[u8]) -> String {
    data[..data.len().min(300)].escape_ascii().to_string()
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// Deterministic damage.
struct Damage(Rng);

impl Damage {
    fn below(&self, count: usize) -> usize {
        self.0.below(count.max(1))
    }

    /// Two ends in order.
    fn range(&self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }

    /// One of `files`, mostly of the first `whole`, with one to four kinds of damage.
    fn file(&self, files: &[Vec<u8>], whole: usize) -> Vec<u8> {
        let among = if self.below(4) > 0 { whole } else { files.len() };
        let mut data = files[self.below(among)].clone();
        for _ in 0..[1, 1, 1, 2, 4][self.below(5)] {
            self.apply(&mut data, files);
        }
        data.truncate(1 << 18);
        data
    }

    fn apply(&self, data: &mut Vec<u8>, files: &[Vec<u8>]) {
        let at = self.below(data.len());
        match self.below(10) {
            0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
            1 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff, b'-', b'9', b'('][self.below(8)],
            2 => data.truncate(at),
            3 => drop(data.drain(self.range(data.len()).take_some(64))),
            4 => {
                let other = &files[self.below(files.len())];
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            // A piece again and again: nesting, long lists, many layers.
            5 => {
                let piece = data[self.range(data.len()).take_some(200)].to_vec();
                let times = 1 << self.below(12);
                data.splice(at..at, piece.repeat(times).into_iter().take(1 << 17));
            }
            6 => {
                let many = 1 << self.below(16);
                let open =
                    [&b"("[..], b"[", b"{", b"(and ", b"(- ", b"[[", b"{\"layers\":", b"\x0a\xff\x01"][self.below(8)];
                data.splice(at..at, open.repeat(many).into_iter().take(1 << 17));
            }
            // Numbers as text.
            7 => {
                let digit = data[at..].iter().position(u8::is_ascii_digit).map_or(at, |step| at + step);
                let run = data[digit..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let huge = [
                    &b"0"[..],
                    b"4294967296",
                    b"18446744073709551615",
                    b"99999999999999999999",
                    b"-1",
                    b"1e308",
                    b"1e-320",
                    b"16777215",
                    b"3000000000",
                    b"0.1e",
                ][self.below(10)];
                data.splice(digit..digit + run, huge.iter().copied());
            }
            // Numbers in seven-bit groups, and lengths that lie.
            8 => {
                let huge = [
                    &b"\xff\xff\xff\xff\x0f"[..],
                    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                    b"\x80\x80\x80\x80\x10",
                    b"\xff\xff\xff\x07",
                    b"\x80\x00",
                    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
                ][self.below(6)];
                let end = (at + self.below(3)).min(data.len());
                data.splice(at..end, huge.iter().copied());
            }
            _ => {
                let piece = data[self.range(data.len()).take_some(64)].to_vec();
                data.splice(at..at, piece);
            }
        }
    }
}

/// A part of a range.
trait TakeSome {
    fn take_some(self, most: usize) -> Self;
}

impl TakeSome for std::ops::Range<usize> {
    fn take_some(self, most: usize) -> Self {
        self.start..self.end.min(self.start + most)
    }
}

/// The corpus of `target` and `real` files as they are, then damaged.
fn check(target: &str, entry: fn(&[u8]) -> bool, real: Vec<Vec<u8>>, rounds: u64) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut files, mut hostile) = (Vec::new(), Vec::new());
    for (name, data) in corpus(target) {
        // The files' names say what shall become of them.
        let good = Path::new(&name).file_name().unwrap().to_str().unwrap().starts_with("good");
        assert_eq!(feed(target, &name, entry, &data), good, "{name}: {}", shown(&data));
        if good { files.push(data) } else { hostile.push(data) }
    }
    assert!(files.len() >= 2 && hostile.len() >= 3, "the corpus of {target} is gone");
    for data in real {
        assert!(feed(target, "a whole file", entry, &data), "a whole file is refused: {}", shown(&data));
        files.push(data);
    }
    let whole = files.len();
    files.extend(hostile);
    let mut accepted = 0;
    for round in 0..rounds {
        let damage = Damage(Rng::new(round));
        let data = damage.file(&files, whole);
        accepted += usize::from(feed(target, &format!("{target}, round {round}"), entry, &data));
    }
    eprintln!("{target}: {accepted} of {rounds} damaged files accepted");
    assert!(accepted * 100 >= rounds as usize, "{target}: only {accepted} of {rounds} damaged files accepted");
}

#[test]
fn onnx_files() {
    let normalisation = Normalisation { mean: vec![0.5], std: vec![0.25] };
    let network = Preset::Cnn3Tiny.build(&[1, 6, 6], 3, Some(&normalisation)).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let models = [Model::new(network, theta), entries::absolute().clone()];
    check(
        "onnx",
        entries::onnx,
        models.iter().map(|model| tightrope_onnx::export_bytes(model).unwrap()).collect(),
        4000,
    );
}

#[test]
fn vnnlib_files() {
    let mut robust = String::new();
    for (letter, count) in [('X', 30), ('Y', 4)] {
        (0..count).for_each(|i| robust.push_str(&format!("(declare-const {letter}_{i} Real)\n")));
    }
    (0..30).for_each(|i| robust.push_str(&format!("(assert (<= X_{i} 0.{i}5))\n(assert (>= X_{i} -1.5e-3))\n")));
    robust.push_str("(assert (or (and (>= Y_1 Y_0)) (and (>= Y_2 Y_0)) (and (>= Y_3 Y_0))))\n");
    check("vnnlib", entries::vnnlib, vec![robust.into_bytes()], 8000);
}

#[test]
fn instance_lists() {
    let list: String = (0..40).map(|i| format!("onnx/net_{i}.onnx,vnnlib/prop_{i}.vnnlib,{}.5\n", i + 1)).collect();
    check("instances", entries::instances, vec![list.into_bytes()], 8000);
}

#[test]
fn certificate_files() {
    let model = entries::absolute();
    let (network, weights) = (&model.network, &model.weights());
    let property = entries::above(-0.001);
    let real = [Branching::Auto, Branching::Fsb, Branching::Babsr].map(|branching| {
        let settings = Settings { branching, proof: true, ..Settings::default() };
        let decision = decide(network, weights, &property, &settings, &|_| {}).unwrap();
        let Outcome::Holds { proof: Some(proof) } = decision.outcome else { panic!("{branching:?}: {decision:?}") };
        tightrope_certificate::Certificate::new(network, weights, &property, proof).unwrap().to_bytes().unwrap()
    });
    check("certificate", entries::certificate, real.to_vec(), 8000);
}

#[test]
fn descriptions() {
    let descriptions = [Preset::Mlp, Preset::Cnn3, Preset::Cnn5]
        .map(|preset| serde_json::to_vec(&Description::of(&preset.build(&[1, 12, 12], 10, None).unwrap())).unwrap());
    check("description", entries::description, descriptions.to_vec(), 8000);
}

#[test]
fn weight_files() {
    let network = entries::small();
    let theta = Initialisation::Default.theta(network, 3);
    check("weights", entries::weights, vec![Model::new(network.clone(), theta).to_safetensors().unwrap()], 8000);
}

/// The command on the same files: exit code 4 and a message that names the file, for one property, a list and `check`.
#[test]
fn the_command_refuses_them_by_name() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(entries::absolute(), &path("net.onnx")).unwrap();
    let holds = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n\
                 (assert (<= -1 X_0 1))(assert (<= -1 X_1 1))(assert (<= Y_0 -0.5))\n";
    std::fs::write(path("holds.vnnlib"), holds).unwrap();
    let (net, property) = (path("net.onnx"), path("holds.vnnlib"));
    let bad = |target: &str, extension: &str| -> Vec<String> {
        let files = corpus(target).into_iter().filter(|(name, _)| !name.contains("/good"));
        let write = |(name, data): (String, Vec<u8>)| {
            let name = format!("{}.{extension}", Path::new(&name).file_stem().unwrap().to_str().unwrap());
            std::fs::write(path(&name), data).unwrap();
            name
        };
        files.map(write).collect()
    };
    let (models, properties) = (bad("onnx", "onnx"), bad("vnnlib", "vnnlib"));
    for name in &models {
        fails(&["verify", text(&path(name)), text(&property)], &[name]);
    }
    for name in &properties {
        fails(&["verify", text(&net), text(&path(name))], &[name]);
    }
    for name in bad("instances", "csv") {
        fails(&["verify", text(&path(&name))], &[&name]);
    }
    for name in bad("certificate", "cert") {
        fails(&["check", text(&path(&name)), text(&net), text(&property)], &[&name]);
    }
    for name in models.iter().chain(&properties) {
        let arguments = match name.ends_with("onnx") {
            true => [&net, &path(name), &property],
            false => [&net, &net, &path(name)],
        };
        fails(&[&["check"], &arguments.map(|path| text(path))[..]].concat(), &[]);
    }

    // In a list, bad files cost their own lines only.
    let mut list = String::from("net.onnx,holds.vnnlib,20\n");
    models.iter().for_each(|name| list.push_str(&format!("{name},holds.vnnlib,20\n")));
    properties.iter().for_each(|name| list.push_str(&format!("net.onnx,{name},20\n")));
    list.push_str("net.onnx,holds.vnnlib,20\n");
    std::fs::write(path("list.csv"), list).unwrap();
    let output = run(&["verify", text(&path("list.csv"))]);
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{errors}");
    let tally = format!("2 holds, 0 violated, 0 unknown, 0 timeout, {} error", models.len() + properties.len());
    assert!(table.contains(&tally), "{table}{errors}");
    models.iter().chain(&properties).for_each(|name| assert!(errors.contains(name.as_str()), "{name}: {errors}"));
    assert!(!errors.contains("internal error"), "{errors}");
}
