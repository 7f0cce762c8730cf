//! Reads the golden cases: reference bounds, losses and gradients with their tolerances.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tightrope_engine::{Norm, Real, Region, Relaxation};
use tightrope_network::{Model, Preset};

/// One stored tensor, widened to f64 (indices and labels are exact in it).
pub struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f64>,
    /// True if stored rounded to f32, which limits the precision of a comparison.
    pub rounded: bool,
}

/// A safetensors file in memory, by name.
pub struct TensorFile(pub BTreeMap<String, Tensor>);

impl TensorFile {
    /// Reads a file.
    ///
    /// # Panics
    /// If it is absent or holds other types than f32, f64 and i64.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
                other => panic!("{name}: unexpected type {other:?}"),
            };
            (name, Tensor { shape: view.shape().to_vec(), values, rounded: view.dtype() == Dtype::F32 })
        };
        TensorFile(file.tensors().into_iter().map(read).collect())
    }

    /// A tensor, which must be there.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("tensor `{name}` is missing"))
    }

    /// A tensor's values.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).values.clone()
    }

    /// A tensor of indices or labels.
    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.get(name).values.iter().map(|&v| v as usize).collect()
    }
}

/// A golden case: network, inputs and expected values.
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// The network.
    pub model: Model,
    /// Images `x`, labels `y` and radii.
    pub inputs: TensorFile,
    /// What the tools computed, under keys as [`split_key`] takes them apart.
    pub expected: TensorFile,
    /// Images whose mean loss the stored gradients belong to.
    pub gradient_images: usize,
}

impl Case {
    /// Reads the case `name` of the folder of golden data.
    ///
    /// # Panics
    /// If a part of it is absent or damaged.
    pub fn read(golden: &Path, name: &str) -> Self {
        let folder = golden.join("cases").join(name);
        let meta: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("meta.json")).expect("meta.json")).expect("meta.json");
        let inputs = TensorFile::read(&folder.join("inputs.safetensors"));
        let shape = &inputs.get("x").shape[1..];
        let classes = meta["n_classes"].as_u64().expect("n_classes") as usize;
        let preset = match meta["arch"].as_str().expect("arch") {
            "mlp" => Some(Preset::Mlp),
            "cnn3_tiny" => Some(Preset::Cnn3Tiny),
            "cnn3" => Some(Preset::Cnn3),
            "cnn5" => Some(Preset::Cnn5),
            _ => None,
        };
        let model = match preset {
            Some(preset) => {
                let network = preset.build(shape, classes, None).expect("preset");
                let weights = network.weights_from_safetensors(&folder.join("weights.safetensors")).expect("weights");
                Model::with_weights(network, weights)
            }
            None => tightrope_onnx::import(&folder.join("model.onnx")).expect("model.onnx"),
        };
        let gradient_images = meta["grad"]["n_images"].as_u64().expect("grad.n_images") as usize;
        let expected = TensorFile::read(&folder.join("expected.safetensors"));
        Case { name: name.into(), model, inputs, expected, gradient_images }
    }

    /// The setting that a tag of this case stands for.
    pub fn setting(&self, tag: &str) -> Setting {
        let name = match (tag.starts_with("l2"), tag.ends_with("_clip")) {
            (true, _) => "eps_l2",
            (false, true) => "eps_linf_clipped",
            (false, false) => "eps_linf",
        };
        Setting::parse(tag, &self.inputs.get(name).values)
    }

    /// The region around the first `images` images in the setting of a tag.
    pub fn region<T: Real>(&self, tag: &str, images: usize) -> Region<T> {
        let setting = self.setting(tag);
        let dimension = self.model.network.input_len();
        let norm = if setting.l2 { Norm::L2 } else { Norm::Inf };
        let x = &self.x::<T>()[..images * dimension];
        let clip = setting.clip.then_some((T::ZERO, T::ONE));
        Region::ball(x, dimension, T::from_f64(setting.epsilon), norm, clip).unwrap()
    }

    /// Labels of the images.
    pub fn labels(&self) -> Vec<usize> {
        self.inputs.indices("y")
    }

    /// The images `[N, d]`.
    pub fn x<T: Real>(&self) -> Vec<T> {
        cast(&self.inputs.get("x").values)
    }
}

/// Values in another precision.
pub fn cast<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&v| T::from_f64(v)).collect()
}

/// An input setting: the norm, the clipping and ε that a tag such as `linf_0.1_clip` stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// True for the ℓ2 norm, false for ℓ∞.
    pub l2: bool,
    /// Whether the region is cut to [0, 1].
    pub clip: bool,
    /// Its radius.
    pub epsilon: f64,
}

impl Setting {
    /// Reads a tag; ε in full precision is the nearest of `candidates`.
    pub fn parse(tag: &str, candidates: &[f64]) -> Self {
        let (norm, rest) = tag.split_once('_').unwrap_or_else(|| panic!("tag `{tag}`"));
        let (digits, clip) = rest.strip_suffix("_clip").map_or((rest, false), |digits| (digits, true));
        let rounded: f64 = digits.parse().unwrap_or_else(|_| panic!("tag `{tag}`"));
        let close = |&&candidate: &&f64| (candidate - rounded).abs() <= 1e-5 * rounded;
        let epsilon = *candidates.iter().find(close).unwrap_or_else(|| panic!("no ε for `{tag}` in {candidates:?}"));
        Setting { l2: norm == "l2", clip, epsilon }
    }
}

/// What a method of the tools is called here.
///
/// # Panics
/// If there is no such method here.
pub fn relaxation(method: &str) -> Relaxation {
    match method {
        "ibp" | "box" => Relaxation::Ibp,
        "crown_ibp" | "deeppoly_box_plain" => Relaxation::CrownIbp,
        "hbox" => Relaxation::Hbox,
        "zono" => Relaxation::Zonotope,
        "crown" => Relaxation::Crown,
        "deeppoly_plain" | "crown_meet_ibp_interm" => Relaxation::CrownMeetIbp,
        "crown_lirpa_default" => Relaxation::CrownSkipIbp,
        other => panic!("no relaxation for `{other}`"),
    }
}

/// Splits a key of `expected.safetensors` into its tag and the rest; `None` for the logits.
pub fn split_key(key: &str) -> Option<(&str, &str)> {
    const METHODS: [&str; 8] =
        [".ibp.", ".crown_ibp.", ".crown.", ".grad.", ".alpha_crown.", ".alpha_crown_full.", ".box.", ".deeppoly"];
    let position = METHODS.iter().filter_map(|method| key.find(method)).min()?;
    Some((&key[..position], &key[position + 1..]))
}

/// Largest |got − expected| / (1 + max |expected|), NaN if a value is NaN.
pub fn scaled_error<T: Real>(got: &[T], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len(), "lengths differ");
    assert!(!got.is_empty(), "nothing to compare");
    let scale = 1.0 + expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let error = |(g, e): (&T, &f64)| {
        let d = (g.to_f64() - e).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    got.iter().zip(expected).map(error).fold(0.0, f64::max) / scale
}
