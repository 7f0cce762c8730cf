//! The attacks by name: which loss each lowers and by which descent.

use std::fmt;
use std::str::FromStr;

/// One gradient attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttackKind {
    /// Projected gradient descent on the margin with a falling step size (Madry et al. 2018).
    Pgd = 0,
    /// The same on the margin to one target class after the other.
    PgdTargeted = 1,
    /// Auto-PGD on the cross-entropy (Croce & Hein 2020).
    ApgdCe = 2,
    /// Auto-PGD on the difference of logits ratio (Croce & Hein 2020, equation 6).
    ApgdDlr = 3,
    /// Auto-PGD on the targeted difference of logits ratio, one target class after the other (ibid., equation 7).
    ApgdTargeted = 4,
}

/// How the points move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descent {
    /// A step size that falls from step to step.
    Scheduled,
    /// A step size that is halved when the loss no longer falls, with momentum.
    Adaptive,
}

/// What is lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Margin,
    CrossEntropy,
    LogitsRatio,
}

impl AttackKind {
    /// Every attack.
    pub const ALL: [AttackKind; 5] =
        [AttackKind::Pgd, AttackKind::PgdTargeted, AttackKind::ApgdCe, AttackKind::ApgdDlr, AttackKind::ApgdTargeted];

    /// PGD and then AutoAttack's white-box sequence, as far as a network of `classes` has classes enough; where there
    /// are too few for the targeted logits ratio, targets are attacked by their margin.
    pub fn sequence(classes: usize) -> Vec<AttackKind> {
        let targeted = if classes < AttackKind::ApgdTargeted.classes() {
            AttackKind::PgdTargeted
        } else {
            AttackKind::ApgdTargeted
        };
        let mut kinds = vec![AttackKind::Pgd, AttackKind::ApgdCe, AttackKind::ApgdDlr, targeted];
        kinds.retain(|kind| classes >= kind.classes());
        kinds
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            AttackKind::Pgd => "pgd",
            AttackKind::PgdTargeted => "pgd-targeted",
            AttackKind::ApgdCe => "apgd-ce",
            AttackKind::ApgdDlr => "apgd-dlr",
            AttackKind::ApgdTargeted => "apgd-targeted",
        }
    }

    /// True if it goes through target classes one after the other.
    pub fn targeted(self) -> bool {
        matches!(self, AttackKind::PgdTargeted | AttackKind::ApgdTargeted)
    }

    /// The fewest classes for which its loss is defined.
    pub fn classes(self) -> usize {
        match self {
            AttackKind::Pgd => 1,
            AttackKind::PgdTargeted | AttackKind::ApgdCe => 2,
            AttackKind::ApgdDlr => 3,
            AttackKind::ApgdTargeted => 4,
        }
    }

    pub(crate) fn descent(self) -> Descent {
        match self {
            AttackKind::Pgd | AttackKind::PgdTargeted => Descent::Scheduled,
            AttackKind::ApgdCe | AttackKind::ApgdDlr | AttackKind::ApgdTargeted => Descent::Adaptive,
        }
    }

    pub(crate) fn loss(self) -> Loss {
        match self {
            AttackKind::Pgd | AttackKind::PgdTargeted => Loss::Margin,
            AttackKind::ApgdCe => Loss::CrossEntropy,
            AttackKind::ApgdDlr | AttackKind::ApgdTargeted => Loss::LogitsRatio,
        }
    }
}

impl fmt::Display for AttackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AttackKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = AttackKind::ALL.map(AttackKind::name).join(", ");
        let found = AttackKind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("unknown attack `{text}`; use one of {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::AttackKind;

    #[test]
    fn names_round_trip_and_sequences_fit_the_classes() {
        for kind in AttackKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("apgd".parse::<AttackKind>().unwrap_err().contains("apgd-ce"));
        for classes in 1..6 {
            assert!(AttackKind::sequence(classes).iter().all(|kind| kind.classes() <= classes));
        }
        assert_eq!(AttackKind::sequence(2), [AttackKind::Pgd, AttackKind::ApgdCe, AttackKind::PgdTargeted]);
        assert_eq!(AttackKind::sequence(10)[1..], [AttackKind::ApgdCe, AttackKind::ApgdDlr, AttackKind::ApgdTargeted]);
    }
}
