//! What properties mean: every form the language allows, and its normal form.

use proptest::prelude::*;
use tightrope_vnnlib::{Constraint, Property};

/// Two inputs in [−1, 1], three outputs, and `assertions`.
fn property(assertions: &str) -> Property {
    Property::parse(text(assertions).as_bytes(), "(inline)").unwrap_or_else(|e| panic!("{e}"))
}

fn text(assertions: &str) -> String {
    let mut text = String::new();
    for name in ["X_0", "X_1", "Y_0", "Y_1", "Y_2"] {
        text.push_str(&format!("(declare-const {name} Real)\n"));
    }
    for name in ["X_0", "X_1"] {
        text.push_str(&format!("(assert (>= {name} -1)) (assert (<= {name} 1.))\n"));
    }
    text + assertions
}

fn row(coefficients: [f64; 3], bound: f64) -> Constraint {
    Constraint::at_most(coefficients.to_vec(), bound)
}

/// The constraints of a property of one case and one conjunction.
fn rows(assertions: &str) -> Vec<Constraint> {
    let property = property(assertions);
    assert_eq!(property.cases.len(), 1);
    assert_eq!((&property.cases[0].lower[..], &property.cases[0].upper[..]), (&[-1.0; 2][..], &[1.0; 2][..]));
    assert_eq!(property.cases[0].unsafe_outputs.len(), 1);
    property.cases[0].unsafe_outputs[0].clone()
}

#[test]
fn inequalities_of_every_form() {
    let cases: [(&str, &[Constraint]); 17] = [
        ("(assert (<= Y_0 1.5))", &[row([1.0, 0.0, 0.0], 1.5)]),
        ("(assert (>= 1.5 Y_0))", &[row([1.0, 0.0, 0.0], 1.5)]),
        ("(assert (>= Y_0 1.5))", &[row([-1.0, 0.0, 0.0], -1.5)]),
        ("(assert (<= 1.5 Y_0))", &[row([-1.0, 0.0, 0.0], -1.5)]),
        ("(assert (< Y_0 0)) (assert (> Y_0 2))", &[strict([1.0, 0.0, 0.0], 0.0), strict([-1.0, 0.0, 0.0], -2.0)]),
        ("(assert (< Y_0 Y_1 3))", &[strict([1.0, -1.0, 0.0], 0.0), strict([0.0, 1.0, 0.0], 3.0)]),
        ("(assert (<= Y_1 Y_0))", &[row([-1.0, 1.0, 0.0], 0.0)]),
        ("(assert (>= Y_1 Y_0))", &[row([1.0, -1.0, 0.0], 0.0)]),
        ("(assert (= Y_0 -2e-1))", &[row([1.0, 0.0, 0.0], -0.2), row([-1.0, 0.0, 0.0], 0.2)]),
        ("(assert (<= 0 Y_0 1))", &[row([-1.0, 0.0, 0.0], 0.0), row([1.0, 0.0, 0.0], 1.0)]),
        ("(assert (<= (+ Y_0 (* 2 Y_1) -3) (- Y_2 1)))", &[row([1.0, 2.0, -1.0], 2.0)]),
        ("(assert (<= (- Y_0) (/ Y_2 4)))", &[row([-1.0, 0.0, -0.25], 0.0)]),
        ("(assert (<= (* (- 1 3) Y_0 0.5) (* (+ Y_1 1) 2)))", &[row([-1.0, -2.0, 0.0], 2.0)]),
        ("(assert (<= (+ Y_0 X_0) (+ X_0 1E+1)))", &[row([1.0, 0.0, 0.0], 10.0)]),
        ("(assert (and (<= Y_0 1) (and (<= Y_1 2))))", &[row([1.0, 0.0, 0.0], 1.0), row([0.0, 1.0, 0.0], 2.0)]),
        ("(assert (or (<= .5 Y_0)))", &[row([-1.0, 0.0, 0.0], -0.5)]),
        ("(assert (<= 0 1)) ; says nothing", &[]),
    ];
    for (assertions, expected) in cases {
        assert_eq!(rows(assertions), expected, "{assertions}");
    }
    assert!(property("(assert (<= 1 0))").cases.is_empty());
    assert!(property("(assert (< 1 1))").cases.is_empty());
    assert!(!property("(assert (<= 1 1))").cases.is_empty());
}

fn strict(coefficients: [f64; 3], bound: f64) -> Constraint {
    Constraint::below(coefficients.to_vec(), bound)
}

#[test]
fn strict_bounds_of_inputs_leave_their_ends_out() {
    let case = property("(assert (< X_0 0.5)) (assert (<= X_0 0.5)) (assert (> X_1 -0.25))").cases.remove(0);
    assert_eq!((case.upper[0], case.lower[1]), (0.5, -0.25));
    assert_eq!((&case.open_lower[..], &case.open_upper[..]), (&[1][..], &[0][..]));
    assert!(case.contains(&[0.5_f64.next_down(), 0.0]) && case.contains(&[-1.0, 1.0]));
    assert!(!case.contains(&[0.5, 0.0]) && !case.contains(&[0.0, -0.25]) && !case.contains(&[0.0, 1.5]));
    assert!(!case.contains(&[f64::NAN, 0.0]));
}

#[test]
fn boxes_without_a_point_hold_and_say_why() {
    for (assertion, part) in [
        ("(assert (>= X_0 2))", "2 ≤ X_0 ≤ 1"),
        ("(assert (< X_1 -1))", "-1 ≤ X_1 < -1"),
        ("(assert (and (<= X_0 0.25) (> X_0 0.25)))", "0.25 < X_0 ≤ 0.25"),
        ("(assert (or (>= X_0 3) (<= X_1 -3)))", "3 ≤ X_0 ≤ 1"),
    ] {
        let found = property(assertion);
        assert!(found.cases.is_empty(), "{assertion}");
        assert_eq!(found.contradiction.as_deref(), Some(part), "{assertion}");
    }
    assert_eq!(property("(assert (or (>= X_0 3) (<= X_1 0)))").contradiction, None);
    assert_eq!(property("(assert (<= 1 0))").contradiction, None);
}

/// 2¹⁷ conjunctions over as many boxes, of two disjunctions that are multiplied out.
#[test]
fn conjunctions_by_the_hundred_thousand_are_read() {
    let list =
        |parts: &mut dyn Iterator<Item = String>| format!("(assert (or {}))", parts.collect::<Vec<_>>().join(" "));
    let mut boxes =
        (0..512).map(|i| format!("(and (>= X_0 {}) (<= X_0 {}))", f64::from(i) / 512.0, f64::from(i + 1) / 512.0));
    let mut others = (0..256).map(|i| format!("(and (>= X_1 {}) (<= Y_0 {i}))", f64::from(i) / 256.0));
    let found = property(&(list(&mut boxes) + &list(&mut others)));
    assert_eq!(found.cases.len(), 131_072);
    assert!(found.cases.iter().all(|case| case.unsafe_outputs.len() == 1 && case.unsafe_outputs[0].len() == 1));
    assert_eq!((found.cases[257].lower[0], found.cases[257].lower[1]), (1.0 / 512.0, 1.0 / 256.0));
}

#[test]
fn disjunctions_are_multiplied_out_and_gathered_by_box() {
    let found = property(
        "(assert (or (<= Y_0 1) (and (<= X_0 0) (or (<= Y_1 2) (<= Y_2 3))) (and (<= X_0 -2) (<= Y_0 9))))
         (assert (<= Y_2 Y_0))
         (assert (or (<= X_1 0.5) (>= X_1 0.75)))",
    );
    let common = row([-1.0, 0.0, 1.0], 0.0);
    let (one, two, three) = (row([1.0, 0.0, 0.0], 1.0), row([0.0, 1.0, 0.0], 2.0), row([0.0, 0.0, 1.0], 3.0));
    let boxes: Vec<_> = found.cases.iter().map(|case| (case.lower.clone(), case.upper.clone())).collect();
    let ends = |upper_0: f64, lower_1: f64, upper_1: f64| (vec![-1.0, lower_1], vec![upper_0, upper_1]);
    // The alternative X_0 ≤ −2 leaves nothing of the box.
    assert_eq!(boxes, [ends(1.0, -1.0, 0.5), ends(1.0, 0.75, 1.0), ends(0.0, -1.0, 0.5), ends(0.0, 0.75, 1.0)]);
    for case in &found.cases[..2] {
        assert_eq!(case.unsafe_outputs, [vec![common.clone(), one.clone()]]);
    }
    for case in &found.cases[2..] {
        let expected = [vec![common.clone(), two.clone()], vec![common.clone(), three.clone()]];
        assert_eq!(case.unsafe_outputs, expected);
    }
}

#[test]
fn boxes_without_output_constraints_are_wholly_unsafe() {
    let found = property("");
    assert_eq!(found.cases[0].unsafe_outputs, [vec![]]);
}

#[test]
fn bounds_from_quotients_contain_the_exact_box() {
    let found = property("(assert (<= (* 3 X_0) 0.1)) (assert (>= (* -3 X_1) 0.1))");
    assert!(found.cases[0].upper[0] >= 0.1 / 3.0 && found.cases[0].upper[0] < 0.0334);
    assert!(found.cases[0].upper[1] >= -0.1 / 3.0 && found.cases[0].upper[1] < -0.0333);
    // The largest f64 in the exact interval is the one below the open end: 3x ≤ 0.1 < 3·(end).
    let (end, bound) = (found.cases[0].upper[0], 0.1_f64);
    assert_eq!(found.cases[0].open_upper, [0, 1]);
    assert!(end.mul_add(3.0, -bound) > 0.0 && end.next_down().mul_add(3.0, -bound) <= 0.0);
    // Exact quotients are ends that belong to the box.
    let exact = property("(assert (<= (* 4 X_0) 1)) (assert (< (* 4 X_1) 1))");
    assert_eq!((exact.cases[0].upper[0], &exact.cases[0].open_upper[..]), (0.25, &[1][..]));
}

#[test]
fn tensors_of_the_second_version() {
    let text = b"(vnnlib-version <2.0>)
        (declare-network f (declare-input Pixels float32 [2,1] \"input\") (declare-output Y Real []))
        (assert (and (<= 0 Pixels[0,0] 1) (<= Pixels [1, 0] 3) (>= Pixels[1,0] 2)))
        (assert (or (> Y 1.5) (== Y -1)))";
    let found = Property::parse(text, "(inline)").unwrap();
    assert_eq!((found.inputs, found.outputs, found.cases.len()), (2, 1, 1));
    assert_eq!((&found.cases[0].lower[..], &found.cases[0].upper[..]), (&[0.0, 2.0][..], &[1.0, 3.0][..]));
    assert_eq!(found.cases[0].unsafe_outputs.len(), 2);
    assert_eq!(found.cases[0].unsafe_outputs[1].len(), 2);
}

/// A formula over the two inputs and three outputs, with its value at a point.
#[derive(Clone, Debug)]
enum Random {
    Compare(usize, usize, bool, f64),
    All(Vec<Random>),
    Any(Vec<Random>),
}

impl Random {
    fn text(&self) -> String {
        let list = |name: &str, parts: &[Random]| {
            format!("({name} {})", parts.iter().map(Random::text).collect::<Vec<_>>().join(" "))
        };
        match self {
            Random::All(parts) => list("and", parts),
            Random::Any(parts) => list("or", parts),
            Random::Compare(left, right, below, value) => {
                let sign = if *below { "<=" } else { ">=" };
                match left {
                    0 | 1 => format!("({sign} X_{left} {value})"),
                    _ => format!("({sign} (+ Y_{} {value}) (* 0.5 Y_{right}))", left - 2),
                }
            }
        }
    }

    fn holds(&self, x: [f64; 2], y: [f64; 3]) -> bool {
        match self {
            Random::All(parts) => parts.iter().all(|part| part.holds(x, y)),
            Random::Any(parts) => parts.iter().any(|part| part.holds(x, y)),
            &Random::Compare(left, right, below, value) => {
                let (a, b) = match left {
                    0 | 1 => (x[left], value),
                    _ => (y[left - 2] + value, 0.5 * y[right]),
                };
                if below { a <= b } else { a >= b }
            }
        }
    }
}

fn formulas() -> impl Strategy<Value = Random> {
    // Multiples of 1/8, so that no rounding makes the sides disagree.
    let value = (-8_i32..=8).prop_map(|n| f64::from(n) / 8.0);
    let leaf = (0..5_usize, 0..3_usize, any::<bool>(), value).prop_map(|(l, r, b, v)| Random::Compare(l, r, b, v));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let parts = prop::collection::vec(inner, 1..4);
        prop_oneof![parts.clone().prop_map(Random::All), parts.prop_map(Random::Any)]
    })
}

fn unsafe_by(property: &Property, x: [f64; 2], y: [f64; 3]) -> bool {
    let inside = |l: &[f64], u: &[f64]| x.iter().zip(l).zip(u).all(|((x, l), u)| l <= x && x <= u);
    let met = |row: &Constraint| row.coefficients.iter().zip(y).map(|(c, y)| c * y).sum::<f64>() <= row.bound;
    property
        .cases
        .iter()
        .any(|case| inside(&case.lower, &case.upper) && case.unsafe_outputs.iter().any(|all| all.iter().all(met)))
}

proptest! {
    /// The normal form says exactly what the formula says.
    #[test]
    fn the_normal_form_is_equivalent(
        formula in formulas(),
        points in prop::collection::vec((prop::array::uniform2(-8_i32..=8), prop::array::uniform3(-16_i32..=16)), 64),
    ) {
        let eighth = |n: i32| f64::from(n) / 8.0;
        // A plain bound that leaves no value is refused; within `or` it is only an impossible alternative.
        let assertions = format!("(assert (or {} (<= 1 0)))", formula.text());
        let found = property(&assertions);
        for (x, y) in points {
            let (x, y) = (x.map(eighth), y.map(eighth));
            prop_assert_eq!(unsafe_by(&found, x, y), formula.holds(x, y), "{:?} {:?} in {}", x, y, assertions);
        }
    }
}
