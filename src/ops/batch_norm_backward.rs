use std::ops::Range;

use super::activation::code;
use super::batch_norm::{BLOCK, Columns, blocks};
use super::{
    Describe, Dispatch, Function, Operand, Step, Tensor, Variant, along, columnwise, read, words, write,
};
use crate::cpu::{Memory, Real, Rowwise, Twin, rows_of};

/// The gradients of gamma and beta (Ioffe and Szegedy 2015, section 3).
///
/// ```text
/// dbeta = Σ dy      dgamma = Σ dy · xhat      xhat = (x − mean) / sqrt(variance + eps)
/// x, dy [M, rows, features]   dgamma, dbeta [M, 1, features]
/// ```
///
/// Where the output went through an activation y = f(…), dy is the gradient of y and is multiplied by f′(y).
#[derive(Clone, Debug)]
pub struct BatchNormReduce {
    pub x: Tensor,
    pub dy: Tensor,
    pub stats: Tensor,
    pub slope: Option<(Function, Tensor)>,
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

/// [`BatchNormReduce`] and [`BatchNormBackward`] in one dispatch. The invocations that own a column own all
/// its rows.
#[derive(Clone, Debug)]
pub struct BatchNormGradient(pub BatchNormBackward);

impl<T: Real> Twin<T, 1> for BatchNormReduce {
    fn outputs(&self) -> [Tensor; 1] {
        [self.dgamma]
    }

    #[inline(always)]
    fn write(&self, [grads]: [&mut [T]; 1], memory: &Memory<T>, _: &Step) {
        for model in 0..self.x.models {
            for block in blocks(self.x.cols) {
                let columns = Columns::new(memory, self.stats, model, block.clone(), self.eps);
                let mut kept = [[T::zero(); BLOCK]; 4];
                let [xhat, g, dgamma, dbeta] = kept.each_mut().map(|kept| &mut kept[..block.len()]);
                for (row, x) in memory.rows(self.x, model).enumerate() {
                    columns.normalize(&x[block.clone()], xhat);
                    self.gradient(g, memory, model, row, block.clone());
                    let sums = dgamma.iter_mut().zip(&mut *dbeta);
                    for (((dgamma, dbeta), &xhat), &g) in sums.zip(&*xhat).zip(&*g) {
                        *dgamma += g * xhat;
                        *dbeta += g;
                    }
                }
                for (tensor, sums) in [(self.dgamma, dgamma), (self.dbeta, dbeta)] {
                    grads[tensor.at(model, 0, 0)..][block.clone()].copy_from_slice(sums);
                }
            }
        }
    }
}

impl Rowwise for BatchNormBackward {
    fn output(&self) -> Tensor {
        self.dx
    }

    #[inline(always)]
    fn write_rows<T: Real>(
        &self,
        out: &mut [T],
        rows: Range<usize>,
        model: usize,
        memory: &Memory<T>,
        _: &Step,
    ) {
        let BatchNormReduce { x, stats, dgamma, dbeta, eps, .. } = self.reduce;
        let n = T::of(x.rows as f64);
        for block in blocks(x.cols) {
            let columns = Columns::new(memory, stats, model, block.clone(), eps);
            let given = [dgamma, dbeta, self.gamma].map(|row| &memory.row(row, model, 0)[block.clone()]);
            let [dgamma, dbeta, gamma] = given;
            let [mut xhat, mut scale] = [[T::zero(); BLOCK]; 2];
            for ((scale, &gamma), &rstd) in scale.iter_mut().zip(gamma).zip(&columns.rstd) {
                *scale = gamma * rstd;
            }
            for (dx, row) in rows_of(out, self.dx).zip(rows.clone()) {
                let dx = &mut dx[block.clone()];
                columns.normalize(&memory.row(x, model, row)[block.clone()], &mut xhat);
                self.reduce.gradient(dx, memory, model, row, block.clone());
                let of_column = dgamma.iter().zip(dbeta).zip(&scale);
                for ((dx, &xhat), ((&dgamma, &dbeta), &scale)) in dx.iter_mut().zip(&xhat).zip(of_column) {
                    *dx = scale * (*dx - (dbeta + xhat * dgamma) / n);
                }
            }
        }
    }
}

impl BatchNormGradient {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run(&self.0.reduce, step);
        memory.run(&self.0, step);
    }
}

impl BatchNormReduce {
    /// The gradient of batch normalization's output in a row's block of columns.
    #[inline(always)]
    fn gradient<T: Real>(
        &self,
        g: &mut [T],
        memory: &Memory<T>,
        model: usize,
        row: usize,
        block: Range<usize>,
    ) {
        g.copy_from_slice(&memory.row(self.dy, model, row)[block.clone()]);
        if let Some((function, y)) = self.slope {
            function.chain(g, &memory.row(y, model, row)[block]);
        }
    }

    /// What all three read; without an activation the binding of y holds x again, unread.
    fn given(&self) -> [Operand; 4] {
        let y = self.slope.map_or(Tensor { rows: 0, ..self.x }, |(_, y)| y);
        [read("x", self.x), read("dy", self.dy), read("stats", self.stats), read("y", y)]
    }

    /// Both gradients lie in one space: one binding, counted as two rows.
    fn grads(&self) -> Tensor {
        Tensor { rows: 2, ..self.dgamma }
    }

    fn dispatch_as(&self, entry: &'static str, gamma: Tensor, dx: Tensor, variant: Variant) -> Dispatch {
        let [.., y] = self.given();
        let views = [self.x, self.dy, self.stats, y.tensor, gamma, self.dgamma, self.dbeta, dx];
        let numbers = [self.x.rows as u32, self.x.cols as u32, (self.eps as f32).to_bits()];
        let params = words(&views, &numbers);
        let mut dispatch = columnwise("batch_norm_backward", entry, params, self.x, variant);
        dispatch.constants.push(code(self.slope.map(|(function, _)| function)));
        dispatch
    }

    fn slope_flops(&self) -> u64 {
        self.slope.map_or(0, |(function, _)| function.chain_flops())
    }
}

impl Describe for BatchNormReduce {
    fn operands(&self) -> Vec<Operand> {
        self.given().into_iter().chain([write("grads", self.grads())]).collect()
    }

    fn flops(&self) -> u64 {
        // Of a value: xhat, its product with dy, two sums; of a column: rstd.
        (6 + self.slope_flops()) * self.x.elements() + 3 * self.x.columns()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        // gamma and dx are not used here; their places hold x.
        self.dispatch_as("reduce", self.x, self.x, variant)
    }

    fn shapes(&self) -> String {
        let slope = self.slope.map_or(String::new(), |(function, _)| format!(", slope of {function}"));
        format!("{}×{}{slope}", self.x.rows, self.x.cols)
    }
}

impl Describe for BatchNormBackward {
    fn operands(&self) -> Vec<Operand> {
        let rest = [read("sums", self.reduce.grads()), read("params", self.gamma), write("dx", self.dx)];
        self.reduce.given().into_iter().chain(rest).collect()
    }

    fn flops(&self) -> u64 {
        // Of a value: xhat, its product, two subtractions, the scale; of a column: rstd, the scale, two means.
        (7 + self.reduce.slope_flops()) * self.dx.elements() + 6 * self.dx.columns()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        along(self.reduce.dispatch_as("main", self.gamma, self.dx, variant), self.dx)
    }

    fn shapes(&self) -> String {
        self.reduce.shapes()
    }
}

impl Describe for BatchNormGradient {
    fn operands(&self) -> Vec<Operand> {
        let BatchNormBackward { reduce, gamma, dx } = &self.0;
        let rest = [write("grads", reduce.grads()), read("params", *gamma), write("dx", *dx)];
        reduce.given().into_iter().chain(rest).collect()
    }

    fn flops(&self) -> u64 {
        self.0.reduce.flops() + self.0.flops()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        self.0.reduce.dispatch_as("both", self.0.gamma, self.0.dx, variant)
    }

    fn shapes(&self) -> String {
        self.0.shapes()
    }
}
