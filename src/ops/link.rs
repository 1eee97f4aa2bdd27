use super::activation::code;
use super::optimizer::rule_constants;
use super::stage::Tiles;
use super::{
    Access, Backward, Describe, Dispatch, Forward, MatMul, Op, Operand, Params, Space, Step, Variant,
    flops_of,
};
use crate::cpu::{Memory, Real};

/// The first layer between two steps of a chunk: its update by the one minibatch and its pass forward over the next. The
/// workgroups that update rows of the weight are those that the next step needs them in, so that a step reads the weight
/// once. A chunk begins with the latter half alone and ends with the former, by the same kernel, so that bits don't depend
/// on where chunks end.
#[derive(Clone, Debug)]
pub struct Link {
    /// Of a weight alone.
    pub update: Backward,
    pub forward: Forward,
    /// Whether it does the former half.
    pub updates: bool,
    /// Whether it does the latter: of the next step where it updates, else of its own.
    pub passes: bool,
}

impl Link {
    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let [update, forward] = self.halves();
        [update, forward].concat()
    }

    fn halves(&self) -> [Vec<Op>; 2] {
        let update = if self.updates { self.update.parts() } else { vec![] };
        [update, if self.passes { self.forward.parts() } else { vec![] }]
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        let next = Step { first: if self.updates { step.next } else { step.first }, ..*step };
        let [update, forward] = self.halves();
        update.iter().for_each(|part| part.run(memory, step));
        forward.iter().for_each(|part| part.run(memory, &next));
    }
}

impl Describe for Link {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = if self.updates { self.update.operands() } else { vec![] };
        if self.passes {
            // What the update has of the layer is not read again, but other rows of the data set are.
            let again = |space| !self.updates || matches!(space, Space::Order | Space::Inputs | Space::Bytes);
            let reads = |operand: &Operand| operand.access == Access::Read;
            let of_forward = self.forward.operands().into_iter();
            operands.extend(of_forward.filter(|operand| !reads(operand) || again(operand.tensor.space)));
        }
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        self.update.bindings()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, bias, function, out: z, .. } = self.forward.product;
        let [x, order] = self.forward.x.places(a);
        let of_out = self.update.weight.as_ref().map_or(z, |weight| weight.product.a);
        let moments = self.forward.moments;
        let views = [of_out, x, order, b, bias.unwrap_or(z), z, moments.unwrap_or(z)];
        let flags = [bias.is_some(), self.updates, self.passes].map(usize::from);
        let numbers: Vec<u32> =
            [z.rows, z.cols, a.cols].into_iter().chain(flags).map(|number| number as u32).collect();
        let tiles = Tiles::of_columns(z.rows);
        let mut constants = tiles.constants(tiles.of_weight(a.cols), None, f64::from(moments.is_some()), 0);
        constants.extend([
            self.forward.x.gathers(),
            ("VALUE", f64::from(function.is_some())),
            code(function),
        ]);
        constants.extend(rule_constants(self.update.optimizer.rule));
        Dispatch {
            shader: "link",
            entry: "main",
            constants,
            params: Params::new(&views, &numbers),
            workgroups: [tiles.across(z.cols) as u32, 1, z.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let next = if self.updates { "next " } else { "" };
        let forward = self.passes.then(|| next.to_string() + &self.forward.shapes());
        self.updates.then(|| self.update.shapes()).into_iter().chain(forward).collect::<Vec<_>>().join("; ")
    }
}
