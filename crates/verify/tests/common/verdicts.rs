//! The published verdicts of complete verification as properties.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use tightrope_network::Model;
use tightrope_testkit::golden::TensorFile;
use tightrope_vnnlib::{Case, Constraint, Property};

/// One image with a radius.
pub struct Instance {
    /// Network, radius and number of the image.
    pub name: String,
    /// The network.
    pub model: Rc<Model>,
    /// That the label stays strictly first in the box clipped to [0, 1].
    pub property: Property,
    /// `verified`, `falsified` or `unknown`.
    pub truth: String,
}

/// All instances in `golden`.
pub fn instances(golden: &Path) -> Vec<Instance> {
    let read = |name: &str| std::fs::read(golden.join(name)).unwrap();
    let verdicts: serde_json::Value = serde_json::from_slice(&read("verification/verdicts.json")).unwrap();
    let mut models: HashMap<String, Rc<Model>> = HashMap::new();
    let mut list = Vec::new();
    for (net, radii) in verdicts["results"].as_object().unwrap() {
        let onnx = golden.join(format!("cases/{net}/model.onnx"));
        let model = models.entry(net.clone()).or_insert_with(|| Rc::new(tightrope_onnx::import(&onnx).unwrap()));
        let (d, classes) = (model.network.input_len(), model.network.output_len());
        let x = TensorFile::read(&golden.join(format!("verification/{net}.safetensors"))).values("x");
        for (radius, published) in radii.as_object().unwrap() {
            let epsilon: f64 = radius.parse().unwrap();
            for entry in published["instances"].as_array().unwrap() {
                let number = |key: &str| usize::try_from(entry[key].as_u64().unwrap()).unwrap();
                let (image, label) = (number("i"), number("label"));
                let reached = |rival: usize| {
                    let mut coefficients = vec![0.0; classes];
                    (coefficients[label], coefficients[rival]) = (1.0, -1.0);
                    vec![Constraint::at_most(coefficients, 0.0)]
                };
                let x = &x[image * d..(image + 1) * d];
                let case = Case::closed(
                    x.iter().map(|v| (v - epsilon).max(0.0)).collect(),
                    x.iter().map(|v| (v + epsilon).min(1.0)).collect(),
                    (0..classes).filter(|&rival| rival != label).map(reached).collect(),
                );
                list.push(Instance {
                    name: format!("{net} {radius} {image}"),
                    model: Rc::clone(model),
                    property: Property::new(d, classes, vec![case]),
                    truth: entry["verdict"].as_str().unwrap().into(),
                });
            }
        }
    }
    list
}
