use super::gather::rows;
use super::{Describe, Dispatch, Operand, Step, Tensor, Variant, elementwise, read, words, write};
use crate::cpu::{Memory, Real};

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

/// `(x − mean) / sqrt(variance + eps)` needs these of a column.
pub(super) struct Column<T> {
    high: T,
    low: T,
    pub deviation: T,
}

impl<T: Real> Column<T> {
    pub fn normalize(&self, x: T) -> T {
        ((x - self.high) - self.low) / self.deviation
    }
}

pub(super) fn columns<T: Real>(memory: &Memory<T>, stats: Tensor, model: usize, eps: f64) -> Vec<Column<T>> {
    let [high, low, variance] = [0, 1, 2].map(|row| memory.row(stats, model, row));
    let deviation = |column: usize| (variance[column] + T::of(eps)).sqrt();
    (0..stats.cols).map(|c| Column { high: high[c], low: low[c], deviation: deviation(c) }).collect()
}

impl BatchNorm {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, _: &Step) {
        memory.update(self.out, |out, memory| {
            let mut stats = vec![];
            for (model, row) in rows(self.out) {
                if row == 0 {
                    stats = columns(memory, self.stats, model, self.eps);
                }
                let (gamma, beta) = (memory.row(self.gamma, model, 0), memory.row(self.beta, model, 0));
                let x = memory.row(self.x, model, row);
                for (c, y) in out[self.out.at(model, row, 0)..][..self.out.cols].iter_mut().enumerate() {
                    *y = gamma[c] * stats[c].normalize(x[c]) + beta[c];
                }
            }
        });
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
