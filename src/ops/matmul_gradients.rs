use super::activation::{code, slope_shown};
use super::dropout::{numbers as of_dropout, shown};
use super::matmul_norm::{by_lanes, of_columns, operands_of};
use super::{
    Access, ActivationBackward, BatchNormBackward, BatchNormGradient, ColumnSum, Describe, Dispatch, Dropout,
    Function, MatMul, Op, Operand, Params, Space, Tensor, Variant, flops_of, read,
};

/// Both gradients of a layer's product in one dispatch, for software adapters whose subgroups are vectors: the workgroups of
/// the one lie beside those of the other. Where a batch normalization comes before the layer and a workgroup may have all rows
/// of its columns, the gradient of what the layer took in goes on through it: see [`super::MatMulNorm`].
///
/// ```text
/// dw = dyᵀ · x,  db = Σᵣ dy[r, ·]     weight and bias
/// dx = dy · w · f'(x)                 input, with the slope of an activation f where x is what it put out
/// dx = dy · w through what lies before the layer: dropout, batch normalization, a function
/// ```
#[derive(Clone, Debug)]
pub struct MatMulGradients {
    /// What the layer took in; any tensor where nothing is made of that.
    pub x: Tensor,
    /// Of the form AtB; it may be missing where the input's gradient goes through something.
    pub weight: Option<MatMul>,
    pub bias: Option<ColumnSum>,
    /// Of the form AB. The slope is of what the layer took in; none where there is a normalization, which has it.
    pub input: MatMul,
    pub through: Option<ThroughNorm>,
}

/// What the gradient of a layer's input goes through, in order. There is one function: after the normalization, whose
/// gradient then has its slope, or before it. Gamma lies in the space of the weight. Where there is dropout, the layer took in
/// what it kept of the function's value.
#[derive(Clone, Debug)]
pub struct ThroughNorm {
    pub dropout: Option<Dropout>,
    pub norm: BatchNormGradient,
    pub slope: Option<ActivationBackward>,
}

impl ThroughNorm {
    fn parts(self) -> impl Iterator<Item = Op> {
        let dropout = self.dropout.map(Op::from).into_iter();
        dropout.chain([self.norm.into()]).chain(self.slope.map(Op::from))
    }

    /// What the last of its parts writes, which is where its kernel has all before that.
    fn dx(&self) -> Tensor {
        self.slope.as_ref().map_or(self.norm.0.dx, |slope| slope.dx)
    }

    /// The functions after the normalization and before it.
    fn functions(&self) -> [Option<Function>; 2] {
        let after = self.norm.0.reduce.slope.map(|(function, _)| function);
        [after, self.slope.as_ref().map(|slope| slope.function)]
    }

    /// What its kernel does not keep: that which its parts pass on to each other, and what of it was dropped.
    fn not_kept(&self) -> Vec<Tensor> {
        let reduce = &self.norm.0.reduce;
        let mut tensors = vec![reduce.dy];
        tensors.extend(self.slope.as_ref().map(|slope| slope.dy));
        if let Some(dropout) = &self.dropout {
            tensors.push(dropout.x);
            tensors.extend(reduce.slope.map(|(_, y)| y));
        }
        tensors
    }
}

impl MatMulGradients {
    /// That of the weight, or of gamma where there is none.
    fn gradient(&self) -> Tensor {
        match (&self.weight, &self.through) {
            (Some(weight), _) => weight.out,
            (None, Some(through)) => through.norm.0.reduce.dgamma,
            (None, None) => unreachable!("a gradient of an input alone is a product"),
        }
    }

    pub(super) fn parts(&self) -> Vec<Op> {
        let MatMulGradients { weight, bias, input, through, .. } = self.clone();
        let through = through.into_iter().flat_map(ThroughNorm::parts);
        let of_weight = weight.map(Op::from).into_iter().chain(bias.map(Op::from));
        of_weight.chain([input.into()]).chain(through).collect()
    }
}

impl Describe for MatMulGradients {
    fn operands(&self) -> Vec<Operand> {
        let not_kept = self.through.as_ref().map_or(vec![], ThroughNorm::not_kept);
        let mut operands = operands_of(&self.parts(), &not_kept);
        if !operands.iter().any(|operand| operand.tensor == self.x) {
            operands.push(read("x", self.x));
        }
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let (read, write) = (Access::Read, Access::Write);
        let MatMul { a, b, out, .. } = self.input;
        let out = self.through.as_ref().map_or(out, ThroughNorm::dx);
        let mut all = vec![(a, read), (b, read), (out, write), (self.x, read), (self.gradient(), write)];
        if let Some(ThroughNorm { norm: BatchNormGradient(norm), .. }) = &self.through {
            all.extend([(norm.reduce.x, read), (norm.reduce.stats, read)]);
        }
        let all = all.into_iter().map(|(tensor, access)| (tensor.space, access));
        all.chain(self.through.as_ref().map(|_| (Space::Hyper, read))).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, out, slope, .. } = self.input;
        let out = self.through.as_ref().map_or(out, ThroughNorm::dx);
        let (tile, mut constants) = by_lanes(&self.input);
        constants.push(("BESIDE", f64::from(self.weight.is_some())));
        let [block_rows, block_cols] = tile.block();
        let across = out.cols.div_ceil(block_cols);
        let down = |tensor: Tensor| tensor.rows.div_ceil(block_rows);
        let of_out = across * if self.through.is_some() { 1 } else { down(out) };
        let of_weight = across * self.weight.as_ref().map_or(0, |weight| down(weight.out));

        // Where there is no bias, its place holds another.
        let gradient = self.gradient();
        let bias = self.bias.as_ref().map_or(gradient, |bias| bias.out);
        let mut views: Vec<Tensor> = vec![a, b, self.x, out, gradient, bias];
        let [rows, depth, cols] = self.input.sizes();
        let biased = usize::from(self.bias.is_some());
        let numbers = [rows, depth, cols, biased, of_out, of_weight];
        let mut numbers = numbers.map(|number| number as u32).to_vec();
        let shader = if let Some(through) = &self.through {
            let ThroughNorm { norm: BatchNormGradient(norm), dropout, .. } = through;
            let BatchNormBackward { reduce, gamma, .. } = norm;
            views.extend([reduce.x, reduce.stats, *gamma, reduce.dgamma, reduce.dbeta]);
            numbers.push((reduce.eps as f32).to_bits());
            numbers.extend(of_dropout(dropout.as_ref()));
            constants.extend(of_columns(through.functions(), dropout.as_ref()));
            "gradients_through_norm"
        } else {
            constants.push(code(slope.map(|(function, _)| function)));
            "matmul_gradients"
        };
        let params = Params::new(&views, &numbers);
        let workgroups = [across, (of_out + of_weight) / across, out.models].map(|count| count as u32);
        Dispatch { shader, entry: "main", constants, params, workgroups }
    }

    fn shapes(&self) -> String {
        let through = self.through.as_ref().map_or(String::new(), |through| {
            let slope = slope_shown(through.slope.as_ref().map(|slope| slope.function));
            format!("{}, batch norm{slope}", shown(through.dropout.as_ref()))
        });
        let weight = self.weight.as_ref().map_or(String::new(), |weight| weight.shapes() + "; ");
        format!("{weight}{}{through}", self.input.shapes())
    }
}
