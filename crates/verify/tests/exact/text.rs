//! Properties as VNN-LIB text, in the different ways in which such files are written.

use std::fmt::Write;

use crate::property::{Case, Property, Range, Relation, Row};
use crate::random::Random;

/// The text of a property, every number in the shortest form that reads back as the same double.
pub fn text(property: &Property, random: &mut Random) -> String {
    let case = &property.cases[0];
    let mut text = String::new();
    for i in 0..case.ranges.len() {
        writeln!(text, "(declare-const X_{i} Real)").unwrap();
    }
    for i in 0..case.conjunctions[0][0].coefficients.len() {
        writeln!(text, "(declare-const Y_{i} Real)").unwrap();
    }
    let mut assert = |formula: &str| writeln!(text, "(assert {formula})").unwrap();
    if let [case] = &property.cases[..] {
        ranges(case, random).iter().for_each(|formula| assert(formula));
        match &case.conjunctions[..] {
            [rows] if random.one_in(2) => rows.iter().for_each(|r| row(r, random).iter().for_each(|f| assert(f))),
            all => {
                let all: Vec<String> = all.iter().map(|rows| conjunction(Vec::new(), rows, random)).collect();
                assert(&format!("(or {})", all.join("\n    ")));
            }
        }
        return text;
    }
    let mut all = Vec::new();
    for case in &property.cases {
        for rows in &case.conjunctions {
            let ranges = ranges(case, random);
            all.push(conjunction(ranges, rows, random));
        }
    }
    assert(&format!("(or {})", all.join("\n    ")));
    text
}

fn conjunction(mut parts: Vec<String>, rows: &[Row], random: &mut Random) -> String {
    rows.iter().for_each(|r| parts.extend(row(r, random)));
    format!("(and {})", parts.join(" "))
}

/// The bounds of a case's inputs.
fn ranges(case: &Case, random: &mut Random) -> Vec<String> {
    case.ranges.iter().enumerate().flat_map(|(i, range)| bounds(&format!("X_{i}"), range, random)).collect()
}

fn bounds(x: &str, range: &Range, random: &mut Random) -> Vec<String> {
    let Range { lower, upper, lower_open, upper_open } = *range;
    let closed = !lower_open && !upper_open;
    if closed && lower == upper && random.one_in(2) {
        return vec![format!("(= {x} {lower:?})")];
    }
    if closed && random.one_in(8) {
        return vec![format!("(<= {lower:?} {x} {upper:?})")];
    }
    let from = comparison(x, if lower_open { ">" } else { ">=" }, &format!("{lower:?}"), random);
    let to = comparison(x, if upper_open { "<" } else { "<=" }, &format!("{upper:?}"), random);
    vec![from, to]
}

/// A comparison, its sides exchanged at times.
fn comparison(left: &str, relation: &str, right: &str, random: &mut Random) -> String {
    let turned = match relation {
        "<=" => ">=",
        "<" => ">",
        ">=" => "<=",
        ">" => "<",
        other => other,
    };
    if random.one_in(4) { format!("({turned} {right} {left})") } else { format!("({relation} {left} {right})") }
}

/// A row; an equality is at times written as two opposite inequalities.
fn row(row: &Row, random: &mut Random) -> Vec<String> {
    let (left, bound) = (expression(&row.coefficients, random), format!("{:?}", row.bound));
    let relation = match row.relation {
        Relation::AtMost => "<=",
        Relation::Less => "<",
        Relation::AtLeast => ">=",
        Relation::Greater => ">",
        Relation::Equal if random.one_in(2) => {
            return ["<=", ">="].map(|relation| comparison(&left, relation, &bound, random)).to_vec();
        }
        Relation::Equal => "=",
    };
    if let Some((plus, minus)) = difference(&row.coefficients)
        && row.bound == 0.0
    {
        return vec![comparison(&format!("Y_{plus}"), relation, &format!("Y_{minus}"), random)];
    }
    vec![comparison(&left, relation, &bound, random)]
}

/// The outputs of which a row is the difference.
fn difference(coefficients: &[f64]) -> Option<(usize, usize)> {
    let place = |wanted: f64| coefficients.iter().position(|&c| c == wanted);
    let count = coefficients.iter().filter(|&&c| c != 0.0).count();
    place(1.0).zip(place(-1.0)).filter(|_| count == 2)
}

fn expression(coefficients: &[f64], random: &mut Random) -> String {
    if let Some((plus, minus)) = difference(coefficients) {
        return format!("(- Y_{plus} Y_{minus})");
    }
    let mut terms = Vec::new();
    for (k, &c) in coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0) {
        terms.push(match c {
            1.0 if random.one_in(2) => format!("Y_{k}"),
            -1.0 if random.one_in(2) => format!("(- Y_{k})"),
            _ if random.one_in(2) => format!("(* Y_{k} {c:?})"),
            _ => format!("(* {c:?} Y_{k})"),
        });
    }
    match &terms[..] {
        [] => "0.0".into(),
        [term] => term.clone(),
        _ => format!("(+ {})", terms.join(" ")),
    }
}
