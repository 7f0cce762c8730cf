//! Metrics as a TensorBoard event file: protobuf `Event` messages in TFRecord frames.
//!
//! A frame is the length (u64), its masked CRC, the message and its masked CRC, all little-endian;
//! the CRC is CRC-32C, rotated and offset.

use prost::Message;

use super::manifest::seconds_since_1970;
use crate::EpochMetrics;

/// `tensorflow.Event`, the fields in use.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value` with a scalar.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The record that every event file begins with.
pub(super) fn header() -> Vec<u8> {
    let version = Some("brain.Event:2".to_string());
    frame(&Event { wall_time: seconds_since_1970(), step: 0, file_version: version, summary: None })
}

/// The record of one epoch; the step axis counts optimiser steps.
pub(super) fn record(metrics: &EpochMetrics) -> Vec<u8> {
    let test = metrics.test.as_ref();
    let evaluation = |what: &str| format!("{}/{what}", test.map_or("test", |test| &test.split));
    let scalars = [
        ("train/loss", Some(metrics.loss)),
        ("train/natural_accuracy", metrics.train_natural_accuracy),
        ("train/certified_accuracy", metrics.train_certified_accuracy),
        (&*evaluation("natural_accuracy"), test.map(|t| t.natural_accuracy)),
        (&*evaluation("certified_accuracy"), test.map(|t| t.certified_accuracy)),
        (&*evaluation("natural_loss"), test.map(|t| t.natural_loss)),
        (&*evaluation("certified_loss"), test.map(|t| t.certified_loss)),
        ("schedule/lr", Some(metrics.lr)),
        ("schedule/eps", Some(metrics.eps)),
        ("schedule/sigma", Some(metrics.sigma)),
        ("schedule/population", Some(metrics.population as f64)),
        ("train/snr", metrics.snr),
        ("schedule/robust_weight", Some(metrics.robust_weight)),
        ("speed/images_per_second", Some(metrics.images_per_second)),
    ];
    let value = scalars
        .into_iter()
        .filter_map(|(tag, value)| Some(Value { tag: tag.into(), simple_value: Some(value? as f32) }))
        .collect();
    let step = i64::try_from(metrics.step).unwrap_or(i64::MAX);
    frame(&Event { wall_time: metrics.time, step, file_version: None, summary: Some(Summary { value }) })
}

fn frame(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), &message, &masked_crc(&message)].concat()
}

fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{Event, header, masked_crc, record};
    use crate::EpochMetrics;

    #[test]
    fn records_are_framed_and_hold_the_scalars() {
        let metrics = EpochMetrics {
            epoch: 2,
            step: 40,
            time: 1.5e9,
            loss: 0.25,
            train_natural_accuracy: None,
            train_certified_accuracy: Some(0.5),
            lr: 1e-3,
            eps: 0.1,
            sigma: 0.0,
            population: 6,
            snr: Some(0.75),
            robust_weight: 1.0,
            images_per_second: 100.0,
            seconds: 2.0,
            test: None,
        };
        let mut bytes = [header(), record(&metrics)].concat();
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked_crc(&bytes[..8]));
            let message = &bytes[12..12 + length];
            assert_eq!(bytes[12 + length..16 + length], masked_crc(message));
            events.push(Event::decode(message).unwrap());
            bytes.drain(..16 + length);
        }
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(events[1].step, 40);
        let values = &events[1].summary.as_ref().unwrap().value;
        let find = |tag: &str| values.iter().find(|v| v.tag == tag).and_then(|v| v.simple_value);
        assert_eq!((find("train/loss"), find("train/certified_accuracy")), (Some(0.25), Some(0.5)));
        assert_eq!((find("schedule/population"), find("train/snr")), (Some(6.0), Some(0.75)));
        assert_eq!(find("train/natural_accuracy"), None);
    }

    /// The masked CRC of the known CRC-32C of "123456789", 0xe3069283.
    #[test]
    fn checksum_is_masked_crc32c() {
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(u32::from_le_bytes(masked_crc(b"123456789")), expected);
    }
}
