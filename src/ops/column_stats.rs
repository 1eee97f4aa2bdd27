use super::{Describe, Dispatch, Operand, Step, Tensor, Variant, columnwise, read, words, write};
use crate::cpu::{Memory, Real, Twin};

/// Mean and biased variance of each column of a minibatch, for batch normalization and the log.
///
/// ```text
/// mean = Σ x / n      variance = Σ (x − mean)² / n
/// x [M, rows, features]   stats, log [M, 3, features]: mean (high part), mean (low part), variance
/// ```
///
/// The corrected two-pass algorithm (Björck; in Chan, Golub and LeVeque 1983, "Algorithms for
/// Computing the Sample Variance", equation 1.7). The mean is kept as a rounded part and the mean
/// of what is left after subtracting it, so that single precision loses nothing where a column's
/// mean is far larger than its deviation.
#[derive(Clone, Debug)]
pub struct ColumnStats {
    pub x: Tensor,
    pub stats: Tensor,
    pub log: Tensor,
}

impl<T: Real> Twin<T, 2> for ColumnStats {
    fn outputs(&self) -> [Tensor; 2] {
        [self.stats, self.log]
    }

    #[inline(always)]
    fn write(&self, [stats, log]: [&mut [T]; 2], memory: &Memory<T>, step: &Step) {
        let ld = self.stats.ld();
        let n = T::of(self.x.rows as f64);
        for model in 0..self.x.models {
            let stats = &mut stats[self.stats.at(model, 0, 0)..][..3 * ld];
            stats.fill(T::zero());
            let (high, rest) = stats.split_at_mut(ld);
            let (low, variance) = rest.split_at_mut(ld);
            for x in memory.rows(self.x, model) {
                high.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
            high.iter_mut().for_each(|sum| *sum /= n);
            for x in memory.rows(self.x, model) {
                for (((&x, &high), low), variance) in x.iter().zip(&*high).zip(&mut *low).zip(&mut *variance)
                {
                    let d = x - high;
                    *low += d;
                    *variance += d * d;
                }
            }
            for (low, variance) in low.iter_mut().zip(variance) {
                *low /= n;
                let corrected = *variance / n - *low * *low;
                // Not max(): that would turn a NaN into 0.
                *variance = if corrected < T::zero() { T::zero() } else { corrected };
            }
            log[self.log.at(model, 0, step.slot as usize)..][..3 * ld].copy_from_slice(stats);
        }
    }
}

impl Describe for ColumnStats {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), write("stats", self.stats), write("log", self.log)]
    }

    fn flops(&self) -> u64 {
        // Of a value: the sum, then the difference, its sum, its square, the sum of those; of a column: three
        // quotients, the correction, its subtraction, the comparison with 0.
        5 * self.x.elements() + 6 * self.x.columns()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let size = [self.x.rows as u32, self.x.cols as u32];
        columnwise("column_stats", "main", words(&[self.x, self.stats, self.log], &size), self.x, variant)
    }

    fn shapes(&self) -> String {
        format!("{}×{} → mean, variance of {}", self.x.rows, self.x.cols, self.x.cols)
    }
}
