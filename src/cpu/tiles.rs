//! The product of two matrices on one thread, by tiles of the output whose sums stay in registers.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::aligned::Aligned;
use super::copies::BLOCK;
use super::lanes::Lanes;
use super::out::Out;
use super::pool::LINE;
use super::product::Strides;

/// Rows of a tile: with as many vectors across, sums enough for the latency of multiply-adds, which with their factors stay
/// within the processor's registers. The more rows, the less often b is loaded.
pub const fn tall<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
}
/// Vectors across.
const fn across<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 3 } else { 2 }
}
/// Sums go this deep at a time, so that a panel of columns stays in the second cache.
pub const DEPTH: usize = 1024;
/// Rows of a tile at the most, and values across.
pub const TILE: [usize; 2] = [8, 3 * LINE];
/// A factor of a tile: from its first element on, and where the others lie.
type Factor<'a, T> = (&'a [T], Strides);

/// How a weight is moved by its gradient, the product: `w ← w · kept − lr · (gradient + l2 · w)`, to the bits of
/// [`crate::ops::Optimizer`].
pub struct Descent<T> {
    pub lr: T,
    pub l2: T,
    pub kept: T,
}

/// `out = a · b`, or `out += a · b`, or out moved by the product, for some rows and columns of out. All that it calls is to be
/// inlined always: it is compiled once for each kind of vectors, and so are no closures that others call.
pub struct Tiles<'a, T> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub depth: usize,
    pub a: (&'a [T], Strides),
    pub b: (&'a [T], Strides),
    /// Its rows and columns above are no other thread's.
    pub out: &'a Out<'a, T>,
    pub accumulate: bool,
    /// How out is moved, with a place for a tile of gradients. Sums are then no deeper than [`DEPTH`].
    pub descent: Option<(&'a Descent<T>, &'a Out<'a, T>)>,
    /// Whether factors that both lie along the sum are multiplied as they are, the lanes added up at the end.
    pub dots: bool,
    /// Room for columns of b, one depth after the other; it grows.
    pub panel: &'a mut Aligned<u8>,
}

impl<T: Lanes> Descent<T> {
    /// A vector of a weight behind the step.
    #[inline(always)]
    fn moved<S: Simd>(&self, simd: S, weight: T::Vector<S>, gradient: T::Vector<S>) -> T::Vector<S> {
        let Descent { lr, l2, kept } = *self;
        let gradient = T::plus(simd, gradient, T::times(simd, T::splat(simd, l2), weight));
        let kept = T::times(simd, weight, T::splat(simd, kept));
        T::minus(simd, kept, T::times(simd, T::splat(simd, lr), gradient))
    }
}

impl<T: Lanes> WithSimd for Tiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ((_, (_, a_col)), (_, (b_row, b_col))) = (self.a, self.b);
        assert!(self.depth <= DEPTH || self.descent.is_none());
        let along = a_col == 1 && b_row == 1 && b_col != 1;
        if along && self.dots {
            return if S::REGISTER_COUNT < 32 { self.dots::<S, 3>(simd) } else { self.dots::<S, 4>(simd) };
        }
        let width = across::<S>() * lanes::<S, T>();
        let mut room = std::mem::take(self.panel);
        let copies = self.copies_rows(width);
        let block = if copies { BLOCK } else { 0 };
        let bytes = (DEPTH * width + block) * size_of::<T>();
        room.grow(bytes);
        let (panel, block) = bytemuck::cast_slice_mut(&mut room[..bytes]).split_at_mut(DEPTH * width);
        for start in (0..self.depth).step_by(DEPTH) {
            let depth = start..(start + DEPTH).min(self.depth);
            let high = if copies { BLOCK / depth.len() } else { self.rows.len().max(1) };
            for top in self.rows.clone().step_by(high) {
                let rows = top..(top + high).min(self.rows.end);
                if copies {
                    self.copy_rows::<S>(block, depth.clone(), rows.clone());
                }
                let block = copies.then_some(&*block);
                let mut first = self.columns.start;
                while first < self.columns.end {
                    let left = (self.columns.end - first).div_ceil(lanes::<S, T>());
                    // Of four vectors two and two take less time than three and one.
                    let vectors = if left == 4 { 2 } else { left.min(across::<S>()) };
                    let columns = first..(first + vectors * lanes::<S, T>()).min(self.columns.end);
                    first = columns.end;
                    let (width, depth, rows) = (vectors * lanes::<S, T>(), depth.clone(), rows.clone());
                    let part = [depth.clone(), rows.clone(), columns.clone()];
                    let factors = (block, self.columns_of_b(simd, panel, width, part));
                    match vectors {
                        1 => self.panel::<S, 1>(simd, factors, depth, rows, columns),
                        2 => self.panel::<S, 2>(simd, factors, depth, rows, columns),
                        _ if across::<S>() > 2 => self.panel::<S, 3>(simd, factors, depth, rows, columns),
                        _ => unreachable!("{vectors} vectors"),
                    }
                }
            }
        }
        *self.panel = room;
    }
}

/// The tiles of so many rows: about equally many rows each.
#[inline(always)]
pub fn tiles<S: Simd>(all: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = all.div_ceil(tall::<S>());
    (0..tiles).map(move |tile| tile * all / tiles..(tile + 1) * all / tiles)
}

/// Values in a vector.
const fn lanes<S: Simd, T: Lanes>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

impl<T: Lanes> Tiles<'_, T> {
    /// Some rows of at most `V` vectors of columns: rows of a as they are or from a copy, and columns of b with how far their
    /// lines are apart.
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(
        &self,
        simd: S,
        (block, panel): (Option<&[T]>, (&[T], usize)),
        depth: Range<usize>,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        let (a, (a_row, a_col)) = self.a;
        for tile in tiles::<S>(rows.len()) {
            let (first, high) = (rows.start + tile.start, tile.len());
            if self.descent.is_some() {
                // What is moved comes while the sums are made.
                for row in first..first + high {
                    self.out.fetch::<V>(row, columns.start, lanes::<S, T>());
                }
            }
            let a = match block {
                Some(block) => (&block[tile.start * depth.len()..], (1, high)),
                None => (&a[first * a_row + depth.start * a_col..], (a_row, a_col)),
            };
            let (goes_on, columns) = (self.accumulate || depth.start > 0, columns.clone());
            let factors = (depth.len(), a, panel);
            match high {
                1 => self.tile::<S, 1, V>(simd, factors, first, columns.clone(), goes_on),
                2 => self.tile::<S, 2, V>(simd, factors, first, columns.clone(), goes_on),
                3 => self.tile::<S, 3, V>(simd, factors, first, columns.clone(), goes_on),
                4 => self.tile::<S, 4, V>(simd, factors, first, columns.clone(), goes_on),
                5 => self.tile::<S, 5, V>(simd, factors, first, columns.clone(), goes_on),
                6 => self.tile::<S, 6, V>(simd, factors, first, columns.clone(), goes_on),
                7 if tall::<S>() > 6 => self.tile::<S, 7, V>(simd, factors, first, columns.clone(), goes_on),
                8 if tall::<S>() > 6 => self.tile::<S, 8, V>(simd, factors, first, columns.clone(), goes_on),
                _ => unreachable!("a tile of {high} rows"),
            }
            if let Some((descent, tile)) = self.descent {
                self.descend::<S, V>(simd, descent, tile, first..first + high, columns);
            }
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
        // A stride of one is written out, so that the compiler knows it, and sums are stored where they were made, or all of
        // them would go through memory.
        match (a_row, a_col) {
            (_, 1) => {
                let sums = sums::<T, S, R, V>(simd, depth, (a, (a_row, 1)), panel);
                self.store::<S, R, V>(simd, &sums, first, columns, goes_on);
            }
            (1, _) => {
                let sums = sums::<T, S, R, V>(simd, depth, (a, (1, a_col)), panel);
                self.store::<S, R, V>(simd, &sums, first, columns, goes_on);
            }
            _ => unreachable!("a stride of a is one"),
        }
    }

    /// Overwrites a tile of out, or adds to it.
    #[inline(always)]
    fn store<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        sums: &[[T::Vector<S>; V]; R],
        first: usize,
        columns: Range<usize>,
        goes_on: bool,
    ) {
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: the place is this thread's alone, and no other slice of it is held.
            let out = unsafe {
                match self.descent {
                    Some((_, tile)) => tile.part(r, 0..columns.len()),
                    None => self.out.part(first + r, columns.clone()),
                }
            };
            // Whole vectors apart from what is left: going vector by vector takes small products 1.02 to 1.05 times as long.
            let (whole, rest) = T::vectors_mut::<S>(out);
            for (v, &sum) in sums.iter().enumerate() {
                if let Some(to) = whole.get_mut(v) {
                    *to = if goes_on { T::plus(simd, *to, sum) } else { sum };
                } else if v == whole.len() && !rest.is_empty() {
                    let sum = if goes_on { T::plus(simd, T::load(simd, rest), sum) } else { sum };
                    T::store(simd, rest, sum);
                }
            }
        }
    }

    /// Moves a tile of out by its gradients.
    #[inline(always)]
    fn descend<S: Simd, const V: usize>(
        &self,
        simd: S,
        descent: &Descent<T>,
        tile: &Out<T>,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        for (r, row) in rows.enumerate() {
            // SAFETY: the places are this thread's alone, and no other slices of them are held.
            let (out, gradients) =
                unsafe { (self.out.part(row, columns.clone()), tile.part(r, 0..V * lanes::<S, T>())) };
            let gradients = T::vectors::<S>(gradients).0;
            let (whole, rest) = T::vectors_mut::<S>(out);
            if let Some(whole) = whole.first_chunk_mut::<V>() {
                for v in 0..V {
                    whole[v] = descent.moved(simd, whole[v], gradients[v]);
                }
                continue;
            }
            for v in 0..whole.len() {
                whole[v] = descent.moved(simd, whole[v], gradients[v]);
            }
            if !rest.is_empty() {
                let moved = descent.moved(simd, T::load(simd, rest), gradients[whole.len()]);
                T::store(simd, rest, moved);
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
        for k in 0..self.depth / lanes::<S, T>() {
            let mut of_b = [T::splat(simd, T::zero()); C];
            for c in 0..C {
                // SAFETY: each has so many whole vectors. Checks would take registers that their places need.
                of_b[c] = unsafe { *b[c].0.get_unchecked(k) };
            }
            for r in 0..R {
                // SAFETY: as above.
                let of_a = unsafe { *a[r].0.get_unchecked(k) };
                add_products::<T, S, C>(simd, &mut sums[r], of_a, &of_b);
            }
        }
        // What is left after whole vectors.
        if !a[0].1.is_empty() {
            let mut of_b = [T::splat(simd, T::zero()); C];
            for c in 0..C {
                of_b[c] = T::load(simd, b[c].1);
            }
            for r in 0..R {
                let of_a = T::load(simd, a[r].1);
                add_products::<T, S, C>(simd, &mut sums[r], of_a, &of_b);
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

/// `sums += a · b`.
#[inline(always)]
fn add_products<T: Lanes, S: Simd, const N: usize>(
    simd: S,
    sums: &mut [T::Vector<S>; N],
    a: T::Vector<S>,
    b: &[T::Vector<S>; N],
) {
    for (sum, &b) in sums.iter_mut().zip(b) {
        *sum = T::fused(simd, a, b, *sum);
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
    assert!((depth - 1) * ld + V * lanes::<S, T>() <= panel.len());
    let mut sums = [[T::splat(simd, T::zero()); V]; R];
    // Where there are registers, two at a time: then a place in a is reckoned half as often.
    let pairs = if S::REGISTER_COUNT >= 32 { depth / 2 } else { 0 };
    for k in (0..2 * pairs).step_by(2) {
        // SAFETY: the last places are asserted to lie in the slices.
        unsafe { add::<T, S, R, V, 2>(simd, &mut sums, k, (a, (a_row, a_col)), (panel, ld)) };
    }
    for k in 2 * pairs..depth {
        // SAFETY: as above.
        unsafe { add::<T, S, R, V, 1>(simd, &mut sums, k, (a, (a_row, a_col)), (panel, ld)) };
    }
    sums
}

/// Adds `K` terms to each sum.
///
/// # Safety
/// The terms must lie within both slices.
#[inline(always)]
unsafe fn add<T: Lanes, S: Simd, const R: usize, const V: usize, const K: usize>(
    simd: S,
    sums: &mut [[T::Vector<S>; V]; R],
    first: usize,
    (a, (a_row, a_col)): (&[T], Strides),
    (panel, ld): (&[T], usize),
) {
    let mut b = [[T::splat(simd, T::zero()); V]; K];
    for (k, b) in b.iter_mut().enumerate() {
        // SAFETY: as the caller says.
        let line = unsafe { panel.get_unchecked((first + k) * ld..).get_unchecked(..V * lanes::<S, T>()) };
        b.copy_from_slice(T::vectors::<S>(line).0);
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        for (k, b) in b.iter().enumerate() {
            // SAFETY: as the caller says.
            let a = T::splat(simd, unsafe { *a.get_unchecked(r * a_row + (first + k) * a_col) });
            add_products::<T, S, V>(simd, sums, a, b);
        }
    }
}
