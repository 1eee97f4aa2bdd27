//! Programs: a network, a minibatch size and a mode compiled into a flat list of operations over
//! tensors whose sizes are all known before the first step.

mod blocks;
mod columns;
mod compile;
mod cost;
mod fit;
mod fuse;
mod layout;
mod places;
mod print;
mod stages;
mod stages_in_blocks;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Spec;
use crate::ops::{Access, MatMul, Op, Operand, Rule, Space, Tensor};

pub use crate::ops::ROWS_IN_STAGES;
pub use columns::ROWS_OF_A_PRODUCT;
pub(crate) use fit::available_memory;
pub use fit::{Limits, bytes};
pub use layout::Layout;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Forward with minibatch statistics, backward, update.
    Train,
    /// Forward with minibatch statistics as far as the last of them, nothing else changed. Without
    /// dropout: the statistics are those of the network that inference runs.
    Statistics,
    /// Forward with running statistics; loss and metrics to the log.
    Evaluate,
    /// Forward with running statistics; the outputs to the log.
    Predict,
}

/// What runs for one minibatch.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is for.
    pub mode: Mode,
    /// Rows of the minibatch.
    pub rows: usize,
    /// In the order they run.
    pub ops: Vec<Op>,
    /// What each operation belongs to.
    pub labels: Vec<String>,
    /// Where a step of the same program follows in a chunk: what runs in place of this one's last operation and that one's
    /// first. See [`crate::ops::Link`].
    pub link: Option<Op>,
    /// Where scratch lies, if not in a space of its own: see [`Plan::reusing`].
    places: BTreeMap<Space, Space>,
}

impl Program {
    /// Operations, each with what it belongs to.
    pub fn new(mode: Mode, rows: usize, ops: Vec<Op>, labels: Vec<String>) -> Program {
        Program { mode, rows, ops, labels, link: None, places: BTreeMap::new() }
    }

    /// All that it may run.
    pub fn kernels(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().chain(&self.link)
    }

    /// The same, each with what it belongs to: a link to the first layer.
    pub fn labeled(&self) -> impl Iterator<Item = (&Op, &str)> {
        self.kernels().zip(self.labels.iter().chain(self.labels.first()).map(String::as_str))
    }

    /// What a step runs that is neither the first nor the last of its chunk, with what it belongs to.
    pub fn step(&self) -> impl Iterator<Item = (&Op, &str)> {
        let ends = self.link.as_ref().map(|_| [0, self.ops.len() - 1]);
        let within = move |(i, _): &(usize, _)| ends.is_none_or(|ends| !ends.contains(i));
        self.labeled().enumerate().filter(within).map(|(_, kernel)| kernel)
    }

    /// Dispatches of such a step.
    pub fn dispatches(&self) -> usize {
        self.step().count()
    }

    /// Whether its kernels bind all scratch as one.
    pub fn joint(&self) -> bool {
        self.ops.iter().any(Op::joint)
    }

    /// Where its kernels find what lies in a space.
    pub(crate) fn place(&self, space: Space) -> Space {
        match space {
            Space::Scratch(_) if self.joint() => Space::Joint,
            _ => self.places.get(&space).copied().unwrap_or(space),
        }
    }
}

/// The data set that a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// Rows.
    pub examples: usize,
    /// Columns.
    pub features: usize,
    /// Kept as bytes and scaled where a minibatch is gathered.
    pub bytes: bool,
    /// Room for row numbers: an epoch's order, or the rows to evaluate.
    pub places: usize,
}

/// How far a plan's programs are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every operation by itself.
    Plain,
    /// See [`Plan::fused`].
    Fused,
    /// See [`Plan::staged`].
    Staged,
}

/// All that a session will run and hold: compiled, counted and checked before anything is
/// allocated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The network.
    pub spec: Spec,
    /// Networks trained side by side.
    pub models: usize,
    /// How many of them a session on a GPU takes through a chunk of steps at a time, at least one. All, but on software
    /// adapters, which reach less memory faster.
    pub at_once: usize,
    /// The data set.
    pub data: DataShape,
    /// Where parameters and running statistics lie.
    pub layout: Layout,
    /// How gradients move parameters.
    pub rule: Rule,
    /// How far its programs were rewritten.
    pub form: Form,
    /// All that the session can run.
    pub programs: Vec<Program>,
    /// Elements of the record that one step of one model writes to the log.
    pub record: usize,
    /// Records that the log holds: the most steps of a chunk.
    pub slots: usize,
    /// Elements of every buffer: 4 bytes each, of [`Space::Bytes`] 1.
    pub spaces: BTreeMap<Space, usize>,
}

/// Where a step's record holds the metrics of its minibatch, summed over rows: loss, correct
/// predictions, logits that are not finite, [`crate::ops::Step::counted`].
pub const METRICS: usize = 4;

/// Bytes from one uniform to the next: WebGPU's alignment of a dynamic offset.
pub const UNIFORM: u64 = 256;

/// Bytes from one kernel's parameters to the next.
pub(crate) const PARAMETERS: u64 = 2 * UNIFORM;

/// The log is kept below this, in elements, unless one record is larger.
const LOG_ELEMENTS: usize = 1 << 22;

impl Plan {
    /// Compiles a program for each mode and size asked for, every operation by itself.
    pub fn new(
        spec: &Spec,
        models: usize,
        data: DataShape,
        rule: Rule,
        requests: &BTreeSet<(Mode, usize)>,
        slots: usize,
    ) -> Plan {
        let layout = Layout::new(spec, models);
        let record =
            requests.iter().map(|&(mode, rows)| compile::record(spec, mode, rows)).max().unwrap_or(4);
        let slots = slots.min(LOG_ELEMENTS / (models * record)).max(1);
        let compile = |&(mode, rows): &_| compile::compile(spec, &layout, data, record, rule, mode, rows);
        let programs: Vec<Program> = requests.iter().map(compile).collect();

        let spaces = BTreeMap::new();
        let spec = spec.clone();
        let form = Form::Plain;
        let plan =
            Plan { spec, models, at_once: models, data, layout, rule, form, programs, record, slots, spaces };
        plan.rewritten(form, |program| program)
    }

    /// The same for one model alone.
    pub fn of_one_model(&self) -> Plan {
        if self.models == 1 {
            return self.clone();
        }
        let requests = self.programs.iter().map(|program| (program.mode, program.rows)).collect();
        let plan = Plan::new(&self.spec, 1, self.data, self.rule, &requests, self.slots);
        match self.form {
            Form::Plain => plan,
            Form::Fused => plan.fused(),
            Form::Staged => plan.staged(),
        }
    }

    /// The plan with operations fused that a backend runs better as one.
    pub fn fused(self) -> Plan {
        self.rewritten(Form::Fused, fuse::fuse)
    }

    /// The fused plan with training in as few dispatches as a GPU can, and that which is not in stages as
    /// [`Plan::in_blocks`] has it.
    pub fn staged(self) -> Plan {
        self.fused().rewritten(Form::Staged, |program| blocks::in_blocks(stages::stage(program)))
    }

    /// A fused plan with training of more than [`ROWS_IN_STAGES`] rows by statistics of blocks of rows, as suits GPUs.
    pub fn in_blocks(self) -> Plan {
        let form = self.form;
        self.rewritten(form, blocks::in_blocks)
    }

    /// The fused plan with what one dispatch of a software adapter can do, where products are by lanes: see
    /// [`crate::ops::MatMulNorm`], [`crate::ops::MatMulLoss`], [`crate::ops::MatMulGradients`] and [`crate::ops::MatMulSum`].
    pub fn in_columns(self) -> Plan {
        let form = self.form;
        self.rewritten(form, columns::in_columns)
    }

    /// The fused plan with minibatches gathered as the step before ends, where a kernel may bind so many buffers: see
    /// [`crate::ops::UpdateGather`].
    pub fn ahead(self, buffers: u32) -> Plan {
        let form = self.form;
        self.rewritten(form, |program| columns::ahead(program, buffers))
    }

    /// The plan whose scratch tensors, where they are not bound as one, take the places of those that nothing reads any
    /// more, the last first: that one a cache still has. So an operation may have to wait for the one before it where it
    /// had not.
    pub(crate) fn reusing(self) -> Plan {
        let form = self.form;
        self.rewritten(form, Program::reusing)
    }

    /// The plan with so many models at a time, or one, which share their scratch with those that run after them.
    pub fn with_at_once(self, models: usize) -> Plan {
        let form = self.form;
        Plan { at_once: models.max(1), ..self }.rewritten(form, |program| program)
    }

    /// The plan with no more models at a time than have so many bytes, or with one, and about equally many each time.
    pub(crate) fn in_cache(self, bytes: u64) -> Plan {
        let own = self.spaces.keys().filter(|space| !space.is_shared() && **space != Space::Log);
        let all = own.map(|&space| self.bytes(space)).fold(0, u64::saturating_add);
        let of_model = all / self.models as u64;
        let at_most = (bytes / of_model.max(1)).clamp(1, self.models as u64) as usize;
        let at_once = self.models.div_ceil(self.models.div_ceil(at_most));
        self.with_at_once(at_once)
    }

    /// The first of the models that run at a time, one block of them after the other.
    pub(crate) fn blocks(&self) -> impl ExactSizeIterator<Item = usize> + use<> {
        (0..self.models).step_by(self.at_once)
    }

    /// Steps that a session holds for a chunk: a chunk's, once for each block of models.
    pub(crate) fn table(&self) -> usize {
        self.slots * self.blocks().len()
    }

    /// The plan with other programs, and the spaces that they need.
    pub(crate) fn with_programs(self, programs: Vec<Program>) -> Plan {
        let form = self.form;
        Plan { programs, ..self }.rewritten(form, |program| program)
    }

    /// The plan with its programs rewritten, and the spaces that they then need.
    fn rewritten(mut self, form: Form, rewrite: impl Fn(Program) -> Program) -> Plan {
        self.form = form;
        self.programs = self.programs.into_iter().map(rewrite).collect();
        let mut spaces = BTreeMap::new();
        let mut need = |space, elements: usize| {
            let size = spaces.entry(space).or_insert(0);
            *size = elements.max(*size);
        };
        for program in &self.programs {
            for op in program.kernels() {
                for Operand { tensor, .. } in op.describe().operands() {
                    let models = if tensor.space.is_kept() { usize::MAX } else { self.at_once };
                    let tensor = Tensor { models: tensor.models.min(models), ..tensor };
                    need(program.place(tensor.space), tensor.end(self.slots));
                }
                // What a kernel binds exists, used or not.
                op.describe().bindings().into_iter().for_each(|(space, _)| need(program.place(space), 4));
            }
        }
        need(Space::Params, self.layout.end());
        need(Space::Hyper, self.models * 4);
        need(Space::Log, self.slots * self.models * self.record);
        for stats in self.layout.running() {
            need(Space::Running, stats.end(1));
        }
        self.spaces = spaces;
        self
    }

    /// The products that are operations by themselves.
    pub fn products_mut(&mut self) -> impl Iterator<Item = &mut MatMul> {
        let ops = self.programs.iter_mut().flat_map(|program| &mut program.ops);
        ops.filter_map(|op| if let Op::MatMul(product) = op { Some(product) } else { None })
    }

    /// The program of a mode and size.
    ///
    /// Panics if it was not asked for when the plan was made.
    pub fn program(&self, mode: Mode, rows: usize) -> usize {
        let found = self.programs.iter().position(|program| (program.mode, program.rows) == (mode, rows));
        found.unwrap_or_else(|| panic!("no {mode:?} program of {rows} rows in this plan"))
    }

    /// Bytes of a space.
    pub fn bytes(&self, space: Space) -> u64 {
        let elements = self.spaces.get(&space).copied().unwrap_or(0) as u64;
        if space == Space::Bytes { elements } else { elements.saturating_mul(4) }
    }

    /// Bytes that a session on a GPU allocates: all spaces, the table of steps and the sign of a read-back twice (on the
    /// device and where the host writes them), the kernels' parameters, and what is read back.
    pub fn memory(&self) -> u64 {
        let size =
            |&space: &Space| self.bytes(space).max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX);
        let parameters = self.blocks().len() as u64 * self.kernels_parameters();
        let beside = 2 * (self.table() as u64 + 1) * UNIFORM + parameters;
        let read_back = self.download_bytes() + 16;
        self.spaces.keys().map(size).chain([beside, read_back]).fold(0, u64::saturating_add)
    }

    /// Bytes of the kernels' parameters for a block of models.
    pub(crate) fn kernels_parameters(&self) -> u64 {
        let kernels: usize = self.programs.iter().map(|program| program.kernels().count()).sum();
        kernels as u64 * PARAMETERS
    }

    /// Bytes of the largest space that is read back.
    pub fn download_bytes(&self) -> u64 {
        self.bytes(Space::Log).max(self.bytes(Space::Params)).max(16)
    }

    /// The largest user of a space, in words: `layer 0 MatMul out`.
    pub fn user_of(&self, space: Space) -> String {
        let mut largest = (0, format!("{space:?}").to_lowercase());
        for program in &self.programs {
            for (op, label) in program.ops.iter().zip(&program.labels) {
                // It has all parameters as one row, which names none of them.
                if matches!(op, Op::Optimizer(_) | Op::UpdateGather(_)) {
                    continue;
                }
                for operand in op.describe().operands() {
                    let scratch = matches!(space, Space::Scratch(_) | Space::Joint);
                    let written = operand.access != Access::Read || !scratch;
                    let size = operand.tensor.elements();
                    if program.place(operand.tensor.space) == space && written && size > largest.0 {
                        largest = (size, format!("{label} {} {}", op.name(), operand.name));
                    }
                }
            }
        }
        largest.1
    }
}

/// The record's place in the log for a model's first step: see [`Tensor::slot`].
pub(crate) fn log(models: usize, record: usize, offset: usize, rows: usize, cols: usize) -> Tensor {
    Tensor { space: Space::Log, models, rows, cols, offset, stride: record, slot: models * record }
}
