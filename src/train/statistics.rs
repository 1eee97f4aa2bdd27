//! The statistics that batch normalization uses in inference, kept on the host in f64 and fed from the
//! log: see [`Source`] for the formulas.

use serde::{Deserialize, Serialize};

use crate::model::{Source, Spec, Statistics};
use crate::program::METRICS;

/// The weight of a new minibatch in a moving average; PyTorch's `momentum`.
pub const WEIGHT: f64 = 0.1;

/// The statistics of one minibatch in one batch normalization.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Rows of the minibatch.
    pub rows: usize,
    /// Of each feature.
    pub mean: Vec<f64>,
    /// Biased.
    pub variance: Vec<f64>,
}

/// The statistics of every batch normalization of a network from a step's record of the log, which was written
/// for `laid_out`: the same network, or one with wider layers.
pub fn of_record(spec: &Spec, laid_out: &Spec, record: &[f64], rows: usize) -> Vec<BatchStatistics> {
    let mut at = METRICS;
    let mut read = |((_, features), (_, room)): ((usize, usize), (usize, usize))| {
        let ld = room.next_multiple_of(4);
        let row = |i: usize| &record[at + i * ld..][..features];
        let mean = row(0).iter().zip(row(1)).map(|(high, low)| high + low).collect();
        let statistics = BatchStatistics { rows, mean, variance: row(2).to_vec() };
        at += 3 * ld;
        statistics
    };
    spec.batch_norms().zip(laid_out.batch_norms()).map(&mut read).collect()
}

/// Both moving averages of one batch normalization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    ema: Statistics,
    /// `(1 − WEIGHT)ᵗ`: how much of the average is still its start at 0.
    start: f64,
    pytorch: Statistics,
}

impl Moving {
    /// `start` is what PyTorch's average begins with: mean 0 and variance 1, or loaded ones.
    pub fn new(start: Statistics) -> Moving {
        let zeros = vec![0.0; start.mean.len()];
        Moving { ema: Statistics { mean: zeros.clone(), variance: zeros }, start: 1.0, pytorch: start }
    }

    /// Averages that were read before, of a best epoch.
    pub fn of(ema: Statistics, pytorch: Statistics) -> Moving {
        Moving { ema, start: 0.0, pytorch }
    }

    /// Whether both are of so many features, and statistics at all.
    pub fn suits(&self, features: usize) -> bool {
        self.ema.suits(features) && self.pytorch.suits(features) && (0.0..=1.0).contains(&self.start)
    }

    /// Takes a minibatch in.
    pub fn update(&mut self, batch: &BatchStatistics) {
        let toward = |running: &mut f64, batch: f64| *running = (1.0 - WEIGHT) * *running + WEIGHT * batch;
        let unbiased = unbiased(batch.rows);
        for (i, (&mean, &variance)) in batch.mean.iter().zip(&batch.variance).enumerate() {
            toward(&mut self.ema.mean[i], mean);
            toward(&mut self.ema.variance[i], variance);
            toward(&mut self.pytorch.mean[i], mean);
            toward(&mut self.pytorch.variance[i], variance * unbiased);
        }
        self.start *= 1.0 - WEIGHT;
    }

    /// The average to use: PyTorch's for [`Source::Pytorch`], else the debiased one.
    pub fn statistics(&self, source: Source) -> Statistics {
        if source == Source::Pytorch || self.start == 1.0 {
            return self.pytorch.clone();
        }
        let debias = |values: &[f64]| values.iter().map(|value| value / (1.0 - self.start)).collect();
        Statistics { mean: debias(&self.ema.mean), variance: debias(&self.ema.variance) }
    }
}

/// `m/(m − 1)`, which makes a biased variance of m rows unbiased.
fn unbiased(rows: usize) -> f64 {
    if rows > 1 { rows as f64 / (rows - 1) as f64 } else { 1.0 }
}

/// One pass over all training minibatches with the parameters frozen.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    rows: f64,
    /// `Σ rows·mean` and `Σ rows·m/(m−1)·variance`.
    mean_sum: Vec<f64>,
    variance_sum: Vec<f64>,
    /// Chan's merge: mean, and sum of squares about it.
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Pass {
    /// No minibatch yet.
    pub fn new(features: usize) -> Pass {
        let zeros = || vec![0.0; features];
        Pass { rows: 0.0, mean_sum: zeros(), variance_sum: zeros(), mean: zeros(), squares: zeros() }
    }

    /// Takes a minibatch in.
    ///
    /// ```text
    /// δ = mean_b − mean,  n = rows + m
    /// mean ← mean + δ·m/n,   M2 ← M2 + m·variance_b + δ²·rows·m/n      (Chan, Golub, LeVeque 1979)
    /// ```
    pub fn update(&mut self, batch: &BatchStatistics) {
        let m = batch.rows as f64;
        let n = self.rows + m;
        for (i, (&mean, &variance)) in batch.mean.iter().zip(&batch.variance).enumerate() {
            self.mean_sum[i] += m * mean;
            self.variance_sum[i] += m * variance * unbiased(batch.rows);
            let delta = mean - self.mean[i];
            self.mean[i] += delta * m / n;
            self.squares[i] += m * variance + delta * delta * self.rows * m / n;
        }
        self.rows = n;
    }

    /// The minibatches' average.
    pub fn population(&self) -> Statistics {
        let average = |sums: &[f64]| sums.iter().map(|sum| sum / self.rows).collect();
        Statistics { mean: average(&self.mean_sum), variance: average(&self.variance_sum) }
    }

    /// The statistics of all rows as one.
    pub fn pooled(&self) -> Statistics {
        let variance = self.squares.iter().map(|squares| squares / self.rows).collect();
        Statistics { mean: self.mean.clone(), variance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[f64]) -> BatchStatistics {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        BatchStatistics { rows: values.len(), mean: vec![mean], variance: vec![variance] }
    }

    #[test]
    fn pooled_is_the_variance_of_all_rows() {
        let batches: [&[f64]; 3] = [&[1e6, 1e6 + 1.0, 1e6 + 4.0], &[1e6 + 2.0, 1e6 - 3.0], &[1e6 + 9.0, 1e6]];
        let mut pass = Pass::new(1);
        batches.iter().for_each(|values| pass.update(&batch(values)));
        let all = batch(&batches.concat());
        let pooled = pass.pooled();
        assert!((pooled.mean[0] - all.mean[0]).abs() < 1e-9);
        assert!((pooled.variance[0] - all.variance[0]).abs() < 1e-9);
    }

    #[test]
    fn population_weights_minibatches_by_their_rows() {
        let mut pass = Pass::new(1);
        pass.update(&batch(&[0.0, 2.0, 4.0, 6.0])); // mean 3, unbiased variance 20/3
        pass.update(&batch(&[9.0, 11.0])); // mean 10, unbiased variance 2
        let population = pass.population();
        assert!((population.mean[0] - (4.0 * 3.0 + 2.0 * 10.0) / 6.0).abs() < 1e-12);
        assert!((population.variance[0] - (4.0 * 20.0 / 3.0 + 2.0 * 2.0) / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_moving_average_is_debiased_and_pytorchs_is_not() {
        let mut moving = Moving::new(Statistics { mean: vec![0.0], variance: vec![1.0] });
        moving.update(&batch(&[1.0, 3.0])); // mean 2, variance 1, unbiased 2
        let ema = moving.statistics(Source::Ema);
        assert!((ema.mean[0] - 2.0).abs() < 1e-12 && (ema.variance[0] - 1.0).abs() < 1e-12);
        let pytorch = moving.statistics(Source::Pytorch);
        assert!((pytorch.mean[0] - 0.2).abs() < 1e-12 && (pytorch.variance[0] - (0.9 + 0.2)).abs() < 1e-12);
    }
}
