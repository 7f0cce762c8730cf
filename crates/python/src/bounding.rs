//! Bounds over regions, with a tape where gradients are wanted.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use tightrope::engine::{BoundRequest, Bounds, Norm, Region, Spec, Tape};
use tightrope::verification::complete::{AlphaCrown, AlphaSettings};
use tightrope::{Error, Optimised, Relaxation};

use crate::errors;
use crate::margins::MarginRows;
use crate::network::Shared;
use crate::number::{self, Number};

/// A method that is not a relaxation of the engines.
const ALPHA_CROWN: &str = "alpha-crown";

/// What to bound and how, as Python says it. Arrays are contiguous and of one type.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Question<'py> {
    /// Centres `[N, d]`, or lower ends.
    x: Bound<'py, PyAny>,
    /// Upper ends, for boxes.
    upper_end: Option<Bound<'py, PyAny>>,
    eps: f64,
    norm: String,
    clip: Option<(f64, f64)>,
    method: String,
    labels: Option<Vec<usize>>,
    /// `[R, K]` or `[N, R, K]`.
    matrix: Option<Bound<'py, PyAny>>,
    rows: usize,
    upper: bool,
    layers: bool,
    taped: bool,
    /// Whether the gradient of the matrix will be asked for.
    matrix_gradient: bool,
    alpha_steps: usize,
    alpha_seconds: Option<f64>,
}

/// The norm called `name`.
pub fn norm(py: Python<'_>, name: &str) -> PyResult<Norm> {
    match name {
        "inf" => Ok(Norm::Inf),
        "2" => Ok(Norm::L2),
        "1" => Ok(Norm::L1),
        _ => Err(errors::input(py, format!("norm {name}: use \"inf\", 2 or 1"))),
    }
}

/// A question with everything that it reads.
pub struct Owned<T> {
    region: Region<T>,
    spec: Spec<T>,
    request: BoundRequest,
    taped: bool,
    alpha: Option<AlphaSettings>,
    /// The rows that were asked for, where all margins are bounded in their place.
    margins: Option<Arc<MarginRows>>,
}

/// The bounds, and the tape if one was asked for.
pub struct Answer<T> {
    pub bounds: Bounds<T>,
    pub tape: Option<Tape>,
    /// Which of the margins that the tape is of the bounds are.
    pub margins: Option<Arc<MarginRows>>,
}

impl Question<'_> {
    /// Whether the inputs are of double precision.
    pub fn is_double(&self) -> PyResult<bool> {
        number::is_double(&self.x)
    }

    /// Reads the arrays.
    pub fn owned<T: Number>(&self, shared: &Shared) -> PyResult<Owned<T>> {
        let py = self.x.py();
        let engine = |error| errors::raise(py, tightrope::Error::Engine(error));
        let (d, norm) = (shared.model.network.input_len(), norm(py, &self.norm)?);
        let region = number::with_values(&self.x, |x: &[T]| match &self.upper_end {
            Some(upper) => number::with_values(upper, |upper: &[T]| Region::boxes(x, upper, d)),
            None => {
                let clip = self.clip.map(|(low, high)| (T::from_f64(low), T::from_f64(high)));
                Ok(Region::ball(x, d, T::from_f64(self.eps), norm, clip))
            }
        })??
        .map_err(engine)?;
        let alpha = self.method == ALPHA_CROWN;
        let mut margins = None;
        let spec = match (&self.labels, &self.matrix) {
            (Some(labels), _) => Spec::Margins { labels: labels.clone() },
            (None, Some(matrix)) => {
                let matrix = number::values(matrix)?;
                if !alpha && !self.matrix_gradient {
                    let sizes = [region.batch(), self.rows, shared.model.network.output_len()];
                    margins = MarginRows::of(&matrix, sizes).map(Arc::new);
                }
                match &margins {
                    Some(margins) => Spec::Margins { labels: margins.labels.clone() },
                    None => Spec::Matrix { rows: self.rows, matrix, offset: Vec::new() },
                }
            }
            (None, None) => Spec::Logits,
        };
        let relaxation = if alpha { Relaxation::Crown } else { relaxation(py, &self.method)? };
        if alpha && self.taped {
            let message = "method alpha-crown: optimised bounds have no gradient here; use crown, or torch.no_grad()";
            return Err(errors::input(py, message));
        }
        let alpha = alpha.then(|| AlphaSettings {
            iterations: self.alpha_steps,
            timeout: self.alpha_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            ..AlphaSettings::default()
        });
        let request = BoundRequest { upper: self.upper, layers: self.layers, ..BoundRequest::lower(relaxation) };
        Ok(Owned { region, spec, request, taped: self.taped, alpha, margins })
    }
}

/// The relaxation called `name`.
fn relaxation(py: Python<'_>, name: &str) -> PyResult<Relaxation> {
    name.parse().map_err(|_| {
        let known: Vec<String> = Relaxation::ALL.into_iter().map(Relaxation::listed).collect();
        errors::input(py, format!("unknown method `{name}`; use one of {}, {ALPHA_CROWN}", known.join(", ")))
    })
}

impl<T: Number> Owned<T> {
    /// Computes the bounds.
    pub fn answer(&self, shared: &Arc<Shared>) -> Result<Answer<T>, Error> {
        let at = T::handle(shared)?;
        if self.taped {
            let (bounds, tape) = at.bound_taped(&self.region, &self.spec, self.request)?;
            return Ok(self.asked(bounds, Some(tape)));
        }
        let mut bounds = at.bound(&self.region, &self.spec, self.request)?;
        if let Some(settings) = &self.alpha {
            self.optimise(shared, &mut bounds, settings)?;
        }
        Ok(self.asked(bounds, None))
    }

    /// The answer with the rows that were asked for.
    fn asked(&self, mut bounds: Bounds<T>, tape: Option<Tape>) -> Answer<T> {
        if let Some(margins) = &self.margins {
            bounds.lower = margins.gather(&bounds.lower);
            bounds.upper = bounds.upper.map(|upper| margins.gather(&upper));
            bounds.rows = margins.rows;
        }
        Answer { bounds, tape, margins: self.margins.clone() }
    }

    /// Meets the bounds with those of α-CROWN.
    fn optimise(&self, shared: &Shared, bounds: &mut Bounds<T>, settings: &AlphaSettings) -> Result<(), Error> {
        let frozen = shared.model.frozen()?;
        let weights = frozen.weights();
        let alpha = AlphaCrown::new(&frozen.network, &weights)?;
        let (classes, upper) = (alpha.outputs(), bounds.upper.is_some());
        let rows = |sample: usize| {
            let rows = self.spec.matrix_of(sample, classes);
            let mut rows: Vec<f32> = rows.iter().map(|value| value.to_f64() as f32).collect();
            if upper {
                rows.extend(rows.clone().iter().map(|value| -value));
            }
            rows
        };
        let optimised = Optimised::new(&alpha, &self.region, &rows, settings)?;
        let n = bounds.rows;
        for sample in 0..self.region.batch() {
            let (lower, negated) = optimised.rows(sample).split_at(n);
            tightrope::raise_to(&mut bounds.lower[sample * n..(sample + 1) * n], lower);
            if let Some(upper) = &mut bounds.upper {
                let negated: Vec<f64> = negated.iter().map(|bound| -bound).collect();
                tightrope::lower_to(&mut upper[sample * n..(sample + 1) * n], &negated);
            }
        }
        optimised.tighten_layers(&mut bounds.layers);
        Ok(())
    }
}
