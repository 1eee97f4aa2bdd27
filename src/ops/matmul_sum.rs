use super::matmul_norm::operands_of;
use super::{Access, ColumnSum, Describe, Dispatch, MatMul, Op, Operand, Space, Variant, flops_of};

/// The gradients of a weight ([`MatMul`] of the form AtB by lanes) and of a bias, for software adapters whose subgroups are
/// vectors: see [`super::MatMulGradients`], which has that of the input, too. Both lie in one space.
///
/// ```text
/// dw = dyᵀ · x,  db = Σᵣ dy[r, ·]
/// ```
#[derive(Clone, Debug)]
pub struct MatMulSum {
    pub weight: MatMul,
    pub bias: ColumnSum,
}

impl MatMulSum {
    pub(super) fn parts(&self) -> Vec<Op> {
        vec![self.weight.clone().into(), self.bias.clone().into()]
    }
}

impl Describe for MatMulSum {
    fn operands(&self) -> Vec<Operand> {
        operands_of(&self.parts(), &[])
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        self.weight.bindings()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let dispatch = self.weight.dispatch_to(variant, self.bias.out);
        Dispatch { entry: "atb_sum", ..dispatch }
    }

    fn shapes(&self) -> String {
        format!("{} and sum", self.weight.shapes())
    }
}
