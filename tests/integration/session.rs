//! What a session on a GPU allocates and does, and what does not fit.

use minilote::doctor::Net;
use minilote::gpu::wgpu;
use minilote::gpu::{Gpu, GpuDevice};
use minilote::model::Norm;
use minilote::ops::{Function, Space, Step, Variant};
use minilote::program::{Mode, Plan};
use minilote::train::{Batch, Config, OptimizerKind, Part, Sizes, Trainer, TrainingData};
use minilote::{Device, Error};
use pollster::block_on;

use crate::{devices, gpu};

fn config() -> Config {
    Config { target: Some("digit".into()), ..Config::default() }
}

fn data(config: &Config) -> TrainingData {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");
    TrainingData::read(path.as_ref(), config).unwrap()
}

#[test]
fn a_chunk_of_500_steps_allocates_nothing_and_reads_back_once() {
    let Some(_) = gpu() else { return };
    // A device of the test's own, so that no other test is counted.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
    let (device, queue) = block_on(adapter.request_device(&Default::default())).unwrap();
    let own = GpuDevice::from_wgpu(device.clone(), queue, adapter.get_info());

    let config = Config { batch: Some(Batch::Rows(2)), ..config() };
    let data = data(&config);
    let plan = Trainer::plan(&data, &config).unwrap();
    assert!(plan.slots >= 500, "{} slots", plan.slots);
    let program = plan.program(Mode::Train, 2);
    let mut session = block_on(Gpu::new(own, plan)).unwrap();
    let steps: Vec<_> = (0..500)
        .map(|slot| (program, Step { slot, first: 2 * slot, number: slot + 1, ..Step::default() }))
        .collect();
    block_on(session.run(&steps[..10])).unwrap();

    let made = || {
        let hal = device.get_internal_counters().hal;
        [
            hal.buffers.read(),
            hal.buffer_memory.read(),
            hal.bind_groups.read(),
            hal.bind_group_layouts.read(),
            hal.compute_pipelines.read(),
            hal.shader_modules.read(),
            hal.memory_allocations.read(),
        ]
    };
    let (before, counted) = (made(), session.counts());
    assert!(before[0] > 0, "wgpu counts nothing: its feature `counters` is off");
    let log = block_on(session.run(&steps)).unwrap();
    assert_eq!(before, made(), "buffers, their bytes, bind groups, layouts, pipelines, modules, allocations");
    let after = session.counts();
    assert_eq!(after.read_backs, counted.read_backs + 1);
    // Each step of a chunk is linked with the next.
    let program = &session.plan().programs[program];
    let linked = program.ops.len() - program.dispatches();
    assert_eq!(after.dispatches, counted.dispatches + 500 * program.dispatches() + linked);
    assert_eq!(log.len(), 500 * session.plan().record);
}

/// Models that run some after the others, in an adapter's cache, have the same bits as all at once.
#[test]
fn models_in_blocks_change_no_bit() {
    let Some(gpu) = gpu() else { return };
    // In stages: linked, of few rows, by blocks of rows.
    for (rows, bytes, hidden) in [(12, true, &[9, 6][..]), (255, false, &[9, 65]), (300, true, &[33, 5])] {
        let net = Net::new(hidden, Function::Tanh, Norm::Before, 0.3);
        let net = Net { models: 5, rows, bytes, ..net };
        let staged = (gpu.clone().with_variant(Variant::Gpu), net.plan().staged());
        let fused = (gpu.clone().with_variant(Variant::Software), net.plan().fused());
        for (gpu, plan) in [staged, fused] {
            let [whole, parts] = [5, 2].map(|at_once| {
                let plan = plan.clone().with_at_once(at_once);
                let steps = [0, 1, 2].map(|i| {
                    let step = Step {
                        slot: i,
                        first: i,
                        number: i + 1,
                        lr_factor: 1.0,
                        corrections: [0.1, 0.001],
                        ..Step::default()
                    };
                    (plan.program(Mode::Train, net.rows), step)
                });
                bits_of_unlike_models(gpu.clone(), plan, net.rows, &steps)
            });
            assert!(whole == parts, "{} rows, {:?}", net.rows, net.spec.layers);
        }
    }
}

/// The log and the parameters of models of which each has its own order, rates and weights.
fn bits_of_unlike_models(gpu: GpuDevice, plan: Plan, rows: usize, steps: &[(usize, Step)]) -> Vec<u32> {
    let mut session = block_on(Gpu::new(gpu, plan.clone())).unwrap();
    let words = |space| (0..plan.bytes(space) as usize / 4).map(|i| i as u32 * 7919 % 1009);
    let reals = |space| words(space).map(|word| (word as f32 / 2018.0 - 0.2).to_bits()).collect::<Vec<_>>();
    for space in [Space::Inputs, Space::Params, Space::Affine] {
        session.write(space, bytemuck::cast_slice(&reals(space)));
    }
    session.write(Space::Bytes, bytemuck::cast_slice(&words(Space::Bytes).collect::<Vec<_>>()));
    let order: Vec<u32> = words(Space::Order).map(|word| word % rows as u32).collect();
    session.write(Space::Order, bytemuck::cast_slice(&order));
    let targets: Vec<f32> = words(Space::Targets).map(|word| (word % 3) as f32).collect();
    session.write(Space::Targets, bytemuck::cast_slice(&targets));
    let hyper = |model| [0.01 * (model + 1) as f32, 0.001, 0.002, (model + 3) as f32];
    session.write(Space::Hyper, bytemuck::cast_slice(&(0..plan.models).flat_map(hyper).collect::<Vec<_>>()));
    let mut values = block_on(session.run(steps)).unwrap();
    values.extend(block_on(session.read(Space::Params)).unwrap());
    let losses: Vec<f32> = (0..plan.models).map(|model| values[model * plan.record]).collect();
    assert!(losses.is_sorted_by(|a, b| a != b) && values.iter().all(|value| value.is_finite()), "{losses:?}");
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn models_that_fill_a_cache_run_in_blocks_on_software_adapters() {
    let Some(gpu) = gpu() else { return };
    let plan =
        |width| Net { models: 64, ..Net::new(&[width, width], Function::Relu, Norm::Before, 0.0) }.plan();
    let software = gpu.clone().with_variant(Variant::Software);
    let [small, large] = [8, 600].map(|width| software.rewrite(plan(width)));
    assert_eq!((small.at_once, small.models), (64, 64));
    assert!((2..8).contains(&large.at_once), "{}", large.at_once);
    assert_eq!(gpu.with_variant(Variant::Gpu).rewrite(plan(600)).at_once, 64);
    // What is not kept between steps has room for a block, and not for what is no longer read.
    let whole = plan(600).fused();
    let (scratch, kept): (Vec<Space>, Vec<Space>) =
        whole.spaces.keys().partition(|space| matches!(space, Space::Scratch(_)));
    kept.into_iter().for_each(|space| assert_eq!(large.bytes(space), whole.bytes(space), "{space:?}"));
    let [reused, own] =
        [&large, &whole].map(|plan| scratch.iter().map(|&space| plan.bytes(space)).sum::<u64>());
    assert!(5 * 64 * reused < 4 * large.at_once as u64 * own, "{reused} of {own}");
    // Before it is refused, a plan may have sizes whose products are beyond 64 bits.
    let huge = Net { rows: 1 << 17, ..Net::new(&[1 << 24, 1 << 24], Function::Relu, Norm::Before, 0.0) };
    assert_eq!(software.rewrite(huge.plan()).at_once, 1);
}

/// The first chunk is submitted one dispatch at a time, as its steps might be slow, the second at once.
#[test]
fn a_step_in_many_submissions_is_the_same() {
    let Some(gpu) = gpu() else { return };
    let config = Config { optimizer: OptimizerKind::Sgd, ..config() };
    let plan = Trainer::plan(&data(&config), &config).unwrap();
    let values = |space, salt: usize| -> Vec<f32> {
        let value = |i| ((i * 37 + salt) % 101) as f32 / 500.0 - 0.1;
        (0..plan.bytes(space) as usize / 4).map(value).collect()
    };
    let (parameters, inputs) = (values(Space::Params, 1), values(Space::Inputs, 2));
    let program = plan.program(Mode::Train, 32);
    let mut session = block_on(Gpu::new(gpu, plan)).unwrap();
    session.write(Space::Inputs, bytemuck::cast_slice(&inputs));
    session.write(Space::Hyper, bytemuck::cast_slice(&[0.1f32, 0.0, 0.0, 0.0]));
    let mut after = || {
        session.write(Space::Params, bytemuck::cast_slice(&parameters));
        let step = Step { lr_factor: 1.0, number: 1, ..Step::default() };
        let log = block_on(session.run(&[(program, step)])).unwrap();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        (bits(log), bits(block_on(session.read(Space::Params)).unwrap()))
    };
    let (first, second) = (after(), after());
    assert_ne!(first.1, parameters.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    assert_eq!(first, second);
}

#[test]
fn a_session_takes_the_memory_that_was_announced() {
    let Some(gpu) = gpu() else { return };
    for batch in [Batch::Rows(33), Batch::Full] {
        let config = Config { batch: Some(batch), ..config() };
        let plan = Trainer::plan(&data(&config), &config).unwrap();
        let announced = plan.memory();
        let session = block_on(Gpu::new(gpu.clone(), plan)).unwrap();
        assert_eq!(session.counts().buffer_bytes, announced);
    }
}

/// The batch size in the message is the largest that fits: it trains, and one more does not.
#[test]
fn a_program_that_does_not_fit_names_the_batch_that_does() {
    let Some(gpu) = gpu() else { return };
    let limit = gpu.limits().binding as usize;
    // As wide as makes a full batch just too large.
    let rows = data(&config()).split.train.len();
    let width = (limit / 4 / rows + 64).next_multiple_of(4);
    let device = Device::Gpu(gpu);
    let with = |batch| Config { hidden: Sizes(vec![width]), batch: Some(batch), epochs: 1, ..config() };
    let attempt = |config: &Config| block_on(Trainer::new(data(config), config.clone(), &device)).map(drop);
    let error = attempt(&with(Batch::Full)).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Fit { .. }) && error.exit_code() == 7, "{message}");
    let fitting: usize =
        message.split("--batch ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(fitting > 256 && fitting < rows, "{message}");
    attempt(&with(Batch::Rows(fitting))).unwrap();
    assert!(matches!(attempt(&with(Batch::Rows(fitting + 1))), Err(Error::Fit { .. } | Error::Config(_))));

    let hopeless = Config { hidden: Sizes(vec![limit / 4 / 64 + 64]), ..config() };
    let message = attempt(&hopeless).unwrap_err().to_string();
    assert!(message.contains("layer 0") && message.contains("--device cpu"), "{message}");
}

#[test]
fn no_kernel_meets_a_row_or_class_out_of_range() {
    let spoiled: [fn(&mut TrainingData); 4] = [
        |data| data.targets[7] = 10.0,
        |data| data.targets[7] = f64::NAN,
        |data| data.split.valid.push(1797),
        |data| data.targets = data.targets.slice(ndarray::s![..1796]).to_owned(),
    ];
    for spoil in spoiled {
        let mut data = data(&config());
        spoil(&mut data);
        let result = block_on(Trainer::new(data, config(), &Device::Cpu)).map(drop);
        assert!(matches!(result, Err(Error::Config(_))), "{result:?}");
    }
}

#[test]
fn minibatches_of_one_row_meet_no_batch_norm() {
    let rows = data(&config()).split.train.len();
    let one_left: Vec<usize> = (2..rows).filter(|batch| rows % batch == 1).collect();
    assert!(!one_left.is_empty(), "{rows} rows");
    for (_, device) in devices() {
        for batch in one_left.iter().copied().chain([1]) {
            let config = Config { batch: Some(Batch::Rows(batch)), ..config() };
            let error = block_on(Trainer::new(data(&config), config.clone(), &device)).map(drop).unwrap_err();
            assert!(
                matches!(error, Error::Config(_)) && error.to_string().contains("--norm none"),
                "{error}"
            );
        }
    }
}

/// Without a batch size one is chosen that suits the rows: all of a few, none that leaves one row over.
#[test]
fn the_default_minibatch_suits_the_rows() {
    for (rows, batch) in [(2, 2), (20, 20), (32, 32), (33, 31), (65, 31), (66, 32), (1000, 32)] {
        let config = Config { valid: Part::Fraction(0.0), test: Part::Fraction(0.0), ..config() };
        let mut data = data(&config);
        data.split.train.truncate(rows);
        let plan = Trainer::plan(&data, &config).unwrap();
        let largest = plan.programs.iter().filter(|p| p.mode == Mode::Train).map(|p| p.rows).max();
        assert_eq!(largest, Some(batch), "{rows} rows");
    }
}
