//! A property: which inputs and outputs together make a counterexample.

/// One linear inequality over the outputs: `coefficients · y ≤ bound`, or `<` if it is strict. What it says of the inputs
/// stands in the [sums](Property::sums) of its property, which count as further outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// One coefficient per output, then one per sum.
    pub coefficients: Vec<f64>,
    /// Right-hand side.
    pub bound: f64,
    /// True for `<`.
    pub strict: bool,
}

impl Constraint {
    /// `coefficients · y ≤ bound`.
    pub fn at_most(coefficients: Vec<f64>, bound: f64) -> Self {
        Constraint { coefficients, bound, strict: false }
    }

    /// `coefficients · y < bound`.
    pub fn below(coefficients: Vec<f64>, bound: f64) -> Self {
        Constraint { coefficients, bound, strict: true }
    }
}

/// One input box with the unsafe outputs over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Lower ends of the box, one per input.
    pub lower: Vec<f64>,
    /// Upper ends of the box, one per input.
    pub upper: Vec<f64>,
    /// Inputs, in increasing order, whose lower end does not belong to the box itself.
    pub open_lower: Vec<u32>,
    /// The same for upper ends.
    pub open_upper: Vec<u32>,
    /// Those of `open_lower` whose exact end lies between this one and the next f64 inside: a quotient that no f64 is.
    pub rounded_lower: Vec<u32>,
    /// The same for upper ends.
    pub rounded_upper: Vec<u32>,
    /// Disjunction of conjunctions: an output is unsafe if it satisfies every constraint of one of them. An empty
    /// conjunction is satisfied by every output; an empty disjunction by none.
    pub unsafe_outputs: Vec<Vec<Constraint>>,
}

impl Case {
    /// The closed box [`lower`, `upper`] with these unsafe outputs.
    pub fn closed(lower: Vec<f64>, upper: Vec<f64>, unsafe_outputs: Vec<Vec<Constraint>>) -> Self {
        Case { lower, upper, unsafe_outputs, ..Case::default() }
    }

    /// Whether `input` lies in the box, ends that do not belong to it excluded.
    pub fn contains(&self, input: &[f64]) -> bool {
        let ends = input.iter().zip(self.lower.iter().zip(&self.upper));
        ends.clone().all(|(x, (l, u))| (l..=u).contains(&x))
            && self.open_lower.iter().all(|&i| input[i as usize] > self.lower[i as usize])
            && self.open_upper.iter().all(|&i| input[i as usize] < self.upper[i as usize])
    }
}

/// A property in disjunctive normal form: it is violated exactly if, in one of the cases, an input of the box has an
/// unsafe output. It holds otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Number of inputs (flat, row-major as in the model file).
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Linear combinations of inputs, Σ factor·x, that constraints read as if they were outputs behind the network's own:
    /// (input, factor) each, inputs in increasing order, factors finite and not 0. Empty where constraints are about
    /// outputs alone.
    pub sums: Vec<Vec<(u32, f64)>>,
    /// Whether only inputs of whole numbers count; the ends of all boxes are whole then.
    pub whole: bool,
    /// The cases; none at all means that the property holds trivially.
    pub cases: Vec<Case>,
    /// Where there is no case because the bounds of some input contradict each other: which, for a warning.
    pub contradiction: Option<String>,
}

impl Property {
    /// A property of these cases, about outputs alone and all real inputs.
    pub fn new(inputs: usize, outputs: usize, cases: Vec<Case>) -> Self {
        Property { inputs, outputs, sums: Vec::new(), whole: false, cases, contradiction: None }
    }
}
