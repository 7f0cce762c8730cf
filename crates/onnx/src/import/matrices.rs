//! Products of two matrices, or stacks of them, of which neither need be a constant.

use super::arrange::{MOST_ELEMENTS, Selection, broadcast, spread};
use super::draft::Activation;
use super::graph::Importer;
use super::node::Node;
use crate::error::Problem;
use crate::tensor::elements;

/// Most products of two elements that a product of two matrices is made of, where both depend on the input.
const MOST_PRODUCTS: usize = 1 << 18;

/// Which elements of two tensors a matrix product multiplies.
pub struct Pairs {
    /// Elements of the left and of the right one, all terms of an output after each other.
    pub left: Vec<u32>,
    pub right: Vec<u32>,
    /// Terms of an output.
    pub inner: usize,
    /// Shape of the result.
    pub dims: Vec<usize>,
}

impl<'a> Importer<'a> {
    /// The pairs of elements that a MatMul of tensors of these shapes multiplies.
    pub fn matrices(&self, node: &Node<'a>, left: &[usize], right: &[usize]) -> Result<Pairs, Problem> {
        let unfit =
            || node.problem(format!("its inputs have shapes {left:?} and {right:?}, which do not fit each other"));
        // Vectors stand for matrices of one row on the left and of one column on the right.
        let (mut a, mut b) = (left.to_vec(), right.to_vec());
        if a.len() == 1 {
            a.insert(0, 1);
        }
        if b.len() == 1 {
            b.push(1);
        }
        let ([lead_a @ .., rows, inner], [lead_b @ .., other, columns]) = (&a[..], &b[..]) else {
            return Err(node.problem("one of its inputs is a single number; use Mul"));
        };
        let lead = broadcast(lead_a, lead_b).filter(|_| inner == other).ok_or_else(unfit)?;
        let whole = elements(&[&lead[..], &[*rows, *columns, *inner]].concat());
        if whole.is_none_or(|count| count > self.budget.min(MOST_ELEMENTS)) {
            return Err(node.problem(format!("its inputs of shapes {left:?} and {right:?} take too many products")));
        }
        let mut pairs = Pairs { left: Vec::new(), right: Vec::new(), inner: *inner, dims: lead.clone() };
        for (own, other) in spread(lead_a, &lead).into_iter().zip(spread(lead_b, &lead)) {
            let (own, other) = (own as usize * rows * inner, other as usize * inner * columns);
            for row in 0..*rows {
                for column in 0..*columns {
                    pairs.left.extend((0..*inner).map(|k| (own + row * inner + k) as u32));
                    pairs.right.extend((0..*inner).map(|k| (other + k * columns + column) as u32));
                }
            }
        }
        pairs.dims.extend((left.len() > 1).then_some(*rows));
        pairs.dims.extend((right.len() > 1).then_some(*columns));
        Ok(pairs)
    }

    /// A product whose two factors depend on the input: each pair of elements is multiplied, then the sums.
    pub fn variable_product(&mut self, node: &Node<'a>, left: Activation, right: Activation) -> Result<(), Problem> {
        let Pairs { left: lefts, right: rights, inner, dims } = self.matrices(node, &left.dims, &right.dims)?;
        let count = lefts.len();
        if count > MOST_PRODUCTS {
            return Err(node.problem(format!(
                "multiplies {count} pairs of values that both depend on the input; at most {MOST_PRODUCTS} are bounded, so \
                 use fewer tokens or features, or a constant in one's place"
            )));
        }
        let (left, right) = (Activation { sole: false, ..left }, Activation { sole: false, ..right });
        let left = self.select(node, &left, Selection::one_each(vec![count], lefts))?;
        let right = self.select(node, &right, Selection::one_each(vec![count], rights))?;
        let terms = self.multiplied(node, &left, &right)?;
        let counts = (inner > 1).then(|| vec![inner; count / inner.max(1)]);
        let sums = Selection { dims, sources: (0..count as u32).collect(), counts };
        let result = self.select(node, &terms, sums)?;
        self.alias(node, result)
    }
}
