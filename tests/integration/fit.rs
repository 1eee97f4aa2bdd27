//! What does not fit a device is refused before anything is made, and the way out that the refusal names is one.

use std::ops::ControlFlow;

use minilote::gpu::{GpuDevice, wgpu};
use minilote::model::Norm;
use minilote::ops::Variant;
use minilote::program::Form;
use minilote::train::{Batch, Config, Group, OptimizerKind, Sizes, Trainer, TrainingData};
use minilote::{Device, Error};
use pollster::block_on;

use crate::gpu;

const MIB: u64 = 1 << 20;

/// An adapter's device with lower limits, and wgpu's handle of it, which counts what is made.
fn lowered(variant: Variant, lower: impl Fn(&mut wgpu::Limits)) -> (GpuDevice, wgpu::Device) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
    let mut required_limits = wgpu::Limits::default();
    lower(&mut required_limits);
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = block_on(adapter.request_device(&descriptor)).unwrap();
    (GpuDevice::from_wgpu(device.clone(), queue, adapter.get_info()).with_variant(variant), device)
}

/// 1,168 training rows of 64 features.
fn data() -> TrainingData {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");
    TrainingData::read(path.as_ref(), &config(&[8])).unwrap()
}

fn config(hidden: &[usize]) -> Config {
    let hidden = Sizes(hidden.into());
    Config { target: Some("digit".into()), hidden, norm: Norm::None, ..Config::default() }
}

fn full(hidden: &[usize]) -> Config {
    Config { batch: Some(Batch::Full), ..config(hidden) }
}

/// What a refusal says to do.
#[derive(Debug, PartialEq)]
enum Way {
    Batch,
    FewerModels,
    None,
}

/// Configurations that do not fit a device, and what the refusals name.
struct Family<'a> {
    device: GpuDevice,
    counted: wgpu::Device,
    /// A tensor or operation, and the limit.
    words: [&'a str; 2],
    way: Way,
}

fn attempt(data: &TrainingData, configs: &[Config], device: &Device) -> minilote::Result<Group> {
    let hidden = configs[0].hidden.0.clone();
    block_on(Group::new(data.clone(), configs.to_vec(), &hidden, device))
}

/// Trains a chunk of steps.
fn runs(data: &TrainingData, config: &Config, device: &Device) {
    let mut group = attempt(data, std::slice::from_ref(config), device).unwrap();
    let epoch = block_on(group.epoch(|_| ControlFlow::Break(()))).unwrap().swap_remove(0).unwrap();
    assert!(epoch.rows > 0 && epoch.loss.is_finite());
}

impl Family<'_> {
    /// Refuses so many models of each configuration; returns how many there are.
    fn check(self, models: &[usize], configs: &[Config]) -> usize {
        let data = data();
        let made = || {
            let hal = self.counted.get_internal_counters().hal;
            [hal.buffers.read(), hal.buffer_memory.read(), hal.compute_pipelines.read()]
        };
        let device = Device::Gpu(self.device.clone());
        for (&models, config) in models.iter().flat_map(|models| configs.iter().map(move |c| (models, c))) {
            let all = vec![config.clone(); models];
            let before = made();
            let error = attempt(&data, &all, &device).map(drop);
            let error = error.expect_err(&format!("{models} models, {config:?}"));
            assert_eq!(made(), before, "{error}");
            let message = error.to_string();
            assert!(matches!(error, Error::Fit { .. }) && error.exit_code() == 7, "{message}");
            assert!(self.words.iter().all(|word| message.contains(word)), "{:?}: {message}", self.words);
            let with = |batch| Config { batch: Some(Batch::Rows(batch)), ..config.clone() };
            let fits = |batch| match attempt(&data, &[with(batch)], &device) {
                Ok(_) => Some(true),
                Err(Error::Fit { .. }) => Some(false),
                // It would leave one row to be normalized.
                Err(Error::Config(_)) => None,
                Err(error) => panic!("{error}"),
            };
            match message.split_once("--batch ") {
                Some((_, rest)) => {
                    assert_eq!(self.way, Way::Batch, "{message}");
                    let batch: usize = rest.split(' ').next().unwrap().parse().unwrap();
                    runs(&data, &with(batch), &device);
                    assert_eq!((batch + 1..).find_map(fits), Some(false), "{message}");
                }
                None if message.contains("fewer models") => {
                    assert_eq!(self.way, Way::FewerModels, "{message}");
                    runs(&data, config, &device);
                }
                None => {
                    assert_eq!(self.way, Way::None, "{message}");
                    assert!(message.contains("--device cpu"), "{message}");
                    assert_eq!((1..).find_map(fits), Some(false), "{message}");
                }
            }
        }
        models.len() * configs.len()
    }
}

/// A family of a device with lower limits.
fn with<'a>(
    variant: Variant,
    lower: impl Fn(&mut wgpu::Limits),
    words: [&'a str; 2],
    way: Way,
) -> Family<'a> {
    let (device, counted) = lowered(variant, lower);
    Family { device, counted, words, way }
}

/// The same with so many bytes in a binding at the most.
fn binding<'a>(bytes: u64, tensor: &'a str, way: Way) -> Family<'a> {
    let lower = |limits: &mut wgpu::Limits| limits.max_storage_buffer_binding_size = bytes;
    with(Variant::Software, lower, [tensor, "largest binding"], way)
}

#[test]
fn tensors_larger_than_a_binding() {
    let Some(_) = gpu() else { return };
    let mut count =
        binding(MIB / 4, "data Gather inputs", Way::None).check(&[1], &[config(&[8]), full(&[8])]);
    // The data set fits, and no weight is the largest.
    let wide = [&[230][..], &[300], &[400], &[800], &[1000], &[300, 30], &[30, 300], &[300, 300]].map(full);
    count += binding(MIB, "layer ", Way::Batch).check(&[1], &wide);
    let optimizer = OptimizerKind::Sgd;
    let more = [500, 800].map(|size| Config { dropout: 0.5, optimizer, ..full(&[size]) });
    count += binding(MIB, "layer ", Way::Batch).check(&[1, 3], &more);
    for norm in [Norm::Before, Norm::After] {
        // Of evaluations, too, so that the largest batch is one of hundreds.
        let normalized = [4000, 6000].map(|size| Config { norm, ..full(&[size]) });
        count += binding(17 * MIB, "layer ", Way::Batch).check(&[1], &normalized);
    }
    let weights = [&[4200][..], &[600, 600], &[520, 520, 520], &[1020, 300]].map(config);
    count += binding(MIB, "MatMul b", Way::None).check(&[1], &weights);
    // 256 rows are evaluated at once.
    count += binding(MIB, "layer 0 MatMul out", Way::None).check(&[1], &[config(&[1030]), config(&[2000])]);
    count += binding(MIB, "data Gather order", Way::FewerModels).check(&[300, 500], &[config(&[4])]);
    let normalized = Config { norm: Norm::Before, ..config(&[40]) };
    count += binding(MIB, "BatchNormTrain log", Way::FewerModels).check(&[5, 50], &[normalized]);
    println!("{count} configurations");
    assert!(count >= 28, "{count}");
}

#[test]
fn more_workgroups_than_a_dispatch_has() {
    let Some(_) = gpu() else { return };
    let mut count = 0;
    for variant in [Variant::Software, Variant::Gpu] {
        let family = |operation, way| {
            let lower = |limits: &mut wgpu::Limits| limits.max_compute_workgroups_per_dimension = 64;
            with(variant, lower, [operation, "workgroups of a dispatch"], way)
        };
        let [normalized, narrow] = [8, 5].map(|units| Config { norm: Norm::Before, ..full(&[units]) });
        // A workgroup of a software adapter gathers and updates more.
        let (operation, configs, wide) = match variant {
            Variant::Software => {
                ("layer 1 BatchNorm", vec![normalized, narrow], [&[500, 500][..], &[400, 500]])
            }
            Variant::Gpu => ("data Gather", vec![full(&[8]), normalized], [&[1000][..], &[700]]),
        };
        count += family(operation, Way::Batch).check(&[1, 2], &configs);
        count += family("update ", Way::None).check(&[1], &wide.map(config));
        count += family("data Gather", Way::FewerModels).check(&[65, 200], &[config(&[8])]);
    }
    println!("{count} configurations");
    assert!(count >= 16, "{count}");
}

#[test]
fn workgroups_larger_than_the_device_has() {
    let Some(_) = gpu() else { return };
    let nets = [config(&[8]), Config { norm: Norm::Before, ..config(&[30, 20]) }, full(&[64])];
    let family = |lower: fn(&mut wgpu::Limits), words| with(Variant::Gpu, lower, words, Way::None);
    let mut count = 0;
    for lower in [
        |limits: &mut wgpu::Limits| limits.max_compute_invocations_per_workgroup = 128,
        |limits: &mut wgpu::Limits| limits.max_compute_invocations_per_workgroup = 32,
    ] {
        count += family(lower, [" invocations and", "(invocations of a workgroup)"]).check(&[1], &nets);
    }
    let narrow = |limits: &mut wgpu::Limits| limits.max_compute_workgroup_size_x = 32;
    count +=
        family(narrow, [" invocations and", "invocations of a workgroup in a direction"]).check(&[1], &nets);
    let little = |limits: &mut wgpu::Limits| limits.max_compute_workgroup_storage_size = 2048;
    count += family(little, [" bytes and", "memory shared in a workgroup"]).check(&[1], &nets);
    let few = |limits: &mut wgpu::Limits| limits.max_storage_buffers_per_shader_stage = 4;
    count += family(few, [" buffers and", "buffers of a kernel"]).check(&[1], &nets);
    println!("{count} configurations");
    assert!(count >= 15, "{count}");
}

#[test]
fn programs_that_take_more_than_the_memory() {
    let Some(_) = gpu() else { return };
    let mut count = 0;
    for variant in [Variant::Software, Variant::Gpu] {
        let family = |mib: u64, tensor, way| {
            let (device, counted) = lowered(variant, |_| {});
            Family { device: device.with_memory(mib * MIB), counted, words: [tensor, "memory"], way }
        };
        count += family(8, "most of it ", Way::Batch).check(&[1], &[full(&[800]), full(&[900])]);
        let normalized = [400, 500].map(|size| Config { norm: Norm::Before, ..full(&[size]) });
        count += family(12, "most of it ", Way::Batch).check(&[1], &normalized);
        count += family(8, "MatMul b", Way::None).check(&[1], &[config(&[600, 600]), config(&[500, 700])]);
        count += family(8, "most of it ", Way::FewerModels).check(&[200, 500], &[config(&[64])]);
    }
    println!("{count} configurations");
    assert!(count >= 16, "{count}");
}

/// To the byte, and then with what the host holds of the parameters.
#[test]
fn a_program_as_large_as_the_memory_fits() {
    let Some(gpu) = gpu() else { return };
    let (data, config) = (data(), config(&[16]));
    let plan = Device::Gpu(gpu.clone()).rewrite(Trainer::plan(&data, &config).unwrap());
    let needed = plan.memory() + 32 * plan.layout.end() as u64;
    runs(&data, &config, &Device::Gpu(gpu.clone().with_memory(needed)));
    let device = Device::Gpu(gpu.with_memory(needed - 1));
    assert!(matches!(attempt(&data, &[config], &device), Err(Error::Fit { .. })));
}

/// A driver would promise more than the host has, and the system end the program as it takes it.
#[cfg(target_os = "linux")]
#[test]
fn a_software_adapter_has_the_hosts_memory() {
    let Some(gpu) = gpu() else { return };
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10;
    let memory = gpu.limits().memory;
    assert!(!gpu.summary().is_software() || memory.is_some_and(|memory| memory < total), "{memory:?}");
}

/// Stages keep all activations of a step in one buffer, and blocks of a large weight in one dispatch.
#[test]
fn steps_run_in_stages_only_where_those_fit() {
    let Some(_) = gpu() else { return };
    let data = data();
    let config = Config { batch: Some(Batch::Rows(250)), ..config(&[300, 300]) };
    let form = |lower: fn(&mut wgpu::Limits)| {
        let device = Device::Gpu(lowered(Variant::Gpu, lower).0);
        runs(&data, &config, &device);
        attempt(&data, std::slice::from_ref(&config), &device).unwrap().engine().plan().form
    };
    assert_eq!(form(|_| {}), Form::Staged);
    assert_eq!(form(|limits| limits.max_storage_buffer_binding_size = MIB), Form::Fused);
    assert_eq!(form(|limits| limits.max_storage_buffers_per_shader_stage = 7), Form::Fused);
}

/// Sizes whose products are beyond 64 bits.
#[test]
fn sizes_beyond_all_bounds_are_refused() {
    let data = data();
    for (layers, models) in [(2, 1), (40, 1), (40, 2000)] {
        let config = config(&vec![1 << 24; layers]);
        let hidden = config.hidden.0.clone();
        let error = Group::check(&data, &vec![config; models], &hidden, &Device::Cpu).map(drop).unwrap_err();
        assert!(matches!(error, Error::Fit { .. }), "{layers} layers, {models} models: {error}");
        assert!(error.to_string().contains("no batch size fits"), "{error}");
    }
}
