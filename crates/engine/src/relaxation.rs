//! The bounding methods by name; the mathematics of each is in the engines.

use std::fmt;
use std::str::FromStr;

use crate::Real;

/// How intermediate and final bounds are computed (sources: Gowal et al. 2018; Zhang et al. 2018, 2020; Singh et al. 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relaxation {
    /// Interval arithmetic everywhere, final specification merged into the last linear layer.
    Ibp,
    /// Interval arithmetic for the intermediate bounds, one backward substitution for the specification.
    CrownIbp,
    /// Backward substitution to the input for every pre-activation and the specification (= DeepPoly),
    /// intermediate bounds not intersected with IBP.
    Crown,
    /// As [`Relaxation::Crown`], every intermediate bound intersected with its IBP bound.
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
}

impl LowerSlope {
    /// Whether the lower line over l < 0 < u follows the ReLU's right branch, not its left one.
    pub fn is_right<T: Real>(self, l: T, u: T) -> bool {
        match self {
            LowerSlope::Adaptive => u > -l,
        }
    }
}

impl Relaxation {
    /// Where intermediate bounds come from.
    pub fn intermediate(self) -> Intermediate {
        match self {
            Relaxation::Ibp | Relaxation::CrownIbp => Intermediate::Interval,
            Relaxation::Crown => Intermediate::Backward,
            Relaxation::CrownMeetIbp => Intermediate::Intersection,
            Relaxation::CrownSkipIbp => Intermediate::BackwardIfUnstable,
        }
    }

    /// How the specification is bounded.
    pub fn last(self) -> Final {
        match self {
            Relaxation::Ibp => Final::Interval,
            Relaxation::CrownIbp | Relaxation::Crown | Relaxation::CrownMeetIbp | Relaxation::CrownSkipIbp => {
                Final::Backward
            }
        }
    }

    /// The rule of the lower slopes; none without lines.
    pub fn lower_slope(self) -> Option<LowerSlope> {
        match self {
            Relaxation::Ibp => None,
            Relaxation::CrownIbp | Relaxation::Crown | Relaxation::CrownMeetIbp | Relaxation::CrownSkipIbp => {
                Some(LowerSlope::Adaptive)
            }
        }
    }

    /// All relaxations, loosest first.
    pub const ALL: [Relaxation; 5] =
        [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown, Relaxation::CrownMeetIbp, Relaxation::CrownSkipIbp];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Relaxation::Ibp => "ibp",
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
            Relaxation::Ibp | Relaxation::CrownIbp | Relaxation::CrownMeetIbp | Relaxation::CrownSkipIbp => &[],
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
            Relaxation::CrownIbp => {
                "Pre-activations by interval arithmetic, one backward substitution for the specification \
                 (Zhang et al. 2020)"
            }
            Relaxation::Crown => {
                "Backward substitution to the input for every pre-activation and the specification; intermediate bounds \
                 are not intersected with interval bounds (Zhang et al. 2018; Singh et al. 2019)"
            }
            Relaxation::CrownMeetIbp => {
                "As crown, every intermediate bound intersected with its interval bound; tighter per layer, yet not \
                 monotone, since a lower slope may flip"
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
