//! Models on disk: whole or refused.

use std::path::Path;

use tightrope_network::{
    Description, Initialisation, MODEL_FILE, Model, NETWORK_FILE, Normalisation, Preset, write_atomically,
};

fn model() -> Model {
    let normalisation = Normalisation { mean: vec![0.1307], std: vec![0.3081] };
    let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 3, Some(&normalisation)).unwrap();
    let theta = Initialisation::Default.theta(&network, 2);
    Model::new(network, theta)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let message = Model::load(path).unwrap_err().to_string();
    parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
}

#[test]
fn saved_models_load_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    model.save(folder.path()).unwrap();
    assert_eq!(files(folder.path()), [MODEL_FILE, NETWORK_FILE]);
    assert_eq!(Model::load(folder.path()).unwrap(), model);
    assert_eq!(Model::load(&folder.path().join(MODEL_FILE)).unwrap(), model);
    let changed = Model { theta: vec![0.5; model.theta.len()], ..model };
    changed.save(folder.path()).unwrap();
    assert_eq!(Model::load(folder.path()).unwrap(), changed);
}

#[test]
fn the_description_may_lie_beside_the_weights_as_toml_or_json() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let weights = folder.path().join("x.safetensors");
    std::fs::write(&weights, model.to_safetensors().unwrap()).unwrap();
    refused(&weights, &["x.safetensors", "no network description found", "x.json", "x.toml", NETWORK_FILE]);
    let toml = toml::to_string(&Description::of(&model.network)).unwrap();
    std::fs::write(folder.path().join("x.toml"), toml).unwrap();
    assert_eq!(Model::load(&weights).unwrap(), model);
    std::fs::write(folder.path().join("x.json"), "{}").unwrap();
    refused(&weights, &["x.json", "missing field `input`"]);
    std::fs::write(folder.path().join("x.yaml"), "").unwrap();
    let message = Description::read(&folder.path().join("x.yaml")).unwrap_err().to_string();
    assert!(message.contains("ends in .toml or .json"), "{message}");
}

#[test]
fn damaged_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    model.save(folder.path()).unwrap();
    let weights = folder.path().join(MODEL_FILE);
    let whole = std::fs::read(&weights).unwrap();
    for length in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        std::fs::write(&weights, &whole[..length]).unwrap();
        refused(folder.path(), &[MODEL_FILE, "not a whole safetensors file"]);
    }
    let start = whole.len() - 4 * model.theta.len();
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut bytes = whole.clone();
        bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&weights, bytes).unwrap();
        refused(folder.path(), &[MODEL_FILE, "parameter `", &format!("holds {name} at element 0"), "diverged"]);
    }
    std::fs::remove_file(&weights).unwrap();
    refused(folder.path(), &[MODEL_FILE]);
    refused(&folder.path().join("absent"), &["absent: cannot be read (No such file"]);
}

#[test]
fn weights_of_another_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    model.save(folder.path()).unwrap();
    let describe = |preset: Preset, input: &[usize], classes| {
        let network = preset.build(input, classes, None).unwrap();
        let text = serde_json::to_string(&Description::of(&network)).unwrap();
        std::fs::write(folder.path().join(NETWORK_FILE), text).unwrap();
    };
    describe(Preset::Cnn3Tiny, &[1, 8, 8], 3);
    refused(folder.path(), &["parameter `0.weight`: missing; the file holds ", "1.weight"]);
    describe(Preset::Mlp, &[1, 8, 8], 3);
    refused(folder.path(), &["parameter `1.weight`: has shape [2, 1, 5, 5], the network needs [100, 64]"]);
}

#[test]
fn weights_in_double_precision_are_read_and_others_named() {
    use safetensors::tensor::{Dtype, TensorView};
    let folder = tempfile::tempdir().unwrap();
    let text = "input = [2]\n[[layers]]\nkind = \"linear\"\nout_features = 1\nbias = false\nname = \"l\"";
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let path = folder.path().join("w.safetensors");
    let write = |kind: Dtype, bytes: &[u8]| {
        let view = TensorView::new(kind, vec![1, 2], bytes).unwrap();
        std::fs::write(&path, safetensors::serialize([("l.weight", view)], None).unwrap()).unwrap();
    };
    write(Dtype::F64, &[0.1_f64.to_le_bytes(), (-2.5_f64).to_le_bytes()].concat());
    assert_eq!(network.weights_from_safetensors(&path).unwrap().theta(), [0.1, -2.5]);
    write(Dtype::F64, &[1e300_f64.to_le_bytes(), 0.0_f64.to_le_bytes()].concat());
    let large = Model::with_weights(network.clone(), network.weights_from_safetensors(&path).unwrap());
    // A proof can be about it; f32 engines cannot take it.
    assert_eq!(large.weights().theta(), [1e300, 0.0]);
    assert!(network.check_theta(&large.theta).unwrap_err().to_string().contains("beyond single precision"));
    write(Dtype::F64, &[f64::INFINITY.to_le_bytes(), 0.0_f64.to_le_bytes()].concat());
    assert!(network.weights_from_safetensors(&path).unwrap_err().to_string().contains("holds inf"));
    write(Dtype::F16, &[0; 4]);
    assert!(network.weights_from_safetensors(&path).unwrap_err().to_string().contains("store it as F32"));
}

#[test]
fn a_model_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let absent = folder.path().join("absent");
    let message = model.save(&absent).unwrap_err().to_string();
    assert!(message.contains("absent"), "{message}");
    assert!(!absent.exists());

    // A folder stands where a file should go: the rename fails, the temporary file goes away.
    std::fs::create_dir(folder.path().join(NETWORK_FILE)).unwrap();
    model.save(folder.path()).unwrap_err();
    assert_eq!(files(folder.path()), [NETWORK_FILE]);

    let file = folder.path().join("file");
    std::fs::write(&file, "old").unwrap();
    write_atomically(&file.join("x"), b"new").unwrap_err();
    write_atomically(Path::new("/"), b"new").unwrap_err();
    write_atomically(&file, b"new").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert_eq!(files(folder.path()), ["file", NETWORK_FILE]);
}

#[test]
fn a_model_that_is_not_finite_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model();
    model.theta[7] = f32::NAN;
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("parameter `1.weight` holds NaN at element 7"), "{message}");
    model.theta.pop();
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("θ has"), "{message}");
    assert!(files(folder.path()).is_empty());
}
