use super::activation::code;
use super::dropout::numbers;
use super::stage::{BLOCK, LANES, constants, forward_bindings, x_and_order};
use super::{
    Access, BatchNormTrain, Describe, Dispatch, Dropout, Gather, MatMul, Op, Operand, Space, Step, Variant,
    flops_of, read, words, write,
};
use crate::cpu::{Memory, Real};

/// A layer forward in one dispatch: [`MatMul`] of the form ABt, then [`BatchNormTrain`] and [`Dropout`] where they
/// follow. A workgroup owns columns with all their rows. The first layer takes its rows from the data set.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where x comes from; its output is not written.
    pub gather: Option<Gather>,
    pub product: MatMul,
    pub norm: Option<BatchNormTrain>,
    pub dropout: Option<Dropout>,
}

impl Forward {
    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let gather = self.gather.clone().map(Op::from);
        gather
            .into_iter()
            .chain([self.product.clone().into()])
            .chain(self.norm.clone().map(Op::from))
            .chain(self.dropout.clone().map(Op::from))
            .collect()
    }
}

impl Forward {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        self.parts().iter().for_each(|part| part.run(memory, step));
    }
}

impl Describe for Forward {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = match &self.gather {
            Some(gather) => gather.sources(),
            None => vec![read("x", self.product.a)],
        };
        operands.extend([read("weight", self.product.b), write("z", self.product.out)]);
        operands.extend(self.product.bias.map(|bias| read("bias", bias)));
        if let Some(norm) = &self.norm {
            // All but x, which is z.
            operands.extend(norm.operands().into_iter().skip(1));
        }
        if let Some(dropout) = &self.dropout {
            operands.extend([read("hyper", dropout.hyper()), write("dropped", dropout.out)]);
        }
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
        let [x, order] = x_and_order(self.gather.as_ref(), a);
        // Without batch normalization its places hold z.
        let norm = self.norm.as_ref().map(|norm| (norm.stats.stats, norm.stats.log, &norm.norm));
        let of_norm = norm.map_or([z; 5], |(stats, log, norm)| [stats, log, norm.gamma, norm.beta, norm.out]);
        let dropout = self.dropout.as_ref();
        let dropped = dropout.map_or(z, |dropout| dropout.out);
        let views: Vec<_> =
            [x, order, b, bias.unwrap_or(z), z].into_iter().chain(of_norm).chain([dropped]).collect();
        let eps = norm.map_or(0.0, |(_, _, norm)| norm.eps as f32);
        let sizes = [z.rows, a.cols, z.cols, bias.is_some().into()].map(|size| size as u32);
        let numbers: Vec<u32> = sizes.into_iter().chain([eps.to_bits()]).chain(numbers(dropout)).collect();
        let after = norm.and_then(|(_, _, norm)| norm.function);
        let place = match norm {
            None => 0.0,
            Some(_) if function.is_none() => 1.0,
            Some(_) => 2.0,
        };
        let mut constants = constants(self.gather.as_ref(), dropout, z.rows, place, [BLOCK; 2]);
        constants.push(code(function.or(after)));
        Dispatch {
            shader: "forward",
            entry: "main",
            constants,
            params: words(&views, &numbers),
            workgroups: [(z.ld() / 4).div_ceil(LANES) as u32, 1, z.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let norm = self.norm.as_ref().map_or(String::new(), |norm| format!(", batch norm {}", norm.shapes()));
        let gather = if self.gather.is_some() { "gathered " } else { "" };
        let dropout =
            self.dropout.as_ref().map_or(String::new(), |dropout| format!(", dropout {}", dropout.p));
        format!("{gather}{}{norm}{dropout}", self.product.shapes())
    }
}
