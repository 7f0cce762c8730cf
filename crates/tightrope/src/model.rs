//! Models from files: a run folder, an ONNX file, or safetensors with a description beside it.

use std::borrow::Cow;
use std::path::Path;

use sha2::{Digest, Sha256};
use tightrope_network::{Description, MODEL_FILE, Model};

use crate::Error;

/// Reads the model at `path` for engines that work in single precision, which its numbers must fit. Batch norms are frozen:
/// see [`Model::frozen`].
///
/// # Errors
/// If there is no model, it cannot be read, or a number is beyond single precision.
///
/// ```no_run
/// let model = tightrope::load("runs/mnist")?;
/// println!("{} parameters", model.theta.len());
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
    let path = path.as_ref();
    in_single(load_exact(path)?, path)
}

/// As [`load`], with batch norms as they are stored, to go on training.
///
/// # Errors
/// As [`load`].
pub fn load_trainable(path: impl AsRef<Path>) -> Result<Model, Error> {
    let path = path.as_ref();
    in_single(read(path)?, path)
}

/// Reads the model at `path`, whatever its numbers' size; batch norms are frozen.
///
/// # Errors
/// If there is no model or it cannot be read.
pub fn load_exact(path: impl AsRef<Path>) -> Result<Model, Error> {
    let model = read(path.as_ref())?;
    let frozen = match model.frozen()? {
        Cow::Borrowed(_) => None,
        Cow::Owned(frozen) => Some(frozen),
    };
    Ok(frozen.unwrap_or(model))
}

fn in_single(model: Model, path: &Path) -> Result<Model, Error> {
    model.network.check_theta(&model.theta).map_err(|problem| Error::Numbers { path: path.into(), problem })?;
    Ok(model)
}

fn read(path: &Path) -> Result<Model, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let is_onnx = extension == "onnx" || name.ends_with(".onnx.gz");
    let none = |problem| Err(Error::NoModel { path: path.into(), problem });
    // Lists name plain files that lie there compressed.
    let packed = is_onnx && path.with_file_name(format!("{name}.gz")).exists();
    if !path.exists() && !packed {
        return none("no such file or folder");
    }
    if path.join("config.toml").is_file() && !path.join(MODEL_FILE).is_file() {
        return none(
            "a run without a model, as its training ended before its first epoch did: go on with `tightrope train --resume`, \
             or train with other settings if it diverged",
        );
    }
    let model = if path.is_dir() || extension == "safetensors" {
        Model::load(path)?
    } else if is_onnx {
        tightrope_onnx::import(path)?
    } else {
        return none("no model");
    };
    model.network.check_weights(&model.weights()).map_err(|problem| Error::Numbers { path: path.into(), problem })?;
    Ok(model)
}

/// SHA-256 over structure, parameters and buffers, in lower-case hexadecimal.
pub fn checksum(model: &Model) -> String {
    let mut hash = Sha256::new();
    // A description is plain numbers and names, which always have a JSON form.
    let description = serde_json::to_vec(&Description::of(&model.network)).unwrap_or_default();
    hash.update(description);
    match &model.exact {
        None => model.theta.iter().for_each(|value| hash.update(value.to_le_bytes())),
        Some(weights) => weights.visit_bytes(|part| hash.update(part)),
    }
    model.buffers.iter().for_each(|value| hash.update(value.to_le_bytes()));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
