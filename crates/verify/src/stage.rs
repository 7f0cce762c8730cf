//! The stages of the cascade by name.

use std::fmt;
use std::str::FromStr;

use tightrope_engine::Relaxation;

/// One stage of the certification cascade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Projected-gradient attack: may falsify.
    Pgd,
    /// Bounds of the margins: may verify.
    Bound(Relaxation),
}

impl Stage {
    /// The cascade when none is asked for.
    pub const DEFAULT: [Stage; 4] = [
        Stage::Pgd,
        Stage::Bound(Relaxation::Ibp),
        Stage::Bound(Relaxation::CrownIbp),
        Stage::Bound(Relaxation::Crown),
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Pgd => "pgd",
            Stage::Bound(relaxation) => relaxation.name(),
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
            "alpha-crown" | "bab" => Err(format!(
                "stage `{text}` is not in this version; use pgd, ibp, crown-ibp, crown, crown-meet-ibp or crown-skip-ibp"
            )),
            _ => text.parse().map(Stage::Bound).map_err(|_| {
                format!(
                    "unknown stage `{text}`; use pgd, ibp, crown-ibp, crown, crown-meet-ibp or crown-skip-ibp, separated by commas"
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn names_round_trip_and_later_stages_are_refused_by_name() {
        for stage in Stage::DEFAULT {
            assert_eq!(stage.name().parse(), Ok(stage));
        }
        assert!("bab".parse::<Stage>().unwrap_err().contains("not in this version"));
        assert!("crwn".parse::<Stage>().unwrap_err().contains("unknown stage"));
    }
}
