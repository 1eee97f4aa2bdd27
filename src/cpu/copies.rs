//! Copies of a product's factors, where their own places are far apart or compete for lines of the first cache.

use std::ops::Range;

use pulp::Simd;

use super::lanes::Lanes;
use super::tiles::{Tiles, tall, tiles};

/// Values of a to a copy: as many as half of the second cache holds.
pub const BLOCK: usize = 1 << 17;
/// Bytes between places that compete for the same few lines of the first cache.
const ALIAS: usize = 4096;
/// Bytes whose pages a processor finds at once.
const PAGES: usize = 1 << 18;
/// Columns are copied so many values at a time, so that what they go to stays in the first cache for the next ones.
const LINES: usize = 128;
/// Rows and columns of a block that is turned around.
const SIDE: usize = 4;

impl<T: Lanes> Tiles<'_, T> {
    /// Whether rows of a are worth a copy: those that lie across the sum, of which a quarter and more compete, where more
    /// than one panel's columns share it.
    #[inline(always)]
    pub fn copies_rows(&self, width: usize) -> bool {
        let (_, (a_row, a_col)) = self.a;
        let apart = a_col * size_of::<T>();
        a_row == 1 && apart.is_multiple_of(ALIAS / 4) && self.columns.len() > width
    }

    /// Copies rows of a that lie across the sum, tile after tile, each one depth after the other.
    #[inline(always)]
    pub fn copy_rows<S: Simd>(&self, block: &mut [T], depth: Range<usize>, rows: Range<usize>) {
        let (a, (_, a_col)) = self.a;
        for tile in tiles::<S>(rows.len()) {
            let to = block[tile.start * depth.len()..].chunks_exact_mut(tile.len()).take(depth.len());
            let a = &a[depth.start * a_col + rows.start + tile.start..];
            to.enumerate().for_each(|(k, to)| to.copy_from_slice(&a[k * a_col..][..to.len()]));
        }
    }

    /// Whether columns of b are worth a copy: those that lie along the sum; those of which a half and more compete, where
    /// more than two tiles of rows share it; those on more pages than are found at once, where more than eight do.
    #[inline(always)]
    pub fn copies_columns<S: Simd>(&self, depth: usize, rows: usize) -> bool {
        let (_, (b_row, b_col)) = self.b;
        let (apart, share) = (b_row * size_of::<T>(), rows.div_ceil(tall::<S>()));
        b_col != 1 || apart.is_multiple_of(ALIAS / 2) && share > 2 || depth * apart > PAGES && share > 8
    }

    /// Copies columns of b to a panel that wide. What lies behind them there stays: its sums go nowhere.
    #[inline(always)]
    pub fn copy_columns<S: Simd>(
        &self,
        simd: S,
        panel: &mut [T],
        width: usize,
        depth: Range<usize>,
        columns: Range<usize>,
    ) {
        let (b, (b_row, b_col)) = self.b;
        for (first, lines) in depth.clone().step_by(LINES).zip(panel.chunks_mut(LINES * width)) {
            let b = &b[first * b_row + columns.start * b_col..];
            let depth = (depth.end - first).min(LINES);
            let lines = &mut lines[..depth * width];
            if b_col == 1 {
                for (k, to) in lines.chunks_exact_mut(width).enumerate() {
                    let (from, rest) = T::vectors::<S>(&b[k * b_row..][..columns.len()]);
                    let to = T::vectors_mut::<S>(to).0;
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    if !rest.is_empty() {
                        to[from.len()] = T::load(simd, rest);
                    }
                }
                continue;
            }
            let whole = if b_row == 1 { columns.len() / SIDE * SIDE } else { 0 };
            for j in (0..whole).step_by(SIDE) {
                let b: [&[T]; SIDE] = std::array::from_fn(|i| &b[(j + i) * b_col..][..depth]);
                let [b0, b1, b2, b3] = b.map(|b| b.as_chunks::<SIDE>().0);
                let mut blocks = lines.chunks_exact_mut(SIDE * width);
                for ((((b0, b1), b2), b3), lines) in b0.iter().zip(b1).zip(b2).zip(b3).zip(&mut blocks) {
                    let block = turned([*b0, *b1, *b2, *b3]);
                    for (line, values) in lines.chunks_exact_mut(width).zip(block) {
                        line[j..j + SIDE].copy_from_slice(&values);
                    }
                }
                let rest = blocks.into_remainder().chunks_exact_mut(width);
                for (k, line) in (depth / SIDE * SIDE..depth).zip(rest) {
                    line[j..j + SIDE].copy_from_slice(&b.map(|b| b[k]));
                }
            }
            for j in whole..columns.len() {
                let lines = lines.chunks_exact_mut(width).enumerate();
                lines.for_each(|(k, line)| line[j] = b[k * b_row + j * b_col]);
            }
        }
    }
}

/// Rows as columns.
#[inline(always)]
fn turned<T: Lanes>(rows: [[T; SIDE]; SIDE]) -> [[T; SIDE]; SIDE] {
    // The compiler by itself would go value by value.
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>() {
        use std::arch::x86_64::*;
        let [a, b, c, d]: [__m128; SIDE] = bytemuck::cast(rows);
        // SAFETY: every x86_64 has SSE.
        let columns = unsafe {
            let [low_ab, low_cd] = [_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d)];
            let [high_ab, high_cd] = [_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d)];
            let [first, second] = [_mm_movelh_ps(low_ab, low_cd), _mm_movehl_ps(low_cd, low_ab)];
            [first, second, _mm_movelh_ps(high_ab, high_cd), _mm_movehl_ps(high_cd, high_ab)]
        };
        return bytemuck::cast(columns);
    }
    std::array::from_fn(|k| rows.map(|row| row[k]))
}
