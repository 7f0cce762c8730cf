//! Linear expressions over the variables, and the single inequalities made of them.

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

/// One inequality.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Atom {
    /// Without variables.
    Truth(bool),
    /// input ≥ value.
    InputFrom(u32, f64),
    /// input ≤ value.
    InputTo(u32, f64),
    /// Σ factor·output ≤ bound, outputs in increasing order, factors not 0.
    Output(Vec<(u32, f64)>, f64),
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

    /// The inequality self ≤ 0.
    pub(crate) fn at_most_zero(mut self) -> Result<Atom, String> {
        self.terms.sort_by_key(|&(variable, _)| variable);
        self.terms.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.terms.retain(|&(_, factor)| factor != 0.0);
        // The sum makes −0 a plain 0.
        let bound = -self.constant + 0.0;
        if !self.is_finite() {
            return Err("its numbers overflow f64; scale the inequality down".into());
        }
        match self.terms[..] {
            [] => Ok(Atom::Truth(0.0 <= bound)),
            [(Variable::Input(index), factor)] => {
                let value = bound / factor;
                if !value.is_finite() {
                    return Err("its bound overflows f64; scale the inequality down".into());
                }
                // A quotient is rounded away from the box, so that the box contains the exact one.
                let exact = factor.abs() == 1.0;
                Ok(match factor > 0.0 {
                    true => Atom::InputTo(index, if exact { value } else { value.next_up() }),
                    false => Atom::InputFrom(index, if exact { value } else { value.next_down() }),
                })
            }
            _ => {
                let output = |&(variable, factor): &(Variable, f64)| match variable {
                    Variable::Output(index) => Some((index, factor)),
                    Variable::Input(_) => None,
                };
                let terms: Option<Vec<_>> = self.terms.iter().map(output).collect();
                terms.map(|terms| Atom::Output(terms, bound)).ok_or_else(|| {
                    "relates an input to another variable; only boxes of inputs can be verified: bound each input by numbers"
                        .into()
                })
            }
        }
    }
}
