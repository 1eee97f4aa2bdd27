//! A session on one of the backends: a plan's programs, ready to run, and its memory.

use std::fmt;

use ndarray::Array2;

use crate::cpu::Models;
use crate::data::Inputs;
use crate::gpu::{AdapterSummary, Autotune, Counts, Gpu, GpuDevice, Tuning, adapters};
use crate::model::{Parameter, Spec, Statistics};
use crate::ops::{Space, Step, Tensor, Variant};
use crate::program::{METRICS, Mode, Plan};
use crate::{Error, Result, cache};

/// Where programs run.
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU backend, in `f32`.
    Cpu,
    /// The CPU backend in `f64`: slow and exact, the oracle of the tests.
    Twin,
    /// An adapter that wgpu offers.
    Gpu(GpuDevice),
}

/// The adapter that `auto` takes, if any: the first that is a chip.
pub fn automatic(found: &[AdapterSummary]) -> Option<&AdapterSummary> {
    found.iter().find(|adapter| !adapter.is_software())
}

impl Device {
    /// The device that a person names: `auto`, `cpu`, `gpu`, the number of an adapter, or part of its
    /// name. With it, a line that says what was chosen and why.
    ///
    /// `auto` takes a GPU if there is one and else the CPU backend, which is faster than a software
    /// adapter; `gpu` takes a software adapter rather than none.
    ///
    /// # Errors
    /// [`Error::Device`] if nothing answers to the name.
    pub async fn choose(name: &str) -> Result<(Device, String)> {
        if name == "cpu" {
            return Ok((Device::Cpu, "device: CPU backend".into()));
        }
        let found = adapters().await;
        let real = automatic(&found);
        let lower = name.to_lowercase();
        let chosen = match name {
            "auto" if real.is_none() => {
                let why = match found.first() {
                    Some(adapter) => format!("only the software adapter {:?} was found", adapter.name),
                    None => "no GPU adapter was found".into(),
                };
                return Ok((Device::Cpu, format!("device: CPU backend ({why})")));
            }
            "auto" | "gpu" => real.or(found.first()),
            _ => match name.parse::<usize>() {
                Ok(index) => found.get(index),
                Err(_) => found.iter().find(|adapter| adapter.name.to_lowercase().contains(&lower)),
            },
        };
        let Some(adapter) = chosen else {
            let names: Vec<String> = found.iter().map(|a| format!("{} {:?}", a.index, a.name)).collect();
            let have = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Error::Device(format!(
                "no adapter for --device {name}; found: {have}. Use --device cpu, or install a driver \
                 (on Debian, mesa-vulkan-drivers has one in software)"
            )));
        };
        let line = format!("device: {} ({}, {})", adapter.name, adapter.backend, adapter.driver);
        Ok((Device::Gpu(GpuDevice::open(adapter.index).await?), line))
    }

    /// The backend's name, or the adapter's.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu => "CPU backend".into(),
            Device::Twin => "CPU backend in f64".into(),
            Device::Gpu(gpu) => gpu.summary().name.clone(),
        }
    }

    /// The plan with its programs rewritten as this device runs them best.
    pub fn rewrite(&self, plan: Plan) -> Plan {
        match self {
            Device::Gpu(gpu) => gpu.rewrite(plan),
            Device::Cpu | Device::Twin => plan.fused(),
        }
    }

    /// The plan as compiled, rewritten as [`GpuDevice::tune`] finds, with `tuning.json` of the cache; there is nothing
    /// to find for the CPU backend.
    ///
    /// # Errors
    /// As for [`GpuDevice::tune`].
    pub async fn tune(&self, plan: Plan, autotune: Autotune) -> Result<(Plan, Tuning)> {
        let Device::Gpu(gpu) = self else { return Ok((self.rewrite(plan), Tuning::default())) };
        let file = cache::folder().map(|folder| folder.join("tuning.json"));
        gpu.tune(plan, autotune, file.as_deref()).await
    }

    /// Whether a plan fits this device; `way_out` says what to do if not.
    ///
    /// # Errors
    /// [`Error::Fit`].
    pub fn check(&self, plan: &Plan, way_out: &str) -> Result<()> {
        match self {
            Device::Gpu(gpu) => plan.check(&gpu.limits(), gpu.variant(), way_out),
            Device::Cpu | Device::Twin => {
                plan.check(&crate::program::Limits::of_host(), Variant::Software, way_out)
            }
        }
    }
}

/// A session: [`Plan`]'s programs and memory on a device.
pub enum Engine {
    /// See [`Device::Cpu`].
    Cpu(Box<Models<f32>>),
    /// See [`Device::Twin`].
    Twin(Box<Models<f64>>),
    /// See [`Device::Gpu`].
    Gpu(Box<Gpu>),
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let device = match self {
            Engine::Cpu(_) => "CPU backend",
            Engine::Twin(_) => "CPU backend in f64",
            Engine::Gpu(gpu) => &gpu.device().summary().name,
        };
        let Plan { models, data, spec, .. } = self.plan();
        let mut parts = f.debug_struct("Engine");
        parts.field("device", &device).field("models", models);
        parts.field("parameters", &spec.parameter_count()).field("data", data);
        parts.finish_non_exhaustive()
    }
}

impl Engine {
    /// Allocates and compiles. The plan should have been checked against the device.
    ///
    /// # Errors
    /// [`Error::Fit`] and [`Error::Device`] as for [`Gpu::new`].
    pub async fn new(device: &Device, plan: Plan) -> Result<Engine> {
        Ok(match device {
            Device::Cpu => Engine::Cpu(Box::new(Models::new(plan))),
            Device::Twin => Engine::Twin(Box::new(Models::new(plan))),
            Device::Gpu(gpu) => Engine::Gpu(Box::new(Gpu::new(gpu.clone(), plan).await?)),
        })
    }

    /// What the session was made for.
    pub fn plan(&self) -> &Plan {
        match self {
            Engine::Cpu(cpu) => cpu.plan(),
            Engine::Twin(cpu) => cpu.plan(),
            Engine::Gpu(gpu) => gpu.plan(),
        }
    }

    /// Whether its device was lost: see [`GpuDevice::was_lost`].
    pub fn was_lost(&self) -> bool {
        if let Engine::Gpu(gpu) = self { gpu.device().was_lost() } else { false }
    }

    /// Whether another device would take the place of one that was lost: not of one of the caller's own.
    pub fn is_renewable(&self) -> bool {
        if let Engine::Gpu(gpu) = self { gpu.device().is_renewable() } else { false }
    }

    /// The session anew, with nothing written, on a device in the place of the one that was lost.
    ///
    /// # Errors
    /// As for [`Engine::new`]; [`Error::Device`] if the adapter has lost three devices or is gone.
    pub async fn renew(&mut self) -> Result<()> {
        if let Engine::Gpu(gpu) = self {
            **gpu = Gpu::new(gpu.device().clone(), gpu.plan().clone()).await?;
        }
        Ok(())
    }

    /// See [`Gpu::note`].
    pub fn note(&self) -> Option<&str> {
        if let Engine::Gpu(gpu) = self { gpu.note() } else { None }
    }

    /// What a GPU session has made and done; zeros for the others.
    pub fn counts(&self) -> Counts {
        if let Engine::Gpu(gpu) = self { gpu.counts() } else { Counts::default() }
    }

    /// Overwrites a space of reals from its beginning.
    pub fn write(&mut self, space: Space, values: &[f64]) {
        self.write_at(space, 0, values);
    }

    fn write_at(&mut self, space: Space, start: usize, values: &[f64]) {
        match self {
            Engine::Cpu(cpu) => cpu.load(space, start, values),
            Engine::Twin(cpu) => cpu.load(space, start, values),
            Engine::Gpu(gpu) => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                gpu.write_at(space, 4 * start, bytemuck::cast_slice(&values));
            }
        }
    }

    /// Overwrites the order from its beginning with rows for each model.
    pub fn write_order<'a>(&mut self, of_models: impl IntoIterator<Item = &'a [u32]>) {
        let plan = self.plan();
        let stride = plan.data.places.next_multiple_of(4);
        let mut all = vec![0; stride * plan.models];
        for (all, rows) in all.chunks_mut(stride).zip(of_models) {
            all[..rows.len()].copy_from_slice(rows);
        }
        match self {
            Engine::Cpu(cpu) => cpu.load_order(&all),
            Engine::Twin(cpu) => cpu.load_order(&all),
            Engine::Gpu(gpu) => gpu.write(Space::Order, bytemuck::cast_slice(&all)),
        }
    }

    /// Loads rows of the data set, or all: standardized reals, or bytes with the affine map that standardizes them.
    pub fn write_inputs(
        &mut self,
        inputs: &Inputs,
        rows: Option<&[u32]>,
        (center, scale): &(Vec<f64>, Vec<f64>),
    ) {
        match inputs {
            Inputs::Real(values) => {
                in_blocks(values, rows, |start, block| self.write_at(Space::Inputs, start, block));
            }
            Inputs::Bytes(values) => {
                in_blocks(values, rows, |start, block| match self {
                    Engine::Cpu(cpu) => cpu.load_bytes(start, block),
                    Engine::Twin(cpu) => cpu.load_bytes(start, block),
                    Engine::Gpu(gpu) => gpu.write_at(Space::Bytes, start, block),
                });
                let ld = center.len().next_multiple_of(4);
                let mut affine = vec![0.0; 2 * ld];
                affine[..center.len()].copy_from_slice(center);
                affine[ld..ld + scale.len()].copy_from_slice(scale);
                self.write(Space::Affine, &affine);
            }
        }
    }

    /// Writes the parameters of each model, in the order of [`crate::model::Spec::parameters`], with zeros where
    /// they are smaller than the plan's; the optimizer's state is left as it is.
    pub fn write_parameters<'a>(&mut self, of_models: impl IntoIterator<Item = &'a [Array2<f64>]>) {
        let plan = self.plan();
        let mut all = vec![0.0; plan.layout.end()];
        for (model, parameters) in of_models.into_iter().enumerate() {
            for (parameter, values) in plan.spec.parameters().iter().zip(parameters) {
                scatter(plan.layout.parameter(&parameter.name), model, values, &mut all);
            }
        }
        self.write(Space::Params, &all);
    }

    /// Reads what lies in [`Space::Params`], or in [`Space::Grads`] in the same places, of each model, for networks
    /// as small as the plan's or smaller.
    ///
    /// # Errors
    /// [`Error::Device`] as for [`Gpu::run`].
    pub async fn read_parameters<'a>(
        &mut self,
        space: Space,
        of_models: impl IntoIterator<Item = &'a Spec>,
    ) -> Result<Vec<Vec<Array2<f64>>>> {
        let all = self.read(space).await?;
        let layout = &self.plan().layout;
        let gather = |model: usize, parameter: Parameter| {
            let place = layout.parameter(&parameter.name);
            let element = |(row, column)| all[place.at(model, row, 0) + column];
            Array2::from_shape_fn((parameter.rows, parameter.cols), element)
        };
        let of_model = |(model, spec): (usize, &Spec)| {
            spec.parameters().into_iter().map(|parameter| gather(model, parameter)).collect()
        };
        Ok(of_models.into_iter().enumerate().map(of_model).collect())
    }

    /// Writes the statistics that inference uses, of each model, with zeros where they are of fewer features than
    /// the plan's.
    pub fn write_statistics<'a>(&mut self, of_models: impl IntoIterator<Item = &'a [Statistics]>) {
        let plan = self.plan();
        let size = plan.layout.running().map(|place| place.end(1)).max().unwrap_or(0);
        let mut all = vec![0.0; size];
        for (model, statistics) in of_models.into_iter().enumerate() {
            for (place, of_layer) in plan.layout.running().zip(statistics) {
                let high: Vec<f64> = of_layer.mean.iter().map(|&mean| mean as f32 as f64).collect();
                let low = of_layer.mean.iter().zip(&high).map(|(mean, high)| mean - high);
                let rows = high.iter().copied().chain(low).chain(of_layer.variance.iter().copied());
                let rows = Array2::from_shape_vec((3, high.len()), rows.collect()).unwrap_or_default();
                scatter(place, model, &rows, &mut all);
            }
        }
        self.write(Space::Running, &all);
    }

    /// Runs a chunk of steps, each by the program of that number; returns their records of the log.
    ///
    /// # Errors
    /// [`Error::Device`] as for [`Gpu::run`], and if a record is not that of its step.
    pub async fn run(&mut self, steps: &[(usize, Step)]) -> Result<Vec<f64>> {
        match self {
            Engine::Cpu(cpu) => Ok(cpu.run(steps)),
            Engine::Twin(cpu) => Ok(cpu.run(steps)),
            Engine::Gpu(gpu) => {
                let log: Vec<f64> = gpu.run(steps).await?.into_iter().map(f64::from).collect();
                let of_steps = steps.iter().zip(log.chunks(gpu.plan().models * gpu.plan().record));
                for (&(program, step), of_models) in of_steps {
                    let mode = gpu.plan().programs[program].mode;
                    let counted = matches!(mode, Mode::Train | Mode::Evaluate);
                    let mut found = of_models.chunks(gpu.plan().record).map(|record| record[METRICS - 1]);
                    if counted && let Some(other) = found.find(|&number| number != step.counted()) {
                        let wanted = step.counted();
                        let answer = format!("step {other} where it should have run step {wanted}");
                        return Err(gpu.device().faulty(&answer));
                    }
                }
                Ok(log)
            }
        }
    }

    /// Reads a whole space of reals.
    ///
    /// # Errors
    /// [`Error::Device`] as for [`Gpu::run`].
    pub async fn read(&mut self, space: Space) -> Result<Vec<f64>> {
        match self {
            Engine::Cpu(cpu) => Ok(cpu.read(space)),
            Engine::Twin(cpu) => Ok(cpu.read(space)),
            Engine::Gpu(gpu) => Ok(gpu.read(space).await?.into_iter().map(f64::from).collect()),
        }
    }
}

/// Elements of a block of rows, or one row: a copy of all could take more memory than is left.
const BLOCK: usize = 1 << 20;

/// Takes rows, or all, padded to a multiple of four columns, block by block with the place of its first element.
fn in_blocks<T: Copy + Default>(values: &Array2<T>, rows: Option<&[u32]>, mut take: impl FnMut(usize, &[T])) {
    let ld = values.ncols().next_multiple_of(4).max(4);
    let count = rows.map_or(values.nrows(), <[u32]>::len);
    let of_block = (BLOCK / ld).clamp(1, count.max(1));
    let mut block = vec![T::default(); of_block * ld];
    for first in (0..count).step_by(of_block) {
        let places = first..count.min(first + of_block);
        for (to, place) in block.chunks_mut(ld).zip(places.clone()) {
            let from = values.row(rows.map_or(place, |rows| rows[place] as usize));
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        }
        take(first * ld, &block[..places.len() * ld]);
    }
}

/// Copies a model's matrix to the beginning of its place in a space.
fn scatter(place: Tensor, model: usize, values: &Array2<f64>, all: &mut [f64]) {
    for (row, from) in values.outer_iter().enumerate() {
        let to = &mut all[place.at(model, row, 0)..][..place.cols];
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }
}
