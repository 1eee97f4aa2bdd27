//! Devices that are lost, hang or answer with what they were not asked for.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use minilote::gpu::{GpuDevice, wgpu};
use minilote::sweep::sweep;
use minilote::train::{
    Batch, Checkpoint, Config, End, Epoch, Observer, OptimizerKind, Outcome, Progress, Sizes, StepRecord,
    Trainer, TrainingData, Validation, resume, train,
};
use minilote::{Device, Error, Result};
use pollster::block_on;

use crate::{gpu, learned};

fn config() -> Config {
    Config {
        target: Some("diagnosis".into()),
        hidden: Sizes(vec![8, 5]),
        epochs: 2,
        batch: Some(Batch::Rows(60)),
        dropout: 0.2,
        optimizer: OptimizerKind::Momentum,
        ..Config::default()
    }
}

fn data(config: &Config) -> TrainingData {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    TrainingData::read(&file, config).unwrap()
}

/// A device of a test's own, which other tests don't miss.
fn own() -> Option<GpuDevice> {
    gpu()?;
    match block_on(Device::choose("gpu")).unwrap() {
        (Device::Gpu(gpu), _) => Some(gpu),
        other => panic!("{other:?}"),
    }
}

fn trainer(gpu: &GpuDevice) -> Trainer {
    let mut trainer = block_on(Trainer::new(data(&config()), config(), &Device::Gpu(gpu.clone()))).unwrap();
    trainer.limit_chunks(1);
    trainer
}

/// Writes down what it sees, and loses the device before its answers of these numbers.
struct Loser {
    gpu: GpuDevice,
    at: Range<usize>,
    asked: usize,
    seen: Vec<(usize, f64)>,
    recovered: usize,
    kept: Option<Checkpoint>,
}

impl Loser {
    fn new(gpu: &GpuDevice, at: Range<usize>) -> Loser {
        Loser { gpu: gpu.clone(), at, asked: 0, seen: vec![], recovered: 0, kept: None }
    }

    fn ask(&mut self) {
        if self.at.contains(&self.asked) {
            self.gpu.destroy();
        }
        self.asked += 1;
    }
}

impl Observer for Loser {
    fn steps(&mut self, records: &[StepRecord], _: &Progress) -> Result<ControlFlow<()>> {
        self.seen.extend(records.iter().map(|record| (record.step, record.loss)));
        self.ask();
        Ok(ControlFlow::Continue(()))
    }

    // What it loses here is lost inside a save.
    fn wants_checkpoint(&mut self) -> bool {
        self.ask();
        true
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.kept = Some(checkpoint);
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, _: bool) -> Result<()> {
        self.seen.push((epoch.epoch, epoch.loss));
        self.seen.extend(valid.map(|valid| (epoch.epoch, valid.loss)));
        self.ask();
        Ok(())
    }

    fn recovered(&mut self, error: &Error, _: usize) -> Result<()> {
        assert_eq!(error.exit_code(), 4, "{error}");
        self.recovered += 1;
        Ok(())
    }
}

fn run(gpu: &GpuDevice, at: Range<usize>) -> (Result<Outcome>, Loser) {
    let mut loser = Loser::new(gpu, at);
    (block_on(train(&mut trainer(gpu), &mut loser)), loser)
}

#[test]
fn training_survives_the_loss_of_its_device_at_every_step_and_inside_a_save() {
    let Some(gpu) = own() else { return };
    let (whole, watched) = run(&gpu, 0..0);
    let whole = learned(&whole.unwrap().model);
    assert!(watched.asked > 2 * whole.1 as usize, "{} places", watched.asked);
    for at in 0..watched.asked {
        let gpu = own().unwrap();
        let (outcome, loser) = run(&gpu, at..at + 1);
        let outcome = outcome.unwrap();
        assert!(matches!(outcome.end, End::Finished), "place {at}: {:?}", outcome.end);
        assert_eq!(learned(&outcome.model), whole, "place {at}");
        assert_eq!(loser.recovered, 1, "place {at}");
        assert_eq!(loser.seen, watched.seen, "place {at}: each step and epoch is shown once");
    }
    // While kernels run, too.
    for after in 0..8 {
        let gpu = own().unwrap();
        let (mut trainer, begun) = (trainer(&gpu), Arc::new(Barrier::new(2)));
        let (other, started) = (gpu.clone(), begun.clone());
        let thread = std::thread::spawn(move || {
            started.wait();
            std::thread::sleep(Duration::from_millis(2 * after));
            other.destroy();
        });
        let outcome = block_on(train(&mut trainer, &mut Begun(Some(begun)))).unwrap();
        thread.join().unwrap();
        assert_eq!(learned(&outcome.model), whole, "after {after} times 2 ms");
        // Whatever uses the device afterwards has the one in its place.
        assert!(block_on(Trainer::new(data(&config()), config(), &Device::Gpu(gpu))).is_ok());
    }
}

/// The news of a loss comes when what was submitted is done: here after copies that take a second or so.
#[test]
fn a_device_that_is_lost_while_it_works_is_known_to_be() {
    if gpu().is_none() {
        return;
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let gpu = GpuDevice::from_wgpu(device.clone(), queue.clone(), adapter.get_info());
    assert!(!gpu.was_lost());
    let size = 64 << 20;
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = || {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let (from, to) = (buffer(), buffer());
    let mut encoder = device.create_command_encoder(&Default::default());
    (0..100).for_each(|_| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, size));
    queue.submit([encoder.finish()]);
    device.destroy();
    assert!(gpu.was_lost());
}

/// Says when the first step is done.
struct Begun(Option<Arc<Barrier>>);

impl Observer for Begun {
    fn steps(&mut self, _: &[StepRecord], _: &Progress) -> Result<ControlFlow<()>> {
        if let Some(barrier) = self.0.take() {
            barrier.wait();
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn the_third_loss_ends_a_run_and_its_checkpoint_goes_on() {
    let Some(gpu) = own() else { return };
    let (whole, watched) = run(&gpu, 0..0);
    let (outcome, loser) = run(&own().unwrap(), 0..usize::MAX);
    let error = outcome.unwrap_err();
    assert_eq!((error.exit_code(), loser.recovered), (4, 2), "{error}");
    assert!(error.to_string().contains("lost 3 times"), "{error}");
    // Late enough for a best model.
    let late = watched.asked - 9;
    let (outcome, loser) = run(&own().unwrap(), late..usize::MAX);
    let outcome = outcome.unwrap();
    let End::Lost(error) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(outcome.model.parameters.iter().flatten().all(|value| value.is_finite()));
    let checkpoint = loser.kept.unwrap();
    let resumed = block_on(resume(&mut trainer(&gpu), checkpoint, &mut ())).unwrap();
    assert_eq!(learned(&resumed.model), learned(&whole.unwrap().model));
}

#[test]
fn a_sweep_survives_the_loss_of_its_device() {
    let Some(gpu) = own() else { return };
    let config = Config { batch: None, ..config() };
    let data = data(&config);
    let of_seed = |seed| Config { seed, lambda: seed as f64, ..config.clone() };
    let configs: Vec<Config> = (0..6).map(of_seed).collect();
    let passes = [vec![0, 1, 2], vec![3, 4, 5]];
    let swept = |gpu: &GpuDevice, observer: &mut dyn Observer| {
        let done = block_on(sweep(&data, &configs, &passes, &Device::Gpu(gpu.clone()), observer)).unwrap();
        assert!(done.broken.is_none(), "{:?}", done.broken);
        let models = done.trained.into_iter().map(|trained| learned(&trained.outcome.unwrap().model));
        models.collect::<Vec<_>>()
    };
    let whole = swept(&gpu, &mut ());
    let mut loser = Loser::new(&gpu, 2..4);
    assert_eq!(swept(&gpu, &mut loser), whole);
    assert_eq!(loser.recovered, 2);
}

/// Ends a device of the caller's own, which only they can replace.
struct Destroyer(wgpu::Device);

impl Observer for Destroyer {
    fn epoch(&mut self, epoch: &Epoch, _: Option<&Validation>, _: bool) -> Result<()> {
        if epoch.epoch == 2 {
            self.0.destroy();
        }
        Ok(())
    }
}

#[test]
fn a_lost_device_of_the_callers_own_leaves_the_best_model() {
    let Some(_) = gpu() else { return };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.enumerate_adapters(wgpu::Backends::all())).swap_remove(0);
    let (device, queue) = block_on(adapter.request_device(&Default::default())).unwrap();
    let mut trainer = trainer(&GpuDevice::from_wgpu(device.clone(), queue, adapter.get_info()));
    let outcome = block_on(train(&mut trainer, &mut Destroyer(device))).unwrap();
    let End::Lost(error) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(outcome.best_epoch <= 2 && outcome.valid.is_some_and(|valid| valid.loss.is_finite()));
    assert!(outcome.model.statistics.iter().all(|s| s.variance.iter().all(|&variance| variance > 0.0)));
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Zeros,
    TheOneBefore,
}

/// A driver that fails in silence once: what it gives back for the read-back of this number is not what was asked for.
fn faulty(gpu: GpuDevice, at: usize, how: Answer) -> GpuDevice {
    let before: Mutex<(Vec<f32>, Vec<u32>)> = Mutex::default();
    gpu.with_forged(move |number, values, sign| {
        let mut before = before.lock().unwrap();
        if number == at {
            match how {
                Answer::Zeros => {
                    values.fill(0.0);
                    sign.fill(0);
                }
                Answer::TheOneBefore => {
                    let of_before = before.0.iter().chain(std::iter::repeat(&0.0));
                    values.iter_mut().zip(of_before).for_each(|(value, &old)| *value = old);
                    sign.copy_from_slice(&before.1);
                }
            }
        } else {
            *before = (values.to_vec(), sign.to_vec());
        }
    })
}

#[test]
fn a_device_that_answers_with_other_memory_is_found_out() {
    let Some(gpu) = own() else { return };
    let mut trainer = trainer(&gpu);
    block_on(train(&mut trainer, &mut ())).unwrap();
    let minilote::Engine::Gpu(session) = trainer.engine() else { panic!("no GPU") };
    let read_backs = session.counts().read_backs;
    assert!(read_backs > 20, "{read_backs} read-backs");
    for how in [Answer::Zeros, Answer::TheOneBefore] {
        for at in (2..=read_backs).step_by(3) {
            let gpu = faulty(own().unwrap(), at, how);
            match block_on(train(&mut self::trainer(&gpu), &mut ())) {
                Err(error) => assert_eq!(error.exit_code(), 4, "{how:?}, read-back {at}: {error}"),
                Ok(outcome) => assert!(matches!(outcome.end, End::Lost(_)), "{how:?}, read-back {at}"),
            }
        }
    }
    // Copies are made, and kernels never run.
    let record = trainer.engine().plan().record;
    let gpu = own().unwrap().with_forged(move |_, values, _| {
        if values.len() == record {
            values.fill(0.0);
        }
    });
    let error = block_on(train(&mut self::trainer(&gpu), &mut ())).unwrap_err();
    let words = "step 0 where it should have run step 1";
    assert!(error.exit_code() == 4 && error.to_string().contains(words), "{error}");
}

#[test]
fn a_device_that_does_not_answer_is_given_up() {
    let Some(gpu) = own() else { return };
    let gpu = gpu.with_timeout(Duration::from_nanos(1));
    let error = block_on(train(&mut trainer(&gpu), &mut ())).unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("does not answer"), "{error}");
}
