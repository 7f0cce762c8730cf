//! Linear expressions over the variables, and the single inequalities made of them.

use std::cmp::Ordering;

use tightrope_exact::Dyadic;

/// A declared variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variable {
    Input(u32),
    Output(u32),
}

/// Σ factor·variable + constant; a variable may stand in several terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Linear {
    pub terms: Vec<(Variable, f64)>,
    pub constant: f64,
}

/// An inequality as it is written, which has a negation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Inequality {
    /// Without variables.
    Truth(bool),
    /// Σ factor·variable ≤ bound (or <, if `strict`), variables in increasing order, factors not 0.
    Sum { terms: Vec<(Variable, f64)>, bound: f64, strict: bool },
}

/// An inequality as the normal form takes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Atom {
    /// Without variables.
    Truth(bool),
    /// input ≥ end.
    InputFrom(u32, End),
    /// input ≤ end.
    InputTo(u32, End),
    /// Any other one.
    Row(Row),
}

/// Σ factor·output + Σ factor·input ≤ bound (or <, if `strict`), indices in increasing order, factors not 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub outputs: Vec<(u32, f64)>,
    pub inputs: Vec<(u32, f64)>,
    pub bound: f64,
    pub strict: bool,
}

/// An end of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct End {
    pub value: f64,
    /// Whether the end itself is left out.
    pub open: bool,
    /// Whether the exact end lies between this one and the next f64 inside.
    pub rounded: bool,
}

impl End {
    /// The upper end of {x : factor·x ≤ bound} (or <, if `strict`) for factor > 0.
    ///
    /// A quotient that is no f64 lies between two of them: the larger one is taken and left out, so that the interval
    /// contains the exact one and no other f64.
    fn quotient(bound: f64, factor: f64, strict: bool) -> End {
        let value = bound / factor;
        if !value.is_finite() {
            return End { value, open: strict, rounded: false };
        }
        match (&Dyadic::from(value) * &Dyadic::from(factor)).cmp(&Dyadic::from(bound)) {
            Ordering::Equal => End { value, open: strict, rounded: false },
            Ordering::Greater => End { value, open: true, rounded: true },
            Ordering::Less => End { value: value.next_up(), open: true, rounded: true },
        }
    }

    fn negated(self) -> End {
        // The sum makes −0 a plain 0.
        End { value: -self.value + 0.0, ..self }
    }

    /// The tighter of two lower ends.
    pub(crate) fn highest(self, other: End) -> End {
        self.negated().lowest(other.negated()).negated()
    }

    /// The tighter of two upper ends.
    pub(crate) fn lowest(self, other: End) -> End {
        match () {
            // The tighter of an end and a rounded one is the rounded one.
            _ if self.value == other.value => {
                End { open: self.open || other.open, rounded: self.rounded || other.rounded, ..self }
            }
            _ if self.value < other.value => self,
            _ => other,
        }
    }
}

impl Linear {
    pub(crate) fn constant(constant: f64) -> Self {
        Linear { terms: Vec::new(), constant }
    }

    pub(crate) fn variable(variable: Variable) -> Self {
        Linear { terms: vec![(variable, 1.0)], constant: 0.0 }
    }

    /// Adds factor·other.
    pub(crate) fn add(&mut self, other: Linear, factor: f64) {
        self.terms.extend(other.terms.into_iter().map(|(variable, value)| (variable, value * factor)));
        self.constant += other.constant * factor;
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.terms.iter_mut().for_each(|(_, value)| *value *= factor);
        self.constant *= factor;
    }

    pub(crate) fn divide(&mut self, divisor: f64) {
        self.terms.iter_mut().for_each(|(_, value)| *value /= divisor);
        self.constant /= divisor;
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.constant.is_finite() && self.terms.iter().all(|(_, value)| value.is_finite())
    }

    /// The inequality self ≤ 0, or self < 0 if `strict`.
    pub(crate) fn at_most_zero(mut self, strict: bool) -> Result<Inequality, String> {
        self.terms.sort_by_key(|&(variable, _)| variable);
        self.terms.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.terms.retain(|&(_, factor)| factor != 0.0);
        if !self.is_finite() {
            return Err("its numbers overflow f64; scale the inequality down".into());
        }
        // The sum makes −0 a plain 0.
        let (terms, bound) = (self.terms, -self.constant + 0.0);
        Ok(match terms.is_empty() {
            true => Inequality::Truth(if strict { 0.0 < bound } else { 0.0 <= bound }),
            false => Inequality::Sum { terms, bound, strict },
        })
    }
}

impl Inequality {
    /// The inequality that holds exactly where this one does not.
    pub(crate) fn negated(self) -> Inequality {
        match self {
            Inequality::Truth(truth) => Inequality::Truth(!truth),
            Inequality::Sum { mut terms, bound, strict } => {
                terms.iter_mut().for_each(|(_, factor)| *factor = -*factor);
                Inequality::Sum { terms, bound: -bound + 0.0, strict: !strict }
            }
        }
    }

    /// The same as an end of an input's interval, or a row.
    pub(crate) fn atom(self) -> Result<Atom, String> {
        let (terms, bound, strict) = match self {
            Inequality::Truth(truth) => return Ok(Atom::Truth(truth)),
            Inequality::Sum { terms, bound, strict } => (terms, bound, strict),
        };
        if let [(Variable::Input(index), factor)] = terms[..] {
            let end = End::quotient(bound, factor.abs(), strict);
            if !end.value.is_finite() {
                return Err("its bound overflows f64; scale the inequality down".into());
            }
            return Ok(match factor > 0.0 {
                true => Atom::InputTo(index, end),
                false => Atom::InputFrom(index, end.negated()),
            });
        }
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (variable, factor) in terms {
            match variable {
                Variable::Input(index) => inputs.push((index, factor)),
                Variable::Output(index) => outputs.push((index, factor)),
            }
        }
        Ok(Atom::Row(Row { outputs, inputs, bound, strict }))
    }
}
