//! The cuts of inputs from a box down to a tree node's own, shared with the node's relatives.

use std::sync::Arc;

/// A list that shares all but its last entry with its parent's, so that open nodes cost little however many inputs there are.
#[derive(Clone, Default)]
pub(crate) struct Cuts(Option<Arc<Link>>);

struct Link {
    index: usize,
    /// What is left of the input's interval.
    left: (f64, f64),
    before: Cuts,
}

impl Cuts {
    /// These cuts and one more, after which input `index` lies in `left`.
    pub(crate) fn with(&self, index: usize, left: (f64, f64)) -> Cuts {
        Cuts(Some(Arc::new(Link { index, left, before: self.clone() })))
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref())
    }

    /// What the last cut of an input left, if there was one.
    pub(crate) fn last(&self, index: usize) -> Option<(f64, f64)> {
        self.links().find(|link| link.index == index).map(|link| link.left)
    }

    /// Cuts the box.
    pub(crate) fn apply(&self, lower: &mut [f64], upper: &mut [f64]) {
        // The later ones lie inside the earlier ones.
        for link in self.links() {
            lower[link.index] = lower[link.index].max(link.left.0);
            upper[link.index] = upper[link.index].min(link.left.1);
        }
    }
}

impl Drop for Cuts {
    /// Link by link: a long list must not be dropped by recursion.
    fn drop(&mut self) {
        let mut last = self.0.take();
        while let Some(mut link) = last.and_then(Arc::into_inner) {
            last = link.before.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cuts;

    #[test]
    fn long_lists_cut_the_box_and_are_dropped_without_recursion() {
        let cut = |cuts: Cuts, step: u32| cuts.with(step as usize % 2, (0.0, 1.0 / f64::from(step + 1)));
        let whole = (0..1_000_000).fold(Cuts::default(), cut);
        let sibling = whole.with(1, (1e-7, 1e-6));
        drop(whole);
        assert_eq!(sibling.last(0), Some((0.0, 1.0 / 999_999.0)));
        assert_eq!((sibling.last(1), sibling.last(2)), (Some((1e-7, 1e-6)), None));
        let (mut lower, mut upper) = ([-1.0; 3], [2.0; 3]);
        sibling.apply(&mut lower, &mut upper);
        assert_eq!((lower, upper), ([0.0, 1e-7, -1.0], [1.0 / 999_999.0, 1e-6, 2.0]));
    }
}
