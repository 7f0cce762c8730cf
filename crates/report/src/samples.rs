//! Samples with their pictures and largest certified radii, which the report is given.

/// One sample of a run's test data.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Place in the split, from 0.
    pub index: u64,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Values, `[C, H, W]`.
    pub pixels: Vec<f32>,
    /// True class.
    pub label: usize,
    /// Class of the largest clean logit.
    pub prediction: usize,
    /// A radius that is certified, below the largest certified one by the step of its search; none for a misclassified
    /// sample.
    pub radius: Option<f64>,
}

/// The samples of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Position of the run in the report.
    pub run: usize,
    /// How the radii were found: norm, bounds, steps.
    pub method: String,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Why there are none, or not all.
    pub remark: Option<String>,
}
