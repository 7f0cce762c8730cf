//! The properties of the verification competition.

use tightrope_testkit::shared::{vnncomp, vnncomp_later};
use tightrope_vnnlib::Property;

#[test]
fn every_property_is_read() {
    let Some(folder) = vnncomp() else { return };
    let mut instances = 0;
    for (part, inputs, outputs) in [("acasxu", 5, 5), ("mnistfc", 784, 10), ("oval21", 3072, 10)] {
        let folder = folder.path().join(part);
        let list = std::fs::read(folder.join("instances.json")).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
        for instance in &list {
            let path = folder.join(instance["vnnlib"].as_str().unwrap());
            let property = Property::read(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((property.inputs, property.outputs), (inputs, outputs), "{}", path.display());
            assert_eq!(property.cases.len(), 1, "{}", path.display());
            let case = &property.cases[0];
            assert!(case.lower.iter().zip(&case.upper).all(|(l, u)| l <= u));
            let text = std::fs::read_to_string(&path).unwrap();
            // Declarations and bounds are all one line each; what remains are the output constraints.
            let comparisons = text.matches("(<= ").count() + text.matches("(>= ").count() - 2 * inputs;
            let rows: usize = case.unsafe_outputs.iter().map(Vec::len).sum();
            assert_eq!(rows, comparisons, "{}", path.display());
            let disjuncts = if text.contains("(or") { comparisons } else { 1 };
            assert_eq!(case.unsafe_outputs.len(), disjuncts, "{}", path.display());
            instances += 1;
        }
    }
    assert_eq!(instances, 96);
}

#[test]
fn a_competition_property_by_its_numbers() {
    let Some(folder) = vnncomp() else { return };
    let first = Property::read(&folder.path().join("acasxu/prop_1.vnnlib")).unwrap();
    assert_eq!(first.cases[0].lower, [0.6, -0.5, -0.5, 0.45, -0.5]);
    assert_eq!(first.cases[0].upper, [0.679857769, 0.5, 0.5, 0.5, -0.45]);
    assert_eq!(first.cases[0].unsafe_outputs[0][0].coefficients, [-1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(first.cases[0].unsafe_outputs[0][0].bound, -3.991125645861615);
    let second = Property::read(&folder.path().join("acasxu/prop_2.vnnlib")).unwrap();
    assert_eq!(second.cases[0].unsafe_outputs.len(), 1);
    assert_eq!(second.cases[0].unsafe_outputs[0][2].coefficients, [-1.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn every_property_of_later_years_is_read() {
    let Some(folder) = vnncomp_later() else { return };
    let mut instances = 0;
    for category in std::fs::read_dir(folder.path().join("dev")).unwrap() {
        let category = category.unwrap().path();
        let list = std::fs::read(category.join("instances.json")).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
        for instance in &list {
            let path = category.join(instance["vnnlib"].as_str().unwrap());
            let property = Property::read(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(!property.cases.is_empty() && property.contradiction.is_none(), "{}", path.display());
            let width = property.outputs + property.sums.len();
            let rows = || property.cases.iter().flat_map(|case| case.unsafe_outputs.iter().flatten());
            assert!(rows().count() > 0 && rows().all(|row| row.coefficients.len() == width), "{}", path.display());
            instances += 1;
        }
    }
    assert_eq!(instances, 64);
}
