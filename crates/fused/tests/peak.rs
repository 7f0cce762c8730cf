//! The yardstick of the kernels, the multiply–add peak, on every instruction set of the machine.

use tightrope_fused::{Isa, Operands, peak};

/// No time is asserted: the machine may be busy.
#[test]
fn every_instruction_set_has_a_peak() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for operands in Operands::ALL {
            let found = peak(isa, operands);
            assert!(found.is_finite() && found > 0.0, "{} {}: {found}", isa.name(), operands.name());
        }
    }
}
