//! The stages of the cascade by name.

use std::fmt;
use std::str::FromStr;

use tightrope_engine::Relaxation;
use tightrope_network::choice_text;

/// One stage of the certification cascade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Projected-gradient attack: may falsify.
    Pgd,
    /// Bounds of the margins: may verify.
    Bound(Relaxation),
    /// Margins by α-CROWN, slopes of all layers optimised: may verify.
    AlphaCrown,
    /// Branch and bound by β-CROWN until the sample is decided or its time is out: may verify and falsify.
    Bab,
}

impl Stage {
    /// The cascade when none is asked for.
    pub const DEFAULT: [Stage; 6] = [
        Stage::Pgd,
        Stage::Bound(Relaxation::Ibp),
        Stage::Bound(Relaxation::CrownIbp),
        Stage::Bound(Relaxation::Crown),
        Stage::AlphaCrown,
        Stage::Bab,
    ];

    /// True for stages that take samples one by one.
    pub fn is_individual(self) -> bool {
        matches!(self, Stage::AlphaCrown | Stage::Bab)
    }

    /// The names of all stages.
    pub fn names() -> Vec<&'static str> {
        let bounds = Relaxation::ALL.map(Stage::Bound);
        [&[Stage::Pgd], &bounds[..], &[Stage::AlphaCrown, Stage::Bab]]
            .concat()
            .iter()
            .map(|stage| stage.name())
            .collect()
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Pgd => "pgd",
            Stage::Bound(relaxation) => relaxation.name(),
            Stage::AlphaCrown => "alpha-crown",
            Stage::Bab => "bab",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pgd" => Ok(Stage::Pgd),
            "alpha-crown" => Ok(Stage::AlphaCrown),
            "bab" => Ok(Stage::Bab),
            _ => text.parse().map(Stage::Bound).map_err(|_| {
                format!("unknown stage `{text}`; use {}, separated by commas", choice_text(Stage::names()))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for stage in Stage::DEFAULT {
            assert_eq!(stage.name().parse(), Ok(stage));
        }
        assert!("crwn".parse::<Stage>().unwrap_err().contains("unknown stage"));
    }
}
