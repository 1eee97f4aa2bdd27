use std::cell::RefCell;
use std::ops::Range;

use super::Real;
use super::aligned::Aligned;
use super::out::Out;
use super::pool::{LINE, free, part_of, share};
use super::tiles::{Descent, TILE, Tiles};

/// Where element (i, j) of a matrix lies: `i · first + j · second`.
pub type Strides = (usize, usize);

/// Products with at least this many FLOPs are split over threads: some five microseconds of one.
const FLOPS_FOR_THREADS: usize = 500_000;

/// From this depth on it depends on the rows, too, whether factors are multiplied as they lie, so that a row among others may
/// differ by rounding; units of layers with so many inputs are shared out by two.
const DEEP: usize = 256;
/// In less depth they are for up to so many columns, as a vector of the output would hold little.
const NARROW: usize = 4;
/// So many columns of a gradient of inputs are shared out, so that each thread copies its own of the weight.
const WIDE: usize = 256;

thread_local! {
    /// For a panel of columns and for a tile of gradients.
    static ROOM: RefCell<[Aligned<u8>; 2]> = RefCell::default();
}

/// What a thread multiplies: both factors, from their first elements on, for the part of that number.
pub type Factors<'a, T> = &'a (dyn Fn(usize) -> [&'a [T]; 2] + Sync);

/// `out = a · b`, or `out += a · b`, for `[rows, depth] · [depth, cols]`; `out` has rows of `ld`
/// elements.
///
/// Panics if a slice is too short for its matrix, or if no stride of a factor is one.
pub fn product<T: Real>(
    sizes: [usize; 3],
    (a, a_strides): (&[T], Strides),
    (b, b_strides): (&[T], Strides),
    out: (&mut [T], usize),
    accumulate: bool,
) {
    product_of(sizes, &|_| [a, b], [a_strides, b_strides], out, accumulate, None, None);
}

/// Which units of a layer with so many inputs are a part's: columns of its product forward, rows of its weight and of that
/// one's gradient.
pub fn units(part: usize, units: usize, inputs: usize) -> Range<usize> {
    part_of(part, units, side_by_side(inputs))
}

/// How many units stay with one part: as many columns as tiles take or copy at a time.
pub fn side_by_side(inputs: usize) -> usize {
    if inputs >= DEEP { 2 } else { 4 }
}

/// [`product`] of factors that each thread may have a copy of, or one part of it. Each has units of its own, see [`units`];
/// of a gradient of inputs, columns, or rows where there are few columns. A value's sum goes the same way whoever has it, so
/// all machines with such vectors give the same bits. With a descent, out is moved by the product and not overwritten.
pub fn product_of<T: Real>(
    [rows, depth, cols]: [usize; 3],
    factors: Factors<T>,
    [of_a, of_b]: [Strides; 2],
    (out, ld): (&mut [T], usize),
    accumulate: bool,
    descent: Option<&Descent<T>>,
    only: Option<&Range<usize>>,
) {
    if depth == 0 {
        return;
    }
    let out = &Out::new(out, ld);
    // Of the whole product, whatever part of it a thread has.
    let dots = as_they_lie([rows, depth, cols]);
    let multiply = |part, rows: Range<usize>, columns: Range<usize>| {
        let [a, b] = factors(part);
        let (a, b) = ((a, of_a), (b, of_b));
        ROOM.with_borrow_mut(|[panel, tile]| {
            let tile = descent.map(|_| {
                let [rows, values] = TILE;
                tile.grow(rows * values * size_of::<T>());
                Out::new(bytemuck::cast_slice_mut(tile), values)
            });
            let descent = descent.zip(tile.as_ref());
            let tiles = Tiles { rows, columns, depth, a, b, out, accumulate, descent, dots, panel };
            pulp::Arch::new().dispatch(tiles);
        });
    };
    let ((a_row, _), (_, b_col)) = (of_a, of_b);
    let of_part = |part| match (a_row, b_col) {
        (1, 1) => multiply(part, units(part, rows, cols), 0..cols),
        (_, 1) if cols >= WIDE => multiply(part, 0..rows, part_of(part, cols, LINE)),
        (_, 1) => multiply(part, part_of(part, rows, 1), 0..cols),
        _ => multiply(part, 0..rows, units(part, cols, depth)),
    };
    match only.cloned() {
        Some(units) if (a_row, b_col) == (1, 1) => multiply(0, units, 0..cols),
        Some(units) => multiply(0, 0..rows, units),
        None if 2 * rows * depth * cols < FLOPS_FOR_THREADS || !free() => multiply(0, 0..rows, 0..cols),
        None => share(&of_part),
    }
}

/// Whether factors that both lie along the sum are multiplied as they are, the lanes of each sum added up at the end, and not
/// columns turned around first: where `rows · cols · (1.04 + 120 / depth)` is less than `(rows + 10) · lanes`, measured on an
/// Intel Xeon with AVX-512. In multiply-adds of tiles, the lanes of a sum take as long as 120 terms, and turning a column as
/// 10 rows; of a tile's last vector all lanes count.
fn as_they_lie([rows, depth, cols]: [usize; 3]) -> bool {
    if depth < DEEP {
        return cols <= NARROW;
    }
    let [rows, depth, cols] = [rows, depth, cols].map(|size| size as u64);
    let lanes = cols.next_multiple_of(LINE as u64);
    rows * cols * (104 * depth + 12_000) < 100 * (rows + 10) * lanes * depth
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product by its definition, with rows of out `ld` apart and -1 where nothing is to be written.
    fn check<T: Real>([rows, depth, cols]: [usize; 3], turned: [bool; 2], accumulate: bool) {
        let strides = |rows: usize, cols: usize, turned: bool| {
            // Padding holds NaNs, which must not be read.
            let (lines, length) = if turned { (cols, rows) } else { (rows, cols) };
            let ld = length + 3;
            let value = |i| if i % ld < length { ((i * 31 + length) % 17) as f64 - 8.0 } else { f64::NAN };
            let values: Vec<T> = (0..lines * ld).map(|i| T::of(value(i))).collect();
            (values, if turned { (1, ld) } else { (ld, 1) })
        };
        let (a, (a_row, a_col)) = strides(rows, depth, turned[0]);
        let (b, (b_row, b_col)) = strides(depth, cols, turned[1]);
        let ld = cols + 5;
        let mut out = vec![T::of(-1.0); rows * ld];
        product([rows, depth, cols], (&a, (a_row, a_col)), (&b, (b_row, b_col)), (&mut out, ld), accumulate);
        for i in 0..rows {
            for j in 0..ld {
                let sum = (0..depth).fold(T::zero(), |sum, k| {
                    sum + a[i * a_row + k * a_col] * b[k * b_row + (j % cols.max(1)) * b_col]
                });
                let before = T::of(-1.0);
                let want = if j >= cols {
                    before
                } else if accumulate {
                    sum + before
                } else {
                    sum
                };
                let place =
                    format!("{rows}×{depth}×{cols}, turned {turned:?}, accumulate {accumulate}: {i}, {j}");
                assert_eq!(out[i * ld + j], want, "{place}");
            }
        }
    }

    /// Sums of whole numbers, which every order of summation gives exactly.
    #[test]
    fn products_are_those_of_the_definition() {
        let sizes = [
            [1, 1, 1],
            [3, 5, 2],
            [6, 16, 32],
            [7, 17, 33],
            [13, 2, 31],
            [5, 255, 9],
            [4, 256, 4],
            [9, 300, 21],
            [61, 100, 99],
            [10, 513, 70],
            [100, 60, 130],
            [2, 1040, 64],
            [65, 260, 67],
            [33, 700, 1021],
            [201, 530, 41],
            [300, 260, 3],
            [130, 300, 10],
            [130, 1030, 20],
            // Turned, the rows of a are so far apart that they are copied, in more than one block; those of b lie on many
            // pages.
            [1021, 300, 53],
            [70, 300, 300],
        ];
        for size in sizes {
            for turned in [[false, false], [false, true], [true, false], [true, true]] {
                for accumulate in [false, true] {
                    check::<f32>(size, turned, accumulate);
                    check::<f64>(size, turned, accumulate);
                }
            }
        }
    }

    #[test]
    fn a_nan_reaches_its_row_and_column_alone() {
        for (depth, strides) in [(20, (20, 1)), (300, (300, 1)), (300, (1, 300))] {
            let (rows, cols) = (11, 300);
            let mut a = vec![1.0f32; rows * depth];
            a[4 * depth + 7] = f32::NAN;
            let mut out = vec![0.0; rows * cols];
            let b = vec![0.0; 300 * 300];
            product([rows, depth, cols], (&a, (depth, 1)), (&b, strides), (&mut out, cols), false);
            assert!(out.iter().enumerate().all(|(i, out)| out.is_nan() == (i / cols == 4)));
        }
    }
}
