use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Describe, Dispatch, Operand, Params, Step, Tensor, Variant, elementwise, read, write};
use crate::cpu::{Memory, Real, Rowwise, rows_of};

/// A function applied to every unit of a layer.
///
/// ```text
/// relu     max(x, 0)             slope 1 where y > 0, else 0
/// tanh     (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)  slope 1 − y²
/// sigmoid  1 / (1 + e⁻ˣ)          slope y · (1 − y)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Function {
    #[default]
    Relu,
    Tanh,
    Sigmoid,
}

impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Function::Relu => "relu",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
        })
    }
}

/// What the shaders' `FUNCTION` is for a function, or for none.
pub(super) fn code(function: Option<Function>) -> (&'static str, f64) {
    ("FUNCTION", function.map_or(3.0, |function| function as u32 as f64))
}

/// A slope, where there is one, as a part of what [`Describe::shapes`] has.
pub(super) fn slope_shown(function: Option<Function>) -> String {
    function.map_or(String::new(), |function| format!(", slope of {function}"))
}

impl Function {
    /// Applies the function to every value of a row. What is not finite stays so, that the loss shows it: infinity
    /// times 0 is a NaN.
    #[inline(always)]
    pub fn apply<T: Real>(self, row: &mut [T]) {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Function::Relu => row.iter_mut().for_each(|y| *y = if *y < zero { *y * zero + zero } else { *y }),
            Function::Tanh => {
                let tanh = |y: T| one - (one + one) / ((y + y).exponential() + one);
                row.iter_mut().for_each(|y| *y = tanh(*y) + *y * zero);
            }
            Function::Sigmoid => {
                row.iter_mut().for_each(|y| *y = one / (one + (-*y).exponential()) + *y * zero);
            }
        }
    }

    /// FLOPs of a value.
    pub(super) fn flops(self) -> u64 {
        match self {
            Function::Relu => 1,
            Function::Tanh => 5,
            Function::Sigmoid => 3,
        }
    }

    /// FLOPs of a slope, and of the product with it.
    pub(super) fn chain_flops(self) -> u64 {
        if self == Function::Relu { 2 } else { 3 }
    }

    /// Multiplies a row of gradients by the slopes at a row of values.
    #[inline(always)]
    pub fn chain<T: Real>(self, dy: &mut [T], y: &[T]) {
        dy.iter_mut().zip(y).for_each(|(dy, &y)| *dy *= self.slope(y));
    }

    /// The function's derivative, from its value.
    #[inline(always)]
    fn slope<T: Real>(self, y: T) -> T {
        match self {
            Function::Relu => {
                if y > T::zero() {
                    T::one()
                } else {
                    T::zero()
                }
            }
            Function::Tanh => T::one() - y * y,
            Function::Sigmoid => y * (T::one() - y),
        }
    }
}

/// `out = f(x)`, both `[M, rows, features]`.
#[derive(Clone, Debug)]
pub struct Activation {
    pub function: Function,
    pub x: Tensor,
    pub out: Tensor,
}

/// `dx = dy · f′`, with f′ from the activation's output y; all `[M, rows, features]`.
#[derive(Clone, Debug)]
pub struct ActivationBackward {
    pub function: Function,
    pub y: Tensor,
    pub dy: Tensor,
    pub dx: Tensor,
}

fn dispatch(function: Function, entry: &'static str, [a, b, out]: [Tensor; 3], variant: Variant) -> Dispatch {
    let params = Params::new(&[a, b, out], &[out.rows as u32, out.cols as u32]);
    let mut dispatch = elementwise("activation", entry, params, out, variant);
    dispatch.constants.push(code(Some(function)));
    dispatch
}

impl Rowwise for Activation {
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
        for (out, row) in rows_of(out, self.out).zip(rows) {
            out.copy_from_slice(memory.row(self.x, model, row));
            self.function.apply(out);
        }
    }
}

impl Describe for Activation {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), write("out", self.out)]
    }

    fn flops(&self) -> u64 {
        self.function.flops() * self.out.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        dispatch(self.function, "forward", [self.x, self.x, self.out], variant)
    }

    fn shapes(&self) -> String {
        format!("{} of {}×{}", self.function, self.out.rows, self.out.cols)
    }
}

impl Rowwise for ActivationBackward {
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
        for (dx, row) in rows_of(out, self.dx).zip(rows) {
            dx.copy_from_slice(memory.row(self.dy, model, row));
            self.function.chain(dx, memory.row(self.y, model, row));
        }
    }
}

impl Describe for ActivationBackward {
    fn operands(&self) -> Vec<Operand> {
        vec![read("y", self.y), write("dx", self.dx), read("dy", self.dy)]
    }

    fn flops(&self) -> u64 {
        self.function.chain_flops() * self.dx.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        dispatch(self.function, "backward", [self.y, self.dy, self.dx], variant)
    }

    fn shapes(&self) -> String {
        format!("{} of {}×{}", self.function, self.dx.rows, self.dx.cols)
    }
}
