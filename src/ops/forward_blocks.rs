use super::activation::code;
use super::dropout::numbers;
use super::stage::{Square, forward_bindings, rows_of_block, x_and_order};
use super::{
    Access, BatchNormTrain, Describe, Dispatch, Dropout, Gather, MatMul, Op, Operand, Space, Step, Tensor,
    Variant, flops_of, read, words, write,
};
use crate::cpu::{Memory, Real};

/// A layer forward in one dispatch in large minibatches: the batch normalization and dropout of the layer before, as
/// its output is loaded, then [`MatMul`] of the form ABt, and the statistics of blocks of rows of what it writes.
#[derive(Clone, Debug)]
pub struct ForwardBlocks {
    /// Where x comes from, if not from a layer; its output is not written.
    pub gather: Option<Gather>,
    /// Of the layer before, with the statistics of its blocks; its output is not written.
    pub norm: Option<(BatchNormTrain, Tensor)>,
    /// Of the layer before; its output is not written.
    pub dropout: Option<Dropout>,
    pub product: MatMul,
    /// `[M, 3 · blocks, columns]`: as in [`super::MatMulMoments`], where batch normalization follows.
    pub moments: Option<Tensor>,
}

impl ForwardBlocks {
    /// Rows of the statistics of all blocks of so many rows.
    pub fn rows_of_moments(rows: usize) -> usize {
        3 * rows.div_ceil(rows_of_block(rows))
    }

    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let gather = self.gather.clone().map(Op::from).into_iter();
        let norm = self.norm.iter().map(|(norm, _)| norm.clone().into());
        let dropout = self.dropout.clone().map(Op::from);
        gather.chain(norm).chain(dropout).chain([self.product.clone().into()]).collect()
    }

    /// What is loaded.
    fn x(&self) -> Tensor {
        let of_dropout = self.dropout.as_ref().map(|dropout| dropout.x);
        self.norm.as_ref().map(|(norm, _)| norm.norm.x).or(of_dropout).unwrap_or(self.product.a)
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        self.parts().iter().for_each(|part| part.run(memory, step));
    }
}

impl Describe for ForwardBlocks {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = match &self.gather {
            Some(gather) => gather.sources(),
            None => vec![read("x", self.x())],
        };
        operands.extend([read("weight", self.product.b), write("z", self.product.out)]);
        operands.extend(self.product.bias.map(|bias| read("bias", bias)));
        operands.extend(self.moments.map(|moments| write("moments", moments)));
        if let Some((norm, moments)) = &self.norm {
            operands.push(read("moments", *moments));
            // All but x, and what is not written.
            operands
                .extend(norm.operands().into_iter().filter(|operand| !matches!(operand.name, "x" | "out")));
        }
        operands.extend(self.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        forward_bindings(self.gather.as_ref())
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, bias, function, out: z, .. } = self.product;
        let [x, order] = x_and_order(self.gather.as_ref(), self.x());
        let moments = self.moments.unwrap_or(z);
        // Without batch normalization its places hold z.
        let of_norm = self.norm.as_ref().map_or([z; 5], |(norm, parts)| {
            [*parts, norm.stats.stats, norm.stats.log, norm.norm.gamma, norm.norm.beta]
        });
        let own = [x, order, b, bias.unwrap_or(z), z, moments];
        let views: Vec<_> = own.into_iter().chain(of_norm).collect();
        let eps = self.norm.as_ref().map_or(0.0, |(norm, _)| norm.norm.eps as f32);
        let block = rows_of_block(z.rows);
        let sizes = [z.rows, a.cols, z.cols, bias.is_some().into(), block].map(|size| size as u32);
        let dropout = self.dropout.as_ref();
        let numbers: Vec<u32> = sizes.into_iter().chain([eps.to_bits()]).chain(numbers(dropout)).collect();
        let of_x = self.norm.as_ref().map(|(norm, _)| norm.norm.function);
        let norm_of_x = of_x.map_or(0.0, |function| if function.is_some() { 1.0 } else { 2.0 });
        let norm = f64::from(self.moments.is_some());
        // High, scale and shift; of one column where there is no normalization.
        let tile = Square::of([&self.product]);
        let cache = tile.cache(if self.norm.is_some() { a.cols } else { 1 }, 3);
        let mut constants = tile.constants(self.gather.as_ref(), None, norm, cache);
        constants.extend([
            ("NORM_X", norm_of_x),
            ("NORM_OUT", 0.0),
            ("DROPOUT_X", f64::from(dropout.is_some())),
            ("VALUE", f64::from(function.is_some())),
            code(function.or(of_x.flatten())),
        ]);
        Dispatch {
            shader: "forward_blocks",
            entry: "main",
            constants,
            params: words(&views, &numbers),
            workgroups: [tile.across(z.cols) as u32, tile.down(z.rows) as u32, z.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let gather = if self.gather.is_some() { "gathered " } else { "" };
        let norm =
            self.norm.as_ref().map_or(String::new(), |(norm, _)| format!("batch norm {}, ", norm.shapes()));
        let dropout =
            self.dropout.as_ref().map_or(String::new(), |dropout| format!("dropout {}, ", dropout.p));
        let block = rows_of_block(self.product.out.rows);
        let moments =
            if self.moments.is_some() { format!(", moments of {block} rows") } else { String::new() };
        format!("{gather}{norm}{dropout}{}{moments}", self.product.shapes())
    }
}
