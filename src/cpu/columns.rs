use std::ops::{Add, Mul, Range, Sub};

use pulp::{Simd, WithSimd};

use super::lanes::Lanes;
use super::out::Out;
use super::pool::{LINE, part_of, parts, share_items};
use super::{Memory, Real, Twin};
use crate::ops::{Step, Tensor};

/// Matrices with at least this many elements are shared out over threads: some ten microseconds of one.
const ELEMENTS_FOR_THREADS: usize = 1 << 15;

/// Vectors side by side: what a twin keeps of a few such strips fits the registers.
const VECTORS: usize = 4;

/// A twin that goes down the columns of a matrix, each by itself.
pub trait Columnwise<const N: usize>: Sync {
    /// What it writes, each in a space of its own.
    fn outputs(&self) -> [Tensor; N];

    /// The matrix whose columns are shared out.
    fn over(&self) -> Tensor;

    /// Writes a model's outputs in some columns. To be inlined always, as [`Twin::write`].
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        out: [Part<T>; N],
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    );
}

/// A [`Columnwise`] twin, and the only columns that it writes, if not all.
pub struct Down<'a, W>(pub &'a W, pub Option<&'a Range<usize>>);

impl<T: Real, W: Columnwise<N>, const N: usize> Twin<T, N> for Down<'_, W> {
    fn outputs(&self) -> [Tensor; N] {
        self.0.outputs()
    }

    #[inline(always)]
    fn write(&self, out: [&mut [T]; N], memory: &Memory<T>, step: &Step) {
        let over = self.0.over();
        let out = &out.map(|space| Out::new(space, 0));
        for model in 0..over.models {
            let share = |columns| {
                pulp::Arch::new().dispatch(Share { twin: self.0, columns, out, model, memory, step });
            };
            match self.1 {
                Some(columns) => share(columns.clone()),
                None if over.rows * over.cols < ELEMENTS_FOR_THREADS => share(0..over.cols),
                // Whole lines of the cache to each thread.
                None => share_items((0..parts()).map(|part| part_of(part, over.cols, LINE)), share),
            }
        }
    }
}

/// A thread's columns, for [`pulp`] to compile.
struct Share<'a, T, W, const N: usize> {
    twin: &'a W,
    columns: Range<usize>,
    out: &'a [Out<'a, T>; N],
    model: usize,
    memory: &'a Memory<T>,
    step: &'a Step,
}

impl<T: Real, W: Columnwise<N>, const N: usize> WithSimd for Share<'_, T, W, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        let mut columns = self.columns.clone();
        while !columns.is_empty() {
            // A strip that would hold less than its vectors begins earlier: it writes the same once more.
            let most = VECTORS.min(self.columns.len() / lanes);
            let vectors = columns.len().div_ceil(lanes).min(most);
            let width = if vectors == 0 { columns.len() } else { vectors * lanes };
            let end = columns.end.min(columns.start + width);
            let strip = end - width..end;
            match vectors {
                0 => self.strip::<S, 1, false>(simd, strip),
                1 => self.strip::<S, 1, true>(simd, strip),
                2 => self.strip::<S, 2, true>(simd, strip),
                3 => self.strip::<S, 3, true>(simd, strip),
                _ => self.strip::<S, VECTORS, true>(simd, strip),
            }
            columns.start = end;
        }
    }
}

impl<T: Real, W: Columnwise<N>, const N: usize> Share<'_, T, W, N> {
    #[inline(always)]
    fn strip<S: Simd, const V: usize, const WHOLE: bool>(&self, simd: S, columns: Range<usize>) {
        let out = self.out.each_ref().map(|out| Part { out, columns: columns.clone() });
        let strip = Strip::<S, V, WHOLE> { simd, columns };
        self.twin.write_columns(&strip, out, self.model, self.memory, self.step);
    }
}

/// Columns of an output.
pub struct Part<'a, T> {
    out: &'a Out<'a, T>,
    columns: Range<usize>,
}

impl<T> Part<'_, T> {
    /// Some columns of a row that begins there in the output's space.
    #[inline(always)]
    fn row(&mut self, start: usize) -> &mut [T] {
        // SAFETY: strips differ in their columns, and a twin writes rows of matrices that do not overlap.
        unsafe { self.out.at(start + self.columns.start, self.columns.len()) }
    }
}

/// Columns that a twin goes down at a time: `V` vectors of them, or fewer than a vector has.
pub struct Strip<S, const V: usize, const WHOLE: bool> {
    simd: S,
    columns: Range<usize>,
}

impl<S: Simd, const V: usize, const WHOLE: bool> Strip<S, V, WHOLE> {
    /// What these columns hold of a row, and zeros behind them.
    #[inline(always)]
    pub fn load<T: Lanes>(&self, row: &[T]) -> Wide<T, S, V> {
        let row = &row[self.columns.clone()];
        let mut wide = self.all(T::zero());
        if WHOLE {
            wide.vectors.copy_from_slice(T::vectors::<S>(row).0);
        } else {
            wide.vectors[0] = T::load(self.simd, row);
        }
        wide
    }

    /// Overwrites these columns of an output's row that begins there.
    #[inline(always)]
    pub fn store<T: Lanes>(&self, out: &mut Part<T>, start: usize, wide: Wide<T, S, V>) {
        let to = out.row(start);
        if WHOLE {
            T::vectors_mut::<S>(to).0.copy_from_slice(&wide.vectors);
        } else {
            T::store(self.simd, to, wide.vectors[0]);
        }
    }

    /// The value in all columns.
    #[inline(always)]
    pub fn all<T: Lanes>(&self, value: T) -> Wide<T, S, V> {
        Wide { simd: self.simd, vectors: [T::splat(self.simd, value); V] }
    }
}

/// A value for each column of a strip.
pub struct Wide<T: Lanes, S: Simd, const V: usize> {
    simd: S,
    vectors: [T::Vector<S>; V],
}

impl<T: Lanes, S: Simd, const V: usize> Clone for Wide<T, S, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Lanes, S: Simd, const V: usize> Copy for Wide<T, S, V> {}

impl<T: Lanes, S: Simd, const V: usize> Wide<T, S, V> {
    /// One value after the other, with those behind the strip's columns.
    #[inline(always)]
    pub fn values(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.vectors)
    }

    /// `self · factor + term`.
    #[inline(always)]
    pub fn fused(mut self, factor: Self, term: Self) -> Self {
        for v in 0..V {
            self.vectors[v] = T::fused(self.simd, self.vectors[v], factor.vectors[v], term.vectors[v]);
        }
        self
    }
}

macro_rules! operator {
    ($trait:ident, $operator:ident, $of_lanes:ident) => {
        impl<T: Lanes, S: Simd, const V: usize> $trait for Wide<T, S, V> {
            type Output = Self;

            #[inline(always)]
            fn $operator(mut self, other: Self) -> Self {
                for v in 0..V {
                    self.vectors[v] = T::$of_lanes(self.simd, self.vectors[v], other.vectors[v]);
                }
                self
            }
        }
    };
}

operator!(Add, add, plus);
operator!(Sub, sub, minus);
operator!(Mul, mul, times);
