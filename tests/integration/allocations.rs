//! What a session on the CPU allocates: its results, once a chunk, and nothing for a step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use minilote::Device;
use minilote::cpu::Models;
use minilote::model::Norm;
use minilote::ops::Step;
use minilote::program::Mode;
use minilote::train::{Batch, Config, Group, OptimizerKind, Sizes, TrainingData};

/// Counts what a thread allocates: others' tests run beside.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no count any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: the system's allocator does all of it, each as its caller says.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn steps_on_the_cpu_allocate_nothing() {
    const STEPS: usize = 64;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");
    // The first layer of the last is shared out, and the others are small: see `cpu/replicas.rs`.
    for (hidden, batch, models) in
        [(&[9, 6][..], 2, 1), (&[9, 6], 2, 3), (&[300, 300], 100, 1), (&[300, 20], 128, 1)]
    {
        for (norm, dropout) in [(Norm::None, 0.0), (Norm::Before, 0.3), (Norm::After, 0.0)] {
            let config = Config {
                target: Some("digit".into()),
                hidden: Sizes(hidden.to_vec()),
                batch: Some(Batch::Rows(batch)),
                optimizer: OptimizerKind::Adam,
                norm,
                dropout,
                ..Config::default()
            };
            let data = TrainingData::read(path.as_ref(), &config).unwrap();
            let plan = Device::Cpu.rewrite(Group::plan(&data, &vec![config; models], hidden).unwrap());
            let program = plan.program(Mode::Train, batch);
            let mut session: Models<f32> = Models::new(plan);
            let steps: Vec<_> = (0..STEPS as u32)
                .map(|slot| {
                    (program, Step { slot, number: slot + 1, corrections: [1.0; 2], ..Step::default() })
                })
                .collect();
            // Whichever way its threads take, all has its place after some chunks.
            (0..3).for_each(|_| drop(session.run(&steps)));
            let before = COUNT.get();
            session.run(&steps);
            let made = COUNT.get() - before;
            assert!(made < STEPS, "{made} in {STEPS} steps, {hidden:?}, {models} models, norm {norm:?}");
        }
    }
}
