//! The product of two matrices on one thread, by tiles of the output whose sums stay in registers.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::aligned::Aligned;
use super::lanes::Lanes;
use super::product::Strides;

/// Rows of a tile: with as many vectors across, sums enough for the latency of multiply-adds, which with their factors stay
/// within the processor's registers. The more rows, the less often b is loaded.
const fn tall<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}
/// Vectors across.
const ACROSS: usize = 2;
/// Sums go this deep at a time, so that a panel of columns stays in the second cache.
const DEPTH: usize = 512;
/// From this depth on, and below so many rows, factors that both lie along the sum are multiplied as they are:
/// adding up the lanes at the end is then less than turning one of them around.
pub const DOTS: (usize, usize) = (256, 120);
/// Up to so many columns they are at any size, as a vector of the output would hold little.
pub const NARROW: usize = 4;
/// Bytes between places that compete for the same few lines of the first cache.
const ALIAS: usize = 4096;
/// Rows of a that lie across the sum, a multiple of so many bytes apart, are copied, as many values at a time as half of
/// the second cache holds, where more columns than a panel's share the copy; those along it that compete, where more than
/// four panels' do.
const BLOCK: usize = 1 << 17;
const APART: usize = ALIAS / 4;
/// So far apart b's rows are copied: half of them compete.
const HALF: usize = ALIAS / 2;

/// A factor of a tile: from its first element on, and where the others lie.
type Factor<'a, T> = (&'a [T], Strides);

/// The rows of an output that several threads fill, each its own part.
pub struct Out<'a, T> {
    space: *mut T,
    length: usize,
    ld: usize,
    lifetime: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: threads get at the elements through `Out::part` alone, whose callers keep to places of their own.
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'a, T> Out<'a, T> {
    pub fn new(space: &'a mut [T], ld: usize) -> Out<'a, T> {
        Out { space: space.as_mut_ptr(), length: space.len(), ld, lifetime: std::marker::PhantomData }
    }

    /// Some columns of a row. Panics if the output has no such place.
    ///
    /// # Safety
    /// Nobody else may hold any of these elements.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(columns.end <= self.ld);
        // SAFETY: as the caller says.
        unsafe { self.at(row * self.ld + columns.start, columns.len()) }
    }

    /// So many elements from a place on. Panics if the output has no such place.
    ///
    /// # Safety
    /// Nobody else may hold any of these elements.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub unsafe fn at(&self, start: usize, count: usize) -> &mut [T] {
        assert!(start + count <= self.length);
        // SAFETY: the elements lie within the slice that was lent for 'a, and are the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.space.add(start), count) }
    }
}

/// `out = a · b`, or `out += a · b`, for some rows and columns of out. All that it calls is to be inlined always:
/// it is compiled once for each kind of vectors, and so are no closures that others call.
pub struct Tiles<'a, T> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub depth: usize,
    pub a: (&'a [T], Strides),
    pub b: (&'a [T], Strides),
    /// Its rows and columns above are no other thread's.
    pub out: &'a Out<'a, T>,
    pub accumulate: bool,
    /// Whether the whole output has at most [`NARROW`] columns. Sums then go another way, whatever part this is.
    pub narrow: bool,
    /// Room for columns of b, one depth after the other; it grows.
    pub panel: &'a mut Aligned<u8>,
}

impl<T: Lanes> WithSimd for Tiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ((_, (_, a_col)), (_, (b_row, b_col))) = (self.a, self.b);
        let along = a_col == 1 && b_row == 1 && b_col != 1;
        let deep = self.depth >= DOTS.0 && self.rows.len() < DOTS.1;
        if along && (deep || self.narrow) {
            return if S::REGISTER_COUNT < 32 { self.dots::<S, 3>(simd) } else { self.dots::<S, 4>(simd) };
        }
        let width = ACROSS * lanes::<S, T>();
        let mut room = std::mem::take(self.panel);
        let packs = self.packs(width);
        let block = if packs { BLOCK } else { 0 };
        let bytes = (DEPTH * width + block) * size_of::<T>();
        room.grow(bytes);
        let (panel, block) = bytemuck::cast_slice_mut(&mut room[..bytes]).split_at_mut(DEPTH * width);
        for start in (0..self.depth).step_by(DEPTH) {
            let depth = start..(start + DEPTH).min(self.depth);
            let high = if packs { BLOCK / depth.len() } else { self.rows.len().max(1) };
            for top in self.rows.clone().step_by(high) {
                let rows = top..(top + high).min(self.rows.end);
                if packs {
                    self.pack_rows::<S>(block, depth.clone(), rows.clone());
                }
                let block = packs.then_some(&*block);
                for first in self.columns.clone().step_by(width) {
                    let columns = first..(first + width).min(self.columns.end);
                    let (depth, rows) = (depth.clone(), rows.clone());
                    if columns.len() > width / 2 {
                        self.panel::<S, ACROSS>(simd, (panel, block), depth, rows, columns);
                    } else {
                        self.panel::<S, { ACROSS / 2 }>(simd, (panel, block), depth, rows, columns);
                    }
                }
            }
        }
        *self.panel = room;
    }
}

/// The tiles of so many rows: about equally many rows each.
#[inline(always)]
fn tiles<S: Simd>(all: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = all.div_ceil(tall::<S>());
    (0..tiles).map(move |tile| tile * all / tiles..(tile + 1) * all / tiles)
}

/// Values in a vector.
const fn lanes<S: Simd, T: Lanes>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

impl<T: Lanes> Tiles<'_, T> {
    /// Whether rows of a are worth a copy.
    #[inline(always)]
    fn packs(&self, width: usize) -> bool {
        let (_, (a_row, a_col)) = self.a;
        let (apart, competing, shared) =
            if a_row == 1 { (a_col, APART, width) } else { (a_row, ALIAS, 4 * width) };
        (apart * size_of::<T>()).is_multiple_of(competing) && self.columns.len() > shared
    }

    /// Copies rows of a, tile after tile, each one depth after the other.
    #[inline(always)]
    fn pack_rows<S: Simd>(&self, block: &mut [T], depth: Range<usize>, rows: Range<usize>) {
        let (a, (a_row, a_col)) = self.a;
        for tile in tiles::<S>(rows.len()) {
            let to = block[tile.start * depth.len()..].chunks_exact_mut(tile.len());
            let a = &a[depth.start * a_col + (rows.start + tile.start) * a_row..];
            for (k, to) in to.take(depth.len()).enumerate() {
                if a_row == 1 {
                    to.copy_from_slice(&a[k * a_col..][..to.len()]);
                } else {
                    to.iter_mut().enumerate().for_each(|(r, to)| *to = a[r * a_row + k * a_col]);
                }
            }
        }
    }

    /// Some rows of at most `V` vectors of columns; rows of a as they are, or from a copy.
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(
        &self,
        simd: S,
        (panel, block): (&mut [T], Option<&[T]>),
        depth: Range<usize>,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        let ((a, (a_row, a_col)), (b, (b_row, b_col))) = (self.a, self.b);
        let width = V * lanes::<S, T>();
        let whole = b_col == 1 && columns.len() == width && !(b_row * size_of::<T>()).is_multiple_of(HALF);
        let (panel, ld) = if whole {
            (&b[depth.start * b_row + columns.start..], b_row)
        } else {
            self.pack(panel, width, depth.clone(), columns.clone());
            (&*panel, width)
        };
        for tile in tiles::<S>(rows.len()) {
            let (first, high) = (rows.start + tile.start, tile.len());
            let a = match block {
                Some(block) => (&block[tile.start * depth.len()..], (1, high)),
                None => (&a[first * a_row + depth.start * a_col..], (a_row, a_col)),
            };
            let (goes_on, columns) = (self.accumulate || depth.start > 0, columns.clone());
            let factors = (depth.len(), a, (panel, ld));
            match high {
                1 => self.tile::<S, 1, V>(simd, factors, first, columns, goes_on),
                2 => self.tile::<S, 2, V>(simd, factors, first, columns, goes_on),
                3 => self.tile::<S, 3, V>(simd, factors, first, columns, goes_on),
                4 => self.tile::<S, 4, V>(simd, factors, first, columns, goes_on),
                5 => self.tile::<S, 5, V>(simd, factors, first, columns, goes_on),
                6 => self.tile::<S, 6, V>(simd, factors, first, columns, goes_on),
                7 if tall::<S>() > 6 => self.tile::<S, 7, V>(simd, factors, first, columns, goes_on),
                8 if tall::<S>() > 6 => self.tile::<S, 8, V>(simd, factors, first, columns, goes_on),
                9 if tall::<S>() > 6 => self.tile::<S, 9, V>(simd, factors, first, columns, goes_on),
                10 if tall::<S>() > 6 => self.tile::<S, 10, V>(simd, factors, first, columns, goes_on),
                11 if tall::<S>() > 6 => self.tile::<S, 11, V>(simd, factors, first, columns, goes_on),
                12 if tall::<S>() > 6 => self.tile::<S, 12, V>(simd, factors, first, columns, goes_on),
                _ => unreachable!("a tile of {high} rows"),
            }
        }
    }

    /// Copies columns of b to a panel that wide. What lies behind them there stays: its sums go nowhere.
    #[inline(always)]
    fn pack(&self, panel: &mut [T], width: usize, depth: Range<usize>, columns: Range<usize>) {
        let (b, (b_row, b_col)) = self.b;
        let b = &b[depth.start * b_row + columns.start * b_col..];
        if b_col == 1 {
            let lines = panel.chunks_exact_mut(width).take(depth.len()).enumerate();
            return lines
                .for_each(|(k, to)| to[..columns.len()].copy_from_slice(&b[k * b_row..][..columns.len()]));
        }
        // Four columns by four places of the sum at a time, which the compiler turns around in registers.
        const SIDE: usize = 4;
        let whole = if b_row == 1 { columns.len() / SIDE * SIDE } else { 0 };
        for j in (0..whole).step_by(SIDE) {
            let b: [&[T]; SIDE] = std::array::from_fn(|i| &b[(j + i) * b_col..][..depth.len()]);
            let [b0, b1, b2, b3] = b.map(|b| b.as_chunks::<SIDE>().0);
            let mut lines = panel.chunks_exact_mut(width);
            for (((b0, b1), b2), b3) in b0.iter().zip(b1).zip(b2).zip(b3) {
                let block: [[T; SIDE]; SIDE] = [*b0, *b1, *b2, *b3];
                for k in 0..SIDE {
                    if let Some(line) = lines.next() {
                        line[j..j + SIDE].copy_from_slice(&block.map(|b| b[k]));
                    }
                }
            }
            for (k, line) in (depth.len() / SIDE * SIDE..depth.len()).zip(lines) {
                line[j..j + SIDE].copy_from_slice(&b.map(|b| b[k]));
            }
        }
        for j in whole..columns.len() {
            let lines = panel.chunks_exact_mut(width).take(depth.len());
            lines.enumerate().for_each(|(k, to)| to[j] = b[k * b_row + j * b_col]);
        }
    }

    /// `R` rows by `V` vectors of out, or what a part of the sum adds to them.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        (depth, (a, (a_row, a_col)), panel): (usize, Factor<T>, (&[T], usize)),
        first: usize,
        columns: Range<usize>,
        goes_on: bool,
    ) {
        // A stride of one is written out, so that the compiler knows it.
        let sums = match a_row {
            1 => sums::<T, S, R, V>(simd, depth, (a, (1, a_col)), panel),
            _ => sums::<T, S, R, V>(simd, depth, (a, (a_row, a_col)), panel),
        };
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: the place is this thread's alone, and no other slice of it is held.
            let out = unsafe { self.out.part(first + r, columns.clone()) };
            for (to, sum) in out.chunks_mut(lanes::<S, T>()).zip(sums) {
                let sum = if goes_on { T::plus(simd, T::load(simd, to), sum) } else { sum };
                T::store(simd, to, sum);
            }
        }
    }

    /// All of it as sums along the rows of a and the columns of b, `R` rows of a at a time.
    #[inline(always)]
    fn dots<S: Simd, const R: usize>(&self, simd: S) {
        let mut columns = self.columns.clone();
        while !columns.is_empty() {
            let (j, left) = (columns.start, columns.len());
            columns.start += match left {
                1 => self.column::<S, R, 1>(simd, j),
                2 | 3 => self.column::<S, R, 2>(simd, j),
                // As many as there are registers for: the rows of a come from the second cache once for all of them.
                6.. if S::REGISTER_COUNT >= 32 => self.column::<S, R, 6>(simd, j),
                _ => self.column::<S, R, 4>(simd, j),
            };
        }
    }

    /// All rows of `C` columns; returns how many these are.
    #[inline(always)]
    fn column<S: Simd, const R: usize, const C: usize>(&self, simd: S, j: usize) -> usize {
        let rows = self.rows.clone();
        let end = rows.start + rows.len() / R * R;
        for i in (rows.start..end).step_by(R) {
            self.dot::<S, R, C>(simd, i, j);
        }
        for i in end..rows.end {
            self.dot::<S, 1, C>(simd, i, j);
        }
        C
    }

    /// `R` by `C` elements of out, each a sum of products of vectors.
    #[inline(always)]
    fn dot<S: Simd, const R: usize, const C: usize>(&self, simd: S, i: usize, j: usize) {
        let ((a, (a_row, _)), (b, (_, b_col))) = (self.a, self.b);
        let a: [_; R] = std::array::from_fn(|r| T::vectors::<S>(&a[(i + r) * a_row..][..self.depth]));
        let b: [_; C] = std::array::from_fn(|c| T::vectors::<S>(&b[(j + c) * b_col..][..self.depth]));
        let mut sums = [[T::splat(simd, T::zero()); C]; R];
        // What is left after whole vectors comes last.
        let vectors = a[0].0.len();
        for k in 0..vectors + usize::from(!a[0].1.is_empty()) {
            let mut of_b = [T::splat(simd, T::zero()); C];
            for c in 0..C {
                of_b[c] = if k < vectors { b[c].0[k] } else { T::load(simd, b[c].1) };
            }
            for r in 0..R {
                let of_a = if k < vectors { a[r].0[k] } else { T::load(simd, a[r].1) };
                for c in 0..C {
                    sums[r][c] = T::fused(simd, of_a, of_b[c], sums[r][c]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: the place is this thread's alone, and no other slice of it is held.
            let out = unsafe { self.out.part(i + r, j..j + C) };
            for (to, sum) in out.iter_mut().zip(sums) {
                let sum = T::total(simd, sum);
                *to = if self.accumulate { *to + sum } else { sum };
            }
        }
    }
}

/// `R` rows of a times `V` vectors of columns.
#[inline(always)]
fn sums<T: Lanes, S: Simd, const R: usize, const V: usize>(
    simd: S,
    depth: usize,
    (a, (a_row, a_col)): (&[T], Strides),
    (panel, ld): (&[T], usize),
) -> [[T::Vector<S>; V]; R] {
    assert!((R - 1) * a_row + (depth - 1) * a_col < a.len());
    let mut sums = [[T::splat(simd, T::zero()); V]; R];
    for k in 0..depth {
        let (b, _) = T::vectors::<S>(&panel[k * ld..][..V * lanes::<S, T>()]);
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the greatest of these places is asserted to lie in the slice.
            let a = T::splat(simd, unsafe { *a.get_unchecked(r * a_row + k * a_col) });
            for v in 0..V {
                sums[v] = T::fused(simd, a, b[v], sums[v]);
            }
        }
    }
    sums
}
