//! Products and batch normalization in one dispatch, where a workgroup of the product has all rows of its columns: for
//! software adapters whose subgroups are vectors, and minibatches of few rows.

use super::activation::code;
use super::{
    Access, BatchNormTrain, Describe, Dispatch, MatMul, Op, Operand, Params, Space, Tile, Variant, flops_of,
};

/// Rows up to which products are joined so: more would be shared out between workgroups by themselves.
pub const ROWS_OF_A_PRODUCT: usize = 256;

/// [`MatMul`] of the form ABt alone, and [`BatchNormTrain`] of what it writes. Gamma and beta lie in the space of the weight.
#[derive(Clone, Debug)]
pub struct MatMulNorm {
    pub product: MatMul,
    pub norm: BatchNormTrain,
}

/// What operations that are one dispatch read and write: nothing that one of them wrote, and nothing twice.
pub(super) fn operands_of(parts: &[Op]) -> Vec<Operand> {
    let mut operands: Vec<Operand> = vec![];
    for operand in parts.iter().flat_map(|part| part.describe().operands()) {
        let known = operands.iter().any(|known| known.tensor == operand.tensor);
        if operand.access != Access::Read || !known {
            operands.push(operand);
        }
    }
    operands
}

/// The tile of a product by lanes, and the constants of kernels with such products.
pub(super) fn by_lanes(product: &MatMul, epilogue: f64) -> (Tile, Vec<(&'static str, f64)>) {
    let tile = product.tile.filter(|tile| matches!(tile, Tile::Lanes { .. }));
    let tile = tile.unwrap_or_else(|| Tile::suited_to_lanes(product.out.models, product.sizes()));
    let mut constants = tile.constants();
    constants.push(("EPILOGUE", epilogue));
    (tile, constants)
}

/// Constants of kernels whose lanes have all rows of their columns.
pub(super) const OF_COLUMNS: [(&str, f64); 2] = [("LANES", 8.0), ("SPLITS", 1.0)];

impl MatMulNorm {
    pub(super) fn parts(&self) -> Vec<Op> {
        vec![self.product.clone().into(), self.norm.clone().into()]
    }
}

impl Describe for MatMulNorm {
    fn operands(&self) -> Vec<Operand> {
        operands_of(&self.parts())
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
        let [rows, depth, cols] = self.product.sizes().map(|size| size as u32);
        let params = Params::new(&views, &[rows, depth, cols, (norm.eps as f32).to_bits()]);
        let (tile, mut constants) = by_lanes(&self.product, 3.0);
        constants.extend(OF_COLUMNS);
        constants.push(code(norm.function));
        let across = out.cols.div_ceil(tile.block()[1]) as u32;
        let workgroups = [across, 1, out.models as u32];
        Dispatch { shader: "matmul_norm", entry: "main", constants, params, workgroups }
    }

    fn shapes(&self) -> String {
        format!("{}, batch norm {}", self.product.shapes(), self.norm.shapes())
    }
}
