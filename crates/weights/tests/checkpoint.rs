//! A checkpoint that PyTorch wrote, by names, by a mapping and by order, and what does not fit.
//!
//! `data/checkpoint.pt` is `torch.save({"epoch": 3, "state_dict": sd, "optimizer": {…}}, …)` of
//! `Sequential(Conv2d(1, 2, 3, stride=2, padding=1), BatchNorm2d(2), ReLU(), Flatten(), Linear(8, 3))` after one pass in
//! training mode, the last weight a transposed view.

use std::path::Path;

use proptest::prelude::*;
use tightrope_engine::{Engine, Reference};
use tightrope_network::{Description, Network};
use tightrope_weights::{Mapping, NamedTensor, WeightsError, read};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/checkpoint.pt");

fn network(names: [&str; 3]) -> Network {
    let [conv, norm, linear] = names;
    let text = format!(
        "input = [1, 4, 4]\n\
         [[layers]]\nkind = \"conv2d\"\nname = \"{conv}\"\nout_channels = 2\nkernel = 3\nstride = 2\npadding = 1\n\
         [[layers]]\nkind = \"batchnorm\"\nname = \"{norm}\"\n\
         [[layers]]\nkind = \"relu\"\n[[layers]]\nkind = \"flatten\"\n\
         [[layers]]\nkind = \"linear\"\nname = \"{linear}\"\nout_features = 3\n"
    );
    Description::from_toml(&text, "(test)").unwrap().build().unwrap()
}

/// What PyTorch gives.
const LOGITS: [f32; 3] = [-0.106106, -1.366926, -0.165824];

/// The logits of x_i = (i mod 5)/4 that PyTorch gives in evaluation mode.
fn check(model: &tightrope_network::Model) {
    let inputs: Vec<f32> = (0..16_u8).map(|i| f32::from(i % 5) / 4.0).collect();
    let loaded = Reference.load(&model.network, &model.theta, &model.buffers).unwrap();
    let logits: Vec<f32> = loaded.forward(&inputs).unwrap();
    for (logit, expected) in logits.iter().zip(LOGITS) {
        assert!((logit - expected).abs() < 2e-6, "{logits:?}");
    }
}

fn refusal(mapping: &Mapping, network: Network, tensors: &[NamedTensor]) -> String {
    match mapping.model(network, tensors) {
        Err(WeightsError::Fit(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tensors_find_their_places_by_name_order_or_mapping() {
    let tensors = read(Path::new(FILE)).unwrap();
    let names: Vec<&str> = tensors.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names[..2], ["0.weight", "0.bias"]);
    assert_eq!(names.last(), Some(&"4.bias"));
    assert_eq!(tensors[0].shape, [2, 1, 3, 3]);
    check(&Mapping::default().model(network(["0", "1", "4"]), &tensors).unwrap().model);
    // No name fits, and the order does.
    check(&Mapping::default().model(network(["first", "norm", "last"]), &tensors).unwrap().model);
    let pair = |from: &str, to: &str| (from.to_string(), to.to_string());
    let names =
        vec![pair("0.", "first."), pair("1.", "norm."), pair("4.weight", "last.weight"), pair("4.bias", "last.bias")];
    check(&Mapping { names, ignored: Vec::new() }.model(network(["first", "norm", "last"]), &tensors).unwrap().model);
}

/// Sorted names, as in safetensors: bias before weight, and batch norms' vectors all of one shape.
#[test]
fn tensors_sorted_by_name_are_not_taken_for_each_other() {
    let mut tensors = read(Path::new(FILE)).unwrap();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let fitted = Mapping::default().model(network(["first", "norm", "last"]), &tensors).unwrap();
    check(&fitted.model);
    assert!(fitted.by_order.contains(&("1.running_var".into(), "norm.running_var".into())), "{:?}", fitted.by_order);
    for tensor in &mut tensors {
        tensor.name = tensor.name.replace("0.", "stem.").replace("1.", "norm.").replace("4.", "head.");
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let message = refusal(&Mapping::default(), network(["0", "1", "4"]), &tensors);
    assert!(message.contains("sorted by name") && message.contains("--map"), "{message}");
    let pair = |from: &str, to: &str| (from.to_string(), to.to_string());
    let names = vec![pair("stem.", "0."), pair("norm.", "1."), pair("head.", "4.")];
    check(&Mapping { names, ignored: Vec::new() }.model(network(["0", "1", "4"]), &tensors).unwrap().model);
    // A prefix that is taken away.
    for tensor in &mut tensors {
        tensor.name =
            format!("net.{}", tensor.name.replace("stem.", "0.").replace("norm.", "1.").replace("head.", "4."));
    }
    let mapping = Mapping { names: vec![pair("net.", "")], ignored: Vec::new() };
    check(&mapping.model(network(["0", "1", "4"]), &tensors).unwrap().model);
}

#[test]
fn what_does_not_fit_is_told_by_name() {
    let tensors = read(Path::new(FILE)).unwrap();
    let of = |from: &str, to: &str| Mapping { names: vec![(from.into(), to.into())], ignored: Vec::new() };
    let own = || network(["0", "1", "4"]);
    for (mapping, parts) in [
        (of("5.weight", "4.weight"), vec!["holds no `5.weight`", "did you mean"]),
        (of("4.weight", "4.weihgt"), vec!["no `4.weihgt`", "did you mean `4.weight`"]),
        (of("4.weight", "0.weight"), vec!["`0.weight` and `4.weight` both go to `0.weight`"]),
        (Mapping { names: Vec::new(), ignored: vec!["4.".into()] }, vec!["left open", "`4.weight` [3, 8]", "--map"]),
    ] {
        let message = refusal(&mapping, own(), &tensors);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let mut more = tensors.clone();
    more.push(NamedTensor { name: "extra".into(), shape: vec![2], values: vec![0.0; 2] });
    let message = refusal(&Mapping::default(), own(), &more);
    assert!(message.contains("`extra` [2]") && message.contains("--ignore"), "{message}");
    check(&Mapping { names: Vec::new(), ignored: vec!["extra".into()] }.model(own(), &more).unwrap().model);
    let mut turned = tensors.clone();
    turned[0].shape = vec![1, 2, 3, 3];
    turned[7].shape = vec![8, 3];
    assert!(refusal(&Mapping::default(), own(), &turned).contains("has the shape"));
    let mut broken = tensors;
    broken[0].values[0] = f32::NAN;
    assert!(Mapping::default().model(own(), &broken).is_err());
}

#[test]
fn other_files_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, part) in [
        (&b""[..], "neither a PyTorch state dict nor a safetensors"),
        (b"\x80\x02}q\x00.", "save it anew"),
        (b"PK\x03\x04 and then nothing", "zip archive"),
    ] {
        let file = folder.path().join("weights.pt");
        std::fs::write(&file, bytes).unwrap();
        let message = read(&file).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("weights.pt"), "{message}");
    }
    assert!(read(&folder.path().join("none")).unwrap_err().to_string().contains("cannot be read"));
}

proptest! {
    /// Whatever is damaged: an error or tensors, never a panic and never more values than the file has room for.
    #[test]
    fn damaged_files_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        let whole = std::fs::read(FILE).unwrap();
        let mut bytes = whole.clone();
        for (place, value) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *value;
        }
        if changes.len() == 5 {
            bytes.truncate(cut.index(whole.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.pt");
        std::fs::write(&file, &bytes).unwrap();
        if let Ok(tensors) = read(&file) {
            prop_assert!(tensors.iter().map(|tensor| tensor.values.len()).sum::<usize>() <= 64 * whole.len());
        }
    }
}
