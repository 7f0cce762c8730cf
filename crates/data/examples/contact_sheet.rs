//! Writes drawn digits as one picture (PGM): one row per class, `cargo run --example contact_sheet -- digits.pgm [columns] [seed]`.

use std::io::Write;

use tightrope_data::{Split, digits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "digits.pgm".into());
    let columns: usize = arguments.next().map_or(Ok(24), |text| text.parse())?;
    let seed = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let set = digits(seed, Split::Train, 10 * columns);
    let width = columns * 28;
    let mut sheet = vec![0_u8; width * 280];
    for index in 0..set.len() {
        let (column, class) = (index / 10, set.labels[index]);
        for (row, pixels) in set.image(index).chunks(28).enumerate() {
            let start = (class * 28 + row) * width + column * 28;
            for (byte, value) in sheet[start..start + 28].iter_mut().zip(pixels) {
                *byte = (value * 255.0) as u8;
            }
        }
    }
    let mut file = std::fs::File::create(&path)?;
    write!(file, "P5\n{width} 280\n255\n")?;
    file.write_all(&sheet)?;
    println!("{path}: {} digits", set.len());
    Ok(())
}
