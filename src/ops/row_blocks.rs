//! Batch normalization of large minibatches on GPUs: the product leaves statistics of its blocks of rows, and what
//! normalizes merges them, with as many workgroups for a column as it has rows for.

use super::column_stats::ColumnStats;
use super::{BatchNorm, Describe, Dispatch, MatMul, Operand, Step, Tensor, Tile, Variant, read, write};
use crate::cpu::{Down, Memory, Real, Twin, rows_mut};

/// Rows that a workgroup of [`BatchNormMerged`] normalizes at the least, and for each block that it merges.
const ROWS: usize = 64;
const ROWS_OF_BLOCK: usize = 4;

/// [`MatMul`] of the form ABt, and mean (in two parts) and biased variance of each column in each block of rows that
/// its tile makes.
///
/// ```text
/// moments [M, 3 · blocks, columns of out]: of each block as in [`ColumnStats`]
/// ```
#[derive(Clone, Debug)]
pub struct MatMulMoments {
    /// By a staged tile; if it has none, by the one that suits GPUs.
    pub product: MatMul,
    pub moments: Tensor,
}

/// [`BatchNorm`] of a minibatch whose statistics are those of blocks of rows, merged (Chan, Golub and LeVeque 1983,
/// equation 2.1, for any number of parts).
///
/// ```text
/// mean = Σ nᵢ meanᵢ / n      variance = Σ nᵢ (varianceᵢ + (meanᵢ − mean)²) / n
/// ```
#[derive(Clone, Debug)]
pub struct BatchNormMerged {
    pub moments: Tensor,
    /// Rows of a block; the last may have fewer.
    pub block: usize,
    /// What it writes; x is not read for them.
    pub stats: ColumnStats,
    pub norm: BatchNorm,
}

impl MatMulMoments {
    /// Rows of a block of this product.
    pub fn block(product: &MatMul) -> usize {
        tile(product).block()[0]
    }
}

fn tile(product: &MatMul) -> Tile {
    let staged = product.tile.filter(|tile| matches!(tile, Tile::Staged { .. }));
    staged.unwrap_or_else(|| Tile::suited(Variant::Gpu, product.out.models, product.sizes()))
}

/// The twin's second half.
struct Blocks<'a>(&'a MatMulMoments);

impl<T: Real> Twin<T, 1> for Blocks<'_> {
    fn outputs(&self) -> [Tensor; 1] {
        [self.0.moments]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, _: &Step) {
        let MatMulMoments { product, moments } = self.0;
        for model in 0..moments.models {
            let x: Vec<&[T]> = memory.rows(product.out, model).collect();
            let mut rows = rows_mut(out, *moments, model, 0);
            for x in x.chunks(MatMulMoments::block(product)) {
                let [Some(high), Some(low), Some(variance)] = [rows.next(), rows.next(), rows.next()] else {
                    return;
                };
                let n = T::of(x.len() as f64);
                for c in 0..moments.cols {
                    high[c] = x.iter().fold(T::zero(), |sum, x| sum + x[c]) / n;
                    low[c] = x.iter().fold(T::zero(), |sum, x| sum + (x[c] - high[c])) / n;
                    let squares = x.iter().fold(T::zero(), |sum, x| sum + (x[c] - high[c]).powi(2));
                    variance[c] = squares / n - low[c] * low[c];
                }
            }
        }
    }
}

/// The twin's first half.
struct Merge<'a>(&'a BatchNormMerged);

impl<T: Real> Twin<T, 2> for Merge<'_> {
    fn outputs(&self) -> [Tensor; 2] {
        [self.0.stats.stats, self.0.stats.log]
    }

    #[inline(always)]
    fn write(&self, [stats, log]: [&mut [T]; 2], memory: &Memory<T>, step: &Step) {
        let BatchNormMerged { moments, block, stats: to, norm } = self.0;
        let n = norm.x.rows;
        for model in 0..moments.models {
            let of_blocks: Vec<&[T]> = memory.rows(*moments, model).collect();
            let merged = |c: usize| {
                let parts = of_blocks.chunks_exact(3).enumerate().map(|(i, rows)| {
                    let count = T::of((n - i * block).min(*block) as f64);
                    (count, rows[0][c], rows[1][c], rows[2][c])
                });
                let (n, first) = (T::of(n as f64), of_blocks[0][c]);
                let sum = parts
                    .clone()
                    .fold(T::zero(), |sum, (count, high, low, _)| sum + count * ((high - first) + low));
                let mean = sum / n;
                let squares = parts.fold(T::zero(), |sum, (count, high, low, variance)| {
                    let off = ((high - first) + low) - mean;
                    sum + count * (variance + off * off)
                });
                let high = first + mean;
                let variance = squares / n;
                let variance = if variance < T::zero() { T::zero() } else { variance };
                [high, (first - high) + mean, variance + variance * T::zero()]
            };
            let columns: Vec<[T; 3]> = (0..moments.cols).map(merged).collect();
            for (to, out, slot) in [(to.stats, &mut *stats, 0), (to.log, &mut *log, step.slot)] {
                for (row, to) in rows_mut(out, to, model, slot).enumerate() {
                    to.iter_mut().zip(&columns).for_each(|(to, of_column)| *to = of_column[row]);
                }
            }
        }
    }
}

impl MatMulMoments {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run(&self.product, step);
        memory.run(&Blocks(self), step);
    }
}

impl BatchNormMerged {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run(&Merge(self), step);
        memory.run(&Down(&self.norm, None), step);
    }
}

impl Describe for MatMulMoments {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = self.product.operands();
        operands.push(write("moments", self.moments));
        operands
    }

    fn flops(&self) -> u64 {
        // As of ColumnStats, of each block, but for the comparison with 0.
        let out = self.product.out;
        let of_columns = (out.models * self.moments.rows / 3 * out.cols) as u64;
        self.product.flops().saturating_add(5 * out.elements() + 5 * of_columns)
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let product = MatMul { tile: Some(tile(&self.product)), ..self.product.clone() };
        let dispatch = product.dispatch_to(variant, self.moments);
        Dispatch { entry: "abt_moments", ..dispatch }
    }

    fn shapes(&self) -> String {
        let block = MatMulMoments::block(&self.product);
        format!("{}, moments of {block} rows", self.product.shapes())
    }
}

impl Describe for BatchNormMerged {
    fn operands(&self) -> Vec<Operand> {
        let ColumnStats { x, stats, log } = self.stats;
        let written = [write("out", self.norm.out), write("stats", stats), write("log", log)];
        let given = [read("x", x), self.norm.params()].into_iter();
        given.chain(written).chain([read("moments", self.moments)]).collect()
    }

    fn flops(&self) -> u64 {
        // Of a block: the mean's difference and sum, its product with the rows and the sum of those; the difference, its
        // square, the sum with the variance, the product with the rows and the sum of those. Of a column as of ColumnStats.
        let of_blocks = (self.moments.models * self.moments.rows / 3 * self.moments.cols) as u64;
        self.norm.flops() + 9 * of_blocks + 6 * (self.moments.models * self.moments.cols) as u64
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let dispatch =
            self.norm.dispatch_as("merged", self.stats.log, Some((self.moments, self.block)), variant);
        let [columns, _, models] = dispatch.workgroups;
        let rows = ROWS.max(ROWS_OF_BLOCK * self.moments.rows / 3);
        Dispatch { workgroups: [columns, self.norm.x.rows.div_ceil(rows) as u32, models], ..dispatch }
    }

    fn shapes(&self) -> String {
        format!("{}, of {} blocks", self.norm.shapes(), self.moments.rows / 3)
    }
}
