use pulp::Simd;

use super::activation::code;
use super::column_stats::{ColumnStats, Moments};
use super::{
    Describe, Dispatch, Function, Operand, Params, Step, Tensor, Variant, along, columnwise, read, write,
};
use crate::cpu::{Columnwise, Memory, Part, Real, Strip, Wide};

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

/// What normalizes some columns: mean in two parts, and 1 / sqrt(variance + eps).
pub(super) struct Normalizer<T: Real, S: Simd, const V: usize> {
    high: Wide<T, S, V>,
    low: Wide<T, S, V>,
    pub rstd: Wide<T, S, V>,
}

impl<T: Real, S: Simd, const V: usize> Normalizer<T, S, V> {
    #[inline(always)]
    pub fn new(moments: Moments<T, S, V>, eps: f64) -> Self {
        let Moments { high, low, variance: mut rstd } = moments;
        for rstd in rstd.values() {
            *rstd = (*rstd + T::of(eps)).sqrt().recip();
        }
        Normalizer { high, low, rstd }
    }

    /// `(x − mean) / sqrt(variance + eps)`.
    #[inline(always)]
    pub fn xhat(&self, x: Wide<T, S, V>) -> Wide<T, S, V> {
        ((x - self.high) - self.low) * self.rstd
    }
}

impl BatchNorm {
    /// Writes some columns of the output.
    #[inline(always)]
    fn normalize<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        moments: Moments<T, S, V>,
        out: &mut Part<T>,
        model: usize,
        memory: &Memory<T>,
    ) {
        let normalizer = Normalizer::new(moments, self.eps);
        let [gamma, beta] = [self.gamma, self.beta].map(|row| strip.load(memory.row(row, model, 0)));
        for (row, x) in memory.matrix(self.x, model).chunks_exact(self.x.ld()).enumerate() {
            let mut y = normalizer.xhat(strip.load(x)).fused(gamma, beta);
            if let Some(function) = self.function {
                function.apply(y.values());
            }
            strip.store(out, self.out.at(model, row, 0), y);
        }
    }
}

impl Columnwise<1> for BatchNorm {
    fn outputs(&self) -> [Tensor; 1] {
        [self.out]
    }

    fn over(&self) -> Tensor {
        self.x
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut out]: [Part<T>; 1],
        model: usize,
        memory: &Memory<T>,
        _: &Step,
    ) {
        let moments = Moments::read(self.stats, strip, model, memory);
        self.normalize(strip, moments, &mut out, model, memory);
    }
}

impl Columnwise<3> for BatchNormTrain {
    fn outputs(&self) -> [Tensor; 3] {
        [self.stats.stats, self.stats.log, self.norm.out]
    }

    fn over(&self) -> Tensor {
        self.norm.x
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut stats, mut log, mut out]: [Part<T>; 3],
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    ) {
        let moments = Moments::of(self.stats.x, strip, model, memory);
        moments.write(strip, &mut stats, self.stats.stats, model, 0);
        moments.write(strip, &mut log, self.stats.log, model, step.slot);
        self.norm.normalize(strip, moments, &mut out, model, memory);
    }
}

impl BatchNorm {
    pub(super) fn params(&self) -> Operand {
        read("params", Tensor { rows: 2, ..self.gamma })
    }

    /// With the statistics of blocks of so many rows, for the entry that merges them.
    pub(super) fn dispatch_as(
        &self,
        entry: &'static str,
        log: Tensor,
        blocks: Option<(Tensor, usize)>,
        variant: Variant,
    ) -> Dispatch {
        let (moments, block) = blocks.unwrap_or((self.x, 1));
        let numbers = [self.x.rows as u32, self.x.cols as u32, (self.eps as f32).to_bits(), block as u32];
        let views = [self.x, self.stats, self.gamma, self.beta, self.out, log, moments];
        let mut dispatch = columnwise("batch_norm", entry, Params::new(&views, &numbers), self.x, variant);
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
        along(self.dispatch_as("main", self.x, None, variant), self.out)
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
        self.norm.dispatch_as("train", self.stats.log, None, variant)
    }

    fn shapes(&self) -> String {
        self.norm.shapes()
    }
}
