//! Input regions of a batch: boxes and norm balls, optionally clipped to the data range.

use crate::{EngineError, Real};

/// The norm p of a perturbation ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// ℓ∞.
    Inf,
    /// ℓ2.
    L2,
    /// ℓ1.
    L1,
}

/// An ℓ1 or ℓ2 ball around each sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Ball<T> {
    /// The norm; never [`Norm::Inf`], which is a box.
    pub norm: Norm,
    /// Centres `[N, d]`.
    pub center: Vec<T>,
    /// Radius ε ≥ 0.
    pub epsilon: T,
}

/// One convex input set per sample: a box {c ± r}, or a ball, or the intersection of both.
///
/// Invariant: `center` and `radius` always hold a box that contains the set (for an unclipped
/// ball its bounding box), so interval code may use them for any region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region<T> {
    batch: usize,
    dimension: usize,
    /// Box centres `[N, d]`.
    pub center: Vec<T>,
    /// Box radii `[N, d]`, ≥ 0, per pixel.
    pub radius: Vec<T>,
    /// The ball, if the set is not just the box.
    pub ball: Option<Ball<T>>,
    /// True if the box cuts the ball (data range): bounds take the better of the two concretisations.
    pub clipped: bool,
}

impl<T: Real> Region<T> {
    /// {x' : ‖x' − x‖_p ≤ ε}, intersected with [lo, hi]^d if `clip` is given. `x` is `[N, d]`.
    ///
    /// # Errors
    /// If ε is negative or not finite, x is not finite, or clipping leaves nothing (x outside the data range by more than ε).
    pub fn ball(x: &[T], dimension: usize, epsilon: T, norm: Norm, clip: Option<(T, T)>) -> Result<Self, EngineError> {
        let batch = batch_of(x.len(), dimension)?;
        if !(epsilon >= T::ZERO && epsilon.is_finite()) {
            return Err(EngineError::Usage(format!("ε = {epsilon} must be a finite number ≥ 0")));
        }
        let fault = |i: usize, problem: String| EngineError::Region { sample: i / dimension, problem };
        if let Some(i) = first_where(x, |value| !value.is_finite()) {
            return Err(fault(i, format!("pixel {} is {}", i % dimension, x[i])));
        }
        // A pass for each question, none with a branch: for interval bounds of small networks this would be a fifth of the time.
        let (center, radius) = match clip {
            None => (x.to_vec(), vec![epsilon; x.len()]),
            Some((low, high)) => {
                let half = T::from_f64(0.5);
                let ends = |value: T| ((value - epsilon).max(low), (value + epsilon).min(high));
                if let Some(i) = first_where(x, |value| ends(value).0 > ends(value).1) {
                    return Err(fault(
                        i,
                        format!(
                            "pixel {} = {} lies outside the data range [{low}, {high}]; scale the inputs or change --clip",
                            i % dimension,
                            x[i]
                        ),
                    ));
                }
                let (lower, upper) = (|value| ends(value).0, |value| ends(value).1);
                let center = x.iter().map(|&value| (lower(value) + upper(value)) * half).collect();
                (center, x.iter().map(|&value| (upper(value) - lower(value)) * half).collect())
            }
        };
        let ball = (norm != Norm::Inf).then(|| Ball { norm, center: x.to_vec(), epsilon });
        Ok(Region { batch, dimension, center, radius, clipped: clip.is_some() && ball.is_some(), ball })
    }

    /// The boxes [lower, upper], each `[N, d]`.
    ///
    /// # Errors
    /// If a bound is not finite or lower exceeds upper.
    pub fn boxes(lower: &[T], upper: &[T], dimension: usize) -> Result<Self, EngineError> {
        let batch = batch_of(lower.len(), dimension)?;
        EngineError::check_length("upper bounds", upper.len(), lower.len())?;
        let half = T::from_f64(0.5);
        let mut center = Vec::with_capacity(lower.len());
        let mut radius = Vec::with_capacity(lower.len());
        for (i, (&l, &u)) in lower.iter().zip(upper).enumerate() {
            if !(l.is_finite() && u.is_finite() && l <= u) {
                return Err(EngineError::Region {
                    sample: i / dimension,
                    problem: format!("element {}: [{l}, {u}] is no interval", i % dimension),
                });
            }
            center.push((l + u) * half);
            radius.push((u - l) * half);
        }
        Ok(Region { batch, dimension, center, radius, ball: None, clipped: false })
    }

    /// Fails unless the public fields still hold a region: all of the right length, finite, radii ≥ 0.
    ///
    /// # Errors
    /// What is wrong, and in which sample.
    pub fn check(&self) -> Result<(), EngineError> {
        let length = self.batch * self.dimension;
        EngineError::check_length("the region's centre", self.center.len(), length)?;
        EngineError::check_length("the region's radii", self.radius.len(), length)?;
        let sample = |i: usize| i / self.dimension;
        let finite = |values: &[T]| match first_where(values, |v| !v.is_finite()) {
            Some(i) => {
                let problem = format!("element {} of its centre is {}", i % self.dimension, values[i]);
                Err(EngineError::Region { sample: sample(i), problem })
            }
            None => Ok(()),
        };
        finite(&self.center)?;
        if let Some(i) = first_where(&self.radius, |r| !((r >= T::ZERO) & r.is_finite())) {
            let problem = format!("radius {} is {}, not a finite number ≥ 0", i % self.dimension, self.radius[i]);
            return Err(EngineError::Region { sample: sample(i), problem });
        }
        if let Some(ball) = &self.ball {
            EngineError::check_length("the ball's centre", ball.center.len(), length)?;
            finite(&ball.center)?;
            if !(ball.epsilon >= T::ZERO && ball.epsilon.is_finite()) {
                return Err(EngineError::Usage(format!("ε = {} must be a finite number ≥ 0", ball.epsilon)));
            }
        }
        Ok(())
    }

    /// Number of samples N.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Input elements d.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// A region of the same shape and kind without the numbers of its samples.
    pub fn outline(&self) -> Self {
        Region {
            batch: self.batch,
            dimension: self.dimension,
            center: Vec::new(),
            radius: Vec::new(),
            ball: self.ball.as_ref().map(|ball| Ball { center: Vec::new(), ..*ball }),
            clipped: self.clipped,
        }
    }

    /// The samples `first .. first + count` as a region of their own.
    pub fn slice(&self, first: usize, count: usize) -> Self {
        let range = first * self.dimension..(first + count) * self.dimension;
        Region {
            batch: count,
            dimension: self.dimension,
            center: self.center[range.clone()].to_vec(),
            radius: self.radius[range.clone()].to_vec(),
            ball: self.ball.as_ref().map(|ball| Ball { center: ball.center[range].to_vec(), ..*ball }),
            clipped: self.clipped,
        }
    }
}

fn batch_of(values: usize, dimension: usize) -> Result<usize, EngineError> {
    if dimension == 0 || !values.is_multiple_of(dimension) {
        return Err(EngineError::Usage(format!("{values} input values are no multiple of the input size {dimension}")));
    }
    Ok(values / dimension)
}

/// Index of the first value that is `bad`: whole blocks are tested without a branch, so that good ones cost little.
fn first_where<T: Real>(values: &[T], bad: impl Fn(T) -> bool) -> Option<usize> {
    const BLOCK: usize = 64;
    let block = values.chunks(BLOCK).position(|block| block.iter().fold(false, |found, &v| found | bad(v)))?;
    values[block * BLOCK..].iter().position(|&v| bad(v)).map(|i| block * BLOCK + i)
}
