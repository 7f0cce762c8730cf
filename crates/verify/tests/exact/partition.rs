//! A box cut into the convex pieces on which a network is affine.

use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use crate::net::{Net, Next};
use crate::number::{Rational, common_denominator, exact, times};
use crate::polygon::{Polygon, Side, Triple, coordinates, dot, one};
use crate::property::{Margin, Range};

/// A piece of the box.
pub struct Piece {
    polygon: Polygon,
    /// Forms of the outputs over the net's denominator times [`Partition::unit`].
    outputs: Vec<Triple>,
}

/// The pieces, which cover the closed box.
pub struct Partition<'a> {
    net: &'a Net,
    ranges: &'a [Range],
    /// The inputs of positive width, which are the polygons' coordinates.
    free: Vec<usize>,
    /// Stands for one in the forms: a constant form, so that fixed inputs are integers as well.
    unit: Triple,
    pieces: Vec<Piece>,
}

impl<'a> Partition<'a> {
    /// The pieces of a box that is not empty and of which at most two inputs vary.
    pub fn new(net: &'a Net, ranges: &'a [Range]) -> Self {
        let free: Vec<usize> = (0..ranges.len()).filter(|&i| ranges[i].lower < ranges[i].upper).collect();
        let fixed: Vec<Rational> = ranges.iter().filter(|r| r.lower == r.upper).map(|r| exact(r.lower)).collect();
        let below = common_denominator(fixed.iter());
        let unit = one().map(|v| v * &below);
        let input = |(i, range): (usize, &Range)| {
            let mut form = [BigInt::zero(), BigInt::zero(), BigInt::zero()];
            match free.iter().position(|&f| f == i) {
                Some(axis) => form[axis] = below.clone(),
                None => form[2] = times(&exact(range.lower), &below),
            }
            form
        };
        let inputs = ranges.iter().enumerate().map(input).collect();
        let sides: Vec<[Rational; 2]> = free.iter().map(|&i| [ranges[i].lower, ranges[i].upper].map(exact)).collect();
        let mut partition = Partition { net, ranges, free, unit, pieces: Vec::new() };
        partition.grow(vec![inputs], Polygon::product(&sides));
        partition
    }

    /// Adds the pieces of a polygon on which the activations so far are these forms.
    fn grow(&mut self, mut values: Vec<Vec<Triple>>, mut polygon: Polygon) {
        loop {
            let from = match self.net.next(&values, &self.unit) {
                Next::Values(next) => {
                    values.push(next);
                    continue;
                }
                Next::Relu(from) => from,
                Next::End => break,
            };
            let mut parts = vec![(polygon, Vec::new())];
            for form in &values[from] {
                let mut cut = Vec::new();
                for (part, mut done) in parts {
                    let zero = [0; 3].map(BigInt::from);
                    match part.side(form) {
                        Side::Above => done.push(form.clone()),
                        Side::Below => done.push(zero),
                        Side::Both => {
                            let mut off = done.clone();
                            off.push(zero);
                            cut.push((part.part(&form.clone().map(|v| -v)), off));
                            done.push(form.clone());
                            cut.push((part.part(form), done));
                            continue;
                        }
                    }
                    cut.push((part, done));
                }
                parts = cut;
            }
            let last = parts.pop().expect("a part");
            for (part, done) in parts {
                let mut branch = values.clone();
                branch.push(done);
                self.grow(branch, part);
            }
            polygon = last.0;
            values.push(last.1);
        }
        self.pieces.push(Piece { polygon, outputs: values.pop().expect("the outputs") });
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// A margin as a form on a piece, up to a positive factor.
    fn form(&self, piece: &Piece, margin: &Margin) -> Triple {
        let below = common_denominator(margin.coefficients.iter().chain([&margin.bound]));
        let bound = times(&margin.bound, &below) * self.net.denominator();
        let mut form = self.unit.clone().map(|v| v * &bound);
        for (c, output) in margin.coefficients.iter().zip(&piece.outputs) {
            let c = times(c, &below);
            (0..3).for_each(|i| form[i] -= &c * &output[i]);
        }
        form
    }

    /// The open ends of the box as forms that are positive inside.
    fn open_ends(&self) -> Vec<Triple> {
        let mut forms = Vec::new();
        for (axis, &i) in self.free.iter().enumerate() {
            let range = &self.ranges[i];
            let ends = [(range.lower_open, range.lower, 1), (range.upper_open, range.upper, -1)];
            for (_, end, sign) in ends.into_iter().filter(|end| end.0) {
                let end = exact(end);
                let mut form = [BigInt::zero(), BigInt::zero(), -end.numer() * sign];
                form[axis] = end.denom() * sign;
                forms.push(form);
            }
        }
        forms
    }

    /// The closures of the sets that satisfy all margins, one of each piece that has such points, each with a point.
    pub fn satisfying(&self, margins: &[Margin]) -> Vec<(Polygon, Triple)> {
        let open = self.open_ends();
        let mut found = Vec::new();
        for piece in &self.pieces {
            let mut strict = open.clone();
            let mut polygon = piece.polygon.clone();
            for margin in margins {
                let form = self.form(piece, margin);
                if !polygon.is_empty() {
                    polygon = polygon.part(&form);
                }
                if margin.strict {
                    strict.push(form);
                }
            }
            // Each strict form is nowhere negative here. If each is positive at some corner, all are at the center.
            let positive = |form: &Triple| polygon.corners().any(|corner| dot(form, corner).is_positive());
            if !polygon.is_empty() && strict.iter().all(positive) {
                let center = polygon.center();
                found.push((polygon, center));
            }
        }
        found
    }

    /// The least and the largest value of coefficients · y over the closed sets of the margins, strict or not.
    pub fn extremes(&self, coefficients: &[f64], margins: &[Margin]) -> Option<[Rational; 2]> {
        let coefficients: Vec<Rational> = coefficients.iter().map(|&c| exact(c)).collect();
        // Values as fractions with positive denominators.
        let mut ends: Option<[(BigInt, BigInt); 2]> = None;
        let minus = Margin { coefficients, bound: Rational::zero(), strict: false };
        let below = common_denominator(minus.coefficients.iter()) * self.net.denominator();
        let below = self.unit.clone().map(|v| v * &below);
        for piece in &self.pieces {
            let value = self.form(piece, &minus).map(|v| -v);
            let cut = |polygon: Polygon, margin| {
                if polygon.is_empty() { polygon } else { polygon.part(&self.form(piece, margin)) }
            };
            for corner in margins.iter().fold(piece.polygon.clone(), cut).corners() {
                let at = (dot(&value, corner), dot(&below, corner));
                let less = |a: &(BigInt, BigInt), b: &(BigInt, BigInt)| &a.0 * &b.1 < &b.0 * &a.1;
                match &mut ends {
                    None => ends = Some([at.clone(), at]),
                    Some([low, _]) if less(&at, low) => *low = at,
                    Some([_, high]) if less(high, &at) => *high = at,
                    _ => {}
                }
            }
        }
        ends.map(|ends| ends.map(|(above, below)| Rational::new(above, below)))
    }

    /// A point of the polygons as an input of the network.
    pub fn input(&self, point: &Triple) -> Vec<Rational> {
        self.input_at(&coordinates(point))
    }

    /// The input whose free entries have these values.
    pub fn input_at(&self, values: &[Rational]) -> Vec<Rational> {
        let mut input: Vec<Rational> = self.ranges.iter().map(|range| exact(range.lower)).collect();
        self.free.iter().zip(values).for_each(|(&i, value)| input[i] = value.clone());
        input
    }

    /// Number of inputs that vary.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The outputs at the center of piece `index`, by its forms, with that center.
    pub fn center(&self, index: usize) -> (Triple, Vec<Rational>) {
        let piece = &self.pieces[index];
        let center = piece.polygon.center();
        let below = dot(&self.unit, &center) * self.net.denominator();
        debug_assert!(below >= BigInt::one());
        let outputs = piece.outputs.iter().map(|form| Rational::new(dot(form, &center), below.clone())).collect();
        (center, outputs)
    }
}
