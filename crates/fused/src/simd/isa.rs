//! Which instruction set the kernels run on: the machine's best, or the one named by `TIGHTROPE_ISA`.

use tightrope_engine::EngineError;

/// Environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "TIGHTROPE_ISA";

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512 F, DQ, VL and BW.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// 64-bit ARM.
    Neon,
    /// Any machine.
    Scalar,
}

/// Calls a function generic over [`Lanes`](crate::simd::lanes::Lanes) for an instruction set that was checked against the
/// machine.
macro_rules! on_isa {
    ($isa:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        // SAFETY: the caller's instruction set was checked against the machine.
        unsafe {
            match $isa {
                #[cfg(target_arch = "x86_64")]
                $crate::simd::isa::Isa::Avx512 => $function::<$crate::simd::avx512::Avx512>($($argument),*),
                #[cfg(target_arch = "x86_64")]
                $crate::simd::isa::Isa::Avx2 => $function::<$crate::simd::avx2::Avx2>($($argument),*),
                #[cfg(target_arch = "aarch64")]
                $crate::simd::isa::Isa::Neon => $function::<$crate::simd::neon::Neon>($($argument),*),
                _ => $function::<$crate::simd::scalar::Scalar>($($argument),*),
            }
        }
    };
}

pub(crate) use on_isa;

impl Isa {
    /// All instruction sets, best first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Scalar];

    /// The name in [`ISA_VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Scalar => "scalar",
        }
    }

    /// True if this machine can run it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && Isa::Avx2.available()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Isa::Scalar => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The instruction set named by `TIGHTROPE_ISA`, or the best one of this machine.
    ///
    /// # Errors
    /// If the variable names no instruction set or one that the machine lacks.
    pub fn detect() -> Result<Isa, EngineError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => Isa::named(&name),
            _ => Ok(Isa::ALL.into_iter().find(|isa| isa.available()).unwrap_or(Isa::Scalar)),
        }
    }

    /// The instruction set called `name`, if this machine has it.
    ///
    /// # Errors
    /// If there is none of that name, or the machine lacks it.
    pub fn named(name: &str) -> Result<Isa, EngineError> {
        let names = || {
            let list: Vec<_> = Isa::ALL.into_iter().filter(|isa| isa.available()).map(Isa::name).collect();
            list.join(", ")
        };
        match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
            Some(isa) if isa.available() => Ok(isa),
            Some(_) => Err(EngineError::Usage(format!(
                "{ISA_VARIABLE}={name}: this machine lacks that instruction set; it has {}",
                names()
            ))),
            None => Err(EngineError::Usage(format!(
                "{ISA_VARIABLE}={name}: no such instruction set; use one of {}",
                names()
            ))),
        }
    }
}
