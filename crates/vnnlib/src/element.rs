//! The element types of VNN-LIB 2.0's tensors.

use crate::variables::shorten;

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Element {
    /// Real numbers; so are taken the floating-point types, whose values a program rounds.
    Real,
    /// The whole numbers of [least, largest].
    Whole {
        /// Exact, or beyond what f64 tells apart.
        least: f64,
        /// The same.
        largest: f64,
    },
}

impl Element {
    /// The type of this name.
    pub(crate) fn named(name: &str) -> Result<Element, String> {
        let signed = |bits: i32| Element::Whole { least: -f64::powi(2.0, bits - 1), largest: below(bits - 1) };
        let unsigned = |bits: i32| Element::Whole { least: 0.0, largest: below(bits) };
        // 2^bits − 1; where f64 cannot tell it from 2^bits, the f64 below.
        fn below(bits: i32) -> f64 {
            let power = f64::powi(2.0, bits);
            if bits <= 53 { power - 1.0 } else { power.next_down() }
        }
        Ok(match name {
            "Real" | "real" | "float16" | "float32" | "float64" | "bfloat16" | "float8e4m3fn" | "float8e4m3fnuz"
            | "float8e5m2" | "float8e5m2fnuz" | "float4e2m1" => Element::Real,
            "int4" => signed(4),
            "int8" => signed(8),
            "int16" => signed(16),
            "int32" => signed(32),
            "int64" => signed(64),
            "uint4" => unsigned(4),
            "uint8" => unsigned(8),
            "uint16" => unsigned(16),
            "uint32" => unsigned(32),
            "uint64" => unsigned(64),
            "bool" => unsigned(1),
            "complex64" | "complex128" | "string" => {
                return Err(format!("elements of type `{name}` have no order to bound them by; use float32"));
            }
            _ => {
                return Err(format!(
                    "the type `{}` is unknown; use Real, or a type of ONNX such as float32 or int8",
                    shorten(name)
                ));
            }
        })
    }
}
