//! The order in which an epoch visits the training rows.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::generator;

/// How an epoch orders the training rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A new random order each epoch.
    #[default]
    Shuffled,
    /// The order of the file.
    Sequential,
}

/// The rows in the order of an epoch, a pure function of its arguments.
pub fn epoch_order(rows: &[u32], order: Order, seed: u64, epoch: usize) -> Vec<u32> {
    let mut rows = rows.to_vec();
    if order == Order::Shuffled {
        rows.shuffle(&mut generator(seed, epoch as u64 + 1));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_pure_permutation() {
        let rows: Vec<u32> = (0..100).map(|row| row * 3).collect();
        assert_eq!(epoch_order(&rows, Order::Sequential, 1, 1), rows);
        let first = epoch_order(&rows, Order::Shuffled, 1, 1);
        assert_eq!(first, epoch_order(&rows, Order::Shuffled, 1, 1));
        assert_ne!(first, epoch_order(&rows, Order::Shuffled, 1, 2));
        assert_ne!(first, epoch_order(&rows, Order::Shuffled, 2, 1));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert!(epoch_order(&[], Order::Shuffled, 1, 0).is_empty());
    }
}
