//! The open subproblems: worst bound first, depth first when memory is full.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// By how much smaller rounds are when memory is full.
const FULL: usize = 16;

/// An entry with its bound and its number, which breaks ties.
struct Entry<S> {
    bound: f64,
    number: u64,
    bytes: usize,
    subproblem: S,
}

impl<S> PartialEq for Entry<S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S> Eq for Entry<S> {}

impl<S> PartialOrd for Entry<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> Ord for Entry<S> {
    /// The greatest entry has the smallest bound, and of equals the smallest number.
    fn cmp(&self, other: &Self) -> Ordering {
        other.bound.total_cmp(&self.bound).then(other.number.cmp(&self.number))
    }
}

/// A queue of subproblems of type `S`.
pub(crate) struct Queue<S> {
    heap: BinaryHeap<Entry<S>>,
    /// What came when the heap was full; last in, first out, so that it grows with the depth only.
    stack: Vec<Entry<S>>,
    bytes: usize,
    limit: usize,
    next: u64,
}

impl<S> Queue<S> {
    /// An empty queue whose heap takes new entries while all together have fewer than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Queue { heap: BinaryHeap::new(), stack: Vec::new(), bytes: 0, limit, next: 0 }
    }

    /// Adds a subproblem that occupies `bytes`.
    pub(crate) fn push(&mut self, bound: f64, bytes: usize, subproblem: S) {
        let entry = Entry { bound, number: self.next, bytes, subproblem };
        self.next += 1;
        let full = self.bytes + bytes > self.limit;
        self.bytes += bytes;
        if full { self.stack.push(entry) } else { self.heap.push(entry) }
    }

    /// Takes the next subproblem with its bound.
    pub(crate) fn pop(&mut self) -> Option<(f64, S)> {
        let entry = self.stack.pop().or_else(|| self.heap.pop())?;
        self.bytes -= entry.bytes;
        Some((entry.bound, entry.subproblem))
    }

    /// Takes the next `count` or fewer in chunks of `size`, the last possibly shorter. When memory is full they are fewer by
    /// [`FULL`]: each level of the depth adds what a round takes.
    pub(crate) fn pop_chunks(&mut self, count: usize, size: usize) -> Vec<Vec<(f64, S)>> {
        let count = if self.stack.is_empty() { count } else { count.div_ceil(FULL) };
        let mut chunks: Vec<Vec<(f64, S)>> = Vec::new();
        for item in std::iter::from_fn(|| self.pop()).take(count) {
            match chunks.last_mut() {
                Some(chunk) if chunk.len() < size => chunk.push(item),
                _ => chunks.push(vec![item]),
            }
        }
        chunks
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.heap.iter().chain(&self.stack).map(|entry| &entry.subproblem)
    }

    /// Open subproblems.
    pub(crate) fn len(&self) -> usize {
        self.heap.len() + self.stack.len()
    }

    /// Smallest bound; +∞ if empty.
    pub(crate) fn worst(&self) -> f64 {
        let stacked = self.stack.iter().map(|entry| entry.bound).fold(f64::INFINITY, f64::min);
        self.heap.peek().map_or(stacked, |entry| entry.bound.min(stacked))
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn worst_first_until_memory_is_full_then_last_in_first_out() {
        let mut queue = Queue::new(30);
        for (bound, name) in [(-1.0, 'a'), (-3.0, 'b'), (-2.0, 'c'), (-9.0, 'd'), (-8.0, 'e')] {
            queue.push(bound, 10, name);
        }
        assert_eq!((queue.len(), queue.worst()), (5, -9.0));
        let names = |chunk: Vec<(f64, char)>| chunk.into_iter().map(|(_, name)| name).collect::<String>();
        let order: Vec<String> = queue.pop_chunks(32, 2).into_iter().chain(queue.pop_chunks(9, 2)).map(names).collect();
        assert_eq!(order, ["ed", "bc", "a"]);
        assert_eq!(queue.worst(), f64::INFINITY);
    }
}
