//! Event files as TensorBoard reads them: scalars by step.
//!
//! A file is a sequence of records (TFRecord), each an `Event` in protobuf's wire format:
//!
//! ```text
//! record   length: u64, crc(length): u32, event, crc(event): u32           little-endian
//! crc(x)   c = CRC-32C(x);  (c rotated right by 15 bits) + 0xa282ead8
//! Event    1 wall_time: double, 2 step: int64, 3 file_version: string, 5 summary: Summary
//! Summary  1 value: repeated { 1 tag: string, 2 simple_value: float }
//! ```
//!
//! Source: `tensorflow/core/lib/io/record_writer.h`, `tensorboard/compat/proto/event.proto` and `summary.proto`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use minilote::{Error, Result};

use super::progress::{on_disk, open_at};

/// What an event file begins with.
const VERSION: &str = "brain.Event:2";

/// An event file that is being written.
pub struct Events {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// Starts a file, or goes on with one from so many bytes of it.
    ///
    /// # Errors
    /// [`Error::File`], as for the other functions.
    pub fn open(path: PathBuf, at: Option<u64>) -> Result<Events> {
        let mut events = Events { file: BufWriter::new(open_at(&path, at)?), path };
        if at.is_none() {
            events.write(&event(now(), 0, Some(VERSION), &[]))?;
        }
        Ok(events)
    }

    /// Bytes so far, which are then on the disk.
    pub fn position(&mut self) -> Result<u64> {
        on_disk(&mut self.file).map_err(|error| Error::file(&self.path, error))
    }

    /// Adds values of a step, by their names.
    pub fn scalars(&mut self, step: usize, values: &[(String, f64)]) -> Result<()> {
        self.write(&event(now(), step, None, values))
    }

    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::file(&self.path, error))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(|error| Error::file(&self.path, error))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()].concat()
}

fn event(time: f64, step: usize, version: Option<&str>, values: &[(String, f64)]) -> Vec<u8> {
    let mut event = key(1, 1);
    event.extend(time.to_le_bytes());
    if step > 0 {
        event.extend([key(2, 0), varint(step as u64)].concat());
    }
    if let Some(version) = version {
        event.extend(field(3, version.as_bytes()));
    }
    if !values.is_empty() {
        let value = |(tag, value): &(String, f64)| {
            let simple = [&key(2, 5)[..], &(*value as f32).to_le_bytes()].concat();
            field(1, &[field(1, tag.as_bytes()), simple].concat())
        };
        event.extend(field(5, &values.iter().flat_map(value).collect::<Vec<u8>>()));
    }
    event
}

/// What stands before a field: its number, and how it is written.
fn key(number: u64, kind: u64) -> Vec<u8> {
    varint(number << 3 | kind)
}

/// A field of so many bytes.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&key(number, 2)[..], &varint(bytes.len() as u64), bytes].concat()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's polynomial, bit by bit: events are short.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Written by TensorBoard's own RecordWriter and protobuf classes: tests/fixtures/events.py.
    #[test]
    fn bytes_are_those_of_tensorboards_writer() {
        let named = |name: &str, value| (name.to_string(), value);
        let several = [named("loss/train", 0.25), named("loss/valid", -1e-3), named("Verlust µ", 0.0)];
        let long = [named(&"x".repeat(200), 1e30)];
        let ours = [
            event(1.5e9 + 0.125, 0, Some(VERSION), &[]),
            event(1.5e9 + 1.0, 1, None, &several),
            event(1.5e9 + 2.0, 123_456, None, &long),
        ];
        let ours = ours.map(|event| record(&event)).concat();
        let theirs = include_bytes!("../../tests/fixtures/events.tfevents");
        assert!(ours == theirs, "{ours:x?}\n{theirs:x?}");
    }
}
