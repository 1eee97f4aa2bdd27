use std::ops::Range;

use super::activation::code;
use super::column_stats::ColumnStats;
use super::{
    Describe, Dispatch, Function, Operand, Step, Tensor, Variant, along, columnwise, read, words, write,
};
use crate::cpu::{Memory, Real, Rowwise, rows_of};

/// Batch normalization (Ioffe and Szegedy 2015, algorithm 1), with the statistics of the minibatch
/// in training and the running ones in inference.
///
/// ```text
/// out = f(gamma · (x − mean) / sqrt(variance + eps) + beta)     function where there is one
/// x, out [M, rows, features]   gamma, beta [M, 1, features]
/// stats [M, 3, features]: mean (high part), mean (low part), biased variance
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub x: Tensor,
    pub stats: Tensor,
    pub gamma: Tensor,
    pub beta: Tensor,
    pub function: Option<Function>,
    pub out: Tensor,
    pub eps: f64,
}

/// Batch normalization in training in one dispatch: the statistics of the minibatch, and [`BatchNorm`] with
/// them. The invocations that own a column own all its rows.
#[derive(Clone, Debug)]
pub struct BatchNormTrain {
    pub stats: ColumnStats,
    pub norm: BatchNorm,
}

/// Columns that a twin goes down at a time: what it keeps of them fits the stack.
pub(super) const BLOCK: usize = 64;

/// A matrix's columns in blocks.
pub(super) fn blocks(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(BLOCK).map(move |first| first..columns.min(first + BLOCK))
}

/// What normalizes a block of a model's columns: mean in two parts, and 1 / sqrt(variance + eps).
pub(super) struct Columns<'a, T> {
    pub high: &'a [T],
    pub low: &'a [T],
    pub rstd: [T; BLOCK],
}

impl<'a, T: Real> Columns<'a, T> {
    #[inline(always)]
    pub fn new(
        memory: &'a Memory<T>,
        stats: Tensor,
        model: usize,
        block: Range<usize>,
        eps: f64,
    ) -> Columns<'a, T> {
        let [high, low, variance] = [0, 1, 2].map(|row| &memory.row(stats, model, row)[block.clone()]);
        let mut rstd = [T::zero(); BLOCK];
        for (rstd, &variance) in rstd.iter_mut().zip(variance) {
            *rstd = (variance + T::of(eps)).sqrt().recip();
        }
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

impl Rowwise for BatchNorm {
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
        _: &Step,
    ) {
        for block in blocks(self.x.cols) {
            let columns = Columns::new(memory, self.stats, model, block.clone(), self.eps);
            let [gamma, beta] = [self.gamma, self.beta].map(|row| &memory.row(row, model, 0)[block.clone()]);
            for (out, row) in rows_of(out, self.out).zip(rows.clone()) {
                let out = &mut out[block.clone()];
                columns.normalize(&memory.row(self.x, model, row)[block.clone()], out);
                for ((y, &gamma), &beta) in out.iter_mut().zip(gamma).zip(beta) {
                    *y = gamma * *y + beta;
                }
                if let Some(function) = self.function {
                    function.apply(out);
                }
            }
        }
    }
}

impl BatchNormTrain {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        memory.run(&self.stats, step);
        memory.run(&self.norm, step);
    }
}

impl BatchNorm {
    fn params(&self) -> Operand {
        read("params", Tensor { rows: 2, ..self.gamma })
    }

    fn dispatch_as(&self, entry: &'static str, log: Tensor, variant: Variant) -> Dispatch {
        let numbers = [self.x.rows as u32, self.x.cols as u32, (self.eps as f32).to_bits()];
        let views = [self.x, self.stats, self.gamma, self.beta, self.out, log];
        let mut dispatch = columnwise("batch_norm", entry, words(&views, &numbers), self.x, variant);
        dispatch.constants.push(code(self.function));
        dispatch
    }
}

impl Describe for BatchNorm {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), self.params(), write("out", self.out), read("stats", self.stats)]
    }

    fn flops(&self) -> u64 {
        // Of a value: two subtractions, rstd, gamma, beta, the function; of a column: rstd.
        let of_value = 5 + self.function.map_or(0, Function::flops);
        of_value * self.x.elements() + 3 * self.x.columns()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        // There is no log; its place holds x.
        along(self.dispatch_as("main", self.x, variant), self.out)
    }

    fn shapes(&self) -> String {
        let function = self.function.map_or(String::new(), |function| format!(", {function}"));
        format!("{}×{}{function}", self.x.rows, self.x.cols)
    }
}

impl Describe for BatchNormTrain {
    fn operands(&self) -> Vec<Operand> {
        let ColumnStats { x, stats, log } = self.stats;
        let out = write("out", self.norm.out);
        vec![read("x", x), self.norm.params(), out, write("stats", stats), write("log", log)]
    }

    fn flops(&self) -> u64 {
        self.stats.flops() + self.norm.flops()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        self.norm.dispatch_as("train", self.stats.log, variant)
    }

    fn shapes(&self) -> String {
        self.norm.shapes()
    }
}
