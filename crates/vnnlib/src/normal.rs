//! The assertions in disjunctive normal form: boxes of inputs, each with its unsafe outputs.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::element::Element;
use crate::lexer::Fault;
use crate::linear::{Atom, End, Row};
use crate::parser::{Formula, Script};
use crate::tighten::tighten;
use crate::variables::Group;
use crate::{Case, Constraint, Property};

/// Most conjunctions of the normal form.
const MAX_CONJUNCTIONS: f64 = 4_194_304.0;
/// Most inequalities of the normal form, counted in every conjunction.
const MAX_INEQUALITIES: f64 = 8_388_608.0;
/// Most numbers of the property's boxes, constraints and sums (512 MiB).
const MAX_NUMBERS: f64 = 67_108_864.0;
/// Most linear combinations of inputs.
const MAX_SUMS: usize = 1024;

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
    let (sums, whole) = (cases.sums.list, cases.whole);
    let plain = Property::new(script.inputs.count, script.outputs.count, cases.cases);
    Ok(Property { contradiction, sums, whole, ..plain })
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

/// The linear combinations of inputs that rows read, each once; one of them and its negative are the same.
#[derive(Default)]
struct Sums {
    list: Vec<Vec<(u32, f64)>>,
    known: HashMap<Vec<(u32, u64)>, usize>,
}

impl Sums {
    /// The combination with a first factor > 0, and the sign of the given one.
    fn standard(terms: &[(u32, f64)]) -> (Vec<(u32, f64)>, f64) {
        let sign = terms.first().map_or(1.0, |&(_, factor)| 1.0_f64.copysign(factor));
        (terms.iter().map(|&(index, factor)| (index, sign * factor)).collect(), sign)
    }

    fn key(terms: &[(u32, f64)]) -> Vec<(u32, u64)> {
        terms.iter().map(|&(index, factor)| (index, factor.to_bits())).collect()
    }

    /// Takes up the combinations of all rows of `formula`.
    fn collect(&mut self, formula: &Formula) -> Result<(), Fault> {
        match formula {
            Formula::All(parts) | Formula::Any(parts) => parts.iter().try_for_each(|part| self.collect(part)),
            Formula::Atom(Atom::Row(row), at) if !row.inputs.is_empty() => {
                let (terms, _) = Sums::standard(&row.inputs);
                let next = self.list.len();
                self.known.entry(Sums::key(&terms)).or_insert_with(|| {
                    self.list.push(terms);
                    next
                });
                match self.list.len() > MAX_SUMS {
                    true => Err(Fault::new(
                        *at,
                        format!(
                            "up to here constraints have more than {MAX_SUMS} different linear combinations of inputs; split \
                             the property into several files"
                        ),
                    )),
                    false => Ok(()),
                }
            }
            Formula::Atom(..) => Ok(()),
        }
    }

    /// The position of a combination and the sign it has there.
    fn find(&self, terms: &[(u32, f64)]) -> Option<(usize, f64)> {
        let (terms, sign) = Sums::standard(terms);
        self.known.get(&Sums::key(&terms)).map(|&position| (position, sign))
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
    sums: Sums,
    /// Whether inputs are whole numbers.
    whole: bool,
    /// The box that holds in any case, infinite where there is no bound.
    lower: Vec<End>,
    upper: Vec<End>,
    /// The constraints that hold in any case.
    common: Vec<Constraint>,
    /// Those of them that are about inputs alone.
    common_inputs: Vec<&'a Row>,
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

/// The ends of the whole numbers between two ends.
fn whole_ends([lower, upper]: [End; 2]) -> [End; 2] {
    let closed = |value: f64| End { value: value + 0.0, open: false, rounded: false };
    let inside = |end: End, next: f64| if end.open { next } else { end.value };
    [closed(inside(lower, lower.value.next_up()).ceil()), closed(inside(upper, upper.value.next_down()).floor())]
}

impl<'a> Cases<'a> {
    fn new(script: &'a Script, common: &[Placed<'a>]) -> Result<Self, Fault> {
        let count = script.inputs.count;
        let (whole, [least, largest]) = match script.inputs.element {
            Element::Real => (false, [f64::NEG_INFINITY, f64::INFINITY]),
            Element::Whole { least, largest } => (true, [least, largest]),
        };
        let mut sums = Sums::default();
        script.assertions.iter().try_for_each(|formula| sums.collect(formula))?;
        let mut cases = Cases {
            inputs: &script.inputs,
            outputs: script.outputs.count,
            sums,
            whole,
            lower: vec![End { value: least, open: false, rounded: false }; count],
            upper: vec![End { value: largest, open: false, rounded: false }; count],
            common: Vec::new(),
            common_inputs: Vec::new(),
            possible: true,
            contradiction: None,
            known: HashMap::new(),
            numbers: 0.0,
            cases: Vec::new(),
        };
        cases.grow(cases.sums.list.len() * count, script.inputs.place(0))?;
        for &(atom, at) in common {
            match atom {
                Atom::Truth(truth) => cases.possible &= truth,
                Atom::Row(row) => {
                    cases.grow(cases.width(), at)?;
                    cases.common.push(cases.constraint(row));
                    if row.outputs.is_empty() {
                        cases.common_inputs.push(row);
                    }
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
        let mut ends = (cases.lower, cases.upper);
        tighten(
            &cases.common_inputs,
            &mut ends,
            |(lower, upper), index| [lower[index as usize], upper[index as usize]],
            |(lower, upper), index, new| [lower[index as usize], upper[index as usize]] = new,
        );
        (cases.lower, cases.upper) = ends;
        for index in 0..count {
            let mut ends = [cases.lower[index], cases.upper[index]];
            if whole {
                ends = whole_ends(ends);
                [cases.lower[index], cases.upper[index]] = ends;
            }
            cases.possible &= !cases.contradicts(index as u32, ends);
        }
        Ok(cases)
    }

    /// Coefficients of a constraint.
    fn width(&self) -> usize {
        self.outputs + self.sums.list.len()
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
        let mut about_inputs: Vec<&Row> = Vec::new();
        self.grow(rows.len() * self.width(), at)?;
        let before = |index: u32| [self.lower[index as usize], self.upper[index as usize]];
        for &(atom, _) in alternative {
            match atom {
                Atom::Truth(truth) => possible &= truth,
                Atom::Row(row) => {
                    rows.push(self.constraint(row));
                    if row.outputs.is_empty() {
                        about_inputs.push(row);
                    }
                }
                &Atom::InputFrom(index, end) => {
                    let ends = changes.entry(index).or_insert_with(|| before(index));
                    ends[0] = ends[0].highest(end);
                }
                &Atom::InputTo(index, end) => {
                    let ends = changes.entry(index).or_insert_with(|| before(index));
                    ends[1] = ends[1].lowest(end);
                }
            }
        }
        if !changes.is_empty() || !about_inputs.is_empty() {
            about_inputs.extend(&self.common_inputs);
            tighten(
                &about_inputs,
                &mut changes,
                |changes, index| changes.get(&index).copied().unwrap_or_else(|| before(index)),
                |changes, index, new| _ = changes.insert(index, new),
            );
        }
        if self.whole {
            changes.values_mut().for_each(|ends| *ends = whole_ends(*ends));
        }
        self.grow((rows.len() - self.common.len()) * self.width(), at)?;
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

    fn constraint(&self, row: &Row) -> Constraint {
        let mut coefficients = vec![0.0; self.width()];
        row.outputs.iter().for_each(|&(index, factor)| coefficients[index as usize] = factor);
        if let Some((position, sign)) = self.sums.find(&row.inputs).filter(|_| !row.inputs.is_empty()) {
            coefficients[self.outputs + position] = sign;
        }
        Constraint { coefficients, bound: row.bound, strict: row.strict }
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
