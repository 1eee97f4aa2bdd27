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
/// Terms of a block of columns that is turned around.
const TERMS: usize = 4;

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
    fn copies_columns<S: Simd>(&self, depth: usize, rows: usize) -> bool {
        let (_, (b_row, b_col)) = self.b;
        let (apart, share) = (b_row * size_of::<T>(), rows.div_ceil(tall::<S>()));
        b_col != 1 || apart.is_multiple_of(ALIAS / 2) && share > 2 || depth * apart > PAGES && share > 8
    }

    /// At most so many columns of b, and how far their lines are apart: where they lie, or copied to a panel.
    #[inline(always)]
    pub fn columns_of_b<'p, S: Simd>(
        &'p self,
        simd: S,
        panel: &'p mut [T],
        width: usize,
        [depth, rows, columns]: [Range<usize>; 3],
    ) -> (&'p [T], usize) {
        let (b, (b_row, _)) = self.b;
        if columns.len() == width && !self.copies_columns::<S>(depth.len(), rows.len()) {
            return (&b[depth.start * b_row + columns.start..], b_row);
        }
        self.copy_columns(simd, panel, width, depth, columns);
        (panel, width)
    }

    /// Copies columns of b to a panel that wide. What lies behind them there stays: its sums go nowhere.
    #[inline(always)]
    fn copy_columns<S: Simd>(
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
            assert_eq!(b_row, 1, "a stride of b is one");
            let mut left = 0..columns.len();
            if size_of::<T::Vector<S>>() == 16 * size_of::<T>() {
                turn::<T, S, 16>((b, b_col), &mut left, lines, width);
            }
            turn::<T, S, 4>((b, b_col), &mut left, lines, width);
            turn::<T, S, 1>((b, b_col), &mut left, lines, width);
        }
    }
}

/// Turns columns around to lines that wide, `N` at a time while so many are left.
#[inline(always)]
fn turn<T: Lanes, S: Simd, const N: usize>(
    (b, b_col): (&[T], usize),
    left: &mut Range<usize>,
    lines: &mut [T],
    width: usize,
) {
    let depth = lines.len() / width;
    let terms = TERMS.min(depth);
    while left.len() >= N {
        let j = left.start;
        assert!(j + N <= width && (j + N - 1) * b_col + depth <= b.len());
        for k in (0..depth).step_by(TERMS) {
            // The last ones, if there are fewer, with some before them once more.
            let k = k.min(depth - terms);
            // SAFETY: asserted above, as the block ends where the depth does, or before.
            unsafe {
                let to = lines.as_mut_ptr().add(k * width + j);
                turn_block::<T, S, N>((b.as_ptr().add(j * b_col + k), b_col), (to, width), terms);
            }
        }
        left.start += N;
    }
}

/// Turns around so many terms of `N` columns.
///
/// # Safety
/// The terms of `N` columns that far apart, and `N` values of as many lines that wide, must lie in the slices that the places
/// point into.
#[inline(always)]
unsafe fn turn_block<T: Lanes, S: Simd, const N: usize>(
    (from, apart): (*const T, usize),
    (to, width): (*mut T, usize),
    terms: usize,
) {
    // The compiler by itself would go value by value.
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>()
        && terms == TERMS
        && (N == 4 || N == 16 && size_of::<T::Vector<S>>() == 64)
    {
        use std::arch::x86_64::*;
        let (from, to) = (from.cast::<f32>(), to.cast::<f32>());
        // No closures: whether the compiler makes them a part of this is up to it. SAFETY: as the caller says; every x86_64 has
        // SSE, and where S has vectors of 64 bytes, AVX-512.
        unsafe {
            if N == 4 {
                let mut columns = [_mm_setzero_ps(); 4];
                for (i, column) in columns.iter_mut().enumerate() {
                    *column = _mm_loadu_ps(from.add(i * apart));
                }
                let [a, b, c, d] = &mut columns;
                _MM_TRANSPOSE4_PS(a, b, c, d);
                for (k, &line) in columns.iter().enumerate() {
                    _mm_storeu_ps(to.add(k * width), line);
                }
            } else {
                // The same in each quarter of a vector.
                let mut columns = [_mm512_setzero_ps(); 4];
                for (i, column) in columns.iter_mut().enumerate() {
                    *column = _mm512_castps128_ps512(_mm_loadu_ps(from.add(i * apart)));
                    for (quarter, mask) in [(1, 0x00f0), (2, 0x0f00), (3, 0xf000)] {
                        let values = _mm_loadu_ps(from.add((i + 4 * quarter) * apart));
                        *column = _mm512_mask_broadcast_f32x4(*column, mask, values);
                    }
                }
                let [a, b, c, d] = columns;
                let low_ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let low_cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                let high_ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let high_cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                _mm512_storeu_pd(to.cast(), _mm512_unpacklo_pd(low_ab, low_cd));
                _mm512_storeu_pd(to.add(width).cast(), _mm512_unpackhi_pd(low_ab, low_cd));
                _mm512_storeu_pd(to.add(2 * width).cast(), _mm512_unpacklo_pd(high_ab, high_cd));
                _mm512_storeu_pd(to.add(3 * width).cast(), _mm512_unpackhi_pd(high_ab, high_cd));
            }
        }
        return;
    }
    for k in 0..terms {
        for i in 0..N {
            // SAFETY: as the caller says.
            unsafe { *to.add(k * width + i) = *from.add(i * apart + k) };
        }
    }
}
