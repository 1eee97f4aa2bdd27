//! What fuzzers try for hours, for seconds: the seeds and mutations of them, the same every time.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A change at a place, with what another seed has to give.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        return bytes.extend(other);
    }
    let at = random.random_range(0..bytes.len());
    let end = (at + random.random_range(1..=16)).min(bytes.len());
    match random.random_range(0..7) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let twice = bytes[at..end].to_vec();
            bytes.splice(at..at, twice);
        }
        5 => {
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..=64)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        // A number of the text, or of the bytes, becomes a large one.
        _ => match bytes[at..].iter().position(u8::is_ascii_digit) {
            Some(digit) => drop(bytes.splice(at + digit..at + digit, *b"99999999")),
            None => bytes[at..end].fill(0xff),
        },
    }
}

/// Passes if the target finds nothing broken; otherwise the input is kept and named.
fn run(name: &str, target: fn(&[u8]), mutations: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() > 2, "{}", folder.display());
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mutated = (0..mutations).map(|i| {
        let mut bytes = seeds[i % seeds.len()].clone();
        for _ in 0..random.random_range(1..=4) {
            mutate(&mut bytes, &seeds[random.random_range(0..seeds.len())], &mut random);
        }
        bytes
    });
    for bytes in seeds.iter().cloned().chain(mutated) {
        if catch_unwind(|| target(&bytes)).is_err() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
            fs::write(&kept, &bytes).unwrap();
            panic!("{name} fails with {}", kept.display());
        }
    }
}

#[test]
fn mutated_tables_are_refused_or_right() {
    run("csv", targets::csv, 60_000);
}

#[test]
fn mutated_images_are_refused_or_right() {
    run("idx", targets::idx, 60_000);
}

#[test]
fn mutated_configurations_are_refused_or_flags() {
    run("config", targets::config, 1_000);
}

#[test]
fn mutated_models_are_refused_or_predict() {
    run("model", targets::model, 20_000);
}

#[test]
fn mutated_checkpoints_are_refused_or_the_same() {
    run("checkpoint", targets::checkpoint, 20_000);
}
