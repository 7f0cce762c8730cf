//! The bounding methods by name; the mathematics of each is in the engines.

use std::fmt;
use std::str::FromStr;

/// How intermediate and final bounds are computed (sources: Gowal et al. 2018; Mirman et al. 2018; Zhang et al. 2018, 2020;
/// Singh et al. 2018, 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relaxation {
    /// Interval arithmetic everywhere, final specification merged into the last linear layer.
    Ibp,
    /// Centres and the input's error terms are followed exactly; an unstable ReLU becomes an interval, and the radii of those
    /// go on as a box.
    Hbox,
    /// Interval arithmetic for the intermediate bounds, one backward substitution for the specification.
    CrownIbp,
    /// Affine forms (= DeepZ): an unstable ReLU keeps its form times λ_u and adds an error term of its own.
    Zonotope,
    /// Backward substitution to the input for every pre-activation and the specification (= DeepPoly),
    /// intermediate bounds not intersected with IBP.
    Crown,
    /// As [`Relaxation::Crown`], every intermediate bound intersected with its IBP bound. The bounds of the specification are
    /// not: they may be looser than IBP's.
    CrownMeetIbp,
    /// As [`Relaxation::Crown`], but neurons that IBP proves stable keep their IBP bounds, without a gradient through them.
    CrownSkipIbp,
}

/// Where a relaxation takes the bounds of a pre-activation from, from which the lines of the activation are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intermediate {
    /// Interval arithmetic.
    Interval,
    /// Backward substitution to the input.
    Backward,
    /// The intersection of both.
    Intersection,
    /// Backward substitution where interval arithmetic leaves the neuron unstable, interval arithmetic elsewhere.
    BackwardIfUnstable,
}

/// How a relaxation bounds the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// Interval arithmetic up to the last linear layer, into which the specification is merged.
    Interval,
    /// Backward substitution to the input.
    Backward,
}

/// How a relaxation chooses the lower line's slope λ_l of an unstable ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerSlope {
    /// 1 if u > −l, else 0: the line of least area (Singh et al. 2019; Zhang et al. 2018).
    Adaptive,
    /// λ_u = u/(u − l), that of the upper line. Both lines together are an affine form with one error term, so that
    /// back-substitution along them gives what the zonotope gives (Singh et al. 2018).
    Parallel,
    /// 0, and the upper line is the constant u: an interval (Mirman et al. 2018).
    Constant,
}

impl Relaxation {
    /// Where intermediate bounds come from.
    pub fn intermediate(self) -> Intermediate {
        match self {
            Relaxation::Ibp | Relaxation::CrownIbp => Intermediate::Interval,
            Relaxation::Hbox | Relaxation::Zonotope | Relaxation::Crown => Intermediate::Backward,
            Relaxation::CrownMeetIbp => Intermediate::Intersection,
            Relaxation::CrownSkipIbp => Intermediate::BackwardIfUnstable,
        }
    }

    /// How the specification is bounded.
    pub fn last(self) -> Final {
        match self {
            Relaxation::Ibp => Final::Interval,
            Relaxation::Hbox
            | Relaxation::CrownIbp
            | Relaxation::Zonotope
            | Relaxation::Crown
            | Relaxation::CrownMeetIbp
            | Relaxation::CrownSkipIbp => Final::Backward,
        }
    }

    /// The rule of the lower slopes; none without lines.
    pub fn lower_slope(self) -> Option<LowerSlope> {
        match self {
            Relaxation::Ibp => None,
            Relaxation::CrownIbp | Relaxation::Crown | Relaxation::CrownMeetIbp | Relaxation::CrownSkipIbp => {
                Some(LowerSlope::Adaptive)
            }
            Relaxation::Zonotope => Some(LowerSlope::Parallel),
            Relaxation::Hbox => Some(LowerSlope::Constant),
        }
    }

    /// Whether the error terms that activations add, half the distances of their two lines, go on as a box: their magnitudes
    /// through |W|, layer by layer, where they do not cancel. Both lines must be parallel.
    pub fn boxes_errors(self) -> bool {
        match self {
            Relaxation::Hbox => true,
            Relaxation::Ibp
            | Relaxation::CrownIbp
            | Relaxation::Zonotope
            | Relaxation::Crown
            | Relaxation::CrownMeetIbp
            | Relaxation::CrownSkipIbp => false,
        }
    }

    /// All relaxations, mostly from the loosest to the tightest.
    pub const ALL: [Relaxation; 7] = [
        Relaxation::Ibp,
        Relaxation::Hbox,
        Relaxation::CrownIbp,
        Relaxation::Zonotope,
        Relaxation::Crown,
        Relaxation::CrownMeetIbp,
        Relaxation::CrownSkipIbp,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Relaxation::Ibp => "ibp",
            Relaxation::Hbox => "hbox",
            Relaxation::Zonotope => "zonotope",
            Relaxation::CrownIbp => "crown-ibp",
            Relaxation::Crown => "crown",
            Relaxation::CrownMeetIbp => "crown-meet-ibp",
            Relaxation::CrownSkipIbp => "crown-skip-ibp",
        }
    }

    /// Other names that mean the same.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Relaxation::Crown => &["deeppoly"],
            Relaxation::Zonotope => &["deepz"],
            Relaxation::Ibp
            | Relaxation::Hbox
            | Relaxation::CrownIbp
            | Relaxation::CrownMeetIbp
            | Relaxation::CrownSkipIbp => &[],
        }
    }

    /// The name with its aliases, as lists show it: "crown (= deeppoly)".
    pub fn listed(self) -> String {
        match self.aliases() {
            [] => self.name().into(),
            aliases => format!("{} (= {})", self.name(), aliases.join(", ")),
        }
    }

    /// What it is and where it was published, in a sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Relaxation::Ibp => {
                "Interval arithmetic, the specification merged into the last linear layer (Gowal et al. 2018)"
            }
            Relaxation::Hbox => {
                "Hybrid zonotope: centres and the input's error terms stay affine forms, an unstable activation becomes an \
                 interval, and those go on as a box; over boxes never looser than ibp (Mirman et al. 2018)"
            }
            Relaxation::Zonotope => {
                "Affine forms: an unstable activation keeps its form, scaled, and adds an error term \
                 (DeepZ, Singh et al. 2018)"
            }
            Relaxation::CrownIbp => {
                "Pre-activations by interval arithmetic, one backward substitution for the specification \
                 (Zhang et al. 2020)"
            }
            Relaxation::Crown => {
                "Backward substitution to the input for every pre-activation and the specification; intermediate bounds \
                 are not intersected with interval bounds (Zhang et al. 2018; Singh et al. 2019)"
            }
            Relaxation::CrownMeetIbp => {
                "As crown, every intermediate bound intersected with its interval bound, the specification's not; tighter \
                 per layer, yet not monotone, since a lower slope may flip"
            }
            Relaxation::CrownSkipIbp => {
                "As crown, but neurons that interval arithmetic proves stable keep their interval bounds, without a \
                 gradient through them; fast on networks with many such neurons"
            }
        }
    }
}

impl fmt::Display for Relaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Relaxation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Relaxation::ALL.into_iter().find(|r| r.name() == text || r.aliases().contains(&text)).ok_or_else(|| {
            let known: Vec<_> = Relaxation::ALL.iter().map(|r| r.name()).collect();
            format!("unknown relaxation `{text}`; use one of {}", known.join(", "))
        })
    }
}
