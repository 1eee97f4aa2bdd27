//! Data files in, numbers out: CSV tables and IDX images, the schema that a model remembers, the
//! split into training, validation and test rows, and the standardization of features.

mod dataset;
mod encode;
mod fields;
mod idx;
mod infer;
mod order;
mod schema;
mod source;
mod split;
mod standardize;
mod table;

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Inputs};
pub use idx::{Images, is_idx};
pub use order::{Order, epoch_order, repeated_order};
pub(crate) use schema::written_numbers;
pub use schema::{Feature, FeatureKind, Missing, Schema, Target, TargetKind, Task, Unknown};
pub use split::{Split, Splitting, fraction, split, split_groups, split_ordered};
pub use standardize::{Standardize, Standardizer};
pub use table::{Table, is_missing};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The candidate with the least edit distance to `word`, letter case aside, if that is at most a third
/// of the length of the longer (or one letter of two or more).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names may be as long as a field of a file; a prefix bounds the work.
    let letters = |text: &str| -> Vec<char> { text.chars().take(64).flat_map(char::to_lowercase).collect() };
    let word = letters(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = letters(candidate);
            let distance = edit_distance(&word, &other);
            let length = word.len().max(other.len());
            (distance < length && distance <= (length / 3).max(1)).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance, by the table of prefixes, one row at a time.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Text of a user's file, quoted and cut to a length that suits a message.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The first few of a list of names, quoted.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let mut text: Vec<String> = names.iter().take(8).map(|name| quoted(name.as_ref())).collect();
    if names.len() > text.len() {
        text.push(format!("... ({} in all)", names.len()));
    }
    text.join(", ")
}

/// A generator of its own for each use (`stream`) of one seed.
fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}
