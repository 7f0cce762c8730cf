//! Loops over slices compiled for the widest vector instructions that the machine has, chosen at run time.

/// Runs `work`, whose loops the compiler turns into AVX-512, AVX2 or what the target has anyway.
///
/// Results are the same to the last bit: nothing is reordered or contracted. What `work` calls must be inlined for this to
/// be of use.
#[inline]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
