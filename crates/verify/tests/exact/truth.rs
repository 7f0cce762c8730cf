//! What is true of a property over the real numbers, and whether doubles can show it.

use crate::net::Net;
use crate::number::{Rational, exact, floor};
use crate::partition::Partition;
use crate::polygon::{Polygon, Triple, coordinates};
use crate::property::{Case, Property, Row};

/// The truth.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// No real input is a counterexample.
    Holds,
    /// Some real input is; with one of doubles, if the search found one.
    Violated(Option<Vec<f64>>),
    /// The error bound of a network with irrational numbers does not tell.
    Open,
}

/// Most pieces in which a counterexample of doubles is looked for.
const PIECES: usize = 4;

/// The truth of a property.
pub fn truth(net: &Net, property: &Property) -> Truth {
    let mut answer = Truth::Holds;
    for case in property.cases.iter().filter(|case| !case.ranges.iter().any(|range| range.is_empty())) {
        let partition = Partition::new(net, &case.ranges);
        for conjunction in &case.conjunctions {
            let sets = |grant: bool| {
                let margins: Vec<_> = conjunction.iter().flat_map(|row| row.margins(&net.slack, grant)).collect();
                partition.satisfying(&margins)
            };
            let certain = sets(false);
            if !certain.is_empty() {
                let shown = doubles(net, case, &partition, &certain);
                if shown.is_some() {
                    return Truth::Violated(shown);
                }
                answer = Truth::Violated(None);
            } else if answer == Truth::Holds && !sets(true).is_empty() {
                answer = Truth::Open;
            }
        }
    }
    answer
}

/// Whether a point of a case's box certainly (or, with `grant`, possibly) is a counterexample.
fn is_counterexample(net: &Net, case: &Case, point: &[Rational], grant: bool) -> bool {
    if !case.ranges.iter().zip(point).all(|(range, x)| range.contains(x)) {
        return false;
    }
    let outputs = net.outputs(point);
    let satisfied = |row: &Row| row.margins(&net.slack, grant).iter().all(|margin| margin.satisfied(&outputs));
    case.conjunctions.iter().any(|rows| rows.iter().all(satisfied))
}

/// Whether these doubles are a counterexample.
pub fn refutes(net: &Net, property: &Property, point: &[f64]) -> bool {
    let point: Vec<Rational> = point.iter().map(|&x| exact(x)).collect();
    property.cases.iter().any(|case| case.ranges.len() == point.len() && is_counterexample(net, case, &point, true))
}

/// A counterexample of doubles near the centers and corners of sets of counterexamples. With one free input the search is
/// exhaustive up to the limit of pieces, with two it is not.
fn doubles(net: &Net, case: &Case, partition: &Partition, sets: &[(Polygon, Triple)]) -> Option<Vec<f64>> {
    for (polygon, center) in sets.iter().take(PIECES) {
        for point in std::iter::once(center).chain(polygon.corners()) {
            let near: Vec<[f64; 4]> = coordinates(point)[..partition.free()]
                .iter()
                .map(|x| {
                    let at = floor(x);
                    [at, at.next_up(), at.next_down(), at.next_up().next_up()]
                })
                .collect();
            for code in 0..4_usize.pow(near.len() as u32) {
                let doubles: Vec<f64> =
                    near.iter().enumerate().map(|(axis, near)| near[code >> (2 * axis) & 3]).collect();
                let values: Vec<Rational> = doubles.iter().map(|&x| exact(x)).collect();
                let input = partition.input_at(&values);
                if is_counterexample(net, case, &input, false) {
                    return Some(input.iter().map(floor).collect());
                }
            }
        }
    }
    None
}
