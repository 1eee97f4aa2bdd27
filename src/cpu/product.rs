use super::Real;

/// Where element (i, j) of a matrix lies: `i · first + j · second`.
pub type Strides = (usize, usize);

/// Products with at least this many FLOPs are split over threads: about twice what starting one
/// costs.
const FLOPS_FOR_THREADS: usize = 10_000_000;

/// `out = a · b`, or `out += a · b`, for `[rows, depth] · [depth, cols]`; `out` has rows of `ld`
/// elements. Each thread multiplies its own rows, single-threaded, so a result does not depend on
/// the number of threads.
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

    let threads = match 2 * rows * depth * cols {
        flops if flops < FLOPS_FOR_THREADS => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    };
    // Whole register tiles of rows to each thread.
    let share = rows.div_ceil(threads).next_multiple_of(16);
    if share >= rows {
        return slice(a, out, rows);
    }
    std::thread::scope(|scope| {
        for (i, out) in out.chunks_mut(share * ld).enumerate() {
            let rows = share.min(rows.saturating_sub(i * share));
            let a = &a[(i * share * a_row).min(a.len())..];
            if rows > 0 {
                scope.spawn(move || slice(a, out, rows));
            }
        }
    });
}
