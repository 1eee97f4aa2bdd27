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
            assert_eq!(b_row, 1, "a stride of b is one");
            let mut left = 0..columns.len();
            if size_of::<T::Vector<S>>() == 16 * size_of::<T>() {
                turn::<T, 16>((b, b_col), &mut left, lines, width);
            }
            turn::<T, 4>((b, b_col), &mut left, lines, width);
            turn::<T, 1>((b, b_col), &mut left, lines, width);
        }
    }
}

/// Turns columns around to lines that wide, `N` at a time while so many are left.
#[inline(always)]
fn turn<T: Lanes, const N: usize>(
    (b, b_col): (&[T], usize),
    left: &mut Range<usize>,
    lines: &mut [T],
    width: usize,
) {
    let depth = lines.len() / width;
    while left.len() >= N {
        let j = left.start;
        assert!(j + N <= width && (j + N - 1) * b_col + depth <= b.len());
        if depth >= SIDE {
            for k in (0..depth).step_by(SIDE) {
                // The last ones, if there are fewer than four, with some before them once more.
                let k = k.min(depth - SIDE);
                // SAFETY: asserted above, as the block ends where the depth does, or before.
                unsafe {
                    let to = lines.as_mut_ptr().add(k * width + j);
                    turn_block::<T, N>((b.as_ptr().add(j * b_col + k), b_col), (to, width));
                }
            }
        } else {
            for (k, line) in lines.chunks_exact_mut(width).enumerate() {
                for (i, to) in line[j..j + N].iter_mut().enumerate() {
                    *to = b[(j + i) * b_col + k];
                }
            }
        }
        left.start += N;
    }
}

/// Turns around four terms of `N` columns.
///
/// # Safety
/// Four values of `N` columns that far apart, and `N` of four lines that wide, must lie in the slices that the places point
/// into. `N` is 1, 4, or as many as a vector of the processor has, 16.
#[inline(always)]
unsafe fn turn_block<T: Lanes, const N: usize>(
    (from, apart): (*const T, usize),
    (to, width): (*mut T, usize),
) {
    // The compiler by itself would go value by value.
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>() && N > 1 {
        use std::arch::x86_64::*;
        let (from, to) = (from.cast::<f32>(), to.cast::<f32>());
        // No closures: whether the compiler makes them a part of this is up to it. SAFETY: as the caller says; every x86_64 has
        // SSE.
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
    for k in 0..SIDE {
        for i in 0..N {
            // SAFETY: as the caller says.
            unsafe { *to.add(k * width + i) = *from.add(i * apart + k) };
        }
    }
}
