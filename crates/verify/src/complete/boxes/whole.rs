//! Boxes with few open neurons, which exact arithmetic decides whole once their parts have cost more than that would.
//!
//! Where a counterexample is nearly possible along an edge or a surface, the boxes around it are as many as they are
//! small. What refutes a box refutes all boxes within.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::complete::bound::root::Layers;
use crate::complete::endgame::{Ended, Endgame};
use crate::complete::exact::Refutation;
use crate::complete::point::Found;

/// What an exact product costs, in products of floating-point numbers.
const EXACT_PRICE: u64 = 512;
/// Most exact products that deciding a box may take: a second or so.
const MOST_PRODUCTS: u64 = 1 << 22;

/// A box that may be decided whole.
pub(super) struct Whole {
    lower: Vec<f64>,
    upper: Vec<f64>,
    layers: Layers,
    /// What deciding it would cost.
    price: u64,
    /// What the boxes within have cost.
    spent: AtomicU64,
    /// Per conjunction that was open over it, its node in the recorded tree and how it was decided.
    ended: Vec<(usize, usize, OnceLock<WholeEnd>)>,
}

/// How a conjunction was decided over a whole box.
pub(super) enum WholeEnd {
    Refuted(Refutation),
    Violated(Found),
    Open,
}

impl Whole {
    /// The box with bounds `layers` over which the (conjunctions, nodes) in `open` are open; none if it has too many open neurons.
    pub(super) fn new(
        endgame: &Endgame<'_>,
        (lower, upper): (&[f64], &[f64]),
        layers: &Layers,
        open: &[(usize, usize)],
    ) -> Option<Whole> {
        let ended: Vec<_> = open.iter().map(|&(c, node)| (c, node, OnceLock::new())).collect();
        let prices = open.iter().map(|&(c, _)| endgame.price(layers, c));
        let price = prices.sum::<Option<u64>>().filter(|price| *price <= MOST_PRODUCTS)?;
        Some(Whole {
            lower: lower.to_vec(),
            upper: upper.to_vec(),
            layers: layers.clone(),
            price,
            spent: AtomicU64::new(0),
            ended,
        })
    }

    /// Counts the cost of a box within, in products of floating-point numbers.
    pub(super) fn spend(&self, products: u64) {
        self.spent.fetch_add(products, Ordering::Relaxed);
    }

    /// Whether it is worth deciding.
    pub(super) fn is_due(&self) -> bool {
        self.spent.load(Ordering::Relaxed) > self.price.saturating_mul(EXACT_PRICE)
    }

    /// Decides every conjunction that is not decided yet.
    pub(super) fn decide(&self, endgame: &Endgame<'_>) {
        for (c, _, ended) in &self.ended {
            ended.get_or_init(|| match endgame.decide((&self.lower, &self.upper), &self.layers, Vec::new(), *c) {
                Ended::Refuted(refutation) => WholeEnd::Refuted(refutation),
                Ended::Violated(found) => WholeEnd::Violated(found),
                Ended::Open => WholeEnd::Open,
            });
        }
    }

    /// How a conjunction was decided; none if it has not been tried.
    pub(super) fn ended(&self, conjunction: usize) -> Option<&WholeEnd> {
        self.ended.iter().find(|(c, ..)| *c == conjunction)?.2.get()
    }

    /// Whether everything has been tried.
    pub(super) fn is_decided(&self) -> bool {
        self.ended.iter().all(|(.., ended)| ended.get().is_some())
    }

    /// The conjunctions it refutes, with their nodes.
    pub(super) fn refutations(&self) -> impl Iterator<Item = (usize, usize, &Refutation)> {
        self.ended.iter().filter_map(|(c, node, ended)| match ended.get()? {
            WholeEnd::Refuted(refutation) => Some((*c, *node, refutation)),
            WholeEnd::Violated(_) | WholeEnd::Open => None,
        })
    }
}
