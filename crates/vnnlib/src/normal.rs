//! The assertions in disjunctive normal form: boxes of inputs, each with its unsafe outputs.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::lexer::Fault;
use crate::linear::{Atom, End};
use crate::parser::{Formula, Script};
use crate::variables::Group;
use crate::{Case, Constraint, Property};

/// Most conjunctions of the normal form.
const MAX_CONJUNCTIONS: f64 = 4_194_304.0;
/// Most inequalities of the normal form, counted in every conjunction.
const MAX_INEQUALITIES: f64 = 8_388_608.0;
/// Most numbers of the property's boxes and constraints (512 MiB).
const MAX_NUMBERS: f64 = 67_108_864.0;

/// The property that a script states, unless `deadline` passes before it is multiplied out.
pub(crate) fn property(script: &Script, deadline: Option<Instant>) -> Result<Property, Fault> {
    let mut common = Vec::new();
    let mut disjunctions = Vec::new();
    script.assertions.iter().for_each(|formula| separate(formula, &mut common, &mut disjunctions));
    let size = disjunctions.iter().fold(Size::ONE, |size, formula| size.times(Size::of(formula)));
    if size.conjunctions > MAX_CONJUNCTIONS || size.inequalities > MAX_INEQUALITIES {
        let problem = format!(
            "multiplied out, the disjunctions have {:.3e} conjunctions with {:.3e} inequalities, more than {MAX_CONJUNCTIONS} \
             with {MAX_INEQUALITIES}; split the property into several files",
            size.conjunctions, size.inequalities
        );
        return Err(Fault::new(disjunctions.first().map_or(0, |formula| place(formula)), problem));
    }
    let mut cases = Cases::new(script, &common)?;
    // One at a time: the alternatives of a product would take far more room than its factors.
    Choices::of(&disjunctions).try_for_each(|alternative| {
        Fault::after(deadline, 0)?;
        cases.add(&alternative)
    })?;
    let contradiction = if cases.cases.is_empty() { cases.contradiction.take() } else { None };
    Ok(Property { contradiction, ..Property::new(script.inputs.count, script.outputs.count, cases.cases) })
}

/// An inequality and where it stands.
type Placed<'a> = (&'a Atom, usize);

/// Splits a formula into inequalities that hold in any case and disjunctions.
fn separate<'a>(formula: &'a Formula, common: &mut Vec<Placed<'a>>, disjunctions: &mut Vec<&'a Formula>) {
    match formula {
        Formula::Atom(atom, at) => common.push((atom, *at)),
        Formula::All(parts) => parts.iter().for_each(|part| separate(part, common, disjunctions)),
        Formula::Any(parts) if parts.len() == 1 => separate(&parts[0], common, disjunctions),
        Formula::Any(_) => disjunctions.push(formula),
    }
}

/// Where a formula stands.
fn place(formula: &Formula) -> usize {
    match formula {
        Formula::Atom(_, at) => *at,
        Formula::All(parts) | Formula::Any(parts) => parts.first().map_or(0, place),
    }
}

/// How large a formula's normal form is; f64, since it may exceed any integer.
#[derive(Clone, Copy)]
struct Size {
    conjunctions: f64,
    /// Inequalities of all conjunctions together.
    inequalities: f64,
}

impl Size {
    /// The conjunction of nothing.
    const ONE: Size = Size { conjunctions: 1.0, inequalities: 0.0 };

    fn of(formula: &Formula) -> Size {
        match formula {
            Formula::Atom(..) => Size { conjunctions: 1.0, inequalities: 1.0 },
            Formula::All(parts) => parts.iter().fold(Size::ONE, |size, part| size.times(Size::of(part))),
            Formula::Any(parts) => parts.iter().map(Size::of).fold(Size { conjunctions: 0.0, ..Size::ONE }, |a, b| {
                Size { conjunctions: a.conjunctions + b.conjunctions, inequalities: a.inequalities + b.inequalities }
            }),
        }
    }

    fn times(self, other: Size) -> Size {
        Size {
            conjunctions: self.conjunctions * other.conjunctions,
            inequalities: self.inequalities * other.conjunctions + other.inequalities * self.conjunctions,
        }
    }
}

/// The alternatives of a formula.
fn expand(formula: &Formula) -> Vec<Vec<Placed<'_>>> {
    match formula {
        Formula::Atom(atom, at) => vec![vec![(atom, *at)]],
        Formula::All(parts) => Choices::of(&parts.iter().collect::<Vec<_>>()).collect(),
        Formula::Any(parts) => parts.iter().flat_map(expand).collect(),
    }
}

/// Every choice of one alternative of each of some formulas, the last formula's changing fastest.
struct Choices<'a> {
    alternatives: Vec<Vec<Vec<Placed<'a>>>>,
    /// The next choice; none after the last.
    next: Option<Vec<usize>>,
}

impl<'a> Choices<'a> {
    fn of(formulas: &[&'a Formula]) -> Self {
        let alternatives: Vec<_> = formulas.iter().map(|formula| expand(formula)).collect();
        let next = alternatives.iter().all(|list| !list.is_empty()).then(|| vec![0; alternatives.len()]);
        Choices { alternatives, next }
    }
}

impl<'a> Iterator for Choices<'a> {
    type Item = Vec<Placed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chosen = self.next.take()?;
        let parts = chosen.iter().zip(&self.alternatives);
        let alternative = parts.flat_map(|(&i, alternatives)| alternatives[i].iter().copied()).collect();
        for (place, list) in (0..chosen.len()).zip(&self.alternatives).rev() {
            chosen[place] += 1;
            if chosen[place] < list.len() {
                self.next = Some(chosen);
                break;
            }
            chosen[place] = 0;
        }
        Some(alternative)
    }
}

/// An input whose ends differ from those of the common box, and the bits of its own ends.
type Change = (u32, [(u64, bool, bool); 2]);

/// The property's cases as they are found.
struct Cases<'a> {
    inputs: &'a Group,
    outputs: usize,
    /// The box that holds in any case, infinite where there is no bound.
    lower: Vec<End>,
    upper: Vec<End>,
    /// The constraints that hold in any case.
    common: Vec<Constraint>,
    /// False if the inequalities that hold in any case contradict each other.
    possible: bool,
    /// What contradicted itself first.
    contradiction: Option<String>,
    /// Position of the case with these changes of the common box.
    known: HashMap<Vec<Change>, usize>,
    numbers: f64,
    cases: Vec<Case>,
}

/// Whether nothing lies between two ends.
fn is_empty(lower: End, upper: End) -> bool {
    lower.value > upper.value || lower.value == upper.value && (lower.open || upper.open)
}

impl<'a> Cases<'a> {
    fn new(script: &'a Script, common: &[Placed<'_>]) -> Result<Self, Fault> {
        let count = script.inputs.count;
        let mut cases = Cases {
            inputs: &script.inputs,
            outputs: script.outputs.count,
            lower: vec![End { value: f64::NEG_INFINITY, open: false, rounded: false }; count],
            upper: vec![End { value: f64::INFINITY, open: false, rounded: false }; count],
            common: Vec::new(),
            possible: true,
            contradiction: None,
            known: HashMap::new(),
            numbers: 0.0,
            cases: Vec::new(),
        };
        for &(atom, at) in common {
            match atom {
                Atom::Truth(truth) => cases.possible &= truth,
                Atom::Output(terms, bound, strict) => {
                    cases.grow(cases.outputs, at)?;
                    cases.common.push(cases.row(terms, *bound, *strict));
                }
                &Atom::InputFrom(index, end) => {
                    let lower = &mut cases.lower[index as usize];
                    *lower = lower.highest(end);
                }
                &Atom::InputTo(index, end) => {
                    let upper = &mut cases.upper[index as usize];
                    *upper = upper.lowest(end);
                }
            }
        }
        for index in 0..count {
            let ends = [cases.lower[index], cases.upper[index]];
            cases.possible &= !cases.contradicts(index as u32, ends);
        }
        Ok(cases)
    }

    /// Whether an input's ends leave nothing; says so once.
    fn contradicts(&mut self, index: u32, [lower, upper]: [End; 2]) -> bool {
        let empty = is_empty(lower, upper);
        if empty && self.contradiction.is_none() {
            let name = self.inputs.name(index as usize);
            let sign = |end: End| if end.open { "<" } else { "≤" };
            self.contradiction =
                Some(format!("{} {} {name} {} {}", lower.value, sign(lower), sign(upper), upper.value));
        }
        empty
    }

    /// Adds the case of one alternative of the disjunctions.
    fn add(&mut self, alternative: &[Placed<'_>]) -> Result<(), Fault> {
        let mut changes: BTreeMap<u32, [End; 2]> = BTreeMap::new();
        let mut possible = self.possible;
        let at = alternative.first().map_or_else(|| self.inputs.place(0), |&(_, at)| at);
        let mut rows = self.common.clone();
        self.grow(rows.len() * self.outputs, at)?;
        for &(atom, at) in alternative {
            let change = |index: u32| [self.lower[index as usize], self.upper[index as usize]];
            match atom {
                Atom::Truth(truth) => possible &= truth,
                Atom::Output(terms, bound, strict) => {
                    rows.push(self.row(terms, *bound, *strict));
                    self.grow(self.outputs, at)?;
                }
                &Atom::InputFrom(index, end) => {
                    let ends = changes.entry(index).or_insert_with(|| change(index));
                    ends[0] = ends[0].highest(end);
                }
                &Atom::InputTo(index, end) => {
                    let ends = changes.entry(index).or_insert_with(|| change(index));
                    ends[1] = ends[1].lowest(end);
                }
            }
        }
        for (&index, &ends) in &changes {
            possible &= !self.contradicts(index, ends);
        }
        if !possible {
            return Ok(());
        }
        let bits = |end: End| (end.value.to_bits(), end.open, end.rounded);
        let key: Vec<_> = changes.iter().map(|(&index, ends)| (index, ends.map(bits))).collect();
        if let Some(&known) = self.known.get(&key) {
            self.cases[known].unsafe_outputs.push(rows);
            return Ok(());
        }
        self.grow(2 * self.lower.len(), at)?;
        let (mut lower, mut upper) = (self.lower.clone(), self.upper.clone());
        for (index, ends) in changes {
            [lower[index as usize], upper[index as usize]] = ends;
        }
        let unbounded = |(_, (l, u)): &(usize, (&End, &End))| l.value.is_infinite() || u.value.is_infinite();
        if let Some((index, (l, _))) = lower.iter().zip(&upper).enumerate().find(unbounded) {
            let name = self.inputs.name(index);
            let (side, sign) = if l.value.is_infinite() { ("lower", ">=") } else { ("upper", "<=") };
            let problem = format!(
                "{name} has no {side} bound in some case; every input needs both: add (assert ({sign} {name} …))"
            );
            return Err(Fault::new(self.inputs.place(index), problem));
        }
        self.known.insert(key, self.cases.len());
        let values = |ends: &[End]| ends.iter().map(|end| end.value).collect();
        let listed = |ends: &[End], is: fn(&End) -> bool| -> Vec<u32> {
            (0..).zip(ends).filter(|(_, end)| is(end)).map(|(index, _)| index).collect()
        };
        self.cases.push(Case {
            open_lower: listed(&lower, |end| end.open),
            open_upper: listed(&upper, |end| end.open),
            rounded_lower: listed(&lower, |end| end.rounded),
            rounded_upper: listed(&upper, |end| end.rounded),
            lower: values(&lower),
            upper: values(&upper),
            unsafe_outputs: vec![rows],
        });
        Ok(())
    }

    fn row(&self, terms: &[(u32, f64)], bound: f64, strict: bool) -> Constraint {
        let mut coefficients = vec![0.0; self.outputs];
        terms.iter().for_each(|&(index, factor)| coefficients[index as usize] = factor);
        Constraint { coefficients, bound, strict }
    }

    /// Counts numbers about to be stored.
    fn grow(&mut self, numbers: usize, at: usize) -> Result<(), Fault> {
        self.numbers += numbers as f64;
        match self.numbers > MAX_NUMBERS {
            true => {
                let problem = format!(
                    "up to here the boxes and constraints have more than {MAX_NUMBERS} numbers; split the property into \
                     several files"
                );
                Err(Fault::new(at, problem))
            }
            false => Ok(()),
        }
    }
}
