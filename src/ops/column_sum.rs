use super::{Describe, Dispatch, Operand, Params, Step, Tensor, Variant, columnwise, read, write};
use crate::cpu::{Memory, Real, Twin};

/// The sum of each column: the gradient of a bias, and what a minibatch's metrics come to.
///
/// ```text
/// out[c] = Σᵣ x[r, c]      x [M, rows, columns]   out [M, 1, columns]
/// ```
#[derive(Clone, Debug)]
pub struct ColumnSum {
    pub x: Tensor,
    pub out: Tensor,
}

impl<T: Real> Twin<T, 1> for ColumnSum {
    fn outputs(&self) -> [Tensor; 1] {
        [self.out]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        for model in 0..self.x.models {
            let out = &mut out[self.out.at(model, 0, step.slot as usize)..][..self.out.cols];
            out.fill(T::zero());
            for x in memory.rows(self.x, model) {
                out.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
        }
    }
}

impl Describe for ColumnSum {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), write("out", self.out)]
    }

    fn flops(&self) -> u64 {
        self.x.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let params = Params::new(&[self.x, self.out], &[self.x.rows as u32]);
        columnwise("column_sum", "main", params, self.x, variant)
    }

    fn shapes(&self) -> String {
        format!("{}×{} → {}", self.x.rows, self.x.cols, self.x.cols)
    }
}
