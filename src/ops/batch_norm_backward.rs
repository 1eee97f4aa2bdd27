use pulp::Simd;

use super::activation::{code, slope_shown};
use super::batch_norm::Normalizer;
use super::column_stats::Moments;
use super::{
    Describe, Dispatch, Function, Operand, Params, Step, Tensor, Variant, along, columnwise, read, write,
};
use crate::cpu::{Columnwise, Memory, Part, Real, Strip, Wide};

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

impl BatchNormReduce {
    /// What normalizes some columns.
    #[inline(always)]
    fn normalizer<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        model: usize,
        memory: &Memory<T>,
    ) -> Normalizer<T, S, V> {
        Normalizer::new(Moments::read(self.stats, strip, model, memory), self.eps)
    }

    /// The rows of x, dy and y; without an activation x stands for y.
    fn rows<'a, T: Real>(&self, model: usize, memory: &'a Memory<T>) -> impl Iterator<Item = [&'a [T]; 3]> {
        let y = self.slope.map_or(self.x, |(_, y)| y);
        let [x, dy, y] =
            [self.x, self.dy, y].map(|tensor| memory.matrix(tensor, model).chunks_exact(tensor.ld()));
        x.zip(dy).zip(y).map(|((x, dy), y)| [x, dy, y])
    }

    /// A row of xhat, and the gradient of batch normalization's output, in some columns.
    #[inline(always)]
    fn row<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        normalizer: &Normalizer<T, S, V>,
        [x, dy, y]: [&[T]; 3],
    ) -> [Wide<T, S, V>; 2] {
        let mut g = strip.load(dy);
        if let Some((function, _)) = self.slope {
            function.chain(g.values(), strip.load(y).values());
        }
        [normalizer.xhat(strip.load(x)), g]
    }

    /// The gradients of gamma and beta in some columns, which are written too.
    #[inline(always)]
    fn sums<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        normalizer: &Normalizer<T, S, V>,
        grads: &mut Part<T>,
        model: usize,
        memory: &Memory<T>,
    ) -> [Wide<T, S, V>; 2] {
        let [mut dgamma, mut dbeta] = [strip.all(T::zero()); 2];
        for row in self.rows(model, memory) {
            let [xhat, g] = self.row(strip, normalizer, row);
            dgamma = g.fused(xhat, dgamma);
            dbeta = dbeta + g;
        }
        strip.store(grads, self.dgamma.at(model, 0, 0), dgamma);
        strip.store(grads, self.dbeta.at(model, 0, 0), dbeta);
        [dgamma, dbeta]
    }
}

impl Columnwise<1> for BatchNormReduce {
    fn outputs(&self) -> [Tensor; 1] {
        [self.dgamma]
    }

    fn over(&self) -> Tensor {
        self.x
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut grads]: [Part<T>; 1],
        model: usize,
        memory: &Memory<T>,
        _: &Step,
    ) {
        let normalizer = self.normalizer(strip, model, memory);
        self.sums(strip, &normalizer, &mut grads, model, memory);
    }
}

impl BatchNormBackward {
    /// Writes some columns of dx.
    #[inline(always)]
    fn gradient<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        normalizer: &Normalizer<T, S, V>,
        sums: [Wide<T, S, V>; 2],
        dx: &mut Part<T>,
        model: usize,
        memory: &Memory<T>,
    ) {
        let share = strip.all(T::of(self.dx.rows as f64).recip());
        let [dgamma, dbeta] = sums.map(|sum| sum * share);
        let scale = strip.load(memory.row(self.gamma, model, 0)) * normalizer.rstd;
        for (row, given) in self.reduce.rows(model, memory).enumerate() {
            let [xhat, g] = self.reduce.row(strip, normalizer, given);
            let of_row = scale * (g - xhat.fused(dgamma, dbeta));
            strip.store(dx, self.dx.at(model, row, 0), of_row);
        }
    }
}

impl Columnwise<1> for BatchNormBackward {
    fn outputs(&self) -> [Tensor; 1] {
        [self.dx]
    }

    fn over(&self) -> Tensor {
        self.dx
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut dx]: [Part<T>; 1],
        model: usize,
        memory: &Memory<T>,
        _: &Step,
    ) {
        let normalizer = self.reduce.normalizer(strip, model, memory);
        let BatchNormReduce { dgamma, dbeta, .. } = self.reduce;
        let sums = [dgamma, dbeta].map(|sum| strip.load(memory.row(sum, model, 0)));
        self.gradient(strip, &normalizer, sums, &mut dx, model, memory);
    }
}

impl Columnwise<2> for BatchNormGradient {
    fn outputs(&self) -> [Tensor; 2] {
        [self.0.reduce.dgamma, self.0.dx]
    }

    fn over(&self) -> Tensor {
        self.0.dx
    }

    #[inline(always)]
    fn write_columns<T: Real, S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        strip: &Strip<S, V, WHOLE>,
        [mut grads, mut dx]: [Part<T>; 2],
        model: usize,
        memory: &Memory<T>,
        _: &Step,
    ) {
        let normalizer = self.0.reduce.normalizer(strip, model, memory);
        let sums = self.0.reduce.sums(strip, &normalizer, &mut grads, model, memory);
        self.0.gradient(strip, &normalizer, sums, &mut dx, model, memory);
    }
}

impl BatchNormReduce {
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
        let params = Params::new(&views, &numbers);
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
        let slope = slope_shown(self.slope.map(|(function, _)| function));
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
