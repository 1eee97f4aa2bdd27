//! Products and batch normalization in one dispatch, where a workgroup of the product has all rows of its columns: for
//! software adapters whose subgroups are vectors, and minibatches of few rows.

use super::activation::code;
use super::{
    Access, BatchNormBackward, BatchNormGradient, BatchNormTrain, Describe, Dispatch, MatMul, Op, Operand,
    Params, Space, Tensor, Tile, Variant, flops_of,
};

/// Rows up to which products are joined so: more would be shared out between workgroups by themselves.
pub const ROWS_OF_A_PRODUCT: usize = 64;

/// [`MatMul`] of the form ABt alone, and [`BatchNormTrain`] of what it writes. Gamma and beta lie in the space of the weight.
#[derive(Clone, Debug)]
pub struct MatMulNorm {
    pub product: MatMul,
    pub norm: BatchNormTrain,
}

/// [`MatMul`] of the form AB, with the slope of the activation behind a batch normalization, and the
/// [`BatchNormGradient`] of what it writes, which has no slope then. Gamma lies in the space of the weight.
#[derive(Clone, Debug)]
pub struct MatMulThroughNorm {
    pub product: MatMul,
    pub gradient: BatchNormGradient,
}

/// What both operations read and write, but not what the first writes and the second reads back.
fn operands(first: &impl Describe, second: &impl Describe, passed: Tensor) -> Vec<Operand> {
    let read_back =
        |operand: &Operand| operand.access == Access::Read && operand.tensor.space == passed.space;
    let second = second.operands().into_iter().filter(|operand| !read_back(operand));
    first.operands().into_iter().chain(second).collect()
}

/// The dispatch, with what normalizes in the constants.
fn dispatch(shader: &'static str, product: &MatMul, params: Params, epilogue: f64) -> Dispatch {
    let tile = product.tile.filter(|tile| matches!(tile, Tile::Lanes { .. }));
    let tile = tile.unwrap_or_else(|| Tile::suited_to_lanes(product.out.models, product.sizes()));
    let mut constants = tile.constants();
    constants.extend([("LANES", 8.0), ("SPLITS", 1.0), ("EPILOGUE", epilogue)]);
    let across = product.out.cols.div_ceil(tile.block()[1]) as u32;
    Dispatch { shader, entry: "main", constants, params, workgroups: [across, 1, product.out.models as u32] }
}

fn numbers(product: &MatMul, eps: f64) -> [u32; 4] {
    let [rows, depth, cols] = product.sizes().map(|size| size as u32);
    [rows, depth, cols, (eps as f32).to_bits()]
}

impl MatMulNorm {
    pub(super) fn parts(&self) -> Vec<Op> {
        vec![self.product.clone().into(), self.norm.clone().into()]
    }
}

impl MatMulThroughNorm {
    pub(super) fn parts(&self) -> Vec<Op> {
        vec![self.product.clone().into(), self.gradient.clone().into()]
    }
}

impl Describe for MatMulNorm {
    fn operands(&self) -> Vec<Operand> {
        operands(&self.product, &self.norm, self.product.out)
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let MatMul { a, b, out, .. } = self.product;
        let BatchNormTrain { stats, norm } = &self.norm;
        let (read, write) = (Access::Read, Access::Write);
        // The second b is unread.
        let all = [(a, read), (b, read), (out, write), (b, read)];
        let of_norm = [norm.out, stats.stats, stats.log].map(|tensor| (tensor, write));
        all.into_iter().chain(of_norm).map(|(tensor, access)| (tensor.space, access)).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, out, .. } = self.product;
        let BatchNormTrain { stats, norm } = &self.norm;
        let views = [a, b, b, out, stats.stats, norm.gamma, norm.beta, norm.out, stats.log];
        let params = Params::new(&views, &numbers(&self.product, norm.eps));
        let mut dispatch = dispatch("matmul_norm", &self.product, params, 3.0);
        dispatch.constants.push(code(norm.function));
        dispatch
    }

    fn shapes(&self) -> String {
        format!("{}, batch norm {}", self.product.shapes(), self.norm.shapes())
    }
}

impl Describe for MatMulThroughNorm {
    fn operands(&self) -> Vec<Operand> {
        operands(&self.product, &self.gradient, self.product.out)
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let MatMul { a, b, out, .. } = self.product;
        let BatchNormBackward { reduce, dx, .. } = &self.gradient.0;
        let y = self.product.slope.map_or(b, |(_, y)| y);
        let (read, write) = (Access::Read, Access::Write);
        let all = [(a, read), (b, read), (out, write), (y, read)];
        let of_norm = [(reduce.x, read), (reduce.stats, read), (reduce.dgamma, write), (*dx, write)];
        all.into_iter().chain(of_norm).map(|(tensor, access)| (tensor.space, access)).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, out, slope, .. } = self.product;
        let BatchNormBackward { reduce, gamma, dx } = &self.gradient.0;
        let y = slope.map_or(b, |(_, y)| y);
        let views = [a, b, y, out, reduce.x, reduce.stats, *gamma, reduce.dgamma, reduce.dbeta, *dx];
        let params = Params::new(&views, &numbers(&self.product, reduce.eps));
        let epilogue = if slope.is_some() { 2.0 } else { 3.0 };
        let mut dispatch = dispatch("matmul_through_norm", &self.product, params, epilogue);
        dispatch.constants.push(code(slope.map(|(function, _)| function)));
        dispatch
    }

    fn shapes(&self) -> String {
        format!("{}, batch norm", self.product.shapes())
    }
}
