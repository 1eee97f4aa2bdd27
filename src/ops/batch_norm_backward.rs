use super::batch_norm::Columns;
use super::{Describe, Dispatch, Operand, Step, Tensor, Variant, columnwise, read, words, write};
use crate::cpu::{Memory, Real, Twin, rows_mut};

/// The gradients of gamma and beta (Ioffe and Szegedy 2015, section 3).
///
/// ```text
/// dbeta = Σ dy      dgamma = Σ dy · xhat      xhat = (x − mean) / sqrt(variance + eps)
/// x, dy [M, rows, features]   dgamma, dbeta [M, 1, features]
/// ```
#[derive(Clone, Debug)]
pub struct BatchNormReduce {
    pub x: Tensor,
    pub dy: Tensor,
    pub stats: Tensor,
    pub dgamma: Tensor,
    pub dbeta: Tensor,
    pub eps: f64,
}

/// The gradient of batch normalization's input, the statistics being functions of it, too.
///
/// ```text
/// dx = gamma / sqrt(variance + eps) · (dy − dbeta / n − xhat · dgamma / n)
/// ```
///
/// xhat is computed again rather than stored.
#[derive(Clone, Debug)]
pub struct BatchNormBackward {
    pub reduce: BatchNormReduce,
    pub gamma: Tensor,
    pub dx: Tensor,
}

impl BatchNormReduce {
    fn params(&self, gamma: Tensor, dx: Tensor) -> Vec<u32> {
        let views = [self.x, self.dy, self.stats, gamma, self.dgamma, self.dbeta, dx];
        words(&views, &[self.x.rows as u32, self.x.cols as u32, (self.eps as f32).to_bits()])
    }

    /// Both gradients lie in one space: one binding, counted as two rows.
    fn grads(&self) -> Tensor {
        Tensor { rows: 2, ..self.dgamma }
    }
}

impl<T: Real> Twin<T, 1> for BatchNormReduce {
    fn outputs(&self) -> [Tensor; 1] {
        [self.dgamma]
    }

    #[inline(always)]
    fn write(&self, [grads]: [&mut [T]; 1], memory: &Memory<T>, _: &Step) {
        let mut xhat = vec![T::zero(); self.x.cols];
        for model in 0..self.x.models {
            let columns = Columns::new(memory, self.stats, model, self.eps);
            let (mut dgamma, mut dbeta) = (vec![T::zero(); self.x.cols], vec![T::zero(); self.x.cols]);
            for (x, dy) in memory.rows(self.x, model).zip(memory.rows(self.dy, model)) {
                columns.normalize(x, &mut xhat);
                for (((dgamma, dbeta), &xhat), &dy) in dgamma.iter_mut().zip(&mut dbeta).zip(&xhat).zip(dy) {
                    *dgamma += dy * xhat;
                    *dbeta += dy;
                }
            }
            grads[self.dgamma.at(model, 0, 0)..][..self.x.cols].copy_from_slice(&dgamma);
            grads[self.dbeta.at(model, 0, 0)..][..self.x.cols].copy_from_slice(&dbeta);
        }
    }
}

impl Describe for BatchNormReduce {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), read("dy", self.dy), read("stats", self.stats), write("grads", self.grads())]
    }

    fn flops(&self) -> u64 {
        6 * self.x.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        // gamma and dx are not used here; their places hold x.
        columnwise("batch_norm_backward", "reduce", self.params(self.x, self.x), self.x, variant)
    }

    fn shapes(&self) -> String {
        format!("{}×{} → dgamma, dbeta of {}", self.x.rows, self.x.cols, self.x.cols)
    }
}

impl<T: Real> Twin<T, 1> for BatchNormBackward {
    fn outputs(&self) -> [Tensor; 1] {
        [self.dx]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        let BatchNormReduce { x, dy, stats, dgamma, dbeta, eps } = self.reduce;
        let n = T::of(x.rows as f64);
        for model in 0..x.models {
            let columns = Columns::new(memory, stats, model, eps);
            let (dgamma, dbeta) = (memory.row(dgamma, model, 0), memory.row(dbeta, model, 0));
            let gamma = memory.row(self.gamma, model, 0).iter();
            let scale: Vec<T> = gamma.zip(&columns.rstd).map(|(&gamma, &rstd)| gamma * rstd).collect();
            let given = memory.rows(x, model).zip(memory.rows(dy, model));
            for (dx, (x, dy)) in rows_mut(out, self.dx, model, step.slot).zip(given) {
                columns.normalize(x, dx);
                let of_column = dgamma.iter().zip(dbeta).zip(&scale);
                for ((dx, &dy), ((&dgamma, &dbeta), &scale)) in dx.iter_mut().zip(dy).zip(of_column) {
                    *dx = scale * (dy - (dbeta + *dx * dgamma) / n);
                }
            }
        }
    }
}

impl Describe for BatchNormBackward {
    fn operands(&self) -> Vec<Operand> {
        let BatchNormReduce { x, dy, stats, .. } = self.reduce;
        let grads = self.reduce.grads();
        let operands = [read("x", x), read("dy", dy), read("stats", stats), read("sums", grads)];
        operands.into_iter().chain([read("params", self.gamma), write("dx", self.dx)]).collect()
    }

    fn flops(&self) -> u64 {
        11 * self.dx.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let params = self.reduce.params(self.gamma, self.dx);
        let columns = columnwise("batch_norm_backward", "main", params, self.dx, variant);
        let lanes: f64 = columns.constants.iter().map(|(_, value)| value).product();
        let groups = (self.dx.rows * self.dx.ld() / 4).div_ceil(lanes as usize).clamp(1, 4096);
        Dispatch { workgroups: [groups as u32, 1, self.dx.models as u32], ..columns }
    }

    fn shapes(&self) -> String {
        format!("{}×{}", self.dx.rows, self.dx.cols)
    }
}
