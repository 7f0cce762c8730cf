//! What a complete verification is asked for and what it answers.

use std::time::Duration;

use tightrope_certificate::Proof;

/// How branch and bound chooses what to split first; where that takes long and inputs are few
/// ([`Settings::mixed_split_limit`]), the other kind of splits has its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Branching {
    /// Inputs if few of them vary ([`Settings::input_split_limit`]) and the network is not so large that one cut of each would
    /// take too long, neurons by filtered smart branching otherwise.
    #[default]
    Auto,
    /// The input coordinate with the largest influence on the bound.
    Input,
    /// The neuron with the best score (for ReLUs BaBSR, Bunel et al. 2020).
    Babsr,
    /// The best of a few neurons by the bounds of their children (FSB, De Palma et al. 2021).
    Fsb,
}

/// Settings of [`decide`](super::decide).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time after which the best bound so far is returned.
    pub timeout: Duration,
    /// Subproblems bounded in one round.
    pub batch: usize,
    /// Splitting rule.
    pub branching: Branching,
    /// Most inputs of positive width for which [`Branching::Auto`] may split inputs.
    pub input_split_limit: usize,
    /// Most inputs of positive width for which splits of inputs and of neurons help each other out where a search takes
    /// long; 0 for never.
    pub mixed_split_limit: usize,
    /// Most neurons whose children are bounded to choose one ([`Branching::Fsb`]).
    pub candidates: usize,
    /// Optimisation steps of the root's slopes, intermediate layers included.
    pub root_iterations: usize,
    /// Optimisation steps of each subproblem's slopes and multipliers.
    pub node_iterations: usize,
    /// Optimisation steps of each neuron's bounds where the box is cut by splits of neurons before the last hidden layer;
    /// with 0 the root's bounds serve everywhere and splits are chosen for each conjunction alone.
    pub region_iterations: usize,
    /// First learning rate of the slopes α.
    pub slope_rate: f64,
    /// First learning rate of the multipliers β.
    pub multiplier_rate: f64,
    /// Factor of both learning rates from step to step.
    pub rate_decay: f64,
    /// Share of the time limit that optimising the root's intermediate bounds may take.
    pub root_share: f64,
    /// Bytes that the queue of open subproblems may hold; beyond it the search goes depth first.
    pub queue_bytes: usize,
    /// Bytes that a proof may grow to while the search runs; beyond it there is none.
    pub proof_bytes: usize,
    /// Gradient-attack restarts before the search; 0 for none.
    pub attack_restarts: usize,
    /// Gradient steps of each restart.
    pub attack_steps: usize,
    /// Whether branch and bound follows when the root's bounds do not decide.
    pub branch: bool,
    /// A bound counts only if it stays positive after a rigorous margin for rounding errors. Without it bounds are
    /// still recomputed in f64, but taken as they come.
    pub sound: bool,
    /// Also collect the proof of a property that holds.
    pub proof: bool,
    /// Worker threads; none for the pool of the caller.
    pub threads: Option<usize>,
    /// Seed of the attack's random starts.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            timeout: Duration::from_secs(300),
            batch: 256,
            branching: Branching::Auto,
            input_split_limit: 20,
            mixed_split_limit: 50,
            candidates: 6,
            root_iterations: 20,
            node_iterations: 20,
            region_iterations: 10,
            slope_rate: 0.1,
            multiplier_rate: 0.1,
            rate_decay: 0.98,
            root_share: 0.3,
            queue_bytes: 1 << 30,
            proof_bytes: 1 << 30,
            attack_restarts: 10,
            attack_steps: 40,
            branch: true,
            sound: true,
            proof: false,
            threads: None,
            seed: 0,
        }
    }
}

/// What is known at the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No input of any case has an unsafe output.
    Holds {
        /// The proof, if [`Settings::proof`] asked for it, [`Settings::proof_bytes`] were enough and the inputs are not
        /// whole numbers.
        proof: Option<Proof>,
    },
    /// A counterexample inside its case's box, unsafe in exact arithmetic.
    Violated {
        /// The input.
        input: Vec<f64>,
        /// The network's output there, to the last place of f64 or two.
        output: Vec<f64>,
        /// The counterexample as fractions, if only a point that f64 does not hold is one; `input` is next to it.
        fractions: Option<Vec<String>>,
    },
    /// Neither, with nothing left to split or branching turned off.
    Unknown {
        /// Smallest lower bound of max over rows of (c·y − b) among the open subproblems; negative or zero.
        lower_bound: f64,
    },
    /// Time is out.
    Timeout {
        /// As in [`Outcome::Unknown`].
        lower_bound: f64,
    },
}

/// Effort spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Subproblems bounded by branch and bound.
    pub subproblems: usize,
    /// Most open subproblems at a time.
    pub peak_open: usize,
    /// Seconds of attacks before the search.
    pub attack_seconds: f64,
    /// Seconds of the root's bounds.
    pub root_seconds: f64,
    /// Seconds of branch and bound.
    pub branch_seconds: f64,
}

/// An outcome with the effort it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is known.
    pub outcome: Outcome,
    /// Effort.
    pub statistics: Statistics,
}

/// A sign of life from a running verification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Case being decided, from 0.
    pub case: usize,
    /// Cases in all.
    pub cases: usize,
    /// Subproblems bounded so far.
    pub subproblems: usize,
    /// Open subproblems.
    pub open: usize,
    /// Smallest lower bound of the open subproblems.
    pub lower_bound: f64,
    /// Seconds since the start.
    pub seconds: f64,
}
