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

#[test]
fn negations_are_exact() {
    let cases: [(&str, &[Constraint]); 6] = [
        ("(assert (not (<= Y_0 1.5)))", &[strict([-1.0, 0.0, 0.0], -1.5)]),
        ("(assert (not (< Y_0 1.5)))", &[row([-1.0, 0.0, 0.0], -1.5)]),
        ("(assert (not (or (> Y_0 1) (not (< Y_1 2)))))", &[row([1.0, 0.0, 0.0], 1.0), strict([0.0, 1.0, 0.0], 2.0)]),
        ("(assert (not (=> (<= Y_0 1) (<= Y_1 2))))", &[row([1.0, 0.0, 0.0], 1.0), strict([0.0, -1.0, 0.0], -2.0)]),
        ("(assert (not (!= Y_0 1)))", &[row([-1.0, 0.0, 0.0], -1.0), row([1.0, 0.0, 0.0], 1.0)]),
        ("(assert (not (not (and true (<= Y_0 1)))))", &[row([1.0, 0.0, 0.0], 1.0)]),
    ];
    for (assertions, expected) in cases {
        assert_eq!(rows(assertions), expected, "{assertions}");
    }
    let alternatives = |assertion: &str| property(assertion).cases[0].unsafe_outputs.clone();
    let [below, above] = [vec![strict([1.0, 0.0, 0.0], 1.0)], vec![strict([-1.0, 0.0, 0.0], -1.0)]];
    for assertion in ["(!= Y_0 1)", "(not (= Y_0 1))", "(distinct Y_0 1)", "(not (and (<= Y_0 1) (>= Y_0 1)))"] {
        let mut found = alternatives(&format!("(assert {assertion})"));
        found.sort_by(|a, b| b[0].coefficients[0].total_cmp(&a[0].coefficients[0]));
        assert_eq!(found, [below.clone(), above.clone()], "{assertion}");
    }
    assert_eq!(alternatives("(assert (=> (> Y_0 1) (<= Y_1 0) (<= Y_2 0)))").len(), 3);
    assert!(property("(assert (not true))").cases.is_empty() && property("(assert (or false false))").cases.is_empty());
    // The complement of a quotient's interval begins beyond every f64 of the interval.
    let [inside, outside] = ["(<= (* 3 X_0) 0.1)", "(not (<= (* 3 X_0) 0.1))"].map(|constraint| {
        let case = property(&format!("(assert {constraint})")).cases.remove(0);
        move |x: f64| case.contains(&[x, 0.0])
    });
    for x in [0.0, (0.1_f64 / 3.0).next_down(), 0.1 / 3.0, (0.1_f64 / 3.0).next_up(), 1.0] {
        assert!(inside(x) != outside(x), "{x}");
    }
}

#[test]
fn constraints_on_inputs_are_rows_over_sums() {
    let found = property(
        "(assert (<= (+ X_0 (* 2 X_1)) 1.5)) (assert (>= (* 2 X_1) (- 0.5 X_0))) (assert (< (+ Y_0 (* 3 X_0)) Y_2))",
    );
    // Both bounds of x₀ + 2·x₁ share one sum; inputs alone are sums where outputs stand beside them.
    assert_eq!(found.sums, [vec![(0, 1.0), (1, 2.0)], vec![(0, 3.0)]]);
    let row = |coefficients: [f64; 5], bound: f64| Constraint::at_most(coefficients.to_vec(), bound);
    let expected = [
        row([0.0, 0.0, 0.0, 1.0, 0.0], 1.5),
        row([0.0, 0.0, 0.0, -1.0, 0.0], -0.5),
        Constraint::below(vec![1.0, 0.0, -1.0, 0.0, 1.0], 0.0),
    ];
    assert_eq!(found.cases[0].unsafe_outputs, [expected]);
    // x₁ ≥ (0.5 − 1) / 2 and x₁ ≤ (1.5 + 1) / 2, rounded outwards.
    let case = &found.cases[0];
    assert!(case.lower[1] <= -0.25 && case.lower[1] > -0.250_001 && case.upper[1] == 1.0);
    assert!(property("(assert (<= Y_0 1))").sums.is_empty());
    // An input that only other inputs bound.
    let text = "(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real)
        (assert (<= 0 X_0 1)) (assert (= X_1 (+ X_0 1)))";
    let chained = Property::parse(text.as_bytes(), "(inline)").unwrap().cases.remove(0);
    assert!((chained.lower[1] - 1.0).abs() < 1e-9 && (chained.upper[1] - 2.0).abs() < 1e-9);
    // Contradictions of sums are found where the box shows them.
    assert!(property("(assert (>= (+ X_0 X_1) 2.5))").cases.is_empty());
}

#[test]
fn types_of_the_second_version() {
    let read = |element: &str, assertions: &str| {
        let network = format!("(declare-input X {element} [1]) (declare-output Y {element} [2])");
        let text = format!("(declare-network f {network}) {assertions}");
        Property::parse(text.as_bytes(), "(inline)").unwrap_or_else(|e| panic!("{element}: {e}"))
    };
    let floats =
        "Real real float16 float32 float64 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz float4e2m1";
    for element in floats.split(' ') {
        let found = read(element, "(assert (and (>= X[0] -0.5) (< X[0] 1.5)))");
        assert!(!found.whole && found.cases[0].upper == [1.5], "{element}");
    }
    let ranges = [
        ("int4", -8.0, 7.0),
        ("int8", -128.0, 127.0),
        ("int16", -32768.0, 32767.0),
        ("int32", -2147483648.0, 2147483647.0),
        ("int64", -9223372036854775808.0, 9223372036854774784.0),
        ("uint4", 0.0, 15.0),
        ("uint8", 0.0, 255.0),
        ("uint16", 0.0, 65535.0),
        ("uint32", 0.0, 4294967295.0),
        ("uint64", 0.0, 18446744073709549568.0),
        ("bool", 0.0, 1.0),
    ];
    for (element, least, largest) in ranges {
        let found = read(element, "");
        assert!(found.whole, "{element}");
        assert_eq!((found.cases[0].lower[0], found.cases[0].upper[0]), (least, largest), "{element}");
    }
    // Only whole numbers count: ends are rounded inwards, and left out where they are left out.
    let found = read("int8", "(assert (and (> X[0] -2) (<= X[0] 2.5)))");
    assert_eq!((&found.cases[0].lower[..], &found.cases[0].upper[..]), (&[-1.0][..], &[2.0][..]));
    assert!(found.cases[0].open_lower.is_empty());
    let found = read("int8", "(assert (or (and (> X[0] 0.25) (< X[0] 0.75)) (<= (* 3 X[0]) 7)))");
    assert_eq!((found.cases.len(), found.cases[0].upper[0]), (1, 2.0));
}

#[test]
fn other_forms_of_the_second_version() {
    let text = b"; no version, hidden tensors, indices of every rank, == and !=
        (declare-network f
            (declare-input X float32 [1, 2, 2] \"in\")
            (declare-hidden H float32 [1, 7] \"relu\")
            (declare-output Y float32 [1, 2]))
        (assert (and (<= -1 X[0,0,0] 1) (<= 0 X[0,0,1] 1) (<= 0 X[0,1,0] 1)))
        (assert (== X[0,1,1] 0.25))
        (assert (!= Y[0,0] Y[0,1]))";
    let found = Property::parse(text, "(inline)").unwrap();
    assert_eq!((found.inputs, found.outputs), (4, 2));
    assert_eq!((found.cases[0].lower[3], found.cases[0].upper[3]), (0.25, 0.25));
    let expected = [vec![Constraint::below(vec![1.0, -1.0], 0.0)], vec![Constraint::below(vec![-1.0, 1.0], 0.0)]];
    assert_eq!(found.cases[0].unsafe_outputs, expected);
    let scalar = b"(vnnlib-version <2.0>) (declare-network f (declare-input X Real []) (declare-output Y Real []))
        (assert (and (<= 0 X) (<= X[] 1) (<= Y[] X)))";
    assert_eq!(Property::parse(scalar, "(inline)").unwrap().sums, [vec![(0, 1.0)]]);
}

/// A formula over the two inputs and three outputs, with its value at a point.
#[derive(Clone, Debug)]
enum Random {
    /// Σ factors·(x, y) compared with a value.
    Compare([i32; 5], usize, f64),
    All(Vec<Random>),
    Any(Vec<Random>),
    Not(Box<Random>),
    Implies(Vec<Random>),
    Constant(bool),
}

const SIGNS: [&str; 7] = ["<=", ">=", "<", ">", "=", "!=", "distinct"];

impl Random {
    fn text(&self) -> String {
        let list = |name: &str, parts: &[Random]| {
            format!("({name} {})", parts.iter().map(Random::text).collect::<Vec<_>>().join(" "))
        };
        match self {
            Random::All(parts) => list("and", parts),
            Random::Any(parts) => list("or", parts),
            Random::Implies(parts) => list("=>", parts),
            Random::Not(part) => format!("(not {})", part.text()),
            Random::Constant(value) => value.to_string(),
            Random::Compare(factors, sign, value) => {
                let name = |i: usize| if i < 2 { format!("X_{i}") } else { format!("Y_{}", i - 2) };
                let terms: Vec<String> = factors
                    .iter()
                    .enumerate()
                    .filter(|(_, factor)| **factor != 0)
                    .map(|(i, factor)| format!("(* {factor} {})", name(i)))
                    .collect();
                // Half of the terms on the right-hand side.
                let (left, right) = terms.split_at(terms.len().div_ceil(2));
                format!("({} (+ 0 {} {value}) (- 0 {}))", SIGNS[*sign], left.join(" "), right.join(" "))
            }
        }
    }

    fn holds(&self, x: [f64; 2], y: [f64; 3]) -> bool {
        match self {
            Random::All(parts) => parts.iter().all(|part| part.holds(x, y)),
            Random::Any(parts) => parts.iter().any(|part| part.holds(x, y)),
            Random::Not(part) => !part.holds(x, y),
            Random::Constant(value) => *value,
            Random::Implies(parts) => {
                let (last, rest) = parts.split_last().unwrap();
                last.holds(x, y) || !rest.iter().all(|part| part.holds(x, y))
            }
            Random::Compare(factors, sign, value) => {
                let point = [x[0], x[1], y[0], y[1], y[2]];
                let sum = factors.iter().zip(point).map(|(&f, v)| f64::from(f) * v).sum::<f64>() + value;
                match SIGNS[*sign] {
                    "<=" => sum <= 0.0,
                    ">=" => sum >= 0.0,
                    "<" => sum < 0.0,
                    ">" => sum > 0.0,
                    "=" => sum == 0.0,
                    _ => sum != 0.0,
                }
            }
        }
    }
}

fn formulas() -> impl Strategy<Value = Random> {
    // Multiples of 1/8, so that no rounding makes the sides disagree.
    let value = (-8_i32..=8).prop_map(|n| f64::from(n) / 8.0);
    let factor = || prop_oneof![3 => Just(0), 1 => -2_i32..=2];
    let one = (0..5_usize, prop_oneof![Just(1), Just(-1)]).prop_map(|(i, f)| {
        let mut factors = [0; 5];
        factors[i] = f;
        factors
    });
    let many = [factor(), factor(), factor(), factor(), factor()];
    let leaf = prop_oneof![
        8 => (prop_oneof![one, many], 0..SIGNS.len(), value).prop_map(|(f, s, v)| Random::Compare(f, s, v)),
        1 => any::<bool>().prop_map(Random::Constant),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let parts = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            parts.clone().prop_map(Random::All),
            parts.prop_map(Random::Any),
            inner.clone().prop_map(|part| Random::Not(Box::new(part))),
            prop::collection::vec(inner, 2..4).prop_map(Random::Implies),
        ]
    })
}

fn unsafe_by(property: &Property, x: [f64; 2], y: [f64; 3]) -> bool {
    let sums = property.sums.iter().map(|sum| sum.iter().map(|&(i, f)| f * x[i as usize]).sum());
    let values: Vec<f64> = y.into_iter().chain(sums).collect();
    let met = |row: &Constraint| {
        let value = row.coefficients.iter().zip(&values).map(|(c, v)| c * v).sum::<f64>();
        if row.strict { value < row.bound } else { value <= row.bound }
    };
    property.cases.iter().any(|case| case.contains(&x) && case.unsafe_outputs.iter().any(|all| all.iter().all(met)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
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
