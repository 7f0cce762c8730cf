//! Random properties whose thresholds lie at known places beside exact optima.

use num_traits::{Signed, ToPrimitive, Zero};

use crate::net::Net;
use crate::networks::{Kind, RADIUS};
use crate::number::{Rational, above, below, double, exact};
use crate::partition::Partition;
use crate::property::{Case, Property, Range, Relation, Row};
use crate::random::Random;

/// What a property looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One row.
    Row,
    /// Two rows that meet.
    Conjunction,
    /// Two or three conjunctions, any of which.
    Alternatives,
    /// Two or three boxes, any of which.
    Boxes,
    /// An equality, at times with a row.
    Equality,
    /// Boxes without some of their ends.
    OpenBox,
    /// At least one box without points.
    EmptyBox,
    /// All inputs but at most one fixed to decimals.
    FixedDecimals,
}

/// All of them, in the order in which a test goes through them.
pub const SHAPES: [Shape; 8] = [
    Shape::Row,
    Shape::Conjunction,
    Shape::Alternatives,
    Shape::Boxes,
    Shape::Equality,
    Shape::OpenBox,
    Shape::EmptyBox,
    Shape::FixedDecimals,
];

/// How far a threshold is from where the truth changes; of several thresholds the closest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// A thousandth of the form's range, or there is no threshold.
    Clear,
    /// The next double on one side of the exact optimum.
    Neighbour,
    /// None: the threshold is the optimum, so that strictness alone decides, or a value to be met exactly.
    Exact,
}

/// Forms tried for one whose optimum is a double.
const OPTIMA: usize = 6;

/// A random property for a network.
pub fn property(shape: Shape, kind: Kind, net: &Net, sizes: [usize; 2], random: &mut Random) -> (Property, Distance) {
    let mut source = Source { net, kind, outputs: sizes[1], random, distance: Distance::Clear };
    let ranges = source.ranges(sizes[0], shape == Shape::FixedDecimals);
    let cases = match shape {
        Shape::Row | Shape::FixedDecimals => vec![source.case(ranges, &[Rows::One])],
        Shape::Conjunction => vec![source.case(ranges, &[Rows::Two])],
        Shape::Equality => {
            let rows = source.random.pick(&[Rows::Equality, Rows::Equality, Rows::EqualityAndRow]);
            vec![source.case(ranges, &[rows])]
        }
        Shape::Alternatives => {
            let all = [Rows::One, Rows::Two, Rows::One];
            let count = source.random.between(2, 3);
            vec![source.case(ranges, &all[..count])]
        }
        Shape::Boxes => source.boxes(&ranges),
        Shape::OpenBox => {
            let ranges = source.opened(ranges);
            vec![source.case(ranges, &[Rows::One])]
        }
        Shape::EmptyBox => source.emptied(ranges),
    };
    let distance = source.distance;
    (Property { cases }, distance)
}

/// What one conjunction consists of.
#[derive(Clone, Copy)]
enum Rows {
    One,
    Two,
    Equality,
    EqualityAndRow,
}

struct Source<'a> {
    net: &'a Net,
    kind: Kind,
    outputs: usize,
    random: &'a mut Random,
    distance: Distance,
}

impl Source<'_> {
    /// A number as the kind's files have it, between minus and plus `size`.
    fn number(&mut self, size: f64) -> f64 {
        match (self.kind, self.random.below(4)) {
            (Kind::Coarse, _) | (_, 3) => (4.0 * size * self.random.signed()).round() / 4.0,
            (_, 0) => size * self.random.signed(),
            (_, 1) => (100.0 * size * self.random.signed()).round() / 100.0,
            _ => (10.0 * size * self.random.signed()).round() / 10.0,
        }
    }

    /// A box of at most two inputs that vary.
    fn ranges(&mut self, inputs: usize, fixed: bool) -> Vec<Range> {
        let free = if fixed { self.random.below(2) } else { self.random.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 2, 2]) };
        let mut ranges: Vec<Range> = (0..inputs)
            .map(|_| {
                let at = match fixed {
                    // Decimals that no binary fraction equals.
                    true => self.random.pick(&[0.1, 0.3, -0.7, 1.1, 0.1307, -0.05, 1e-3, 2.3]),
                    false => self.number(1.5),
                };
                Range::closed(at, at)
            })
            .collect();
        for _ in 0..free.min(inputs) {
            let place = self.random.below(inputs);
            let [a, b] = [self.number(1.5), self.number(1.5)];
            let (lower, upper) = if a < b { (a, b) } else { (b, a + 0.25) };
            assert!(lower.abs() <= RADIUS && upper.abs() <= RADIUS);
            ranges[place] = Range::closed(lower, upper);
        }
        ranges
    }

    fn case(&mut self, ranges: Vec<Range>, wanted: &[Rows]) -> Case {
        let partition = Partition::new(self.net, &ranges);
        let conjunctions = wanted
            .iter()
            .map(|rows| match rows {
                Rows::One => vec![self.row(&partition, &[])],
                Rows::Two => {
                    let first = self.halfway(&partition, Relation::AtMost);
                    let second = self.row(&partition, std::slice::from_ref(&first));
                    if self.random.one_in(2) { vec![first, second] } else { vec![second, first] }
                }
                Rows::Equality => vec![self.equality(&partition)],
                Rows::EqualityAndRow => {
                    let first = self.equality(&partition);
                    let second = self.row(&partition, std::slice::from_ref(&first));
                    vec![first, second]
                }
            })
            .collect();
        Case { ranges, conjunctions }
    }

    /// Coefficients of a row: one output, a difference of two or any numbers.
    fn coefficients(&mut self) -> Vec<f64> {
        let mut coefficients = vec![0.0; self.outputs];
        let place = self.random.below(self.outputs);
        let other = (place + 1) % self.outputs;
        match self.random.below(4) {
            0 => coefficients[place] = self.random.pick(&[1.0, -1.0]),
            1 => {
                coefficients[other] = -1.0;
                coefficients[place] = 1.0;
            }
            2 if self.kind != Kind::Coarse => coefficients.iter_mut().for_each(|c| *c = self.random.signed()),
            _ => (0..self.outputs).for_each(|k| coefficients[k] = self.number(2.0)),
        }
        if coefficients.iter().all(|&c| c == 0.0) {
            coefficients[place] = 1.0;
        }
        coefficients
    }

    /// A row whose threshold is near the optimum of its form where `others` hold.
    fn row(&mut self, partition: &Partition<'_>, others: &[Row]) -> Row {
        let margins: Vec<_> = others.iter().flat_map(|row| row.margins(&self.net.slack, true)).collect();
        let mut wanted = self.random.pick(&[Distance::Clear, Distance::Neighbour, Distance::Exact]);
        for tries in 0.. {
            let coefficients = self.coefficients();
            let Some([minimum, maximum]) = partition.extremes(&coefficients, &margins) else {
                // The others leave nothing, so any threshold will do.
                return Row { coefficients, relation: Relation::AtMost, bound: 0.0 };
            };
            let attained = double(&minimum);
            if wanted == Distance::Exact && attained.is_none() {
                // Few optima are doubles.
                if tries < OPTIMA {
                    continue;
                }
                wanted = Distance::Neighbour;
            }
            self.distance = self.distance.max(wanted);
            let (bound, strict) = self.threshold(&minimum, &(maximum - &minimum), attained, wanted);
            let relation = if strict { Relation::Less } else { Relation::AtMost };
            let row = Row { coefficients, relation, bound };
            return if self.random.one_in(2) { mirrored(row) } else { row };
        }
        unreachable!("the last try is taken")
    }

    /// A threshold beside a minimum, and whether the row shall be strict.
    fn threshold(
        &mut self,
        minimum: &Rational,
        range: &Rational,
        attained: Option<f64>,
        distance: Distance,
    ) -> (f64, bool) {
        let violated = self.random.one_in(2);
        match (distance, attained) {
            (Distance::Exact, Some(bound)) => (bound, !violated),
            (Distance::Neighbour, _) => (if violated { above(minimum) } else { below(minimum) }, self.random.one_in(2)),
            _ => {
                let size = range.clone().max(minimum.abs());
                let gap = exact(1e-3) * if size.is_zero() { exact(1.0) } else { size };
                let bound = if violated { minimum + gap } else { minimum - gap };
                (bound.to_f64().expect("a double"), self.random.one_in(2))
            }
        }
    }

    /// A row that about half of the box satisfies.
    fn halfway(&mut self, partition: &Partition<'_>, relation: Relation) -> Row {
        let coefficients = self.coefficients();
        let [low, high] = partition.extremes(&coefficients, &[]).expect("a box with points");
        if low == high {
            // The rounded threshold is a neighbour of the form's only value.
            self.distance = self.distance.max(Distance::Neighbour);
        }
        let share = exact(self.random.pick(&[0.25, 0.5, 0.75]));
        let bound = (&low + share * (&high - &low)).to_f64().expect("a double");
        Row { coefficients, relation, bound }
    }

    fn equality(&mut self, partition: &Partition<'_>) -> Row {
        if self.random.one_in(2) {
            self.distance = Distance::Exact;
            return self.halfway(partition, Relation::Equal);
        }
        let row = self.row(partition, &[]);
        // Beside the optimum: the form takes values on one side of it only.
        Row { relation: Relation::Equal, ..row }
    }

    /// Some ends left out, and mostly one of the varying inputs' among them.
    fn opened(&mut self, mut ranges: Vec<Range>) -> Vec<Range> {
        for range in ranges.iter_mut().filter(|range| range.lower < range.upper) {
            (range.lower_open, range.upper_open) = self.random.pick(&[(true, false), (false, true), (true, true)]);
        }
        ranges
    }

    /// Two or three boxes within `ranges`, which overlap, touch or are apart.
    fn boxes(&mut self, ranges: &[Range]) -> Vec<Case> {
        (0..self.random.between(2, 3))
            .map(|_| {
                let mut part = ranges.to_vec();
                for range in part.iter_mut().filter(|range| range.lower < range.upper) {
                    let middle = range.lower / 2.0 + range.upper / 2.0;
                    if range.lower < middle && middle < range.upper {
                        match self.random.below(3) {
                            0 => range.upper = middle,
                            1 => range.lower = middle,
                            _ => {}
                        }
                    }
                }
                let rows = self.random.pick(&[Rows::One, Rows::Two]);
                self.case(part, &[rows])
            })
            .collect()
    }

    /// Boxes of which one has no points, alone or with another one.
    fn emptied(&mut self, ranges: Vec<Range>) -> Vec<Case> {
        let mut case = self.case(ranges, &[Rows::One]);
        let other = self.random.one_in(2).then(|| case.clone());
        if other.is_none() {
            self.distance = Distance::Clear;
        }
        let place = self.random.below(case.ranges.len());
        let Range { lower, upper, .. } = case.ranges[place];
        case.ranges[place] = match self.random.below(3) {
            0 => Range::closed(upper.next_up(), lower.next_down()),
            1 => Range { upper_open: true, ..Range::closed(lower, lower) },
            _ => Range::closed(upper + 0.5, lower - 0.5),
        };
        [Some(case), other].into_iter().flatten().collect()
    }
}

/// The same row with the sides of its inequality exchanged by a sign.
fn mirrored(row: Row) -> Row {
    let relation = match row.relation {
        Relation::AtMost => Relation::AtLeast,
        Relation::Less => Relation::Greater,
        other => other,
    };
    Row { coefficients: row.coefficients.iter().map(|c| -c).collect(), relation, bound: -row.bound }
}
