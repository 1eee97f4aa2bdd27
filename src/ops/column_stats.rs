use pulp::Simd;

use super::{Describe, Dispatch, Operand, Params, Step, Tensor, Variant, columnwise, read, write};
use crate::cpu::{Columnwise, Memory, Part, Real, Strip, Wide};

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
/// mean is far larger than its deviation. A variance that overflows is NaN: divided by an infinite one, every value
/// would be 0 and the loss show nothing.
#[derive(Clone, Debug)]
pub struct ColumnStats {
    pub x: Tensor,
    pub stats: Tensor,
    pub log: Tensor,
}

/// Mean in two parts and variance of some columns.
pub(super) struct Moments<T: Real, S: Simd, const V: usize> {
    pub high: Wide<T, S, V>,
    pub low: Wide<T, S, V>,
    pub variance: Wide<T, S, V>,
}

impl<T: Real, S: Simd, const V: usize> Moments<T, S, V> {
    /// Of a minibatch.
    #[inline(always)]
    pub fn of<const WHOLE: bool>(
        x: Tensor,
        strip: &Strip<S, V, WHOLE>,
        model: usize,
        memory: &Memory<T>,
    ) -> Self {
        let rows = memory.matrix(x, model).chunks_exact(x.ld());
        let share = strip.all(T::of(x.rows as f64).recip());
        let mut high = strip.all(T::zero());
        for x in rows.clone() {
            high = high + strip.load(x);
        }
        high = high * share;
        let [mut low, mut variance] = [strip.all(T::zero()); 2];
        for x in rows {
            let d = strip.load(x) - high;
            low = low + d;
            variance = d.fused(d, variance);
        }
        low = low * share;
        variance = variance * share - low * low;
        for variance in variance.values() {
            // Not max(): that would turn a NaN into 0.
            let positive = if *variance < T::zero() { T::zero() } else { *variance };
            // Of infinity a NaN.
            *variance = positive + positive * T::zero();
        }
        Moments { high, low, variance }
    }

    /// Those that lie in the memory.
    #[inline(always)]
    pub fn read<const WHOLE: bool>(
        stats: Tensor,
        strip: &Strip<S, V, WHOLE>,
        model: usize,
        memory: &Memory<T>,
    ) -> Self {
        let [high, low, variance] = [0, 1, 2].map(|row| strip.load(memory.row(stats, model, row)));
        Moments { high, low, variance }
    }

    /// Writes them to a tensor of three rows.
    #[inline(always)]
    pub fn write<const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        out: &mut Part<T>,
        stats: Tensor,
        model: usize,
        slot: u32,
    ) {
        for (row, values) in [self.high, self.low, self.variance].into_iter().enumerate() {
            strip.store(out, stats.at(model, row, slot as usize), values);
        }
    }
}

impl Columnwise<2> for ColumnStats {
    fn outputs(&self) -> [Tensor; 2] {
        [self.stats, self.log]
    }

    fn over(&self) -> Tensor {
        self.x
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut stats, mut log]: [Part<T>; 2],
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    ) {
        let moments = Moments::of(self.x, strip, model, memory);
        moments.write(strip, &mut stats, self.stats, model, 0);
        moments.write(strip, &mut log, self.log, model, step.slot);
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
        columnwise(
            "column_stats",
            "main",
            Params::new(&[self.x, self.stats, self.log], &size),
            self.x,
            variant,
        )
    }

    fn shapes(&self) -> String {
        format!("{}×{} → mean, variance of {}", self.x.rows, self.x.cols, self.x.cols)
    }
}
