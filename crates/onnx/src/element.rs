//! Types of tensor elements: their widths, their bytes, and rounding to them.

use crate::proto::{TensorProto, code};

/// How the elements of a type are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Floating point: digits of the mantissa and smallest exponent of a normal number; f32 and f64 are the machine's.
    Real,
    /// Whole numbers and truth values.
    Integer,
}

/// The class of a `TensorProto.DataType`; none for those that are not read.
pub fn class(kind: i32) -> Option<Class> {
    match kind {
        code::TENSOR_FLOAT | code::TENSOR_DOUBLE | code::TENSOR_HALF | code::TENSOR_BFLOAT16 => Some(Class::Real),
        code::TENSOR_UINT8
        | code::TENSOR_INT8
        | code::TENSOR_UINT16
        | code::TENSOR_INT16
        | code::TENSOR_INT32
        | code::TENSOR_INT64
        | code::TENSOR_BOOL
        | code::TENSOR_UINT32 => Some(Class::Integer),
        _ => None,
    }
}

/// The whole numbers that a type of the class [`Class::Integer`] holds.
pub fn range(kind: i32) -> std::ops::RangeInclusive<i64> {
    match kind {
        code::TENSOR_BOOL => 0..=1,
        code::TENSOR_UINT8 => 0..=u8::MAX.into(),
        code::TENSOR_INT8 => i8::MIN.into()..=i8::MAX.into(),
        code::TENSOR_UINT16 => 0..=u16::MAX.into(),
        code::TENSOR_INT16 => i16::MIN.into()..=i16::MAX.into(),
        code::TENSOR_INT32 => i32::MIN.into()..=i32::MAX.into(),
        code::TENSOR_UINT32 => 0..=u32::MAX.into(),
        _ => i64::MIN..=i64::MAX,
    }
}

/// Bytes of an element as raw data.
pub fn width(kind: i32) -> usize {
    match kind {
        code::TENSOR_UINT8 | code::TENSOR_INT8 | code::TENSOR_BOOL => 1,
        code::TENSOR_UINT16 | code::TENSOR_INT16 | code::TENSOR_HALF | code::TENSOR_BFLOAT16 => 2,
        code::TENSOR_FLOAT | code::TENSOR_INT32 | code::TENSOR_UINT32 => 4,
        _ => 8,
    }
}

/// The real numbers of raw data.
pub fn reals(kind: i32, raw: &[u8]) -> Result<Vec<f64>, String> {
    Ok(match kind {
        code::TENSOR_DOUBLE => chunks(raw, f64::from_le_bytes)?.collect(),
        code::TENSOR_HALF => chunks(raw, |bytes| half(u16::from_le_bytes(bytes)))?.collect(),
        code::TENSOR_BFLOAT16 => chunks(raw, |bytes| brain(u16::from_le_bytes(bytes)))?.collect(),
        _ => chunks(raw, |bytes| f64::from(f32::from_le_bytes(bytes)))?.collect(),
    })
}

/// The whole numbers of raw data.
pub fn integers(kind: i32, raw: &[u8]) -> Result<Vec<i64>, String> {
    Ok(match kind {
        code::TENSOR_UINT8 => raw.iter().map(|&byte| byte.into()).collect(),
        code::TENSOR_BOOL => raw.iter().map(|&byte| (byte != 0).into()).collect(),
        code::TENSOR_INT8 => raw.iter().map(|&byte| byte.cast_signed().into()).collect(),
        code::TENSOR_UINT16 => chunks(raw, |bytes| u16::from_le_bytes(bytes).into())?.collect(),
        code::TENSOR_INT16 => chunks(raw, |bytes| i16::from_le_bytes(bytes).into())?.collect(),
        code::TENSOR_INT32 => chunks(raw, |bytes| i32::from_le_bytes(bytes).into())?.collect(),
        code::TENSOR_UINT32 => chunks(raw, |bytes| u32::from_le_bytes(bytes).into())?.collect(),
        _ => chunks(raw, i64::from_le_bytes)?.collect(),
    })
}

/// The real numbers that a tensor lists one by one.
pub fn listed_reals(proto: &TensorProto) -> Vec<f64> {
    let bits = |value: &i32| *value as u16;
    match proto.data_type {
        code::TENSOR_DOUBLE => proto.double_data.clone(),
        code::TENSOR_HALF => proto.int32_data.iter().map(|value| half(bits(value))).collect(),
        code::TENSOR_BFLOAT16 => proto.int32_data.iter().map(|value| brain(bits(value))).collect(),
        _ => proto.float_data.iter().map(|&value| f64::from(value)).collect(),
    }
}

/// The whole numbers that a tensor lists one by one.
pub fn listed_integers(proto: &TensorProto) -> Vec<i64> {
    match proto.data_type {
        code::TENSOR_INT64 => proto.int64_data.clone(),
        code::TENSOR_UINT32 => proto.uint64_data.iter().map(|&value| value.cast_signed()).collect(),
        _ => proto.int32_data.iter().map(|&value| value.into()).collect(),
    }
}

/// `value` as the type holds it: nearest, ties to even.
pub fn round(kind: i32, value: f64) -> f64 {
    match kind {
        code::TENSOR_DOUBLE => value,
        code::TENSOR_HALF => short(value, 11, -14, 65504.0),
        code::TENSOR_BFLOAT16 => short(value, 8, -126, f64::from(f32::from_bits(0x7f7f_0000))),
        _ => f64::from(value as f32),
    }
}

/// The nearest number of so many binary digits whose normal ones begin at 2^least and end with `largest`.
fn short(value: f64, digits: i32, least: i32, largest: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let exponent = (value.abs().log2().floor() as i32).max(least);
    let unit = 2.0_f64.powi(exponent + 1 - digits);
    let rounded = (value / unit).round_ties_even() * unit;
    if rounded.abs() > largest { f64::INFINITY.copysign(value) } else { rounded }
}

/// An IEEE half-precision number.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// A bfloat16 number: the upper half of an f32.
fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

fn chunks<T, const N: usize>(raw: &[u8], from: impl Fn([u8; N]) -> T) -> Result<impl Iterator<Item = T>, String> {
    let (values, rest) = raw.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!("its {} bytes are no whole number of {N}-byte values; the file is damaged", raw.len()));
    }
    Ok(values.iter().map(move |bytes| from(*bytes)))
}

/// Name of a `TensorProto.DataType`.
pub fn name(kind: i32) -> String {
    let known = match kind {
        0 => "undefined",
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => "string",
        9 => "bool",
        10 => "float16",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        16 => "bfloat16",
        other => return format!("number {other}"),
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use super::{brain, half, round};
    use crate::proto::code;

    #[test]
    fn short_numbers_are_read_and_rounded() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2.0_f64.powi(-24)),
            (0x3555, 0.333_251_953_125),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value);
            assert_eq!(round(code::TENSOR_HALF, value), value);
        }
        assert_eq!(half(0x7c00), f64::INFINITY);
        assert!(half(0x7e00).is_nan());
        assert_eq!(round(code::TENSOR_HALF, 1.0 / 3.0), half(0x3555));
        assert_eq!(round(code::TENSOR_HALF, 65519.9), 65504.0);
        assert_eq!(round(code::TENSOR_HALF, -65520.0), f64::NEG_INFINITY);
        assert_eq!(round(code::TENSOR_HALF, 2.0_f64.powi(-25)), 0.0);
        assert_eq!([brain(0x3f80), brain(0xc049)], [1.0, -3.140625]);
        assert_eq!(round(code::TENSOR_BFLOAT16, 3.1), 3.09375);
        assert_eq!(round(code::TENSOR_FLOAT, 0.1), f64::from(0.1_f32));
    }
}
