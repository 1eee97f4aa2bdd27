use std::ops::Range;

use super::pool::{parts, share_items};
use super::{Memory, Real, Twin};
use crate::ops::{Step, Tensor};

/// Matrices with at least this many elements are shared out over threads: some ten microseconds of one.
const ELEMENTS_FOR_THREADS: usize = 1 << 15;

/// A twin that writes one matrix a model, each row by itself.
pub trait Rowwise: Sync {
    /// What it writes.
    fn output(&self) -> Tensor;

    /// Writes some rows of a model, the first of which `out` begins with. To be inlined always, as [`Twin::write`].
    fn write_rows<T: Real>(
        &self,
        out: &mut [T],
        rows: Range<usize>,
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    );
}

impl<T: Real, W: Rowwise> Twin<T, 1> for W {
    fn outputs(&self) -> [Tensor; 1] {
        [self.output()]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        let tensor = self.output();
        for model in 0..tensor.models {
            let start = tensor.at(model, 0, step.slot as usize);
            let out = &mut out[start..][..tensor.rows * tensor.ld()];
            if out.len() < ELEMENTS_FOR_THREADS {
                self.write_rows(out, 0..tensor.rows, model, memory, step);
                continue;
            }
            let count = tensor.rows.div_ceil(parts());
            let shares = out.chunks_mut(count * tensor.ld()).enumerate();
            share_items(shares, |(part, out)| {
                let rows = part * count..tensor.rows.min((part + 1) * count);
                pulp::Arch::new().dispatch(Share { twin: self, out, rows, model, memory, step });
            });
        }
    }
}

/// A thread's rows, for [`pulp`] to compile.
struct Share<'a, T, W> {
    twin: &'a W,
    out: &'a mut [T],
    rows: Range<usize>,
    model: usize,
    memory: &'a Memory<T>,
    step: &'a Step,
}

impl<T: Real, W: Rowwise> pulp::NullaryFnOnce for Share<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.twin.write_rows(self.out, self.rows, self.model, self.memory, self.step);
    }
}
