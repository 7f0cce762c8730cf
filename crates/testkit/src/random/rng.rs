//! Draws for tests, in sequence or at an address.

use std::cell::Cell;
use std::ops::RangeInclusive;

use tightrope_noise::{Purpose, Stream};

/// A sequential source of draws.
pub struct Rng {
    stream: Stream,
    next: Cell<u64>,
}

impl Rng {
    /// The source of a seed.
    pub fn new(seed: u64) -> Self {
        Rng { stream: Stream::new(seed, Purpose::Test, 0, 0), next: Cell::new(0) }
    }

    /// The source of a seed in a suite that meets other draws with every `TIGHTROPE_RANDOM_FIRST`, a whole number (0).
    ///
    /// # Panics
    /// If that is no whole number.
    pub fn in_turn(seed: u64) -> Self {
        let first = std::env::var("TIGHTROPE_RANDOM_FIRST").unwrap_or_else(|_| "0".into());
        let first: u64 =
            first.parse().unwrap_or_else(|_| panic!("TIGHTROPE_RANDOM_FIRST={first}: give a whole number"));
        Rng::new(first * 1_000_000 + seed)
    }

    fn advance(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// A number in [0, 1) that f32 holds.
    pub fn uniform(&self) -> f64 {
        let mut value = [0.0];
        self.stream.uniform(self.advance(), &mut value);
        f64::from(value[0])
    }

    /// That many numbers in [0, 1), the same as one by one.
    pub fn uniforms(&self, count: usize) -> Vec<f64> {
        let mut values = vec![0.0; count];
        self.stream.uniform(self.next.replace(self.next.get() + count as u64), &mut values);
        values.into_iter().map(f64::from).collect()
    }

    /// A number in [low, high).
    pub fn between(&self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A draw of N(0, 1) that f32 holds.
    pub fn normal(&self) -> f64 {
        let mut value = [0.0];
        self.stream.gaussian(self.advance(), &mut value);
        f64::from(value[0])
    }

    /// That many draws of N(0, 1).
    pub fn normals(&self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// An integer below `count`.
    pub fn below(&self, count: usize) -> usize {
        self.stream.below(self.advance(), count)
    }

    /// An integer in `low..=high`.
    pub fn integer(&self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// An integer in `range`.
    pub fn within(&self, range: &RangeInclusive<usize>) -> usize {
        self.integer(*range.start(), *range.end())
    }

    /// True or false.
    pub fn coin(&self) -> bool {
        self.integer(0, 1) == 1
    }

    /// 1 or −1.
    pub fn sign(&self) -> f64 {
        if self.coin() { 1.0 } else { -1.0 }
    }

    /// One of `choices`, of which there is at least one.
    pub fn one_of<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// `count` draws in [low, high) of one member of a seed, whatever was drawn before.
pub fn draws(seed: u64, member: u64, count: usize, low: f32, high: f32) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Stream::new(seed, Purpose::Test, 0, member).uniform(0, &mut values);
    values.iter_mut().for_each(|v| *v = low + (high - low) * *v);
    values
}
