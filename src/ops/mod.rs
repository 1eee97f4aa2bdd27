//! The operations a program is made of, one file each: operands and shapes, cost, the dispatch of
//! the WGSL kernel with the same stem in `shaders/`, and the CPU twin.
//!
//! Every operand is a [`Tensor`]: one row-major matrix for each of M models. Rows are padded to a
//! multiple of four columns, so that a kernel always moves whole `vec4<f32>`; **padding columns
//! are zero**, every kernel keeps them so, and the products rely on it.

// The fields of an operation are the operands that its formula names.
#![allow(missing_docs)]

mod activation;
mod backward;
mod backward_blocks;
mod batch_norm;
mod batch_norm_backward;
mod column_stats;
mod column_sum;
mod dispatch;
mod dropout;
mod forward;
mod gather;
mod link;
mod loss;
mod matmul;
mod matmul_gradients;
mod matmul_loss;
mod matmul_norm;
mod matmul_sum;
mod optimizer;
mod row_blocks;
mod stage;
mod step;
mod tile;
mod update_gather;

pub use activation::{Activation, ActivationBackward, Function};
pub use backward::{Backward, InputGradient, WeightUpdate};
pub use backward_blocks::{BackwardBlocks, NormInBlocks};
pub use batch_norm::{BatchNorm, BatchNormTrain};
pub use batch_norm_backward::{BatchNormBackward, BatchNormGradient, BatchNormReduce};
pub use column_stats::ColumnStats;
pub use column_sum::ColumnSum;
pub use dispatch::{Dispatch, Params};
pub use dropout::{Dropout, keep};
pub use forward::Forward;
pub use gather::Gather;
pub use link::Link;
pub use loss::{Loss, LossKind, LossTotal};
pub use matmul::{MatMul, Product};
pub use matmul_gradients::{MatMulGradients, ThroughNorm};
pub use matmul_loss::MatMulLoss;
pub use matmul_norm::MatMulNorm;
pub use matmul_sum::MatMulSum;
pub use optimizer::{Optimizer, Rule};
pub use row_blocks::{BatchNormMerged, MatMulMoments};
pub use stage::{Loaded, NormOnLoad, ROWS_IN_STAGES};
pub use step::Step;
pub use tile::Tile;
pub use update_gather::UpdateGather;

use crate::cpu::{Down, Memory, Real, Share};
use dispatch::{along, columnwise, elementwise};

/// The buffers of a session. All programs of a session share them; only one program runs at a
/// time, so they share `Scratch` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// The data set as standardized reals, `[1, rows, features]`.
    Inputs,
    /// The data set as bytes, four to a word, `[1, rows, features]`.
    Bytes,
    /// Center and scale of each byte feature, `[1, 2, features]`.
    Affine,
    /// A class index or a value for each row of the data set, `[1, 1, rows]`.
    Targets,
    /// Which rows of the data set a minibatch takes, as `u32`, `[M, 1, rows]`.
    Order,
    /// Learning rate, L2, weight decay and dropout key of each model, `[M, 1, 4]`.
    Hyper,
    /// All parameters of a model side by side: weights first, then what L2 and decay exempt.
    Params,
    /// The gradient of each parameter, in the same places.
    Grads,
    /// First moment (momentum, Adam), in the same places.
    Moment1,
    /// Second moment (Adam), in the same places.
    Moment2,
    /// The statistics that inference uses, written by the host: see [`ColumnStats`] for the rows.
    Running,
    /// One record for each step of a chunk, read back once a chunk.
    Log,
    /// All [`Space::Scratch`] of a program side by side, where its kernels bind them as one.
    Joint,
    /// Activations, their gradients and minibatch statistics of the program that runs.
    Scratch(u16),
}

impl Space {
    /// Whether it is of the data set, which all models share.
    pub fn is_shared(self) -> bool {
        matches!(self, Space::Inputs | Space::Bytes | Space::Affine | Space::Targets)
    }

    /// Whether it is kept from step to step. What is not, the models that run next write over.
    pub(crate) fn is_kept(self) -> bool {
        !matches!(self, Space::Joint | Space::Scratch(_))
    }

    /// A small number of its own.
    pub const fn index(self) -> usize {
        match self {
            Space::Inputs => 0,
            Space::Bytes => 1,
            Space::Affine => 2,
            Space::Targets => 3,
            Space::Order => 4,
            Space::Hyper => 5,
            Space::Params => 6,
            Space::Grads => 7,
            Space::Moment1 => 8,
            Space::Moment2 => 9,
            Space::Running => 10,
            Space::Log => 11,
            Space::Joint => 12,
            Space::Scratch(number) => 13 + number as usize,
        }
    }
}

/// One row-major matrix for each model, somewhere in a [`Space`].
///
/// ```text
/// address of (model m, row r, column c) = offset + m·stride + r·ld + c   (+ slot·step in the log)
/// ld = cols rounded up to a multiple of 4
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    pub space: Space,
    pub models: usize,
    pub rows: usize,
    pub cols: usize,
    /// In elements, a multiple of 4, as are `stride` and `slot`.
    pub offset: usize,
    /// From one model to the next; 0 where all models share the matrix.
    pub stride: usize,
    /// From one step's record to the next; 0 outside [`Space::Log`].
    pub slot: usize,
}

impl Tensor {
    /// A tensor alone in its space, its models one after another.
    pub fn alone(space: Space, models: usize, rows: usize, cols: usize) -> Tensor {
        let stride = rows.saturating_mul(cols.next_multiple_of(4));
        Tensor { space, models, rows, cols, offset: 0, stride, slot: 0 }
    }

    /// A matrix that all models share, alone in its space.
    pub fn shared(space: Space, rows: usize, cols: usize) -> Tensor {
        Tensor { stride: 0, ..Tensor::alone(space, 1, rows, cols) }
    }

    /// Elements from one row to the next.
    pub fn ld(&self) -> usize {
        self.cols.next_multiple_of(4)
    }

    /// Where row `row` of `model` begins, in the record of step `slot`.
    pub fn at(&self, model: usize, row: usize, slot: usize) -> usize {
        self.offset + model * self.stride + slot * self.slot + row * self.ld()
    }

    /// Elements that hold values, of all models.
    pub fn elements(&self) -> u64 {
        self.models as u64 * self.rows as u64 * self.cols as u64
    }

    /// Elements that a kernel moves, of all models: the padding lies between them.
    fn moved(&self) -> u64 {
        self.models as u64 * self.rows as u64 * self.ld() as u64
    }

    /// Columns of all models.
    fn columns(&self) -> u64 {
        self.models as u64 * self.cols as u64
    }

    /// Elements that the space must have for this tensor, with a log of `slots` records; the most that there are, if
    /// they are more.
    pub fn end(&self, slots: usize) -> usize {
        let last = |count: usize, stride: usize| (count.max(1) - 1).saturating_mul(stride);
        let places =
            [last(self.models, self.stride), last(slots, self.slot), self.rows.saturating_mul(self.ld())];
        places.into_iter().fold(self.offset, usize::saturating_add)
    }

    /// What a kernel knows of a tensor as the first of the models that run is this one: offset, model stride, row stride
    /// and slot stride, in `vec4`s.
    fn view(&self, model: usize) -> [u32; 4] {
        let before = if self.space.is_kept() { model * self.stride } else { 0 };
        [self.offset + before, self.stride, self.ld(), self.slot].map(|elements| (elements / 4) as u32)
    }
}

/// How a kernel uses an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    /// Both; a binding of it is one to write.
    Update,
}

/// What an operation reads or writes.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub name: &'static str,
    pub tensor: Tensor,
    pub access: Access,
}

fn read(name: &'static str, tensor: Tensor) -> Operand {
    Operand { name, tensor, access: Access::Read }
}

fn update(name: &'static str, tensor: Tensor) -> Operand {
    Operand { name, tensor, access: Access::Update }
}

fn write(name: &'static str, tensor: Tensor) -> Operand {
    Operand { name, tensor, access: Access::Write }
}

/// An operation of which a thread does its part.
struct PartOf<'a, O>(&'a O, &'a Share);

/// What an operation takes: arithmetic and memory traffic of one run, for all models.
///
/// An addition, multiplication, division, comparison, square root, exponential or logarithm of the operation's
/// formula is a FLOP; a sum of n products has 2n; what depends on a column alone is counted once a column.
/// Each operand is moved once, whole rows with their padding, however often a kernel goes over it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub flops: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// Which shape of a kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Shared-memory tiles, wide workgroups: for GPUs.
    Gpu,
    /// Straight from storage, no barriers: for software adapters, whose barriers are slow.
    Software,
}

/// What every operation says of itself.
pub trait Describe {
    /// What it reads and writes.
    fn operands(&self) -> Vec<Operand>;
    /// The spaces that its kernel binds, in the order of the `@binding` numbers from 1 on, and how.
    fn bindings(&self) -> Vec<(Space, Access)> {
        let how = |access| if access == Access::Read { Access::Read } else { Access::Write };
        self.operands().iter().map(|operand| (operand.tensor.space, how(operand.access))).collect()
    }
    /// Arithmetic of one run; the traffic follows from the operands.
    fn flops(&self) -> u64;
    /// The kernel's dispatch.
    fn dispatch(&self, variant: Variant) -> Dispatch;
    /// Shapes, for a person: `32×30 · (64×30)ᵀ → 32×64`.
    fn shapes(&self) -> String;
}

macro_rules! ops {
    (
        twins: $($twin:ident),*; columnwise: $($columns:ident),*; joined: $($joined:ident),*;
        running: $($own:ident),*;
    ) => {
        /// An operation of a program.
        // A program has tens of them: their size does not matter.
        #[allow(clippy::large_enum_variant)]
        #[derive(Clone, Debug)]
        pub enum Op {
            $($twin($twin),)* $($columns($columns),)* $($joined($joined),)* $($own($own)),*
        }

        impl Op {
            /// The operation's own description.
            pub fn describe(&self) -> &dyn Describe {
                match self {
                    $(Op::$twin(op) => op,)*
                    $(Op::$columns(op) => op,)*
                    $(Op::$joined(op) => op,)*
                    $(Op::$own(op) => op),*
                }
            }

            /// Name of the operation.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Op::$twin(_) => stringify!($twin),)*
                    $(Op::$columns(_) => stringify!($columns),)*
                    $(Op::$joined(_) => stringify!($joined),)*
                    $(Op::$own(_) => stringify!($own)),*
                }
            }

            /// The CPU twin: the same meaning as the kernel, on host memory.
            pub fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
                match self {
                    $(Op::$twin(op) => memory.run(op, step),)*
                    $(Op::$columns(op) => memory.run(&Down(op, None), step),)*
                    $(Op::$joined(op) => op.parts().iter().for_each(|part| part.run(memory, step)),)*
                    $(Op::$own(op) => op.run(memory, step)),*
                }
            }

            /// The operations that a kernel for several does, one after the other; elsewhere the operation itself.
            pub fn parts(&self) -> Vec<Op> {
                match self {
                    $(Op::$joined(op) => op.parts(),)*
                    Op::Link(link) => link.parts(),
                    Op::UpdateGather(both) => both.parts(),
                    _ => vec![self.clone()],
                }
            }

            /// What a thread has of an operation of the first layer, or more.
            pub(crate) fn run_part<T: Real>(&self, memory: &mut Memory<T>, step: &Step, share: &Share) {
                match self {
                    $(Op::$columns(op) => memory.run(&Down(op, Some(&share.units)), step),)*
                    Op::MatMul(product) => memory.run(&PartOf(product, share), step),
                    Op::Optimizer(update) => memory.run(&PartOf(update, share), step),
                    _ => self.run(memory, step),
                }
            }
        }

        $(impl From<$twin> for Op { fn from(op: $twin) -> Op { Op::$twin(op) } })*
        $(impl From<$columns> for Op { fn from(op: $columns) -> Op { Op::$columns(op) } })*
        $(impl From<$joined> for Op { fn from(op: $joined) -> Op { Op::$joined(op) } })*
        $(impl From<$own> for Op { fn from(op: $own) -> Op { Op::$own(op) } })*
    };
}

ops!(
    twins: MatMul, Activation, ActivationBackward, Dropout, Loss, LossTotal, ColumnSum, Optimizer;
    columnwise: ColumnStats, BatchNorm, BatchNormTrain, BatchNormReduce, BatchNormBackward, BatchNormGradient;
    // These run as their parts, one after the other.
    joined: MatMulNorm, MatMulLoss, MatMulGradients, MatMulSum, Forward, Backward, BackwardBlocks;
    // These say themselves how they run.
    running: Gather, MatMulMoments, BatchNormMerged, Link, UpdateGather;
);

/// FLOPs of operations that are one dispatch; the most that there are, if they are more.
fn flops_of(parts: &[Op]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.describe().flops()))
}

impl Op {
    /// FLOPs and bytes of one run; of the data set only the rows of the minibatch count.
    pub fn cost(&self) -> Cost {
        let op = self.describe();
        let mut cost = Cost { flops: op.flops(), ..Cost::default() };
        let examples = |tensor: Tensor| tensor.models as u64 * tensor.rows as u64;
        let minibatch = match self {
            Op::Gather(gather) | Op::UpdateGather(UpdateGather { gather, .. }) => examples(gather.out),
            Op::Loss(loss)
            | Op::LossTotal(LossTotal { loss, .. })
            | Op::MatMulLoss(MatMulLoss { loss: LossTotal { loss, .. }, .. }) => examples(loss.logits),
            Op::Forward(forward) | Op::Link(Link { forward, .. }) => examples(forward.product.out),
            Op::Backward(Backward { weight: Some(weight), .. })
            | Op::BackwardBlocks(BackwardBlocks { stage: Backward { weight: Some(weight), .. }, .. }) => {
                examples(weight.product.a)
            }
            _ => 0,
        };
        for operand in op.operands() {
            let tensor = operand.tensor;
            let bytes = match tensor.space {
                Space::Bytes => minibatch * tensor.ld() as u64,
                Space::Inputs => minibatch * tensor.ld() as u64 * 4,
                Space::Order | Space::Targets => minibatch * 4,
                _ => tensor.moved() * 4,
            };
            cost.bytes_read += if operand.access != Access::Write { bytes } else { 0 };
            cost.bytes_written += if operand.access != Access::Read { bytes } else { 0 };
        }
        cost
    }

    /// Whether its kernel binds all scratch as one.
    pub fn joint(&self) -> bool {
        self.describe().bindings().iter().any(|(space, _)| *space == Space::Joint)
    }
}
