//! Products and batch normalization in one dispatch, where a workgroup of the product has all rows of its columns: for
//! software adapters whose subgroups are vectors.

use super::activation::code;
use super::dropout::{numbers, shown};
use super::{
    Access, BatchNormTrain, Describe, Dispatch, Dropout, Function, MatMul, Op, Operand, Params, Space,
    Tensor, Tile, Variant, flops_of,
};

/// [`MatMul`] of the form ABt, [`BatchNormTrain`] of what it writes, and dropout, of which alone the kernel then keeps what it
/// writes. Gamma, beta and a bias lie in the space of the weight. The product has a function, the normalization, or neither.
#[derive(Clone, Debug)]
pub struct MatMulNorm {
    pub product: MatMul,
    pub norm: BatchNormTrain,
    pub dropout: Option<Dropout>,
}

/// What operations that are one dispatch read and write: nothing that one of them wrote, nothing twice, and nothing of what
/// their kernel does not keep.
pub(super) fn operands_of(parts: &[Op], not_kept: &[Tensor]) -> Vec<Operand> {
    let mut operands: Vec<Operand> = vec![];
    for operand in parts.iter().flat_map(|part| part.describe().operands()) {
        let known = operands.iter().any(|known| known.tensor == operand.tensor);
        if operand.access != Access::Read || !known {
            operands.push(operand);
        }
    }
    operands.retain(|operand| !not_kept.contains(&operand.tensor));
    operands
}

/// The tile of a product by lanes, and the constants of kernels with such products.
pub(super) fn by_lanes(product: &MatMul) -> (Tile, Vec<(&'static str, f64)>) {
    let tile = product.tile.filter(|tile| matches!(tile, Tile::Lanes { .. }));
    let tile = tile.unwrap_or_else(|| Tile::suited_to_lanes(product.out.models, product.sizes()));
    let mut constants = tile.constants();
    constants.push(product.epilogue());
    (tile, constants)
}

/// Constants of kernels whose lanes have all rows of their columns, with the function after batch normalization or before it.
pub(super) fn of_columns(
    [after, before]: [Option<Function>; 2],
    dropout: Option<&Dropout>,
) -> [(&'static str, f64); 5] {
    let norm = if before.is_some() { 2.0 } else { 1.0 };
    let dropout = f64::from(dropout.is_some());
    let function = code(after.or(before));
    [("LANES", 8.0), ("SPLITS", 1.0), ("NORM", norm), ("DROPOUT", dropout), function]
}

impl MatMulNorm {
    pub(super) fn parts(&self) -> Vec<Op> {
        let dropout = self.dropout.clone().map(Op::from);
        [self.product.clone().into(), self.norm.clone().into()].into_iter().chain(dropout).collect()
    }

    /// What it passes on.
    fn out(&self) -> Tensor {
        self.dropout.as_ref().map_or(self.norm.norm.out, |dropout| dropout.out)
    }
}

impl Describe for MatMulNorm {
    fn operands(&self) -> Vec<Operand> {
        let not_kept = self.dropout.as_ref().map(|dropout| dropout.x);
        operands_of(&self.parts(), not_kept.as_slice())
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let MatMul { a, b, out, .. } = self.product;
        let stats = &self.norm.stats;
        let (read, write) = (Access::Read, Access::Write);
        // The second b has the bias.
        let all = [(a, read), (b, read), (out, write), (b, read)];
        let of_norm = [self.out(), stats.stats, stats.log].map(|tensor| (tensor, write));
        let all = all.into_iter().chain(of_norm).map(|(tensor, access)| (tensor.space, access));
        all.chain([(Space::Hyper, read)]).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, out, bias, function, .. } = self.product;
        let BatchNormTrain { stats, norm } = &self.norm;
        let views = [a, b, bias.unwrap_or(b), out, stats.stats, norm.gamma, norm.beta, self.out(), stats.log];
        let mut numbers_of = self.product.sizes().map(|size| size as u32).to_vec();
        numbers_of.push((norm.eps as f32).to_bits());
        numbers_of.extend(numbers(self.dropout.as_ref()));
        let params = Params::new(&views, &numbers_of);
        let (tile, mut constants) = by_lanes(&self.product);
        constants.extend(of_columns([norm.function, function], self.dropout.as_ref()));
        let across = out.cols.div_ceil(tile.block()[1]) as u32;
        let workgroups = [across, 1, out.models as u32];
        Dispatch { shader: "matmul_norm", entry: "main", constants, params, workgroups }
    }

    fn shapes(&self) -> String {
        let dropout = shown(self.dropout.as_ref());
        format!("{}, batch norm {}{dropout}", self.product.shapes(), self.norm.shapes())
    }
}
