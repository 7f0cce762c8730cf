//! The oracle against answers computed by hand.

use num_traits::{ToPrimitive, Zero};

use crate::model::{Model, Node, Operation, Precision, Step};
use crate::net::Net;
use crate::number::{Rational, exact};
use crate::partition::Partition;
use crate::property::{Case, Property, Range, Relation, Row};
use crate::truth::{Truth, refutes, truth};

fn gemm(weight: &[&[f64]], bias: &[f64]) -> Operation {
    let weight = weight.iter().map(|row| row.to_vec()).collect();
    Operation::Gemm { weight, bias: Some(bias.to_vec()), transposed: true, alpha: 1.0, beta: 1.0 }
}

/// The operations one after the other.
fn chain(input: &[usize], operations: Vec<Operation>) -> Model {
    let node = |(i, operation)| Node { operation, inputs: vec![i] };
    let nodes = operations.into_iter().enumerate().map(node).collect();
    Model { precision: Precision::Double, input: input.to_vec(), nodes }
}

/// |x| as relu(x) + relu(−x).
fn absolute() -> Model {
    chain(&[1], vec![gemm(&[&[1.0], &[-1.0]], &[0.0, 0.0]), Operation::Relu, gemm(&[&[1.0, 1.0]], &[0.0])])
}

fn row(coefficients: &[f64], relation: Relation, bound: f64) -> Row {
    Row { coefficients: coefficients.to_vec(), relation, bound }
}

fn asked(model: &Model, ranges: &[Range], conjunctions: &[&[Row]]) -> Truth {
    let conjunctions = conjunctions.iter().map(|rows| rows.to_vec()).collect();
    truth(&Net::new(model, 4.0), &Property { cases: vec![Case { ranges: ranges.to_vec(), conjunctions }] })
}

#[test]
fn the_least_absolute_value_is_zero_and_attained() {
    use Relation::{AtLeast, AtMost, Equal, Greater, Less};
    let (model, ranges) = (absolute(), [Range::closed(-1.0, 2.0)]);
    let net = Net::new(&model, 4.0);
    let partition = Partition::new(&net, &ranges);
    assert_eq!(partition.len(), 2);
    assert_eq!(partition.extremes(&[3.0], &[]).unwrap(), [exact(0.0), exact(6.0)]);
    let asked = |relation, bound| asked(&model, &ranges, &[&[row(&[1.0], relation, bound)]]);
    assert_eq!(asked(AtMost, 0.0), Truth::Violated(Some(vec![0.0])));
    assert_eq!(asked(Equal, 0.0), Truth::Violated(Some(vec![0.0])));
    assert_eq!(asked(AtLeast, 2.0), Truth::Violated(Some(vec![2.0])));
    assert_eq!(asked(AtMost, -5e-324), Truth::Holds);
    assert_eq!(asked(Less, 0.0), Truth::Holds);
    assert_eq!(asked(Greater, 2.0), Truth::Holds);
    assert!(matches!(asked(Less, 5e-324), Truth::Violated(Some(_))));
    assert!(matches!(asked(Greater, 2.0_f64.next_down()), Truth::Violated(Some(_))));
}

#[test]
fn open_ends_and_empty_boxes_count() {
    use Relation::{AtLeast, Equal, Greater};
    let model = absolute();
    let open = |lower_open, upper_open| Range { lower_open, upper_open, ..Range::closed(-1.0, 2.0) };
    let asked = |range: Range, relation, bound| asked(&model, &[range], &[&[row(&[1.0], relation, bound)]]);
    assert_eq!(asked(open(false, true), AtLeast, 2.0), Truth::Holds);
    assert!(matches!(asked(open(true, false), Equal, 2.0), Truth::Violated(_)));
    assert!(matches!(asked(open(true, true), Greater, 1.0), Truth::Violated(Some(_))));
    assert_eq!(asked(Range::closed(1.0, 0.5), AtLeast, 0.0), Truth::Holds);
    assert_eq!(asked(Range { upper_open: true, ..Range::closed(1.0, 1.0) }, AtLeast, 0.0), Truth::Holds);
    assert_eq!(asked(Range::closed(1.0, 1.0), AtLeast, 1.0), Truth::Violated(Some(vec![1.0])));
}

#[test]
fn a_third_is_a_counterexample_without_doubles() {
    let model = chain(&[1], vec![gemm(&[&[3.0]], &[0.0])]);
    let asked = |relation, bound| asked(&model, &[Range::closed(0.0, 1.0)], &[&[row(&[1.0], relation, bound)]]);
    assert_eq!(asked(Relation::Equal, 1.0), Truth::Violated(None));
    assert_eq!(asked(Relation::Equal, 1.5), Truth::Violated(Some(vec![0.5])));
    let net = Net::new(&model, 4.0);
    let case =
        Case { ranges: vec![Range::closed(0.0, 1.0)], conjunctions: vec![vec![row(&[1.0], Relation::Less, 1.0)]] };
    let property = Property { cases: vec![case] };
    assert!(refutes(&net, &property, &[1.0 / 3.0]), "the nearest double is below a third");
    assert!(!refutes(&net, &property, &[(1.0_f64 / 3.0).next_up()]));
    assert!(!refutes(&net, &property, &[-5e-324]), "outside the box");
}

/// y = (|x₀ − x₁|, x₀ + x₁) on the unit square.
#[test]
fn conjunctions_meet_in_edges_and_corners() {
    use Relation::{AtLeast, AtMost, Equal, Greater, Less};
    let first = gemm(&[&[1.0, -1.0], &[-1.0, 1.0], &[1.0, 1.0]], &[0.0; 3]);
    let model = chain(&[2], vec![first, Operation::Relu, gemm(&[&[1.0, 1.0, 0.0], &[0.0, 0.0, 1.0]], &[0.0; 2])]);
    let ranges = [Range::closed(0.0, 1.0); 2];
    let asked = |rows: &[Row]| asked(&model, &ranges, &[rows]);
    let (difference, sum) = ([1.0, 0.0], [0.0, 1.0]);
    // The diagonal, then its end, then nothing.
    assert!(matches!(asked(&[row(&difference, AtMost, 0.0), row(&sum, Greater, 1.5)]), Truth::Violated(Some(_))));
    let corner = Truth::Violated(Some(vec![1.0, 1.0]));
    assert_eq!(asked(&[row(&difference, Equal, 0.0), row(&sum, AtLeast, 2.0)]), corner);
    assert_eq!(asked(&[row(&difference, AtMost, 0.0), row(&sum, Greater, 2.0)]), Truth::Holds);
    assert_eq!(asked(&[row(&difference, Less, 0.0), row(&sum, AtLeast, 0.5)]), Truth::Holds);
    // A difference of 1 leaves (1, 0) and (0, 1), where the sum is 1.
    assert_eq!(asked(&[row(&difference, AtLeast, 1.0), row(&sum, Greater, 1.0)]), Truth::Holds);
    assert!(matches!(asked(&[row(&difference, AtLeast, 1.0), row(&sum, Equal, 1.0)]), Truth::Violated(Some(_))));
    assert!(matches!(asked(&[row(&difference, Greater, 0.5), row(&sum, Less, 0.75)]), Truth::Violated(Some(_))));
    // Each of two strict rows alone has points, also where the other one is zero; both have none.
    assert_eq!(asked(&[row(&difference, Greater, 0.5), row(&sum, Less, 0.5)]), Truth::Holds);
    // The largest difference where the sum is at most a half is a half.
    let net = Net::new(&model, 4.0);
    let within = row(&sum, AtMost, 0.5).margins(&net.slack, false);
    let extremes = Partition::new(&net, &ranges).extremes(&difference, &within).unwrap();
    assert_eq!(extremes, [exact(0.0), exact(0.5)]);
}

#[test]
fn operators_have_their_exact_values() {
    let value = |model: &Model, point: &[f64]| {
        let point: Vec<Rational> = point.iter().map(|&x| exact(x)).collect();
        Net::new(model, 4.0).outputs(&point)
    };
    let weight = vec![vec![0.1, 2.0]];
    let scaled = Operation::Gemm { weight, bias: Some(vec![0.3]), transposed: false, alpha: 0.1, beta: 3.0 };
    let [alpha, tenth] = [exact(f64::from(0.1_f32)), exact(0.1)];
    let by_hand = &alpha * (tenth * exact(5.0) + exact(2.0) * exact(7.0)) + exact(3.0) * exact(0.3);
    assert_eq!(value(&chain(&[2], vec![scaled]), &[5.0, 7.0]), [by_hand]);

    let step = |step, constant: &[f64]| Operation::Step { step, constant: constant.to_vec() };
    let normalised = chain(&[1], vec![step(Step::Subtract, &[0.5]), step(Step::Divide, &[3.0])]);
    assert_eq!(value(&normalised, &[1.5]), [Rational::new(1.into(), 3.into())]);
    let turned = chain(&[2], vec![step(Step::SubtractFrom, &[1.0]), step(Step::Multiply, &[2.0, -4.0])]);
    assert_eq!(value(&turned, &[0.25, 0.5]), [exact(1.5), exact(-2.0)]);

    // One channel of 2 × 2 under a kernel of 2 × 2 with a border of zeros: a corner, the middle and another corner.
    let weight = vec![1.0, 2.0, 3.0, 4.0];
    let conv = Operation::Conv { shape: [1, 1, 2, 2], weight, bias: vec![0.5], stride: 1, padding: 1 };
    let out = value(&chain(&[1, 2, 2], vec![conv]), &[1.0, 10.0, 100.0, 1000.0]);
    assert_eq!((out.len(), &out[0], &out[4], &out[8]), (9, &exact(4.5), &exact(4321.5), &exact(1000.5)));

    let norm = |variance: f64, epsilon| Operation::BatchNormalization {
        scale: vec![3.0],
        shift: vec![1.0],
        mean: vec![2.0],
        variance: vec![variance],
        epsilon,
    };
    // √(5/2 − 1/4) = 3/2.
    let square = chain(&[1], vec![norm(2.0, Some(0.25))]);
    assert_eq!(value(&square, &[4.0]), [exact(5.0)]);
    assert!(Net::new(&square, 4.0).slack[0].is_zero());
    let other = chain(&[1], vec![norm(2.0, Some(0.0))]);
    let found = value(&other, &[4.0])[0].to_f64().unwrap();
    assert!((found - (1.0 + 6.0 / 2.0_f64.sqrt())).abs() < 1e-14);
    let slack = Net::new(&other, 4.0).slack[0].to_f64().unwrap();
    assert!(slack > 0.0 && slack < 1e-55, "{slack}");
}

#[test]
fn irrational_networks_are_decided_outside_their_error() {
    let norm = Operation::BatchNormalization {
        scale: vec![1.0],
        shift: vec![0.0],
        mean: vec![0.0],
        variance: vec![2.0],
        epsilon: Some(0.0),
    };
    let model = chain(&[1], vec![norm]);
    let asked = |relation, bound| asked(&model, &[Range::closed(0.0, 2.0)], &[&[row(&[1.0], relation, bound)]]);
    // √2 lies strictly between two doubles.
    let below = 2.0_f64.sqrt().next_down();
    assert!(matches!(asked(Relation::AtLeast, below), Truth::Violated(Some(_))));
    assert_eq!(asked(Relation::AtLeast, below.next_up().next_up()), Truth::Holds);
    assert_eq!(asked(Relation::Equal, 1.0), Truth::Open);
}

/// A residual network with hidden layers: the pieces' forms give what evaluation gives.
#[test]
fn pieces_agree_with_evaluation() {
    let mut model = chain(
        &[3],
        vec![
            gemm(&[&[1.0, -2.0, 0.1], &[0.7, 0.3, -1.0], &[-1.3, 0.9, 0.25]], &[0.1, -0.2, 0.3]),
            Operation::Relu,
            gemm(&[&[0.6, -1.1, 0.4], &[-0.8, 0.9, 1.2], &[1.0, 1.0, -1.0]], &[-0.1, 0.05, 0.2]),
        ],
    );
    model.nodes.push(Node { operation: Operation::Add, inputs: vec![3, 2] });
    model.nodes.push(Node { operation: Operation::Relu, inputs: vec![4] });
    model.nodes.push(Node { operation: gemm(&[&[1.0, -0.7, 0.2], &[0.3, 0.3, -2.0]], &[0.0, 0.1]), inputs: vec![5] });
    let net = Net::new(&model, 4.0);
    let ranges = [Range::closed(-1.0, 1.0), Range::closed(0.1, 0.1), Range::closed(-0.5, 2.0)];
    let partition = Partition::new(&net, &ranges);
    assert!(partition.len() > 5, "{} pieces", partition.len());
    let [low, high] = partition.extremes(&[1.0, -1.0], &[]).unwrap();
    for index in 0..partition.len() {
        let (center, outputs) = partition.center(index);
        assert_eq!(net.outputs(&partition.input(&center)), outputs);
        let value = &outputs[0] - &outputs[1];
        assert!(low <= value && value <= high);
    }
}
