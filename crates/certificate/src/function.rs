//! Activations other than ReLU, bounded on an interval by lines of any slope.
//!
//! A coefficient a on f(z) is replaced by any a′ on z together with the least value that a·f(z) − a′·z has on the interval.
//! Between kinks that difference is linear, so that its least value is at an end or at a kink. Which a′ is a good choice is
//! what the rule below says; a bad one makes a bound loose, never wrong. Smooth functions have such numbers of their own
//! ([`Smooth`], [`Curved`]) and no exact values.

use tightrope_exact::Dyadic;
use tightrope_network::Activation;

use crate::curved::Curved;
use crate::rounding::sub_down;
use crate::smooth::Smooth;

/// An activation other than ReLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// z where z > 0, slope·z elsewhere; slope in [0, 1).
    LeakyRelu { slope: f64 },
    /// min(max(z, lower), upper).
    Clip { lower: f64, upper: f64 },
    /// S-shaped and without kinks.
    Smooth(Smooth),
    /// Bent without kinks.
    Curved(Curved),
}

impl Function {
    /// The function of an activation; none for ReLU.
    pub(crate) fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Relu => None,
            Activation::LeakyRelu { slope } => Some(Function::LeakyRelu { slope }),
            Activation::Clip { lower, upper } => Some(Function::Clip { lower, upper }),
            Activation::Sigmoid => Some(Function::Smooth(Smooth::Sigmoid)),
            Activation::Tanh => Some(Function::Smooth(Smooth::Tanh)),
            Activation::Exp => Some(Function::Curved(Curved::Exp)),
            Activation::Softplus => Some(Function::Curved(Curved::Softplus)),
            Activation::Reciprocal => Some(Function::Curved(Curved::Reciprocal)),
            Activation::Power { exponent } => Some(Function::Curved(Curved::Power(exponent))),
        }
    }

    /// Whether it does not fall anywhere.
    pub(crate) fn is_increasing(self) -> bool {
        match self {
            Function::LeakyRelu { .. } | Function::Clip { .. } | Function::Smooth(_) => true,
            Function::Curved(curved) => curved.is_increasing(),
        }
    }

    /// Whether it is linear between its kinks, so that exact arithmetic has its values.
    pub(crate) fn is_piecewise_linear(self) -> bool {
        match self {
            Function::LeakyRelu { .. } | Function::Clip { .. } => true,
            Function::Smooth(_) | Function::Curved(_) => false,
        }
    }

    fn kinks(self) -> impl Iterator<Item = f64> {
        let (first, second) = match self {
            Function::LeakyRelu { .. } => (Some(0.0), None),
            Function::Clip { lower, upper } => (Some(lower), Some(upper)),
            Function::Smooth(_) | Function::Curved(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Whether it is not linear on the interval.
    pub(crate) fn is_open(self, l: f64, u: f64) -> bool {
        !self.is_piecewise_linear() && l < u || self.kinks().any(|kink| l < kink && kink < u)
    }

    /// Two neighbouring numbers, or one twice, between which f(x) lies.
    fn at(self, x: f64) -> (f64, f64) {
        match self {
            Function::LeakyRelu { slope } if x < 0.0 => {
                let y = slope * x;
                (y.next_down(), y.next_up())
            }
            Function::LeakyRelu { .. } => (x, x),
            Function::Clip { lower, upper } => {
                let y = x.max(lower).min(upper);
                (y, y)
            }
            Function::Smooth(smooth) => smooth.at(x),
            Function::Curved(curved) => curved.at(x),
        }
    }

    /// An interval around the values on [l, u].
    pub(crate) fn interval(self, l: f64, u: f64) -> (f64, f64) {
        match self {
            Function::Curved(curved) => curved.interval(l, u),
            Function::LeakyRelu { .. } | Function::Clip { .. } | Function::Smooth(_) => (self.at(l).0, self.at(u).1),
        }
    }

    /// f(x / scale)·scale of a piecewise linear function.
    pub(crate) fn exactly(self, x: &Dyadic, scale: &Dyadic) -> Dyadic {
        match self {
            Function::LeakyRelu { slope } if x.is_negative() => x * &slope.into(),
            Function::LeakyRelu { .. } => x.clone(),
            Function::Clip { lower, upper } => {
                let (lower, upper) = (&Dyadic::from(lower) * scale, &Dyadic::from(upper) * scale);
                if *x < lower {
                    lower
                } else if *x > upper {
                    upper
                } else {
                    x.clone()
                }
            }
            Function::Smooth(_) | Function::Curved(_) => {
                unreachable!("exact arithmetic has no values of smooth functions")
            }
        }
    }

    /// The piece of a piecewise linear function on the side of its kinks that `above` tells: slope, and value where that is 0.
    pub(crate) fn piece(self, above: impl Fn(f64) -> bool) -> (f64, f64) {
        match self {
            Function::LeakyRelu { slope } => (if above(0.0) { 1.0 } else { slope }, 0.0),
            Function::Clip { lower, upper } => {
                if above(upper) {
                    (0.0, upper)
                } else if above(lower) {
                    (1.0, 0.0)
                } else {
                    (0.0, lower)
                }
            }
            Function::Smooth(_) | Function::Curved(_) => unreachable!("smooth functions have no pieces"),
        }
    }

    /// The slope of a line on [l, u] below f (or above): the one that `share` mixes of two, and without one the one of least
    /// area.
    ///
    /// Leaky ReLU: below, slope·z and z. Clip: below, the constant and the line from the lower kink to (u, f(u)); above, the
    /// line from (l, f(l)) to the upper kink and the constant, but the other way round where both kinks are inside and the
    /// middle is between them. Elsewhere the chord.
    pub(crate) fn slope(self, below: bool, l: f64, u: f64, share: Option<f32>) -> f64 {
        let value = |x: f64| self.at(x).0;
        let chord = if u > l { (value(u) - value(l)) / (u - l) } else { 0.0 };
        let mixed = |first: f64, second: f64, least_area: bool| {
            let share = share.map_or(if least_area { 1.0 } else { 0.0 }, f64::from);
            (1.0 - share) * first + share * second
        };
        let slope = match self {
            Function::Smooth(smooth) => smooth.slope(below, l, u),
            Function::Curved(curved) => curved.slope(below, l, u),
            Function::LeakyRelu { slope } if l < 0.0 && u > 0.0 && below => mixed(slope, 1.0, u > -l),
            Function::LeakyRelu { slope } if u <= 0.0 => slope,
            Function::LeakyRelu { .. } if l >= 0.0 => 1.0,
            Function::LeakyRelu { .. } => chord,
            Function::Clip { .. } if !self.is_open(l, u) => {
                let (slope, _) = self.piece(|kink| l >= kink);
                slope
            }
            Function::Clip { lower, upper } => {
                let (left, right) = (l < lower, u > upper);
                let middle = 0.5 * (l + u);
                let (rises, is_high) = (middle > lower, middle >= upper);
                if below && left {
                    mixed(0.0, (value(u) - lower) / (u - lower), rises)
                } else if !below && right {
                    let slanted = (upper - value(l)) / (upper - l);
                    match left {
                        true if rises != is_high => mixed(0.0, slanted, rises),
                        true => mixed(slanted, 0.0, rises),
                        false => mixed(slanted, 0.0, is_high),
                    }
                } else {
                    chord
                }
            }
        };
        if slope.is_finite() { slope } else { 0.0 }
    }

    /// Where a·f(z) − b·z may be least on [l, u].
    fn corners(self, l: f64, u: f64) -> impl Iterator<Item = f64> {
        [l, u].into_iter().chain(self.kinks().filter(move |&kink| l < kink && kink < u))
    }

    /// A number not above a·f(z) − b·z anywhere on [l, u].
    pub(crate) fn least(self, a: f64, b: f64, l: f64, u: f64) -> f64 {
        match self {
            Function::Smooth(smooth) => return smooth.least(a, b, l, u),
            Function::Curved(curved) => return curved.least(a, b, l, u),
            Function::LeakyRelu { .. } | Function::Clip { .. } => {}
        }
        let at = |x: f64| {
            let (low, high) = self.at(x);
            sub_down((a * if a >= 0.0 { low } else { high }).next_down(), (b * x).next_up())
        };
        self.corners(l, u).map(at).fold(f64::INFINITY, f64::min)
    }

    /// The least value of a·f(z) − b·z on [l, u], f being piecewise linear.
    pub(crate) fn least_exactly(self, a: &Dyadic, b: &Dyadic, l: f64, u: f64) -> Dyadic {
        let at = |x: f64| {
            let x = Dyadic::from(x);
            &(a * &self.exactly(&x, &Dyadic::one())) - &(b * &x)
        };
        let mut corners = self.corners(l, u);
        let first = at(corners.next().unwrap_or(l));
        corners.map(at).fold(first, |least, value| if value < least { value } else { least })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightrope_exact::Dyadic;

    use super::Function;

    const ALL: [Function; 5] = [
        Function::LeakyRelu { slope: 0.1 },
        Function::LeakyRelu { slope: 0.0 },
        Function::Clip { lower: -1.0, upper: 1.0 },
        Function::Clip { lower: 0.1, upper: 0.3 },
        Function::Clip { lower: 0.0, upper: 6.0 },
    ];

    proptest! {
        /// Whatever the coefficients, the constant is below the difference at every point, exactly; and lines by the rule
        /// touch the function.
        #[test]
        fn constants_are_below_everywhere(
            a in -3.0_f64..3.0, b in -3.0_f64..3.0, l in -3.0_f64..3.0, width in 0.0_f64..8.0,
            shares in prop::collection::vec(0.0_f64..=1.0, 8), alpha in 0.0_f32..=1.0,
        ) {
            let u = l + width;
            for f in ALL {
                let slope = f.slope(a > 0.0, l, u, Some(alpha));
                prop_assert!((0.0..=1.0 + 1e-12).contains(&slope), "{f:?} on [{l}, {u}]: slope {slope}");
                for b in [b, a * slope] {
                    let (constant, exact) = (f.least(a, b, l, u), f.least_exactly(&a.into(), &b.into(), l, u));
                    prop_assert!(Dyadic::from(constant) <= exact);
                    prop_assert!(exact.to_f64() - constant <= 1e-12 * (1.0 + exact.to_f64().abs() + width));
                    for share in shares.iter().chain(&[0.0, 1.0]) {
                        let x = (l + share * width).clamp(l, u);
                        let value = f.exactly(&x.into(), &Dyadic::one());
                        let difference = &(&Dyadic::from(a) * &value) - &(&Dyadic::from(b) * &x.into());
                        prop_assert!(exact <= difference, "{f:?} on [{l}, {u}] at {x}");
                        let (low, high) = f.interval(l, u);
                        prop_assert!(Dyadic::from(low) <= value && value <= Dyadic::from(high));
                    }
                }
            }
        }
    }
}
