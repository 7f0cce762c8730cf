//! The splits of neurons from the root to a tree node, shared with the node's relatives.

use std::sync::Arc;

use crate::substitution::Split;

/// A list that shares all but its last entry with its parent's, so that open nodes cost little however deep they lie.
#[derive(Clone, Default)]
pub(crate) struct Path {
    last: Option<Arc<Link>>,
    len: usize,
}

struct Link {
    split: Split,
    before: Path,
}

impl Path {
    /// This path with one more split.
    pub(crate) fn with(&self, split: Split) -> Path {
        Path { len: self.len + 1, last: Some(Arc::new(Link { split, before: self.clone() })) }
    }

    /// Number of splits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The splits from the root down.
    pub(crate) fn splits(&self) -> Vec<Split> {
        let links = std::iter::successors(self.last.as_ref(), |link| link.before.last.as_ref());
        let mut splits: Vec<Split> = links.map(|link| link.split).collect();
        splits.reverse();
        splits
    }
}

impl Drop for Path {
    /// Link by link: a long path must not be dropped by recursion.
    fn drop(&mut self) {
        let mut last = self.last.take();
        while let Some(mut link) = last.and_then(Arc::into_inner) {
            last = link.before.last.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, Split};

    #[test]
    fn long_paths_are_read_from_the_root_and_dropped_without_recursion() {
        let split = |index| Split { node: 1, index, at: 0.0, above: index % 2 == 0 };
        let whole = (0..1_000_000).fold(Path::default(), |path, index| path.with(split(index)));
        let sibling = whole.clone().with(split(7));
        assert_eq!((whole.len(), sibling.len()), (1_000_000, 1_000_001));
        drop(whole);
        let splits = sibling.splits();
        assert!(splits[..1_000_000].iter().enumerate().all(|(index, found)| *found == split(index)));
        assert_eq!(splits[1_000_000], split(7));
    }
}
