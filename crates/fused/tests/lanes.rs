//! Every operation on every instruction set of the machine against its meaning in plain scalars, bit for bit.

// The library's own files, without the kernels that are built on them: those take minutes to compile.
#[allow(dead_code, reason = "the kernels use the rest")]
#[path = "../src/simd/mod.rs"]
mod simd;

use simd::isa::{Isa, on_isa};
use simd::lanes::{Lanes, Task, WIDTH};
use tightrope_noise::{Purpose, Stream};

type Row = [f32; WIDTH];

/// Arithmetic of two numbers.
type Plain = fn(f32, f32) -> f32;

/// Zeros, infinities and NaNs of both signs, and the ends of the range, as many as there are lanes.
const SPECIAL: Row = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    -2.75,
    3.0e-5,
    -7.1e8,
    f32::MAX,
    f32::MIN_POSITIVE,
    f32::from_bits(0x8000_0001),
    1.5,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::from_bits(0x7fc0_0017),
    f32::from_bits(0xffc0_0123),
];

/// Something that is in no result.
const UNTOUCHED: f32 = 12345.678;

/// A test for each function: on every instruction set that the machine has.
macro_rules! on_every_isa {
    ($($check:ident)*) => {
        mod on_every_isa {
            use super::*;
            $(#[test]
            fn $check() {
                use super::$check as check;
                for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                    on_isa!(isa, check, isa.name());
                }
            })*
        }
    };
}

on_every_isa! {
    arithmetic
    multiply_adds
    choices
    signs
    masks
    selections
    extractions
    permutations
    sums
    transpositions
    memory
    entries
}

/// The special values in another order: all pairs of rotations bring all pairs of values into every lane.
fn rotated(by: usize) -> Row {
    std::array::from_fn(|l| SPECIAL[(l + by) % WIDTH])
}

fn draws(count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Stream::new(1, Purpose::Test, 0, 0).uniform(0, &mut values);
    values
}

fn bits(row: Row) -> [u32; WIDTH] {
    row.map(f32::to_bits)
}

/// Same bits, or both NaN: which NaN arithmetic gives is the machine's choice.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// `S::operation` of rows, in code compiled for the instruction set.
macro_rules! apply {
    ($operation:ident $(, $row:expr)*) => {{
        let mut result = [UNTOUCHED; WIDTH];
        // SAFETY: `check` runs on machines with `S` only.
        unsafe { S::run(|| S::store_any(result.as_mut_ptr(), S::$operation($(S::load_any($row.as_ptr())),*))) };
        result
    }};
}

unsafe fn arithmetic<S: Lanes>(isa: &str) {
    for i in 0..WIDTH {
        let a = rotated(i);
        let (root, abs) = (apply!(sqrt, a), apply!(abs, a));
        assert_eq!(bits(abs), bits(a.map(f32::abs)), "{isa}: |a| of {a:?}");
        for l in 0..WIDTH {
            assert!(same(root[l], a[l].sqrt()), "{isa}: root of {} is {}", a[l], root[l]);
        }
        for j in 0..WIDTH {
            let b = rotated(j);
            let results: [(&str, Row, Plain); 4] = [
                ("+", apply!(add, a, b), |a, b| a + b),
                ("-", apply!(sub, a, b), |a, b| a - b),
                ("·", apply!(mul, a, b), |a, b| a * b),
                ("/", apply!(div, a, b), |a, b| a / b),
            ];
            for (sign, got, expected) in results {
                for l in 0..WIDTH {
                    assert!(same(got[l], expected(a[l], b[l])), "{isa}: {} {sign} {} = {}", a[l], b[l], got[l]);
                }
            }
        }
    }
}

/// Fused or not, but nothing else.
unsafe fn multiply_adds<S: Lanes>(isa: &str) {
    let check = |a: Row, b: Row, c: Row| {
        let (sum, difference) = (apply!(fma, a, b, c), apply!(fnma, a, b, c));
        for l in 0..WIDTH {
            let (a, b, c) = (a[l], b[l], c[l]);
            let right = same(sum[l], a.mul_add(b, c)) || same(sum[l], a * b + c);
            assert!(right, "{isa}: {a} · {b} + {c} = {}", sum[l]);
            let right = same(difference[l], (-a).mul_add(b, c)) || same(difference[l], c - a * b);
            assert!(right, "{isa}: {c} - {a} · {b} = {}", difference[l]);
        }
    };
    for i in 0..WIDTH {
        for j in 0..WIDTH {
            (0..WIDTH).for_each(|k| check(rotated(i), rotated(j), rotated(k)));
        }
    }
    let drawn = draws(96 * WIDTH);
    drawn.as_chunks::<WIDTH>().0.as_chunks::<3>().0.iter().for_each(|&[a, b, c]| check(a, b, c));
}

/// The operations that pick one of their operands leave it as it is, NaN and -0 too.
unsafe fn choices<S: Lanes>(isa: &str) {
    for i in 0..WIDTH {
        for j in 0..WIDTH {
            let (a, b) = (rotated(i), rotated(j));
            let of = |choose: fn(f32, f32) -> bool| {
                bits(std::array::from_fn(|l| if choose(a[l], b[l]) { a[l] } else { b[l] }))
            };
            assert_eq!(bits(apply!(max, a, b)), of(|a, b| a > b), "{isa}: larger of {a:?} and {b:?}");
            assert_eq!(bits(apply!(min, a, b)), of(|a, b| a < b), "{isa}: smaller of {a:?} and {b:?}");
            for k in 0..WIDTH {
                let c = rotated(k);
                let of =
                    |choose: fn(f32) -> bool| bits(std::array::from_fn(|l| if choose(a[l]) { b[l] } else { c[l] }));
                assert_eq!(bits(apply!(where_negative, a, b, c)), of(|a| a < 0.0), "{isa}: by {a:?} {b:?} or {c:?}");
                assert_eq!(bits(apply!(where_positive, a, b, c)), of(|a| a > 0.0), "{isa}: by {a:?} {b:?} or {c:?}");
            }
        }
    }
}

/// Zeros may have either sign, and there is no sign of a NaN.
unsafe fn signs<S: Lanes>(isa: &str) {
    for i in 0..WIDTH {
        for j in 0..WIDTH {
            let (a, b) = (rotated(i), rotated(j));
            let got = apply!(signed_by, a, b);
            for l in (0..WIDTH).filter(|&l| !a[l].is_nan()) {
                let expected = if a[l] == 0.0 { 0.0 } else { a[l].signum() * b[l] };
                let right = got[l] == expected || got[l].is_nan() && expected.is_nan();
                assert!(right, "{isa}: {} with the sign of {}: {}", b[l], a[l], got[l]);
            }
        }
    }
}

/// The lanes for which `holds`, as a mask.
fn mask_of(row: Row, holds: fn(f32) -> bool) -> u16 {
    (0..WIDTH).map(|l| u16::from(holds(row[l])) << l).sum()
}

/// -1 in the lanes of `mask`, 1 elsewhere.
fn negative_at(mask: u16) -> Row {
    std::array::from_fn(|l| if mask >> l & 1 == 1 { -1.0 } else { 1.0 })
}

unsafe fn masks<S: Lanes>(isa: &str) {
    for row in (0..WIDTH).map(rotated).chain((0..=u16::MAX).map(negative_at)) {
        // SAFETY: the machine has `S`.
        let [negative, positive] = unsafe {
            S::run(|| {
                let row = S::load_any(row.as_ptr());
                [S::negative_mask(row), S::positive_mask(row)]
            })
        };
        assert_eq!(negative, mask_of(row, |x| x < 0.0), "{isa}: negative of {row:?}");
        assert_eq!(positive, mask_of(row, |x| x > 0.0), "{isa}: positive of {row:?}");
    }
}

unsafe fn selections<S: Lanes>(isa: &str) {
    let (x, y) = (rotated(0), rotated(5));
    for mask in 0..=u16::MAX {
        let mut got = [UNTOUCHED; WIDTH];
        // SAFETY: the machine has `S`.
        unsafe {
            S::run(|| {
                let selected = S::select(mask, S::load_any(x.as_ptr()), S::load_any(y.as_ptr()));
                S::store_any(got.as_mut_ptr(), selected);
            });
        }
        let expected = std::array::from_fn(|l| if mask >> l & 1 == 1 { x[l] } else { y[l] });
        assert_eq!(bits(got), bits(expected), "{isa}: mask {mask:016b}");
    }
}

unsafe fn extractions<S: Lanes>(isa: &str) {
    for mask in 0..=u16::MAX {
        for word in [0, u16::MAX, 0b1010_0110_0101_1001, mask.rotate_left(3)] {
            let named = (0..WIDTH).filter(|l| mask >> l & 1 == 1);
            let expected: u16 = named.enumerate().map(|(place, l)| (word >> l & 1) << place).sum();
            // SAFETY: the machine has `S`.
            let got = unsafe { S::run(|| S::extract(word, mask)) };
            assert_eq!(got, expected, "{isa}: bits {mask:016b} of {word:016b}");
        }
    }
}

unsafe fn permutations<S: Lanes>(isa: &str) {
    let drawn = draws(16 * WIDTH);
    let drawn = drawn.as_chunks::<WIDTH>().0.iter().map(|row| row.map(|x| (x * WIDTH as f32) as u8 % WIDTH as u8));
    let shifts = (0..WIDTH).map(|by| std::array::from_fn(|l| ((l + by) % WIDTH) as u8));
    let copies = (0..WIDTH).map(|lane| [lane as u8; WIDTH]);
    for index in drawn.chain(shifts).chain(copies) {
        let mut got = [UNTOUCHED; WIDTH];
        // SAFETY: the machine has `S`, and the lanes exist.
        unsafe {
            S::run(|| {
                S::store_any(got.as_mut_ptr(), S::pick(S::load_any(SPECIAL.as_ptr()), S::index(&index)));
            });
        }
        assert_eq!(bits(got), bits(index.map(|lane| SPECIAL[usize::from(lane)])), "{isa}: {index:?}");
    }
}

/// Halves are added lane by lane until one is left.
fn folded(row: &[f32]) -> f32 {
    let (low, high) = row.split_at(row.len() / 2);
    match row {
        [sum] => *sum,
        _ => folded(&low.iter().zip(high).map(|(a, b)| a + b).collect::<Vec<_>>()),
    }
}

unsafe fn sums<S: Lanes>(isa: &str) {
    // Sizes apart enough that another order rounds otherwise.
    let drawn: Vec<f32> = draws(16 * WIDTH * WIDTH).iter().map(|x| (x - 0.5) * (40.0 * x).exp2()).collect();
    let mut blocks: Vec<[Row; WIDTH]> = drawn.as_chunks::<WIDTH>().0.as_chunks::<WIDTH>().0.to_vec();
    blocks.push(std::array::from_fn(rotated));
    // Each special value alone among ordinary ones.
    blocks.push(std::array::from_fn(|r| std::array::from_fn(|l| if l == r { SPECIAL[r] } else { 0.25 * l as f32 })));
    for rows in blocks {
        let mut got = [UNTOUCHED; WIDTH];
        let mut alone = [UNTOUCHED; WIDTH];
        // SAFETY: the machine has `S`.
        unsafe {
            S::run(|| {
                let mut vectors = [S::zero(); WIDTH];
                for r in 0..WIDTH {
                    vectors[r] = S::load_any(rows[r].as_ptr());
                    alone[r] = S::sum(vectors[r]);
                }
                S::store_any(got.as_mut_ptr(), S::sum_rows(&vectors));
            });
        }
        for r in 0..WIDTH {
            let expected = folded(&rows[r]);
            assert!(same(alone[r], expected), "{isa}: the sum of {:?} is {}", rows[r], alone[r]);
            assert!(same(got[r], expected), "{isa}: the sum of row {r}, {:?}, is {}", rows[r], got[r]);
        }
    }
}

unsafe fn transpositions<S: Lanes>(isa: &str) {
    for [from, to] in [[16, 16], [16, 48], [19, 16], [35, 23]] {
        // Every place its own bits, some of them NaN.
        let source: Vec<f32> = (0..WIDTH * from).map(|i| f32::from_bits(0x7fbf_ff80 + i as u32)).collect();
        let mut target = vec![UNTOUCHED; WIDTH * to];
        let (source_start, target_start) = (source.as_ptr(), target.as_mut_ptr());
        // SAFETY: the machine has `S`; both sides have sixteen rows.
        unsafe { S::run(|| S::transpose(source_start, from, target_start, to)) };
        for (place, value) in target.iter().enumerate() {
            let (l, r) = (place / to, place % to);
            let expected = if r < WIDTH { source[r * from + l] } else { UNTOUCHED };
            assert_eq!(value.to_bits(), expected.to_bits(), "{isa}: row {l}, lane {r}, rows {from} and {to} apart");
        }
    }
}

#[repr(align(64))]
struct Aligned([f32; 3 * WIDTH]);

/// Loads and stores take sixteen values and nothing beside them.
unsafe fn memory<S: Lanes>(isa: &str) {
    let check = |aligned: bool, start: usize| {
        let source = Aligned(std::array::from_fn(|i| f32::from_bits(0x7fbf_fff0 + i as u32)));
        let mut target = Aligned([UNTOUCHED; 3 * WIDTH]);
        // SAFETY: the machine has `S`; sixteen values follow `start`, which is a multiple of sixteen if aligned.
        unsafe {
            let (from, to) = (source.0.as_ptr().add(start), target.0.as_mut_ptr().add(start));
            match aligned {
                true => S::run(|| S::store(to, S::load(from))),
                false => S::run(|| S::store_any(to, S::load_any(from))),
            }
        }
        for i in 0..3 * WIDTH {
            let expected = if (start..start + WIDTH).contains(&i) { source.0[i] } else { UNTOUCHED };
            assert_eq!(target.0[i].to_bits(), expected.to_bits(), "{isa}: value {i} of {WIDTH} from {start} on");
        }
    };
    // SAFETY: the machine has `S`; what is asked for need not exist.
    unsafe { S::run(|| S::prefetch(std::ptr::null())) };
    check(true, WIDTH);
    (0..=2 * WIDTH).for_each(|start| check(false, start));
    assert_eq!(bits(apply!(zero)), [0; WIDTH], "{isa}: zero");
    for x in SPECIAL {
        let mut got = [UNTOUCHED; WIDTH];
        // SAFETY: the machine has `S`.
        unsafe { S::run(|| S::store_any(got.as_mut_ptr(), S::splat(x))) };
        assert_eq!(bits(got), [x.to_bits(); WIDTH], "{isa}: copies of {x}");
    }
}

struct Increment<'a>(&'a mut Row);

impl Task for Increment<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        // SAFETY: the machine has `S`.
        unsafe { S::store_any(self.0.as_mut_ptr(), S::add(S::load_any(self.0.as_ptr()), S::splat(1.0))) }
    }
}

/// Work is done once, and its result comes back.
unsafe fn entries<S: Lanes>(isa: &str) {
    let mut row: Row = std::array::from_fn(|l| l as f32);
    // SAFETY: the machine has `S`.
    unsafe { S::run_task(Increment(&mut row)) };
    assert_eq!(row, std::array::from_fn(|l| l as f32 + 1.0), "{isa}");
    let mut count = 0;
    // SAFETY: the machine has `S`.
    let result = unsafe {
        S::run(|| {
            count += 1;
            (count, row)
        })
    };
    assert_eq!(result, (1, row), "{isa}");
}
