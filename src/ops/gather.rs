use super::{
    Access, Describe, Dispatch, Operand, Space, Step, Tensor, Variant, elementwise, read, words, write,
};
use crate::cpu::{Memory, Real};

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
    fn affine(&self) -> Option<Tensor> {
        let bytes = self.inputs.space == Space::Bytes;
        bytes.then(|| Tensor::shared(Space::Affine, 2, self.inputs.cols))
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        let affine = self.affine().map(|affine| (affine.at(0, 0, 0), affine.at(0, 1, 0)));
        memory.update(self.out, |out, memory| {
            for (model, row) in rows(self.out) {
                let source = memory.source(self.order, model, step, row);
                let start = self.inputs.at(0, source, 0);
                let out = &mut out[self.out.at(model, row, 0)..][..self.out.cols];
                let Some((center, scale)) = affine else {
                    out.copy_from_slice(&memory.get(Space::Inputs)[start..][..self.out.cols]);
                    continue;
                };
                let table = memory.get(Space::Affine);
                let bytes = &memory.bytes()[start..];
                for (column, value) in out.iter_mut().enumerate() {
                    *value = (T::of(bytes[column] as f64) - table[center + column]) * table[scale + column];
                }
            }
        });
    }
}

/// Every (model, row) of a tensor.
pub(super) fn rows(tensor: Tensor) -> impl Iterator<Item = (usize, usize)> {
    (0..tensor.models).flat_map(move |model| (0..tensor.rows).map(move |row| (model, row)))
}

impl Describe for Gather {
    fn operands(&self) -> Vec<Operand> {
        let mut operands =
            vec![read("order", self.order), read("inputs", self.inputs), write("out", self.out)];
        operands.extend(self.affine().map(|affine| Operand {
            name: "affine",
            tensor: affine,
            access: Access::Read,
        }));
        operands
    }

    fn flops(&self) -> u64 {
        if self.inputs.space == Space::Bytes { 2 * self.out.elements() } else { 0 }
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let size = [self.out.rows as u32, self.out.cols as u32];
        let entry = if self.inputs.space == Space::Bytes { "from_bytes" } else { "from_reals" };
        elementwise("gather", entry, words(&[self.inputs, self.order, self.out], &size), self.out)
    }

    fn shapes(&self) -> String {
        format!("{} of {}×{}", self.out.rows, self.inputs.rows, self.inputs.cols)
    }
}
