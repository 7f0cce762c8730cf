//! Files of every format that is read, whole, hostile and damaged, through the entries of the fuzz targets: read or refused,
//! never a panic, and never much more memory than the file takes.
//!
//! `TIGHTROPE_MUTATIONS=100000` damages so many files of each format (the last test a hundredth of that),
//! `TIGHTROPE_MUTATION_SEED` moves on to other damage.

#[path = "../../../fuzz/src/lib.rs"]
mod entries;
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};

use entries::{folders, runs};
use support::{fails, run, text};
use tightrope_network::{Description, Initialisation, Model, Normalisation, Preset};
use tightrope_testkit::damage::{Damage, first_seed, mutations};
use tightrope_testkit::memory::{Counting, peak_of, turn};
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let (accepted, claimed) = peak_of(|| entry(data));
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

/// The files that lie in the corpus of `target`, if it has one.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    if !folder.exists() {
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// A format: the corpus of its name and `real` files go in as they are, then damaged.
struct Format {
    target: &'static str,
    entry: fn(&[u8]) -> bool,
    real: Vec<Vec<u8>>,
    /// Damaged files, unless the environment says how many.
    rounds: u64,
    /// Of a hundred damaged files so many must be accepted, so that what comes behind the first check is met as well.
    accepted: u64,
}

fn check(Format { target, entry, real, rounds, accepted: least }: Format) {
    let _turn = turn();
    let (mut files, mut hostile) = (Vec::new(), Vec::new());
    for (name, data) in corpus(target) {
        // The files' names say what shall become of them.
        let good = Path::new(&name).file_name().unwrap().to_str().unwrap().starts_with("good");
        assert_eq!(feed(target, &name, entry, &data), good, "{name}: {}", shown(&data));
        if good { files.push(data) } else { hostile.push(data) }
    }
    for data in real {
        assert!(feed(target, "a whole file", entry, &data), "{target}: a whole file is refused: {}", shown(&data));
        files.push(data);
    }
    let whole = files.len();
    files.extend(hostile);
    let (rounds, first) = (mutations(rounds), first_seed());
    let mut accepted = 0;
    for seed in first..first + rounds {
        let data = Damage::new(seed).file(&files, whole);
        accepted += u64::from(feed(target, &format!("{target}, seed {seed}"), entry, &data));
    }
    eprintln!("{target}: {accepted} of {rounds} damaged files accepted, seeds from {first}");
    assert!(accepted * 100 >= rounds * least, "{target}: only {accepted} of {rounds} damaged files accepted");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive of one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [&header, content].concat();
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// Two images and labels as SVHN has them.
fn svhn(compressed: bool) -> Vec<u8> {
    let element = |kind: u32, content: &[u8]| {
        let padding = content.len().next_multiple_of(8) - content.len();
        [&kind.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content, &vec![0; padding]].concat()
    };
    let matrix = |name: &str, dims: &[i32], content: &[u8]| {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let parts = [element(6, &[9, 0, 0, 0, 0, 0, 0, 0]), element(5, &dims), element(1, name.as_bytes())];
        element(14, &[&parts.concat()[..], &element(2, content)].concat())
    };
    let packed = |matrix: Vec<u8>| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&matrix).unwrap();
        let content = encoder.finish().unwrap();
        [&15_u32.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), &content].concat()
    };
    let matrices = [matrix("X", &[32, 32, 3, 2], &[9; 6144]), matrix("y", &[2, 1], &[10, 3])];
    let mut bytes = vec![b' '; 124];
    bytes.extend([0, 1, b'I', b'M']);
    matrices.into_iter().for_each(|matrix| bytes.extend(if compressed { packed(matrix) } else { matrix }));
    bytes
}

fn png(pixels: &[u8], [width, height]: [u32; 2], colour: png::ColorType) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    file
}

/// The archive of TinyImageNet with its list of classes and one test image.
fn tiny_imagenet() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let classes: String = (0..200).map(|class| format!("n{class:08}\n")).collect();
    for (name, content) in [
        ("wnids.txt", classes.into_bytes()),
        ("val/val_annotations.txt", b"val_0.JPEG\tn00000007\t0\t0\t1\t1\n".to_vec()),
        ("val/images/val_0.JPEG", png(&[5; 64 * 64 * 3], [64, 64], png::ColorType::Rgb)),
    ] {
        archive.start_file(format!("tiny-imagenet-200/{name}"), stored).unwrap();
        archive.write_all(&content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn onnx_files() {
    let normalisation = Normalisation { mean: vec![0.5], std: vec![0.25] };
    let network = Preset::Cnn3Tiny.build(&[1, 6, 6], 3, Some(&normalisation)).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let models = [Model::new(network, theta), entries::absolute().clone()];
    let mut real: Vec<Vec<u8>> = models.iter().map(|model| tightrope_onnx::export_bytes(model).unwrap()).collect();
    real.push(gzip(&real[0]));
    check(Format { target: "onnx", entry: entries::onnx, real, rounds: 4000, accepted: 1 });
}

/// Models whose weights lie in another file, as PyTorch writes them.
#[test]
fn external_data() {
    let real = vec![folders::external()];
    check(Format { target: "external_model", entry: folders::external_model, real, rounds: 4000, accepted: 1 });
    let real = vec![folders::external_values()];
    check(Format { target: "external_file", entry: folders::external_file, real, rounds: 1000, accepted: 1 });
}

/// Entries without content take two bytes in a file and a hundred times that when they are decoded.
#[test]
fn entries_without_content_take_no_memory() {
    let _turn = turn();
    let numbered = |mut number: usize| {
        let mut bytes = Vec::new();
        while number > 127 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    // Nodes and initialisers: fields 1 and 5 of the graph, which is field 7 of the model.
    for field in [0x0a, 0x2a] {
        let graph = [field, 0].repeat(16 << 20);
        let model = [&[0x3a][..], &numbered(graph.len()), &graph].concat();
        for (name, file) in [("plain", &model), ("packed", &gzip(&model))] {
            let (accepted, claimed) = peak_of(|| entries::onnx(file));
            assert!(!accepted, "{name}");
            // A packed file is unpacked, in a buffer that doubles.
            assert!(claimed < 128 << 20, "{name} {field}: {claimed} bytes");
        }
    }
}

#[test]
fn vnnlib_files() {
    let mut robust = String::new();
    for (letter, count) in [('X', 30), ('Y', 4)] {
        (0..count).for_each(|i| robust.push_str(&format!("(declare-const {letter}_{i} Real)\n")));
    }
    (0..30).for_each(|i| robust.push_str(&format!("(assert (<= X_{i} 0.{i}5))\n(assert (>= X_{i} -1.5e-3))\n")));
    robust.push_str("(assert (or (and (>= Y_1 Y_0)) (and (>= Y_2 Y_0)) (and (>= Y_3 Y_0))))\n");
    let real = vec![gzip(robust.as_bytes()), robust.clone().into_bytes()];
    check(Format { target: "property", entry: folders::property, real, rounds: 500, accepted: 0 });
    check(Format {
        target: "vnnlib",
        entry: entries::vnnlib,
        real: vec![robust.into_bytes()],
        rounds: 8000,
        accepted: 1,
    });
}

#[test]
fn instance_lists() {
    let list: String = (0..40).map(|i| format!("onnx/net_{i}.onnx,vnnlib/prop_{i}.vnnlib,{}.5\n", i + 1)).collect();
    let real = vec![list.into_bytes()];
    check(Format { target: "instances", entry: entries::instances, real, rounds: 8000, accepted: 1 });
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
    let real = real.to_vec();
    check(Format { target: "certificate", entry: entries::certificate, real, rounds: 8000, accepted: 1 });
}

#[test]
fn descriptions() {
    let descriptions = [Preset::Mlp, Preset::Cnn3, Preset::Cnn5]
        .map(|preset| serde_json::to_vec(&Description::of(&preset.build(&[1, 12, 12], 10, None).unwrap())).unwrap());
    let real = descriptions.to_vec();
    check(Format { target: "description", entry: entries::description, real, rounds: 8000, accepted: 1 });
}

#[test]
fn weight_files() {
    let network = entries::small();
    let theta = Initialisation::Default.theta(network, 3);
    let real = vec![Model::new(network.clone(), theta).to_safetensors().unwrap()];
    check(Format { target: "weights", entry: entries::weights, real, rounds: 8000, accepted: 1 });
}

#[test]
fn state_dicts() {
    let dict = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/tests/data/checkpoint.pt");
    let network = entries::small();
    let theta = Initialisation::Default.theta(network, 3);
    let real = vec![std::fs::read(dict).unwrap(), Model::new(network.clone(), theta).to_safetensors().unwrap()];
    check(Format { target: "state_dict", entry: folders::state_dict, real, rounds: 1000, accepted: 1 });
}

#[test]
fn recipes_and_studies() {
    let recipes = [&["mnist-0.1/cnn3/sabr"][..], &["example/mnist-ibp-pgpe"]];
    let mut real: Vec<Vec<u8>> =
        recipes.iter().map(|name| support::succeeds(&[&["recipe", "show"], *name].concat()).into_bytes()).collect();
    real.push(b"eps = 0.1\nclip = [0.0, 1.0]\n[train]\nmilestones = [5, 8.5]\n[smoothing]\nkind = \"rgs\"\n".to_vec());
    check(Format { target: "config", entry: folders::config, real, rounds: 2000, accepted: 1 });
    let real = ["rate", "paradox"].map(|name| support::succeeds(&["reproduce", "--print", name]).into_bytes()).to_vec();
    check(Format { target: "study", entry: folders::study, real, rounds: 400, accepted: 1 });
}

#[test]
fn data_sets() {
    let images = folders::idx(&[2, 28, 28], 2 * 784);
    let mut real = vec![gzip(&images), images];
    check(Format { target: "idx_images", entry: folders::idx_images, real, rounds: 1000, accepted: 1 });
    real = vec![folders::idx(&[2], 2)];
    check(Format { target: "idx_labels", entry: folders::idx_labels, real, rounds: 1000, accepted: 1 });
    let records = [[&[3][..], &[7; 3072]].concat(), [&[9][..], &[8; 3072]].concat()].concat();
    check(Format { target: "cifar", entry: folders::cifar, real: vec![records.clone()], rounds: 500, accepted: 1 });
    let archive = vec![gzip(&tar("cifar-10-batches-bin/test_batch.bin", &records))];
    check(Format { target: "cifar_archive", entry: folders::cifar_archive, real: archive, rounds: 500, accepted: 0 });
    let real = vec![svhn(false), svhn(true)];
    check(Format { target: "matlab", entry: folders::matlab, real, rounds: 1000, accepted: 1 });
    let real = vec![tiny_imagenet()];
    check(Format { target: "tiny_imagenet", entry: folders::tiny_imagenet, real, rounds: 400, accepted: 1 });
    let list = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n00000.ppm;2;2;0;0;1;1;16\r\n00001.ppm;2;2;0;0;1;1;1\r\n";
    let real = vec![list.as_bytes().to_vec()];
    check(Format { target: "sign_list", entry: folders::sign_list, real, rounds: 500, accepted: 1 });
}

#[test]
fn pictures() {
    let pixels: Vec<u8> = (0..16 * 12 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&pixels, 16, 12, jpeg_encoder::ColorType::Rgb).unwrap();
    let real = vec![
        png(&pixels, [16, 12], png::ColorType::Rgb),
        png(&pixels[..192], [16, 12], png::ColorType::Grayscale),
        jpeg,
        [b"P6 16 12 255\n", &pixels[..]].concat(),
        [b"P5\n# grey\n16 12\n255\n", &pixels[..192]].concat(),
    ];
    check(Format { target: "image", entry: folders::image, real, rounds: 3000, accepted: 1 });
}

/// A file that a run leaves, 300 times damaged.
fn of_run(target: &'static str, name: &str, entry: fn(&[u8]) -> bool, accepted: u64) {
    check(Format { target, entry, real: vec![runs::file(name)], rounds: 300, accepted });
}

/// What a run goes on from.
#[test]
fn checkpoints() {
    of_run("checkpoint", "checkpoint.safetensors", runs::checkpoint, 0);
    of_run("checkpoint", "checkpoint.safetensors", runs::resealed_checkpoint, 1);
    let real = vec![runs::whole_header()];
    check(Format { target: "checkpoint_header", entry: runs::checkpoint_header, real, rounds: 300, accepted: 0 });
}

/// What a report tells of a run.
#[test]
fn reported_files() {
    of_run("metrics", "metrics.jsonl", runs::metrics, 1);
    of_run("manifest", "manifest.json", runs::manifest, 1);
    of_run("events", "events.out.tfevents.tightrope", runs::events, 1);
}

#[test]
fn reported_configurations() {
    of_run("reported_config", "config.toml", runs::reported_config, 1);
}

/// What a certification goes on from.
#[test]
fn certification_logs() {
    let real = vec![runs::whole_log()];
    check(Format { target: "certify_log", entry: runs::certify_log, real, rounds: 500, accepted: 1 });
}

/// What a sweep goes on from, and what it is told.
#[test]
fn journals() {
    let real = vec![runs::whole_journal()];
    check(Format { target: "journal", entry: runs::journal, real, rounds: 300, accepted: 1 });
    let real = vec![runs::whole_journal()];
    check(Format { target: "journal", entry: runs::resealed_journal, real, rounds: 300, accepted: 1 });
    let real = vec![runs::TOLD.as_bytes().to_vec()];
    check(Format { target: "told", entry: runs::told, real, rounds: 300, accepted: 1 });
}

/// Which study a folder is of, in so few letters that nearly all damage tells.
#[test]
fn marks_of_studies() {
    let real = vec![runs::MARK.as_bytes().to_vec()];
    check(Format { target: "study_mark", entry: runs::study_mark, real, rounds: 300, accepted: 0 });
}

/// A landscape, of which the program makes a whole one.
#[test]
fn landscapes() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = ["train", "--out", text(&run), "--limit-train", "64", "--epochs", "1"];
    support::succeeds(&[&train[..], &support::TINY].concat());
    support::succeeds(&["landscape", text(&run), "--images", "8", "--points", "5"]);
    let real = vec![std::fs::read(run.join("landscape/landscape.json")).unwrap()];
    check(Format { target: "landscape", entry: runs::landscape, real, rounds: 300, accepted: 1 });
}

/// What only the command reads: every damaged file ends well or with an error that names it.
#[test]
fn arrays_and_results_through_the_command() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let export = |model: &Model, name: &str| tightrope_onnx::export(model, &path(name)).unwrap();
    export(&support::model(), "net.onnx");
    export(entries::absolute(), "small.onnx");
    support::write_inputs(&path("x.safetensors"));
    let holds = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n\
                 (assert (<= -1 X_0 1))(assert (<= -1 X_1 1))(assert (<= Y_0 -0.5))\n";
    std::fs::write(path("holds.vnnlib"), holds).unwrap();
    std::fs::write(path("list.csv"), "small.onnx,holds.vnnlib,20\n".repeat(3)).unwrap();
    let (net, list, out) = (path("net.onnx"), path("list.csv"), path("out.safetensors"));
    let verify = |results: &Path, more: &[&str]| {
        run(&[&["verify", text(&list), "--results-file", text(results)], more].concat())
    };
    assert_eq!(verify(&path("results.csv"), &[]).status.code(), Some(0));
    let damaged = path("damaged");
    let (damaged, out, net) = (text(&damaged), text(&out), text(&net));
    let bounds = ["bounds", net, "--inputs", damaged, "--eps", "0.1", "--method", "ibp", "-o", out];
    type Use<'a> = Box<dyn Fn() -> std::process::Output + 'a>;
    let formats: [(&str, Use<'_>); 2] = [
        ("x.safetensors", Box::new(|| run(&bounds))),
        ("results.csv", Box::new(|| verify(damaged.as_ref(), &["--resume"]))),
    ];
    for (name, used) in formats {
        let files = [std::fs::read(path(name)).unwrap()];
        let (first, mut ended) = (first_seed(), [0, 0]);
        // A process each, of which there are a hundred times fewer.
        for seed in first..first + mutations(4000).div_ceil(100) {
            std::fs::write(damaged, Damage::new(seed).file(&files, 1)).unwrap();
            let output = used();
            let errors = String::from_utf8_lossy(&output.stderr);
            let named = errors.contains("error: ") && errors.contains("damaged");
            match output.status.code() {
                Some(0) => ended[0] += 1,
                Some(4) if named && errors.len() < 4000 => ended[1] += 1,
                other => panic!("{name}, seed {seed}: {other:?}: {errors}"),
            }
            assert!(!errors.contains("internal error"), "{name}, seed {seed}: {errors}");
        }
        eprintln!("{name}: {} damaged files accepted, {} refused", ended[0], ended[1]);
        assert!(ended[1] > 0, "{name}: {ended:?}");
    }
}

/// The command on the same files: exit code 4 and a message that names the file, for one property, a list and `check`.
#[test]
fn the_command_refuses_them_by_name() {
    let _turn = turn();
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
