use std::ops::Range;

use super::activation::{code, slope_shown};
use super::{
    Describe, Dispatch, Function, Operand, Params, PartOf, Step, Tensor, Tile, Variant, read, write,
};
use crate::cpu::{Descent, Memory, Real, Twin, product_of, rows_mut};

/// Which of the two factors of a product is transposed.
///
/// ```text
/// AB    out[i, j] = Σₖ a[i, k] · b[k, j]     the gradient of a layer's input: dy · weight
/// ABt   out[i, j] = Σₖ a[i, k] · b[j, k]     forward: x · weightᵀ, weight [outputs, inputs]
/// AtB   out[i, j] = Σₖ a[k, i] · b[k, j]     the gradient of a weight: dyᵀ · x
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    AB,
    ABt,
    AtB,
}

/// A product of matrices, with what follows it in the same pass.
///
/// ```text
/// out = f(product + bias)     forward; bias and function where there are
/// out = product · f′(y)       backward through an activation y = f(…) of out's shape
/// ```
#[derive(Clone, Debug)]
pub struct MatMul {
    pub product: Product,
    pub a: Tensor,
    pub b: Tensor,
    /// `[M, 1, columns of out]`.
    pub bias: Option<Tensor>,
    pub function: Option<Function>,
    pub slope: Option<(Function, Tensor)>,
    pub out: Tensor,
    /// How the kernel shares it out, if not by [`Tile::suited`].
    pub tile: Option<Tile>,
}

impl MatMul {
    /// The product alone.
    pub fn new(product: Product, a: Tensor, b: Tensor, out: Tensor) -> MatMul {
        MatMul { product, a, b, bias: None, function: None, slope: None, out, tile: None }
    }

    /// The length of the sums.
    fn depth(&self) -> usize {
        if self.product == Product::AtB { self.a.rows } else { self.a.cols }
    }

    /// Rows of out, length of the sums, columns of out.
    pub fn sizes(&self) -> [usize; 3] {
        [self.out.rows, self.depth(), self.out.cols]
    }

    /// What the kernels do with a sum: see `product.wgsl`.
    pub(super) fn epilogue(&self) -> (&'static str, f64) {
        let number = match (self.bias, self.function, self.slope) {
            (_, _, Some(_)) => 2.0,
            (Some(_), Some(_), _) => 1.0,
            (Some(_), None, _) => 4.0,
            (None, Some(_), _) => 0.0,
            (None, None, _) => 3.0,
        };
        ("EPILOGUE", number)
    }

    /// What else it reads; where there is nothing, the binding holds b again, unread.
    fn extra(&self) -> Tensor {
        let y = self.slope.map(|(_, y)| y);
        self.bias.or(y).unwrap_or(Tensor { rows: 0, ..self.b })
    }

    /// The dispatch, with a place for what else it makes: the moments of blocks of rows, or a sum.
    pub(super) fn dispatch_to(&self, variant: Variant, beside: Tensor) -> Dispatch {
        let tile = self.tile.unwrap_or_else(|| Tile::suited(variant, self.out.models, self.sizes()));
        let [block_rows, block_cols] = tile.block();
        let mut constants = tile.constants();
        let function = self.function.or(self.slope.map(|(function, _)| function));
        constants.extend([self.epilogue(), code(function)]);
        let views = [self.a, self.b, self.extra(), self.out, beside];
        let [rows, cols, models] =
            [self.out.rows.div_ceil(block_rows), self.out.cols.div_ceil(block_cols), self.out.models]
                .map(|count| count as u32);
        let rows_first = matches!(tile, Tile::Lanes { .. }) && self.product != Product::AtB;
        Dispatch {
            shader: tile.shader(),
            entry: match self.product {
                Product::AB => "ab",
                Product::ABt => "abt",
                Product::AtB => "atb",
            },
            constants,
            params: Params::new(&views, &self.sizes().map(|size| size as u32)),
            workgroups: if rows_first { [rows, cols, models] } else { [cols, rows, models] },
        }
    }
}

impl<T: Real> Twin<T, 1> for MatMul {
    fn outputs(&self) -> [Tensor; 1] {
        [self.out]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        self.multiply(out, memory, step, None);
    }
}

impl<T: Real> Twin<T, 1> for PartOf<'_, MatMul> {
    fn outputs(&self) -> [Tensor; 1] {
        [self.0.out]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        self.0.multiply(out, memory, step, Some(&self.1.units));
    }
}

impl MatMul {
    /// All of it, or some units: rows of a gradient, elsewhere columns. The others are then undefined.
    #[inline(always)]
    fn multiply<T: Real>(&self, out: &mut [T], memory: &Memory<T>, step: &Step, only: Option<&Range<usize>>) {
        let columns = only.cloned().unwrap_or(0..self.out.cols);
        for model in 0..self.out.models {
            if let Some(bias) = self.bias {
                let bias = memory.row(bias, model, 0);
                rows_mut(out, self.out, model, step.slot).for_each(|row| row.copy_from_slice(bias));
            }
            let to = &mut out[self.out.at(model, 0, step.slot as usize)..];
            self.multiply_to(to, memory, model, None, only);
            if let Some(function) = self.function {
                let rows = rows_mut(out, self.out, model, step.slot);
                rows.for_each(|row| function.apply(&mut row[columns.clone()]));
            }
            if let Some((function, y)) = self.slope {
                let rows = rows_mut(out, self.out, model, step.slot).zip(memory.rows(y, model));
                rows.for_each(|(row, y)| function.chain(&mut row[columns.clone()], &y[columns.clone()]));
            }
        }
    }

    /// The product alone of a model, to what begins with its first place: written there, added to the bias, or what that is
    /// moved by.
    #[inline(always)]
    pub(crate) fn multiply_to<T: Real>(
        &self,
        to: &mut [T],
        memory: &Memory<T>,
        model: usize,
        descent: Option<&Descent<T>>,
        only: Option<&Range<usize>>,
    ) {
        let (lda, ldb) = (self.a.ld(), self.b.ld());
        // Strides (row, column) of the factors as they are multiplied.
        let strides = match self.product {
            Product::AB => [(lda, 1), (ldb, 1)],
            Product::ABt => [(lda, 1), (1, ldb)],
            Product::AtB => [(1, lda), (ldb, 1)],
        };
        let factors = |part| [self.a, self.b].map(|tensor| memory.copy(tensor, model, part));
        let to = (to, self.out.ld());
        product_of(self.sizes(), &factors, strides, to, self.bias.is_some(), descent, only);
    }
}

impl Describe for MatMul {
    fn operands(&self) -> Vec<Operand> {
        vec![read("a", self.a), read("b", self.b), write("out", self.out), read("extra", self.extra())]
    }

    fn flops(&self) -> u64 {
        let function = self.function.map_or(0, Function::flops);
        let slope = self.slope.map_or(0, |(function, _)| function.chain_flops());
        let after = u64::from(self.bias.is_some()) + function + slope;
        (2 * self.depth() as u64 + after).saturating_mul(self.out.elements())
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        // There is nothing else; its place holds out.
        self.dispatch_to(variant, self.out)
    }

    fn shapes(&self) -> String {
        let of = |t: Tensor, transposed| {
            if transposed {
                format!("({}×{})ᵀ", t.rows, t.cols)
            } else {
                format!("{}×{}", t.rows, t.cols)
            }
        };
        let a = of(self.a, self.product == Product::AtB);
        let b = of(self.b, self.product == Product::ABt);
        let bias = if self.bias.is_some() { " + bias" } else { "" };
        let function = self.function.map_or(String::new(), |function| format!(", {function}"));
        let slope = slope_shown(self.slope.map(|(function, _)| function));
        let tile = self.tile.map_or(String::new(), |tile| format!(" by {tile}"));
        format!("{a} · {b}{bias}{function}{slope} → {}×{}{tile}", self.out.rows, self.out.cols)
    }
}
