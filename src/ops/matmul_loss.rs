use super::matmul_norm::operands_of;
use super::{Access, Describe, Dispatch, LossTotal, MatMul, Op, Operand, Params, Space, Variant, flops_of};

/// [`MatMul`] of the form ABt with a bias and few columns, and [`LossTotal`] of what it writes in one dispatch, by one workgroup
/// for each model: for software adapters whose subgroups are vectors. The bias lies in the space of the weight.
#[derive(Clone, Debug)]
pub struct MatMulLoss {
    pub product: MatMul,
    pub loss: LossTotal,
}

impl MatMulLoss {
    /// The most columns, as their sums are a lane's own.
    pub const COLUMNS: usize = 16;

    pub(super) fn parts(&self) -> Vec<Op> {
        vec![self.product.clone().into(), self.loss.clone().into()]
    }
}

impl Describe for MatMulLoss {
    fn operands(&self) -> Vec<Operand> {
        operands_of(&self.parts(), &[])
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let factors = [self.product.a, self.product.b].map(|tensor| (tensor.space, Access::Read));
        factors.into_iter().chain(self.loss.bindings()).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, bias, out, .. } = self.product;
        let LossTotal { loss, sum } = &self.loss;
        let bias = bias.expect("a product with a bias");
        let views = [a, b, bias, out, loss.order, loss.targets, sum.out, loss.rates()];
        let numbers = [out.rows as u32, out.cols as u32, loss.hyper.is_some().into()];
        let outputs = out.cols.div_ceil(4) as f64;
        Dispatch {
            shader: "matmul_loss",
            entry: "main",
            constants: vec![("OUTPUTS", outputs), loss.kind.constant(), ("LANES", 1.0), ("SPLITS", 8.0)],
            params: Params::new(&views, &numbers),
            workgroups: [1, 1, out.models as u32],
        }
    }

    fn shapes(&self) -> String {
        format!("{}, {}", self.product.shapes(), self.loss.shapes())
    }
}
