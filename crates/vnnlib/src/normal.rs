//! The assertions in disjunctive normal form: boxes of inputs, each with its unsafe outputs.

use std::collections::{BTreeMap, HashMap};

use crate::lexer::Fault;
use crate::linear::Atom;
use crate::parser::{Formula, Script};
use crate::variables::Group;
use crate::{Case, Constraint, Property};

/// Most conjunctions of the normal form.
const MAX_CONJUNCTIONS: f64 = 65_536.0;
/// Most inequalities of the normal form, counted in every conjunction.
const MAX_INEQUALITIES: f64 = 4_194_304.0;
/// Most numbers of the property's boxes and constraints (256 MiB).
const MAX_NUMBERS: f64 = 33_554_432.0;

/// The property that a script states.
pub(crate) fn property(script: &Script) -> Result<Property, Fault> {
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
    for alternative in product(&disjunctions) {
        cases.add(&alternative)?;
    }
    Ok(Property { inputs: script.inputs.count, outputs: script.outputs.count, cases: cases.cases })
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
        Formula::All(parts) => product(&parts.iter().collect::<Vec<_>>()),
        Formula::Any(parts) => parts.iter().flat_map(expand).collect(),
    }
}

/// Every choice of one alternative of each formula.
fn product<'a>(formulas: &[&'a Formula]) -> Vec<Vec<Placed<'a>>> {
    let mut all = vec![Vec::new()];
    for formula in formulas {
        let alternatives = expand(formula);
        if let [only] = &alternatives[..] {
            all.iter_mut().for_each(|chosen| chosen.extend_from_slice(only));
            continue;
        }
        all = all.iter().flat_map(|chosen| alternatives.iter().map(move |more| [&chosen[..], more].concat())).collect();
    }
    all
}

/// The property's cases as they are found.
struct Cases<'a> {
    inputs: &'a Group,
    outputs: usize,
    /// The box that holds in any case, infinite where there is no bound.
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// The constraints that hold in any case.
    common: Vec<Constraint>,
    /// False if the inequalities that hold in any case contradict each other.
    possible: bool,
    /// Position of the case with these changes of the common box.
    known: HashMap<Vec<(u32, [u64; 2])>, usize>,
    numbers: f64,
    cases: Vec<Case>,
}

impl<'a> Cases<'a> {
    fn new(script: &'a Script, common: &[Placed<'_>]) -> Result<Self, Fault> {
        let count = script.inputs.count;
        let mut cases = Cases {
            inputs: &script.inputs,
            outputs: script.outputs.count,
            lower: vec![f64::NEG_INFINITY; count],
            upper: vec![f64::INFINITY; count],
            common: Vec::new(),
            possible: true,
            known: HashMap::new(),
            numbers: 0.0,
            cases: Vec::new(),
        };
        for &(atom, at) in common {
            match atom {
                Atom::Truth(truth) => cases.possible &= truth,
                Atom::Output(terms, bound) => {
                    cases.grow(cases.outputs, at)?;
                    cases.common.push(cases.row(terms, *bound));
                }
                &Atom::InputFrom(index, value) => cases.lower[index as usize] = cases.lower[index as usize].max(value),
                &Atom::InputTo(index, value) => cases.upper[index as usize] = cases.upper[index as usize].min(value),
            }
            // In every case an empty box is a slip of the pen rather than a property that holds trivially.
            if let &(Atom::InputFrom(index, _) | Atom::InputTo(index, _)) = atom {
                let (lower, upper) = (cases.lower[index as usize], cases.upper[index as usize]);
                if lower > upper {
                    let name = script.inputs.name(index as usize);
                    let problem = format!("leaves no value for {name}: {lower} ≤ {name} ≤ {upper}; mend its bounds");
                    return Err(Fault::new(at, problem));
                }
            }
        }
        Ok(cases)
    }

    /// Adds the case of one alternative of the disjunctions.
    fn add(&mut self, alternative: &[Placed<'_>]) -> Result<(), Fault> {
        let mut changes: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
        let mut possible = self.possible;
        let at = alternative.first().map_or_else(|| self.inputs.place(0), |&(_, at)| at);
        let mut rows = self.common.clone();
        self.grow(rows.len() * self.outputs, at)?;
        for &(atom, at) in alternative {
            let change = |index: u32| [self.lower[index as usize], self.upper[index as usize]];
            match atom {
                Atom::Truth(truth) => possible &= truth,
                Atom::Output(terms, bound) => {
                    rows.push(self.row(terms, *bound));
                    self.grow(self.outputs, at)?;
                }
                &Atom::InputFrom(index, value) => {
                    let ends = changes.entry(index).or_insert_with(|| change(index));
                    ends[0] = ends[0].max(value);
                }
                &Atom::InputTo(index, value) => {
                    let ends = changes.entry(index).or_insert_with(|| change(index));
                    ends[1] = ends[1].min(value);
                }
            }
        }
        if !possible || changes.values().any(|[lower, upper]| lower > upper) {
            return Ok(());
        }
        let key: Vec<_> = changes.iter().map(|(&index, ends)| (index, ends.map(f64::to_bits))).collect();
        if let Some(&known) = self.known.get(&key) {
            self.cases[known].unsafe_outputs.push(rows);
            return Ok(());
        }
        self.grow(2 * self.lower.len(), at)?;
        let (mut lower, mut upper) = (self.lower.clone(), self.upper.clone());
        for (index, ends) in changes {
            [lower[index as usize], upper[index as usize]] = ends;
        }
        let open = |(_, (l, u)): &(usize, (&f64, &f64))| l.is_infinite() || u.is_infinite();
        if let Some((index, (l, _))) = lower.iter().zip(&upper).enumerate().find(open) {
            let name = self.inputs.name(index);
            let (side, sign) = if l.is_infinite() { ("lower", ">=") } else { ("upper", "<=") };
            let problem = format!(
                "{name} has no {side} bound in some case; every input needs both: add (assert ({sign} {name} …))"
            );
            return Err(Fault::new(self.inputs.place(index), problem));
        }
        self.known.insert(key, self.cases.len());
        self.cases.push(Case { lower, upper, unsafe_outputs: vec![rows] });
        Ok(())
    }

    fn row(&self, terms: &[(u32, f64)], bound: f64) -> Constraint {
        let mut coefficients = vec![0.0; self.outputs];
        terms.iter().for_each(|&(index, factor)| coefficients[index as usize] = factor);
        Constraint { coefficients, bound }
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
