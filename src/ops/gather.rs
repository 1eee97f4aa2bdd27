use std::ops::Range;

use super::{Describe, Dispatch, Operand, Params, Space, Step, Tensor, Variant, elementwise, read, write};
use crate::cpu::{Memory, Real, Rowwise, rows_of};

/// Rows of a minibatch, taken from the data set that lies in the session's memory.
///
/// ```text
/// out[r, c] = inputs[order[first + r], c]                            inputs in Space::Inputs
/// out[r, c] = (inputs[order[first + r], c] − center[c]) · scale[c]   inputs in Space::Bytes
/// inputs [1, examples, features]   order [M, 1, places]   out [M, rows, features]
/// ```
#[derive(Clone, Debug)]
pub struct Gather {
    pub inputs: Tensor,
    pub order: Tensor,
    pub out: Tensor,
}

impl Gather {
    /// What it reads.
    pub(super) fn sources(&self) -> Vec<Operand> {
        let affine = self.affine().map(|affine| read("affine", affine));
        [read("order", self.order), read("inputs", self.inputs)].into_iter().chain(affine).collect()
    }

    fn affine(&self) -> Option<Tensor> {
        let bytes = self.inputs.space == Space::Bytes;
        bytes.then(|| Tensor::shared(Space::Affine, 2, self.inputs.cols))
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run_for_each(self, step);
    }
}

impl Rowwise for Gather {
    fn output(&self) -> Tensor {
        self.out
    }

    #[inline(always)]
    fn write_rows<T: Real>(
        &self,
        out: &mut [T],
        rows: Range<usize>,
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    ) {
        let sources = &memory.sources(self.order, model, step)[rows];
        for (out, &source) in rows_of(out, self.out).zip(sources) {
            let start = self.inputs.at(0, source as usize, 0);
            let Some(affine) = self.affine() else {
                out.copy_from_slice(&memory.get(Space::Inputs)[start..][..self.out.cols]);
                continue;
            };
            let (center, scale) = (memory.row(affine, 0, 0), memory.row(affine, 0, 1));
            let bytes = &memory.bytes()[start..][..self.out.cols];
            for (((out, &byte), &center), &scale) in out.iter_mut().zip(bytes).zip(center).zip(scale) {
                *out = (T::of_byte(byte) - center) * scale;
            }
        }
    }
}

impl Describe for Gather {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = self.sources();
        operands.insert(2, write("out", self.out));
        operands
    }

    fn flops(&self) -> u64 {
        if self.inputs.space == Space::Bytes { 2 * self.out.elements() } else { 0 }
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let size = [self.out.rows as u32, self.out.cols as u32];
        let entry = if self.inputs.space == Space::Bytes { "from_bytes" } else { "from_reals" };
        let params = Params::new(&[self.inputs, self.order, self.out], &size);
        elementwise("gather", entry, params, self.out, variant)
    }

    fn shapes(&self) -> String {
        format!("{} of {}×{}", self.out.rows, self.inputs.rows, self.inputs.cols)
    }
}
