//! The folder of a landscape: what may be replaced in it, and its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tightrope_attack::ThreatModel;
use tightrope_landscape::direction::{cosine, norm};
use tightrope_network::{number_text, remove_abandoned, temporary_owner, write_atomically};
use tightrope_train::methods::METHODS;

use super::Found;
use super::directions::Direction;
use crate::values;

/// The file that a landscape is known by: written last, removed first.
const DOCUMENT: &str = "landscape.json";
/// Its other files, besides drawings.
const TABLES: [&str; 2] = ["slice.csv", "plane.csv"];

/// The folder that a landscape goes to.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which is not there, empty, or with `overwrite` holds a landscape and nothing else.
    pub fn open(path: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let named = || format!("-o {}", path.display());
        if path.exists() && !path.is_dir() {
            bail!("{}: is a file, not a folder; name another", named());
        }
        if path.exists() {
            let held = names(path).with_context(named)?;
            if let Some(file) = held.iter().find(|name| !is_own(name)) {
                bail!("{}: holds `{file}`, which is no part of a landscape; choose another folder", named());
            }
            if !overwrite && held.iter().any(|name| !is_temporary(name)) {
                bail!("{}: holds a landscape; replace it by --overwrite, or choose another folder with -o", named());
            }
        }
        Ok(Folder { path: path.into() })
    }

    /// Writes `files`, each whole or not at all, and `document` last; files of the landscape before are gone.
    pub fn write(&self, files: &[(String, Vec<u8>)], document: &Value) -> anyhow::Result<()> {
        let path = |name: &str| self.path.join(name);
        fs::create_dir_all(&self.path)
            .with_context(|| format!("cannot make the folder {}; choose another with -o", self.path.display()))?;
        // Without its document, what a kill leaves is known to be incomplete.
        let mut old = names(&self.path)?;
        old.sort_by_key(|name| name != DOCUMENT);
        for name in old.iter().filter(|name| is_own(name) && !is_temporary(name)) {
            fs::remove_file(path(name)).with_context(|| format!("cannot remove {}", path(name).display()))?;
        }
        let document = serde_json::to_vec_pretty(document)?;
        for (name, bytes) in files.iter().map(|(name, bytes)| (&**name, bytes)).chain([(DOCUMENT, &document)]) {
            remove_abandoned(&path(name));
            write_atomically(&path(name), bytes).with_context(|| format!("cannot write {}", path(name).display()))?;
        }
        Ok(())
    }
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn is_own(name: &str) -> bool {
    let drawing = |stem: &str| {
        let method = stem.split_once("-plane-").map_or(stem, |(method, _)| method);
        METHODS.iter().any(|info| info.name == method)
    };
    name == DOCUMENT || TABLES.contains(&name) || name.strip_suffix(".svg").is_some_and(drawing) || is_temporary(name)
}

/// True for what an interrupted write of one of the files leaves.
fn is_temporary(name: &str) -> bool {
    let file = name.strip_suffix(".tmp").and_then(|rest| rest.rsplit_once('.')).map(|(file, _)| file);
    file.is_some_and(|file| temporary_owner(name, file).is_some() && !file.ends_with(".tmp") && is_own(file))
}

/// What a landscape is of.
pub struct Setting<'a> {
    pub run: &'a Path,
    pub model: String,
    pub engine: &'a str,
    pub seed: u64,
    pub data: &'a str,
    pub images: usize,
    pub threat: ThreatModel,
    pub robust_weight: f64,
    /// Whether batch norms take the statistics of the batch; there are none otherwise.
    pub batch_statistics: bool,
    pub directions: &'a [Direction],
    pub ranges: &'a [(f64, f64)],
    pub points: usize,
    pub sigmas: &'a [f64],
    pub samples: usize,
    pub noise: f64,
}

impl Setting<'_> {
    /// The document of the landscape.
    pub fn document(&self, results: &[(&str, Found)], files: &[(String, Vec<u8>)]) -> Value {
        let direction = |(direction, range): (&Direction, &(f64, f64))| {
            json!({
                "kind": direction.kind,
                "towards": direction.towards.as_ref().map(|run| run.display().to_string()),
                "length": norm(&direction.vector),
                "range": range,
            })
        };
        let methods = results.iter().map(|(method, found)| match found {
            Found::Line(curves) => json!({"method": method, "curves": curves}),
            Found::Plane(planes) => json!({"method": method, "planes": planes}),
        });
        json!({
            "program": "tightrope",
            "version": env!("CARGO_PKG_VERSION"),
            "engine": self.engine,
            "run": self.run.display().to_string(),
            "model": self.model,
            "seed": self.seed,
            "data": self.data,
            "images": self.images,
            "norm": values::norm_name(self.threat.norm),
            "eps": tightrope::radius_value(&self.threat.epsilon),
            "clip": self.threat.clip.map(|(low, high)| [low, high]),
            "robust_weight": self.robust_weight,
            "batch_statistics": self.batch_statistics,
            "directions": self.directions.iter().zip(self.ranges).map(direction).collect::<Vec<_>>(),
            "cosine": match self.directions {
                [first, second] => Some(cosine(&first.vector, &second.vector)),
                _ => None,
            },
            "points": self.points,
            "sigmas": self.sigmas,
            "samples": self.samples,
            "noise": self.noise,
            "methods": methods.collect::<Vec<_>>(),
            "files": files.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        })
    }
}

/// Lines as a table: a row for each method, σ and point.
pub fn curve_csv(results: &[(&str, Found)]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["method", "sigma", "samples", "t", "loss", "standard_error"])?;
    for (method, found) in results {
        let Found::Line(curves) = found else { continue };
        for curve in curves {
            let slice = &curve.slice;
            for i in 0..slice.t.len() {
                let numbers = [slice.t[i], slice.loss[i], slice.standard_error[i]].map(number_text);
                let [t, loss, error] = &numbers;
                writer.write_record([
                    method,
                    &*number_text(curve.sigma),
                    &curve.samples.to_string(),
                    t,
                    loss,
                    error,
                ])?;
            }
        }
    }
    Ok(writer.into_inner()?)
}

/// Planes as a table: a row for each method, σ and point.
pub fn plane_csv(results: &[(&str, Found)]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["method", "sigma", "samples", "x", "y", "loss", "standard_error"])?;
    for (method, found) in results {
        let Found::Plane(planes) = found else { continue };
        for plane in planes {
            for (place, (loss, error)) in plane.loss.iter().zip(&plane.standard_error).enumerate() {
                let (x, y) = (plane.x[place % plane.x.len()], plane.y[place / plane.x.len()]);
                let [x, y, loss, error] = [x, y, *loss, *error].map(number_text);
                let (sigma, samples) = (number_text(plane.sigma), plane.samples.to_string());
                writer.write_record([method, &*sigma, &samples, &x, &y, &loss, &error])?;
            }
        }
    }
    Ok(writer.into_inner()?)
}
