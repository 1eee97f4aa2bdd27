use super::activation::code;
use super::matmul_norm::{OF_COLUMNS, by_lanes, operands_of};
use super::{
    Access, BatchNormBackward, BatchNormGradient, ColumnSum, Describe, Dispatch, MatMul, Op, Operand, Params,
    Space, Tensor, Variant, flops_of,
};

/// Both gradients of a layer's product in one dispatch, for software adapters whose subgroups are vectors: the workgroups of
/// the one lie beside those of the other. Where a batch normalization comes before the layer and the minibatch has few rows,
/// the gradient of what the layer took in goes on through it: see [`super::MatMulNorm`].
///
/// ```text
/// dw = dyᵀ · x,  db = Σᵣ dy[r, ·]     weight and bias
/// dx = dy · w · f'(x)                 input, with the slope of an activation f where x is what it put out
/// dx = gradient of batch normalization of the same
/// ```
#[derive(Clone, Debug)]
pub struct MatMulGradients {
    /// Of the form AtB.
    pub weight: MatMul,
    pub bias: Option<ColumnSum>,
    /// Of the form AB. The slope is of what the layer took in; none where there is a normalization, which has it.
    pub input: MatMul,
    /// Of what the layer took in. Gamma lies in the space of the weight.
    pub norm: Option<BatchNormGradient>,
}

impl MatMulGradients {
    pub(super) fn parts(&self) -> Vec<Op> {
        let MatMulGradients { weight, bias, input, norm } = self.clone();
        let bias = bias.map(Op::from);
        let norm = norm.map(Op::from);
        [weight.into()].into_iter().chain(bias).chain([input.into()]).chain(norm).collect()
    }
}

impl Describe for MatMulGradients {
    fn operands(&self) -> Vec<Operand> {
        operands_of(&self.parts())
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let (read, write) = (Access::Read, Access::Write);
        let MatMul { a, b, out, .. } = self.input;
        let mut all =
            vec![(a, read), (b, read), (out, write), (self.weight.b, read), (self.weight.out, write)];
        if let Some(BatchNormGradient(BatchNormBackward { reduce, dx, .. })) = &self.norm {
            all.extend([(reduce.x, read), (reduce.stats, read), (*dx, write)]);
        }
        all.into_iter().map(|(tensor, access)| (tensor.space, access)).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, out, slope, .. } = self.input;
        let MatMul { b: x, out: weight, .. } = self.weight;
        let (tile, mut constants) = by_lanes(&self.input, if slope.is_some() { 2.0 } else { 3.0 });
        let slope = self.norm.as_ref().map_or(slope, |norm| norm.0.reduce.slope);
        constants.push(code(slope.map(|(function, _)| function)));
        let [block_rows, block_cols] = tile.block();
        let across = out.cols.div_ceil(block_cols);
        let down = |tensor: Tensor| tensor.rows.div_ceil(block_rows);
        let of_out = across * if self.norm.is_some() { 1 } else { down(out) };
        let of_weight = across * down(weight);

        // Where there is no bias, its place holds the weight's gradient.
        let bias = self.bias.as_ref().map_or(weight, |bias| bias.out);
        let mut views: Vec<Tensor> = vec![a, b, x, out, weight, bias];
        let [rows, depth, cols] = self.input.sizes();
        let biased = usize::from(self.bias.is_some());
        let numbers = [rows, depth, cols, biased, of_out, of_weight];
        let mut numbers = numbers.map(|number| number as u32).to_vec();
        let shader = if let Some(BatchNormGradient(BatchNormBackward { reduce, gamma, dx })) = &self.norm {
            views.extend([reduce.x, reduce.stats, *gamma, reduce.dgamma, reduce.dbeta, *dx]);
            numbers.push((reduce.eps as f32).to_bits());
            constants.extend(OF_COLUMNS);
            "gradients_through_norm"
        } else {
            "matmul_gradients"
        };
        let params = Params::new(&views, &numbers);
        let workgroups = [across, (of_out + of_weight) / across, out.models].map(|count| count as u32);
        Dispatch { shader, entry: "main", constants, params, workgroups }
    }

    fn shapes(&self) -> String {
        let norm = if self.norm.is_some() { ", batch norm" } else { "" };
        format!("{}; {}{norm}", self.weight.shapes(), self.input.shapes())
    }
}
