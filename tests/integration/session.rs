//! What a session on a GPU allocates and does, and what does not fit.

use minilote::gpu::wgpu;
use minilote::gpu::{Gpu, GpuDevice};
use minilote::ops::{Space, Step};
use minilote::program::Mode;
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
