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

/// So many rows for an epoch: the rows in the order of one epoch, of the next, and so on, begun where the epoch before
/// left off. With as many as there are rows it is [`epoch_order`].
pub fn repeated_order(rows: &[u32], order: Order, seed: u64, epoch: usize, count: usize) -> Vec<u32> {
    if rows.is_empty() {
        return vec![];
    }
    let (seen, of) = (epoch as u128 * count as u128, rows.len() as u128);
    let (first, offset) = ((seen / of) as usize, (seen % of) as usize);
    let passes = (0..).flat_map(|pass| epoch_order(rows, order, seed, first.wrapping_add(pass)));
    passes.skip(offset).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_orders_go_through_all_rows_before_they_repeat_one() {
        let rows: Vec<u32> = (0..7).collect();
        for order in [Order::Shuffled, Order::Sequential] {
            let draws: Vec<u32> =
                (0..14).flat_map(|epoch| repeated_order(&rows, order, 3, epoch, 10)).collect();
            for pass in draws.chunks(7) {
                let mut pass = pass.to_vec();
                pass.sort_unstable();
                assert_eq!(pass, rows);
            }
            for epoch in [0, 5, usize::MAX - 2] {
                assert_eq!(repeated_order(&rows, order, 3, epoch, 7), epoch_order(&rows, order, 3, epoch));
            }
        }
        assert!(repeated_order(&[], Order::Shuffled, 0, 1, 5).is_empty());
    }

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
