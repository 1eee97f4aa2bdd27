use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// A line of the cache.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Values the first of which begins a line of the cache. Allocators begin large blocks elsewhere, so that each load of a
/// vector as long as a line takes in two.
#[derive(Clone)]
pub struct Aligned<T> {
    lines: Vec<Line>,
    count: usize,
    values: PhantomData<T>,
}

impl<T> Default for Aligned<T> {
    fn default() -> Aligned<T> {
        Aligned { lines: vec![], count: 0, values: PhantomData }
    }
}

impl<T: Pod> Aligned<T> {
    /// Makes it so many values if it has fewer, the new ones 0.
    pub fn grow(&mut self, count: usize) {
        let lines = (count * size_of::<T>()).div_ceil(size_of::<Line>());
        self.lines.resize(lines.max(self.lines.len()), bytemuck::Zeroable::zeroed());
        self.count = count.max(self.count);
    }

    /// So many values of 0.
    pub fn zeroed(count: usize) -> Aligned<T> {
        let mut values = Aligned::default();
        values.grow(count);
        values
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.count]
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.count]
    }
}
