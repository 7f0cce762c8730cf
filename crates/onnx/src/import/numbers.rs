//! What an import computes from a file's constants: the nearest f64 of each number, and the number itself where that is
//! another.

use std::collections::BTreeMap;

use tightrope_exact::Enclosure;

/// A list of numbers, each exact or enclosed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// The nearest f64 of each.
    pub values: Vec<f64>,
    /// Those that are no f64, by index.
    pub finer: BTreeMap<usize, Enclosure>,
}

impl From<Vec<f64>> for Numbers {
    fn from(values: Vec<f64>) -> Self {
        Numbers { values, finer: BTreeMap::new() }
    }
}

impl FromIterator<Enclosure> for Numbers {
    fn from_iter<I: IntoIterator<Item = Enclosure>>(numbers: I) -> Self {
        let mut list = Numbers::default();
        numbers.into_iter().for_each(|number| list.push(number));
        list
    }
}

impl Numbers {
    /// `values` times `factor`.
    pub fn scaled(values: &[f64], factor: f64) -> Self {
        match factor {
            1.0 => values.to_vec().into(),
            _ => values.iter().map(|&value| product(factor, value)).collect(),
        }
    }

    /// Number of numbers.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Number `index`.
    pub fn get(&self, index: usize) -> Enclosure {
        self.finer.get(&index).cloned().unwrap_or_else(|| self.values[index].into())
    }

    /// The numbers `sources` of these.
    pub fn picked(&self, sources: impl Iterator<Item = usize>) -> Self {
        let mut list = Numbers::default();
        for source in sources {
            if let Some(finer) = self.finer.get(&source) {
                list.finer.insert(list.values.len(), finer.clone());
            }
            list.values.push(self.values[source]);
        }
        list
    }

    /// Appends a number.
    pub fn push(&mut self, number: Enclosure) {
        let value = number.value.to_f64();
        // One that f64 cannot hold at all is for the caller to refuse.
        if value.is_finite() && !number.is(value) {
            self.finer.insert(self.values.len(), number);
        }
        self.values.push(value);
    }

    /// True if every number is finite as an f64, which is nearly the number itself: what is left where constants cancel
    /// each other digit by digit may not be.
    pub fn is_sound(&self) -> bool {
        self.values.iter().all(|value| value.is_finite()) && self.finer.values().all(Enclosure::is_close)
    }
}

/// The product of two numbers, exactly.
pub fn product(a: f64, b: f64) -> Enclosure {
    Enclosure::from(a).times(&Enclosure::from(b))
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn only_what_is_no_double_is_kept_beside_it() {
        let tenth = f64::from(0.1_f32);
        let single = Numbers::scaled(&[0.5, f64::from(0.3_f32), 3.0], tenth);
        assert_eq!(single, Numbers::from(vec![0.5 * tenth, f64::from(0.3_f32) * tenth, 3.0 * tenth]));
        let double = Numbers::scaled(&[0.5, 0.1], tenth);
        assert_eq!(double.values, [0.5 * tenth, 0.1 * tenth]);
        assert_eq!(double.finer.keys().collect::<Vec<_>>(), [&1]);
        assert!(double.get(1).is_exact() && !double.get(1).is(0.1 * tenth) && double.get(0).is(0.5 * tenth));
        assert!(!Numbers::scaled(&[1e308], 1e3).is_sound());
    }
}
