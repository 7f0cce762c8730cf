//! MODEL arguments: a run folder, an ONNX file, or safetensors with a description beside it.

use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use tightrope_network::{Description, Model};

/// Reads the model at `path` for engines that work in single precision, which its numbers must fit; batch norms are frozen.
pub fn load(path: &Path) -> anyhow::Result<Model> {
    in_single(load_exact(path)?, path)
}

/// As [`load`], with the batch norms as they are stored.
pub fn load_trainable(path: &Path) -> anyhow::Result<Model> {
    in_single(read(path)?, path)
}

/// Reads the model at `path`, whatever its numbers' size; batch norms are frozen.
pub fn load_exact(path: &Path) -> anyhow::Result<Model> {
    read(path)?.frozen().with_context(|| path.display().to_string())
}

fn in_single(model: Model, path: &Path) -> anyhow::Result<Model> {
    model.network.check_theta(&model.theta).with_context(|| path.display().to_string())?;
    Ok(model)
}

fn read(path: &Path) -> anyhow::Result<Model> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if !path.exists() {
        bail!("{}: no such file or folder; give a run folder, an .onnx file or a .safetensors file", path.display());
    }
    let model = if path.is_dir() || extension == "safetensors" {
        Model::load(path)?
    } else if extension == "onnx" {
        tightrope_onnx::import(path)?
    } else {
        bail!("{}: no model; give a run folder, an .onnx file or a .safetensors file", path.display());
    };
    model.network.check_weights(&model.weights()).with_context(|| path.display().to_string())?;
    Ok(model)
}

/// SHA-256 over structure and parameters, in hexadecimal.
pub fn checksum(model: &Model) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&Description::of(&model.network))?);
    match &model.exact {
        None => model.theta.iter().for_each(|value| hash.update(value.to_le_bytes())),
        Some(weights) => weights.visit_bytes(|part| hash.update(part)),
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
