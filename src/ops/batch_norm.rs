use super::{Describe, Dispatch, Operand, Step, Tensor, Variant, elementwise, read, words, write};
use crate::cpu::{Memory, Real, Twin, rows_mut};

/// Batch normalization (Ioffe and Szegedy 2015, algorithm 1), with the statistics of the minibatch
/// in training and the running ones in inference.
///
/// ```text
/// y = gamma · (x − mean) / sqrt(variance + eps) + beta
/// x, out [M, rows, features]   gamma, beta [M, 1, features]
/// stats [M, 3, features]: mean (high part), mean (low part), biased variance
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub x: Tensor,
    pub stats: Tensor,
    pub gamma: Tensor,
    pub beta: Tensor,
    pub out: Tensor,
    pub eps: f64,
}

/// What normalizes a model's columns: mean in two parts, and 1 / sqrt(variance + eps).
pub(super) struct Columns<'a, T> {
    pub high: &'a [T],
    pub low: &'a [T],
    pub rstd: Vec<T>,
}

impl<'a, T: Real> Columns<'a, T> {
    pub fn new(memory: &'a Memory<T>, stats: Tensor, model: usize, eps: f64) -> Columns<'a, T> {
        let [high, low, variance] = [0, 1, 2].map(|row| memory.row(stats, model, row));
        let rstd = variance.iter().map(|&variance| (variance + T::of(eps)).sqrt().recip()).collect();
        Columns { high, low, rstd }
    }

    /// Replaces a row of x by xhat = (x − mean) / sqrt(variance + eps).
    #[inline(always)]
    pub fn normalize(&self, x: &[T], xhat: &mut [T]) {
        let columns = self.high.iter().zip(self.low).zip(&self.rstd);
        for ((xhat, &x), ((&high, &low), &rstd)) in xhat.iter_mut().zip(x).zip(columns) {
            *xhat = ((x - high) - low) * rstd;
        }
    }
}

impl<T: Real> Twin<T, 1> for BatchNorm {
    fn outputs(&self) -> [Tensor; 1] {
        [self.out]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        for model in 0..self.out.models {
            let columns = Columns::new(memory, self.stats, model, self.eps);
            let (gamma, beta) = (memory.row(self.gamma, model, 0), memory.row(self.beta, model, 0));
            for (out, x) in rows_mut(out, self.out, model, step.slot).zip(memory.rows(self.x, model)) {
                columns.normalize(x, out);
                for ((y, &gamma), &beta) in out.iter_mut().zip(gamma).zip(beta) {
                    *y = gamma * *y + beta;
                }
            }
        }
    }
}

impl Describe for BatchNorm {
    fn operands(&self) -> Vec<Operand> {
        let params = Tensor { rows: 2, ..self.gamma };
        vec![read("x", self.x), read("stats", self.stats), read("params", params), write("out", self.out)]
    }

    fn flops(&self) -> u64 {
        7 * self.x.elements()
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let numbers = [self.x.rows as u32, self.x.cols as u32, (self.eps as f32).to_bits()];
        let params = words(&[self.x, self.stats, self.gamma, self.beta, self.out], &numbers);
        elementwise("batch_norm", "main", params, self.out)
    }

    fn shapes(&self) -> String {
        format!("{}×{}", self.x.rows, self.x.cols)
    }
}
