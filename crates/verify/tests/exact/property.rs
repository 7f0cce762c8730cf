//! Properties as the test states them: boxes, each with alternatives of rows over the outputs.

use num_rational::BigRational;
use num_traits::Zero;

use crate::number::{Rational, exact};

/// How a row compares its two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    AtMost,
    Less,
    AtLeast,
    Greater,
    Equal,
}

/// coefficients · y (relation) bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub coefficients: Vec<f64>,
    pub relation: Relation,
    pub bound: f64,
}

/// What one input may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub lower: f64,
    pub upper: f64,
    /// Whether the ends themselves are left out.
    pub lower_open: bool,
    pub upper_open: bool,
}

/// A box with the conjunctions any of which makes a counterexample there.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub ranges: Vec<Range>,
    pub conjunctions: Vec<Vec<Row>>,
}

/// The cases, any of which makes a counterexample.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub cases: Vec<Case>,
}

/// bound − coefficients · y ≥ 0, or > 0 where strict.
pub struct Margin {
    pub coefficients: Vec<Rational>,
    pub bound: Rational,
    pub strict: bool,
}

impl Range {
    /// The closed interval.
    pub fn closed(lower: f64, upper: f64) -> Self {
        Range { lower, upper, lower_open: false, upper_open: false }
    }

    pub fn is_empty(&self) -> bool {
        self.lower > self.upper || (self.lower == self.upper && (self.lower_open || self.upper_open))
    }

    pub fn contains(&self, value: &Rational) -> bool {
        let (lower, upper) = (exact(self.lower), exact(self.upper));
        let above = if self.lower_open { *value > lower } else { *value >= lower };
        above && if self.upper_open { *value < upper } else { *value <= upper }
    }
}

impl Row {
    /// The row's margins where output k may be wrong by `slack[k]`: with `grant` what may satisfy the row, without what
    /// must.
    pub fn margins(&self, slack: &[Rational], grant: bool) -> Vec<Margin> {
        let wrong = |sum: Rational, (c, slack): (&f64, &Rational)| sum + exact(c.abs()) * slack;
        let wrong = self.coefficients.iter().zip(slack).fold(Rational::zero(), wrong);
        let margin = |sign: i64, strict: bool| {
            let sign = BigRational::from_integer(sign.into());
            let bound = &sign * exact(self.bound) + if grant { wrong.clone() } else { -wrong.clone() };
            // What is granted an error may also use all of it.
            let strict = strict && (wrong.is_zero() || !grant);
            Margin { coefficients: self.coefficients.iter().map(|&c| &sign * exact(c)).collect(), bound, strict }
        };
        match self.relation {
            Relation::AtMost => vec![margin(1, false)],
            Relation::Less => vec![margin(1, true)],
            Relation::AtLeast => vec![margin(-1, false)],
            Relation::Greater => vec![margin(-1, true)],
            Relation::Equal => vec![margin(1, false), margin(-1, false)],
        }
    }
}

impl Margin {
    /// Whether outputs satisfy it.
    pub fn satisfied(&self, outputs: &[Rational]) -> bool {
        let sum: Rational = self.coefficients.iter().zip(outputs).map(|(c, y)| c * y).sum();
        if self.strict { sum < self.bound } else { sum <= self.bound }
    }
}
