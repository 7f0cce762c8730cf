//! No sampled and no attacked point leaves the bounds of random graphs of every operator.
//!
//! `TIGHTROPE_RANDOM_GRAPHS` says how many graphs, with five hundred points each: 300 if nothing, 2,000 for a million points.

use std::path::Path;

use tightrope_engine::{BoundRequest, Bounds, Cotangents, Engine, Loaded, Reference, Region, Relaxation, Spec, Wants};
use tightrope_network::Model;
use tightrope_onnx::import;
use tightrope_testkit::peer;
use tightrope_testkit::random::Rng;
use tightrope_testkit::sampling::{in_box, minimiser};

/// Points of a graph's box, of which some are attacks.
const POINTS: usize = 500;
/// Steps of an attack, each to the corner that the gradient at the point before says.
const STEPS: usize = 3;

/// The points at which attacks on both ends of an output arrive.
fn attacked(at: &dyn Loaded<f64>, region: &Region<f64>, start: &[f64], output: usize, outputs: usize) -> Vec<f64> {
    let mut points = Vec::new();
    for sign in [1.0, -1.0] {
        let mut point = start.to_vec();
        for _ in 0..STEPS {
            let (_, tape) = at.forward_taped(&point).unwrap();
            let mut cotangent = vec![0.0; outputs];
            cotangent[output] = sign;
            let gradient = at.vjp(&tape, &Cotangents::on_lower(cotangent), Wants::INPUT).unwrap().input.unwrap();
            point = minimiser(region, 0, &gradient);
            points.extend_from_slice(&point);
        }
    }
    points
}

/// Fails if one of the values `[points, outputs]` is not between the bounds; says whether these are numbers at all.
fn hold(bounds: &Bounds<f64>, values: &[f64], what: &str) -> bool {
    let upper = bounds.upper.as_ref().unwrap();
    for values in values.chunks(bounds.lower.len()) {
        for (output, ((&low, &high), &value)) in bounds.lower.iter().zip(upper).zip(values).enumerate() {
            // Both are rounded on their way, on the scale of what they are made of.
            let slack = 1e-9 * (1.0 + value.abs());
            let inside = !(value < low - slack || value > high + slack);
            assert!(inside, "{what}: output {output} is {value}, outside [{low}, {high}]");
        }
    }
    bounds.lower.iter().chain(upper).all(|bound| !bound.is_nan())
}

#[test]
fn no_point_leaves_the_bounds_of_random_graphs() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::env::var("TIGHTROPE_RANDOM_GRAPHS").unwrap_or_else(|_| "300".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/graphs.py");
    // Others than those whose values are compared.
    let arguments = [folder.path().as_os_str(), count.as_ref(), "1000000".as_ref()];
    if peer::python(&script, "numpy, onnx, onnxruntime", &arguments).is_none() {
        return;
    }
    let mut paths: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let (mut asked, mut answered, mut tried) = (0, 0, 0);
    for (number, path) in paths.iter().enumerate() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Model { network, theta, .. } = import(path).unwrap();
        let theta: Vec<f64> = theta.iter().map(|&value| value.into()).collect();
        let at = Reference.load(&network, &theta, &[]).unwrap();
        let rng = Rng::in_turn(number as u64);
        let (d, outputs) = (network.input_len(), network.output_len());
        let radius = rng.between(0.01, 0.5);
        let center = rng.uniforms(d);
        let (lower, upper): (Vec<f64>, Vec<f64>) = center.iter().map(|x| (x - radius, x + radius)).unzip();
        let region = Region::boxes(&lower, &upper, d).unwrap();
        let mut points = Vec::new();
        for output in 0..outputs.min(5) {
            points.extend(attacked(&*at, &region, &center, output, outputs));
        }
        let rest = POINTS - points.len() / d;
        points.extend(in_box(&rng, &lower, &upper, rest));
        let values = at.forward(&points).unwrap();
        tried += points.len() / d;
        for relaxation in Relaxation::ALL {
            let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
            asked += 1;
            let bounds = at.bound(&region, &Spec::Logits, request);
            let bounds = bounds.unwrap_or_else(|error| panic!("{name}, {}: {error}", relaxation.name()));
            answered += usize::from(hold(&bounds, &values, &format!("{name}, {}, radius {radius}", relaxation.name())));
        }
    }
    eprintln!("{tried} points of {} graphs; {answered} of {asked} bounds are numbers", paths.len());
    assert_eq!((paths.len().to_string(), tried), (count, POINTS * paths.len()));
    assert!(20 * answered >= 19 * asked, "{answered} of {asked} bounds are numbers");
}
