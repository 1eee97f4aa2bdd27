//! A small net by threads that each have all of it. What threads pass to each other takes microseconds a time, as long as
//! the layers behind the first take altogether: so each has some units of the first, and computes the others for itself.
//!
//! ```text
//! a thread's columns of the first product and of its normalization; the others' columns from the others;
//! everything else, the same in each;
//! a thread's columns of the gradient of those, its rows of the weight's gradient, and their update
//! ```

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use super::aligned::Aligned;
use super::pool::{parts, pause, together};
use super::split::{Share, Split};
use super::{Cpu, Memory, Real};
use crate::ops::{Space, Step, Tensor};
use crate::program::Plan;

/// Elements of a session that is kept once for each thread, at the most: some caches of a core.
const ELEMENTS: usize = 1 << 20;

/// After so many runs the way that was slower is tried again: how far its cores are from each other changes where a machine
/// is a virtual one.
const RUNS: usize = 16;

/// Fewer steps say little of how long one takes.
const STEPS: usize = 8;

/// The sessions of the threads but the first, which has the model's own.
pub struct Replicas<T> {
    /// By program: how threads run it, if they do.
    splits: Vec<Option<Split>>,
    others: Vec<Mutex<Cpu<T>>>,
    /// The program for which they have what the first has, as far as it reads that: of the first layer their own units.
    fresh: Option<usize>,
    /// Seconds that a step took when last tried: shared out operation by operation, and by replicas.
    seconds: [f64; 2],
    runs: usize,
    meeting: Meeting<T>,
}

impl<T: Real> Replicas<T> {
    /// None yet, for a plan of one model.
    pub fn new(plan: &Plan) -> Replicas<T> {
        let own = plan.spaces.iter().filter(|(space, _)| !space.is_shared());
        let small = own.map(|(_, elements)| elements).sum::<usize>() <= ELEMENTS;
        let split = |program| Split::of(program).filter(|_| small);
        let splits = plan.programs.iter().map(split).collect();
        let meeting = Meeting::new();
        Replicas { splits, others: vec![], fresh: None, seconds: [0.0; 2], runs: 0, meeting }
    }

    /// The first session was written to.
    pub fn spoil(&mut self) {
        self.fresh = None;
    }

    /// Nobody but the first session is to have the data set.
    pub fn forget(&mut self) {
        self.others.clear();
        self.spoil();
    }

    /// Runs steps as [`Cpu::run`] of the first session does, to the same bits: by it or by replicas, whichever is the
    /// quicker here and now.
    pub fn run(&mut self, first: &mut Cpu<T>, steps: &[(usize, Step)]) -> Vec<f64> {
        for steps in steps.chunk_by(|a, b| a.0 == b.0) {
            let (program, _) = steps[0];
            if parts() > 1 && self.splits[program].is_some() {
                self.run_quicker(first, program, steps);
            } else {
                self.spoil();
                first.advance(steps);
            }
        }
        first.records(steps.len())
    }

    /// Runs steps of a program.
    fn run_quicker(&mut self, first: &mut Cpu<T>, program: usize, steps: &[(usize, Step)]) {
        let [shared, replicas] = self.seconds;
        let by_replicas = (replicas < shared) != self.runs.is_multiple_of(RUNS);
        self.runs += 1;
        if by_replicas {
            self.refresh(first, program);
        }
        let started = Instant::now();
        if !(by_replicas && self.together(first, program, steps)) {
            self.spoil();
            first.advance(steps);
        }
        if steps.len() >= STEPS {
            self.seconds[usize::from(by_replicas)] = started.elapsed().as_secs_f64() / steps.len() as f64;
        }
    }

    /// Runs steps of a program on all threads; false if they work for another caller.
    fn together(&mut self, first: &mut Cpu<T>, program: usize, steps: &[(usize, Step)]) -> bool {
        let Some(split) = &self.splits[program] else { return false };
        *self.meeting.arrived.get_mut() = 0;
        let (meeting, own) = (&self.meeting, Mutex::new(&mut *first));
        let ran = together(&|part| {
            let _guard = Guard(&meeting.broken);
            match part.checked_sub(1) {
                None => meeting.run(part, split, &mut own.lock().expect("locked once"), steps),
                Some(other) => {
                    let mut session = self.others[other].lock().expect("locked once");
                    meeting.run(part, split, &mut session, steps);
                }
            }
        });
        if ran {
            self.gather(first, program, steps);
        }
        ran
    }

    /// Gives the others what the first has, for steps of a program.
    fn refresh(&mut self, first: &Cpu<T>, program: usize) {
        if self.fresh.replace(program) == Some(program) {
            return;
        }
        self.others.resize_with(parts() - 1, || Mutex::new(first.beside()));
        for other in &mut self.others {
            let memory = &mut other.get_mut().expect("no part has panicked").memory;
            memory.order.copy_from_slice(&first.memory.order);
            for space in [Space::Hyper, Space::Params, Space::Moment1, Space::Moment2] {
                let values = first.memory.get(space);
                memory.get_mut(space).copy_from_slice(values);
            }
        }
    }

    /// Gives the first what the others have of the first layer: parameters, their state, and the log's statistics.
    fn gather(&mut self, first: &mut Cpu<T>, program: usize, steps: &[(usize, Step)]) {
        let Some(split) = &self.splits[program] else { return };
        let forward = first.plan.programs[program].ops[1..split.whole].iter();
        let tensors: Vec<Tensor> =
            forward.flat_map(|op| op.describe().operands()).map(|operand| operand.tensor).collect();
        for (other, part) in self.others.iter_mut().zip(1..) {
            let memory = &other.get_mut().expect("no part has panicked").memory;
            let mut copy = |space, places: Range<usize>| {
                if let Some(values) = memory.get(space).get(places.clone()) {
                    first.memory.get_mut(space)[places].copy_from_slice(values);
                }
            };
            for &tensor in &tensors {
                if tensor.space == Space::Params {
                    for space in [Space::Params, Space::Grads, Space::Moment1, Space::Moment2] {
                        split.places(tensor, part, 0).for_each(|places| copy(space, places));
                    }
                } else if tensor.space == Space::Log {
                    let places = steps.iter().flat_map(|(_, step)| split.places(tensor, part, step.slot));
                    places.for_each(|places| copy(Space::Log, places));
                }
            }
        }
    }
}

/// Where threads give each other columns of products.
struct Meeting<T> {
    arrived: AtomicUsize,
    /// A part has panicked.
    broken: AtomicBool,
    /// By part: its columns, of even and odd times. What is read at one time is overwritten two later, when all have
    /// come to the one between.
    columns: Vec<[RwLock<Aligned<T>>; 2]>,
}

impl<T: Real> Meeting<T> {
    fn new() -> Meeting<T> {
        let columns = (0..parts()).map(|_| [(); 2].map(|_| RwLock::default())).collect();
        Meeting { arrived: AtomicUsize::new(0), broken: AtomicBool::new(false), columns }
    }

    /// A part of steps.
    fn run(&self, part: usize, split: &Split, session: &mut Cpu<T>, steps: &[(usize, Step)]) {
        let share = Share { weight: split.weight, units: split.units(part) };
        for (time, (program, step)) in steps.iter().enumerate() {
            for (at, op) in session.plan.programs[*program].ops.iter().enumerate() {
                if at == split.whole {
                    self.exchange(part, split, &mut session.memory, time);
                }
                if at < split.whole || at >= split.alone {
                    T::run_part(op, &mut session.memory, step, &share);
                } else {
                    T::run(op, &mut session.memory, step);
                }
            }
        }
    }

    /// Gives the columns of a part to the others, and takes theirs.
    fn exchange(&self, part: usize, split: &Split, memory: &mut Memory<T>, time: usize) {
        let passed = split.passed;
        let at = |part: usize| &self.columns[part][time % 2];
        let own = split.units(part);
        {
            let mut columns = at(part).write().expect("no part has panicked");
            columns.grow(passed.rows * own.len());
            let rows = columns.chunks_exact_mut(own.len().max(1)).zip(memory.rows(passed, 0));
            rows.for_each(|(to, row)| to.copy_from_slice(&row[own.clone()]));
        }
        self.wait((time + 1) * self.columns.len());
        for other in (0..self.columns.len()).filter(|&other| other != part) {
            let theirs = split.units(other);
            let columns = at(other).read().expect("no part has panicked");
            let rows = super::rows_mut(memory.get_mut(passed.space), passed, 0, 0);
            let rows = rows.zip(columns.chunks_exact(theirs.len().max(1)));
            rows.for_each(|(row, from)| row[theirs.clone()].copy_from_slice(from));
        }
    }

    /// Until so many have come.
    fn wait(&self, all: usize) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0;
        while self.arrived.load(Ordering::Acquire) < all {
            assert!(!self.broken.load(Ordering::Relaxed), "another part has panicked");
            pause(&mut looks);
        }
    }
}

/// Tells the others of a panic, so that none waits for ever.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::in_place::tests::loaded;
    use super::*;
    use crate::Task;
    use crate::model::{Norm, Spec};
    use crate::ops::{Function, Rule};
    use crate::program::{DataShape, Mode};

    const ROWS: usize = 60;
    /// Of a program with no large product.
    const FEW: usize = 7;
    const INPUTS: usize = 300;

    /// A net whose first layer is shared and whose others are not, with sizes that parts do not divide.
    fn session(hidden: &[usize], outputs: usize, norm: Norm, rule: Rule) -> Cpu<f32> {
        let spec = Spec::mlp(Task::Classification, INPUTS, hidden, outputs, Function::Sigmoid, norm, 0.2);
        let data = DataShape { examples: 2 * ROWS, features: INPUTS, bytes: false, places: 2 * ROWS };
        let requests = BTreeSet::from([(Mode::Train, FEW), (Mode::Train, ROWS)]);
        loaded(Plan::new(&spec, 1, data, rule, &requests, STEPS).fused(), ROWS, 0.01)
    }

    fn steps(from: u32) -> Vec<(usize, Step)> {
        let step = |i| Step {
            first: (i % 2) * ROWS as u32,
            slot: i,
            number: from + i,
            lr_factor: 1.0,
            corrections: [0.9, 0.8],
            ..Step::default()
        };
        (0..STEPS as u32).map(|i| (1, step(i))).collect()
    }

    #[test]
    fn replicas_come_to_the_bits_of_one_session() {
        let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
        let momentum = Rule::Momentum { momentum: 0.9, nesterov: true };
        for (hidden, outputs, norm, rule) in [
            (&[67, 51][..], 3, Norm::Before, Rule::Sgd),
            (&[67, 51], 3, Norm::After, momentum),
            (&[67], 3, Norm::Before, adam),
            (&[67, 5, 4], 3, Norm::None, adam),
            (&[], 70, Norm::Before, adam),
        ] {
            let [mut alone, mut first] = [(); 2].map(|_| session(hidden, outputs, norm, rule));
            let mut replicas = Replicas::new(&first.plan);
            assert_eq!(replicas.splits.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
            for turn in 0..6 {
                let steps = steps(1 + turn * STEPS as u32);
                let expected = alone.run(&steps);
                if turn == 3 {
                    // Between runs of replicas, as a host's own writing would be.
                    replicas.spoil();
                    first.run(&steps);
                } else {
                    // Other tests have the threads, too.
                    replicas.refresh(&first, 1);
                    while !replicas.together(&mut first, 1, &steps) {}
                }
                let name = format!("{hidden:?}, norm {norm:?}, {rule:?}, turn {turn}");
                assert_eq!(first.records(steps.len()), expected, "{name}");
                for space in [Space::Params, Space::Grads, Space::Moment1, Space::Moment2] {
                    assert_eq!(first.memory.get(space), alone.memory.get(space), "{name}, {space:?}");
                }
            }
            // What the choice between both ways comes to is the same, too.
            for turn in 6..12 {
                let mut steps = steps(1 + turn * STEPS as u32);
                steps[turn as usize % 3].0 = 0;
                assert_eq!(replicas.run(&mut first, &steps), alone.run(&steps), "{rule:?}, turn {turn}");
            }
        }
    }

    #[test]
    fn nets_whose_inner_layers_are_large_or_all_small_are_not_replicated() {
        let suited = |hidden: &[usize], inputs: usize, rows: usize, rewrite: fn(Plan) -> Plan| {
            let norm = Norm::Before;
            let spec = Spec::mlp(Task::Classification, inputs, hidden, 3, Function::Relu, norm, 0.0);
            let data = DataShape { examples: rows, features: inputs, bytes: false, places: rows };
            let requests = BTreeSet::from([(Mode::Train, rows), (Mode::Evaluate, rows)]);
            let plan = rewrite(Plan::new(&spec, 1, data, Rule::Sgd, &requests, 1));
            let train = plan.program(Mode::Train, rows);
            let splits = Replicas::<f32>::new(&plan).splits;
            assert!(splits[1 - train].is_none(), "an evaluation has no update");
            splits[train].is_some()
        };
        assert!(suited(&[100, 100], 784, 60, Plan::fused));
        assert!(!suited(&[300, 300], 784, 60, Plan::fused));
        assert!(!suited(&[32, 32], 30, 32, Plan::fused));
        assert!(!suited(&[100, 100], 20_000, 60, Plan::fused));
        assert!(!suited(&[100, 100], 784, 60, Plan::staged));
        assert!(suited(&[20, 20], 784, 300, Plan::fused));
        assert!(!suited(&[20, 20], 784, 300, |plan| plan.fused().in_blocks()));
    }

    #[test]
    #[should_panic = "another part has panicked"]
    fn nobody_waits_for_a_part_that_has_panicked() {
        let meeting = Meeting::<f32>::new();
        meeting.broken.store(true, Ordering::Relaxed);
        meeting.wait(parts() + 1);
    }
}
