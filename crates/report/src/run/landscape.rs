//! `landscape/landscape.json` and the drawings beside it: losses along a line or over a plane through the run's parameters.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

/// The folder of a run's landscape.
const FOLDER: &str = "landscape";
/// What it is known by.
pub(super) const DOCUMENT: &str = "landscape/landscape.json";
/// Drawings larger than that are left out.
const MOST_BYTES: u64 = 2_000_000;

/// A landscape as `tightrope landscape` writes it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Landscape {
    /// Batch, perturbations and directions in words.
    pub title: String,
    /// SHA-256 of the model it was drawn of, where the file tells it.
    pub model: Option<String>,
    /// True if that is not the model that the run has now: see [`Run::compare_model`](crate::Run::compare_model).
    pub earlier_model: bool,
    /// One entry for each method and σ of a line; none for planes.
    pub curves: Vec<LandscapeCurve>,
    /// Drawings by name.
    #[serde(skip)]
    pub drawings: Vec<(String, Vec<u8>)>,
}

/// The metrics of one curve; none where the file does not tell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LandscapeCurve {
    /// The training method.
    pub method: String,
    /// Standard deviation of the smoothing; 0 for the original loss.
    pub sigma: Option<f64>,
    /// Largest minus smallest value.
    pub spread: Option<f64>,
    /// Root of the sum of squared jumps, as far as the step shows it.
    pub discontinuity: Option<f64>,
    /// Size of the largest jump that was located, without its sign.
    pub largest_jump: Option<f64>,
    /// The same of kinks.
    pub largest_kink: Option<f64>,
    /// Total change of slope.
    pub roughness: Option<f64>,
    /// Largest violation of midpoint convexity.
    pub convexity: Option<f64>,
    /// Mean absolute change of the loss under weight noise.
    pub sensitivity: Option<f64>,
}

/// Reads the document in `bytes`.
pub(super) fn parse(bytes: &[u8], remarks: &mut Vec<String>) -> Result<Landscape, String> {
    let document: Value =
        serde_json::from_slice(bytes).map_err(|problem| format!("is no landscape ({problem}); it is left out"))?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let directions = list(&document["directions"]).map(|direction| {
        let towards = direction["towards"].as_str().map_or_else(String::new, |run| format!(" {run}"));
        format!("{}{towards} from {} to {}", text(&direction["kind"]), direction["range"][0], direction["range"][1])
    });
    let title = format!(
        "{} images of {}, norm {}, ε = {}; directions: {}",
        text(&document["images"]),
        text(&document["data"]),
        text(&document["norm"]),
        text(&document["eps"]),
        directions.collect::<Vec<_>>().join(" and ")
    );
    let mut curves = Vec::new();
    for method in list(&document["methods"]) {
        curves.extend(list(&method["curves"]).map(|found| curve(text(&method["method"]), found)));
    }
    let files = list(&document["files"]).filter_map(Value::as_str).filter(|name| name.ends_with(".svg"));
    // A name that leads out of the folder is none of a drawing there.
    let (inside, outside): (Vec<&str>, Vec<&str>) =
        files.partition(|name| Path::new(name).file_name().is_some_and(|file| file == *name));
    remarks.extend(outside.iter().map(|name| format!("names the file {name}, which is left out")));
    let drawings = inside.into_iter().map(|name| (name.to_string(), Vec::new())).collect();
    let model = document["model"].as_str().map(Into::into);
    Ok(Landscape { title, model, earlier_model: false, curves, drawings })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn curve(method: String, found: &Value) -> LandscapeCurve {
    let metrics = &found["metrics"];
    let (variation, size) = (&metrics["variation"], |list: &Value| list[0]["size"].as_f64().map(f64::abs));
    LandscapeCurve {
        method,
        sigma: found["sigma"].as_f64(),
        spread: variation["spread"].as_f64(),
        discontinuity: variation["discontinuity"].as_f64(),
        largest_jump: size(&metrics["jumps"]),
        largest_kink: size(&metrics["kinks"]),
        roughness: variation["roughness"].as_f64(),
        convexity: metrics["convexity"]["largest"].as_f64(),
        sensitivity: metrics["sensitivity"]["mean_absolute"].as_f64(),
    }
}

impl Landscape {
    /// Reads the drawings in the run's `folder`; what cannot be read is left out with a remark.
    pub(super) fn read_drawings(&mut self, folder: &Path) -> Vec<String> {
        let mut remarks = Vec::new();
        self.drawings.retain_mut(|(name, bytes)| {
            let path = folder.join(FOLDER).join(&*name);
            let read = std::fs::metadata(&path).map_err(|problem| problem.to_string()).and_then(|found| {
                if found.len() > MOST_BYTES {
                    return Err(format!("is larger than {MOST_BYTES} bytes"));
                }
                std::fs::read(&path).map_err(|problem| problem.to_string())
            });
            match read {
                Ok(read) => {
                    *bytes = read;
                    true
                }
                Err(problem) => {
                    remarks.push(format!("{FOLDER}/{name}: {problem}; it is left out"));
                    false
                }
            }
        });
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn metrics_and_drawings_are_read_and_the_rest_is_passed_over() {
        let document = r#"{"images": 8, "data": "digits test", "norm": "inf", "eps": 0.1, "new": 1,
            "directions": [{"kind": "run", "towards": "runs/b", "range": [0.0, 1.0]}],
            "methods": [{"method": "ibp", "curves": [{"sigma": 0.0, "metrics": {"jumps": [{"size": -0.5}],
                "variation": {"spread": 2.0}}}, {"sigma": null}]}, {"planes": []}],
            "files": ["ibp.svg", "../x.svg", "/etc/x.svg", "slice.csv", 3]}"#;
        let mut remarks = Vec::new();
        let landscape = parse(document.as_bytes(), &mut remarks).unwrap();
        assert_eq!(
            landscape.title,
            "8 images of digits test, norm inf, ε = 0.1; directions: run runs/b from 0.0 to 1.0"
        );
        let [first, second] = &landscape.curves[..] else { panic!("{:?}", landscape.curves) };
        assert_eq!((first.largest_jump, first.spread, first.largest_kink), (Some(0.5), Some(2.0), None));
        assert_eq!((second.method.as_str(), second.sigma), ("ibp", None));
        assert_eq!(landscape.drawings, [("ibp.svg".to_string(), Vec::new())]);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(parse(b"{", &mut remarks).unwrap_err().contains("is no landscape"));
        assert!(parse(b"[]", &mut remarks).unwrap().curves.is_empty());
    }

    #[test]
    fn drawings_that_are_gone_or_too_large_are_left_out_with_a_remark() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("landscape")).unwrap();
        std::fs::write(folder.path().join("landscape/a.svg"), "<svg/>").unwrap();
        std::fs::write(folder.path().join("landscape/b.svg"), vec![b' '; 2_000_001]).unwrap();
        let mut landscape = parse(br#"{"files": ["a.svg", "b.svg", "c.svg"]}"#, &mut Vec::new()).unwrap();
        let remarks = landscape.read_drawings(folder.path());
        assert_eq!(landscape.drawings, [("a.svg".to_string(), b"<svg/>".to_vec())]);
        assert!(remarks.len() == 2 && remarks[0].contains("b.svg") && remarks[1].contains("c.svg"), "{remarks:?}");
    }

    #[test]
    fn remarks_on_damaged_names_fit_a_screen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("landscape")).unwrap();
        let names = |name: &str| format!(r#"{{"files": [{}]}}"#, vec![format!("\"{name}.svg\""); 300].join(", "));
        for name in ["x".repeat(100_000), "../".repeat(10_000)] {
            std::fs::write(folder.path().join(super::DOCUMENT), names(&name)).unwrap();
            let run = crate::Run::read(folder.path());
            assert!(run.remarks.len() < 60 && run.remarks.iter().all(|remark| remark.len() < 4000));
            assert!(run.remarks.last().unwrap().contains("more remarks"), "{:?}", run.remarks.last());
        }
    }
}
