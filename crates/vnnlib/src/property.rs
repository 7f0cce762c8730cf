//! A property: which inputs and outputs together make a counterexample.

/// One linear inequality over the outputs: `coefficients · y ≤ bound`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// One coefficient per output.
    pub coefficients: Vec<f64>,
    /// Right-hand side.
    pub bound: f64,
}

/// One input box with the unsafe outputs over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Lower ends of the box, one per input.
    pub lower: Vec<f64>,
    /// Upper ends of the box, one per input.
    pub upper: Vec<f64>,
    /// Disjunction of conjunctions: an output is unsafe if it satisfies every constraint of one of them. An empty
    /// conjunction is satisfied by every output; an empty disjunction by none.
    pub unsafe_outputs: Vec<Vec<Constraint>>,
}

/// A property in disjunctive normal form: it is violated exactly if, in one of the cases, an input of the box has an
/// unsafe output. It holds otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Number of inputs (flat, row-major as in the model file).
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// The cases; none at all means that the property holds trivially.
    pub cases: Vec<Case>,
}
