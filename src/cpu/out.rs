use std::ops::Range;

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
    pub unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [T] {
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

    /// Has the processor fetch `V` vectors of a row, of so many values each, where it can be told.
    #[inline(always)]
    pub fn fetch<const V: usize>(&self, row: usize, column: usize, lanes: usize) {
        #[cfg(target_arch = "x86_64")]
        for v in 0..V {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let place = self.space.wrapping_add(row * self.ld + column + v * lanes);
            // SAFETY: any place may be fetched, and every x86_64 has SSE.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (row, column, lanes);
    }
}
