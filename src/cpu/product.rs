use std::sync::Mutex;

use super::Real;
use super::pool::{parts, share};

/// Where element (i, j) of a matrix lies: `i · first + j · second`.
pub type Strides = (usize, usize);

/// Products with at least this many FLOPs are split over threads: some ten microseconds of one.
const FLOPS_FOR_THREADS: usize = 1_000_000;

/// `out = a · b`, or `out += a · b`, for `[rows, depth] · [depth, cols]`; `out` has rows of `ld`
/// elements. Each thread multiplies its own rows, single-threaded; the shares depend on the
/// sizes and the machine alone, so the same machine gives the same bits.
///
/// Panics if a slice is too short for its matrix.
pub fn product<T: Real>(
    [rows, depth, cols]: [usize; 3],
    (a, (a_row, a_col)): (&[T], Strides),
    (b, (b_row, b_col)): (&[T], Strides),
    (out, ld): (&mut [T], usize),
    accumulate: bool,
) {
    if rows == 0 || cols == 0 || depth == 0 {
        return;
    }
    assert!(a.len() > (rows - 1) * a_row + (depth - 1) * a_col);
    assert!(b.len() > (depth - 1) * b_row + (cols - 1) * b_col);
    assert!(cols <= ld && out.len() >= (rows - 1) * ld + cols);

    let slice = |a: &[T], out: &mut [T], rows: usize| {
        // SAFETY: the assertions above hold for all rows, and so for these.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                depth,
                out.as_mut_ptr(),
                1,
                ld as isize,
                accumulate,
                a.as_ptr(),
                a_col as isize,
                a_row as isize,
                b.as_ptr(),
                b_col as isize,
                b_row as isize,
                T::one(),
                T::one(),
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };

    let parts = if 2 * rows * depth * cols < FLOPS_FOR_THREADS { 1 } else { parts() };
    // Whole register tiles of rows to each thread.
    let share_of_rows = rows.div_ceil(parts).next_multiple_of(8);
    if share_of_rows >= rows {
        return slice(a, out, rows);
    }
    let shares: Vec<_> = out.chunks_mut(share_of_rows * ld).map(Mutex::new).collect();
    share(&|part| {
        let first = part * share_of_rows;
        if first < rows
            && let Some(Ok(mut out)) = shares.get(part).map(Mutex::lock)
        {
            slice(&a[first * a_row..], &mut out, share_of_rows.min(rows - first));
        }
    });
}
