use std::borrow::Cow;

use ndarray::Array2;

use super::config::Config;
use super::data::TrainingData;
use super::member::Member;
use super::planning::{CHUNK, batch_rows, evaluation_rows, plan, spec, way_out};
use super::statistics::Moving;
use crate::engine::{Device, Engine};
use crate::gpu::Tuning;
use crate::model::{Model, Source, Spec, Statistics, initialize, read_weights};
use crate::ops::{Function, Space, Step};
use crate::program::{Mode, Plan};
use crate::{Error, Result, Task};

/// A chunk is made as long as fits into this, so that progress shows and a driver's watchdog sleeps.
const CHUNK_SECONDS: f64 = 0.5;

/// Networks in training side by side on a device, in the same kernels along the tensors' axis of models.
///
/// They share the data set and all settings but hidden sizes, learning rate, L2, weight decay, fraction and seed. A network
/// narrower than the others lies in the beginning of their places, and the units that it lacks stay 0: with
/// relu and tanh a unit whose weights, gamma and beta are 0 has an output of 0 and so has gradients of 0.
pub struct Group {
    pub(super) engine: Engine,
    pub(super) members: Vec<Member>,
    pub(super) data: TrainingData,
    pub(super) updates: usize,
    pub(super) epoch: usize,
    batch: usize,
    pub(super) chunk: usize,
    /// The chunk that is never exceeded.
    pub(super) longest: usize,
    pub(super) tuning: Tuning,
    /// Of the data, once somebody asked.
    pub(super) checksum: Option<u64>,
}

impl Group {
    /// Compiles all that training these models will run, without a device, with room for `hidden` units.
    ///
    /// # Errors
    /// As for [`super::Trainer::plan`]; [`Error::Config`] if there is no model, or one differs in more than models
    /// of a group may.
    pub fn plan(data: &TrainingData, configs: &[Config], hidden: &[usize]) -> Result<Plan> {
        data.check()?;
        let refuse = |message: &str| Err(Error::Config(message.into()));
        let Some(first) = configs.first() else { return refuse("there is no model to train") };
        let shared = |config: &Config| Config {
            hidden: first.hidden.clone(),
            lr: first.lr,
            lambda: first.lambda,
            fraction: first.fraction,
            weight_decay: first.weight_decay,
            seed: first.seed,
            ..config.clone()
        };
        for config in configs {
            spec(data, config, &config.hidden.0)?;
            if shared(config) != *first {
                return refuse(
                    "models side by side differ in hidden sizes, --lr, --lambda, --weight-decay, --fraction and --seed alone",
                );
            }
            let sizes = &config.hidden.0;
            if sizes.len() != hidden.len() || sizes.iter().zip(hidden).any(|(size, room)| size > room) {
                return refuse("models side by side have as many layers, none wider than there is room for");
            }
            if sizes != hidden && first.activation == Function::Sigmoid {
                return refuse("models side by side with --activation sigmoid have the same hidden sizes");
            }
        }
        let spec = spec(data, first, hidden)?;
        let batch = batch_rows(&spec, data, first)?;
        Ok(plan(&spec, configs.len(), data, first, batch))
    }

    /// [`Group::plan`], if it fits the device as that runs it.
    ///
    /// # Errors
    /// As for [`Group::plan`]; [`Error::Fit`] with what would fit.
    pub fn check(data: &TrainingData, configs: &[Config], hidden: &[usize], device: &Device) -> Result<Plan> {
        let compiled = Group::plan(data, configs, hidden)?;
        let plan = device.rewrite(compiled.clone());
        if device.check(&plan, "").is_err() {
            let batch = batch_rows(&plan.spec, data, &configs[0])?;
            let way_out = way_out(&plan.spec, configs.len(), data, &configs[0], device, batch);
            device.check(&plan, &way_out)?;
        }
        Ok(compiled)
    }

    /// Sets models up for training: compiles, allocates, and loads the data set and the initial weights of each,
    /// which are those of a network of its own sizes.
    ///
    /// # Errors
    /// As for [`Group::check`] and [`TrainingData::training_rows`]; [`Error::Device`]; [`Error::File`] for
    /// `init_weights`.
    pub async fn new(
        data: TrainingData,
        configs: Vec<Config>,
        hidden: &[usize],
        device: &Device,
    ) -> Result<Group> {
        let compiled = Group::check(&data, &configs, hidden, device)?;
        let batch = batch_rows(&compiled.spec, &data, &configs[0])?;
        let (mut members, mut parameters) = (vec![], vec![]);
        for config in configs {
            let spec = spec(&data, &config, &config.hidden.0)?;
            let (initial, start) = match &config.init_weights {
                Some(path) => read_weights(&spec, path)?,
                None => {
                    let start =
                        |(_, n): (usize, usize)| Statistics { mean: vec![0.0; n], variance: vec![1.0; n] };
                    (initialize(&spec, config.init, config.seed), spec.batch_norms().map(start).collect())
                }
            };
            parameters.push(initial);
            let moving = start.into_iter().map(Moving::new).collect();
            let rows = match data.training_rows(&config)? {
                Cow::Borrowed(_) => None,
                Cow::Owned(rows) => Some(rows),
            };
            members.push(Member { config, spec, rows, moving, frozen: None });
        }
        let (plan, tuning) = device.tune(compiled, members[0].config.autotune).await?;
        let engine = Engine::new(device, plan).await?;
        let (chunk, longest) = (1, CHUNK);
        let mut group = Group {
            engine,
            members,
            data,
            updates: 0,
            epoch: 0,
            batch,
            chunk,
            longest,
            tuning,
            checksum: None,
        };
        group.write_data();
        group.engine.write_parameters(parameters.iter().map(Vec::as_slice));
        Ok(group)
    }

    /// Makes the session anew, on another device than the one that was lost, with all but parameters and the optimizer's
    /// state.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) async fn renew(&mut self) -> Result<()> {
        self.engine.renew().await?;
        self.write_data();
        Ok(())
    }

    /// Writes what training reads and does not change.
    fn write_data(&mut self) {
        self.engine.write_inputs(&self.data.inputs, None, &self.data.standardizer.affine());
        self.engine.write(Space::Targets, &self.data.targets.to_vec());
        self.write_hyper();
    }

    /// Begins anew from the parameters as they are, if there were steps before.
    pub(super) fn start_over(&mut self) {
        if self.epoch == 0 {
            return;
        }
        (self.updates, self.epoch) = (0, 0);
        for space in [Space::Moment1, Space::Moment2] {
            if let Some(&size) = self.engine.plan().spaces.get(&space) {
                self.engine.write(space, &vec![0.0; size]);
            }
        }
        for member in &mut self.members {
            member.frozen = None;
            let start = member.statistics(Source::Pytorch);
            member.moving = start.into_iter().map(Moving::new).collect();
        }
    }

    /// Learning rate, L2, weight decay and dropout key of each model, as the optimizer and dropout read them.
    pub(super) fn write_hyper(&mut self) {
        let all = self.data.split.train.len();
        let of_model = |member: &Member| {
            let Member { config, rows, frozen, .. } = member;
            let rows = rows.as_ref().map_or(all, Vec::len);
            let rates = match frozen {
                None => [config.learning_rate(), config.lambda / rows as f64, config.decay()],
                Some(_) => [0.0; 3],
            };
            [rates[0], rates[1], rates[2], member.key()]
        };
        let hyper: Vec<f64> = self.members.iter().flat_map(of_model).collect();
        self.engine.write(Space::Hyper, &hyper);
    }

    /// Keeps a model's parameters as they are from the next step on.
    pub fn freeze(&mut self, model: usize) {
        let frozen = &mut self.members[model].frozen;
        if frozen.is_none() {
            *frozen = Some(self.updates);
            self.write_hyper();
        }
    }

    /// The settings of a model.
    pub fn config(&self, model: usize) -> &Config {
        &self.members[model].config
    }

    /// How many they are.
    pub fn models(&self) -> usize {
        self.members.len()
    }

    /// What is trained on.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// [`TrainingData::checksum`].
    pub(super) fn checksum(&mut self) -> u64 {
        *self.checksum.get_or_insert_with(|| self.data.checksum())
    }

    /// Ends the session, which frees the device's memory, and gives the data set back.
    pub fn into_data(self) -> TrainingData {
        self.data
    }

    /// The session.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Minibatches of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.data.split.train.len().div_ceil(self.batch)
    }

    /// Minibatch number `step` of `rows` rows in all.
    pub(super) fn step(
        &self,
        mode: Mode,
        rows: usize,
        step: usize,
        slot: usize,
        lr_factor: f64,
    ) -> (usize, Step) {
        let size = self.size(mode, rows);
        let first = step * size;
        let number = self.updates + slot + 1;
        let betas = self.members[0].config.betas;
        let decayed = |beta: f64| 1.0 - beta.powf(number as f64);
        let step = Step {
            first: first as u32,
            slot: slot as u32,
            // It tells a step from those around it, for dropout and for the sign that it ran: 32 bits do.
            number: number as u32,
            lr_factor,
            corrections: [decayed(betas.0), decayed(betas.1)],
            ..Step::default()
        };
        (self.engine.plan().program(mode, size.min(rows - first)), step)
    }

    /// Rows of a whole minibatch.
    pub(super) fn size(&self, mode: Mode, rows: usize) -> usize {
        match mode {
            Mode::Train | Mode::Statistics => self.batch,
            Mode::Evaluate | Mode::Predict => evaluation_rows(self.batch, rows),
        }
    }

    /// Makes chunks as long as their time allows, after one of so many steps.
    pub(super) fn adapt(&mut self, count: usize, seconds: f64) {
        self.chunk = adapted(self.chunk, count, seconds).min(self.longest);
    }

    pub(super) fn of_rows(&self, correct: f64, rows: usize) -> Option<f64> {
        (self.data.task != Task::Regression).then(|| correct / rows as f64)
    }

    /// The parameters of each model as they are.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn parameters(&mut self) -> Result<Vec<Vec<Array2<f64>>>> {
        let specs = self.members.iter().map(|member| &member.spec);
        self.engine.read_parameters(Space::Params, specs).await
    }

    /// The gradients of each model's parameters in the last step: of the minibatch's mean loss, without L2. None
    /// where steps run in stages, in which gradients of parameters never reach memory.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn gradients(&mut self) -> Result<Option<Vec<Vec<Array2<f64>>>>> {
        if !self.engine.plan().spaces.contains_key(&Space::Grads) {
            return Ok(None);
        }
        let specs = self.members.iter().map(|member| &member.spec);
        Ok(Some(self.engine.read_parameters(Space::Grads, specs).await?))
    }

    /// Overwrites the parameters of each model; the optimizer's state and the moving averages stay.
    ///
    /// # Errors
    /// [`Error::Config`] if they are of other models or shapes.
    pub fn set_parameters<'a>(
        &mut self,
        of_models: impl IntoIterator<Item = &'a [Array2<f64>]>,
    ) -> Result<()> {
        let of_models: Vec<_> = of_models.into_iter().collect();
        self.check_each(&of_models, Spec::check_parameters)?;
        self.engine.write_parameters(of_models);
        Ok(())
    }

    /// A model from parameters and statistics of one of the networks.
    pub fn model_of(
        &self,
        model: usize,
        parameters: Vec<Array2<f64>>,
        statistics: Vec<Statistics>,
        source: Source,
    ) -> Model {
        let member = &self.members[model];
        Model {
            spec: member.spec.clone(),
            parameters,
            statistics,
            source,
            updates: member.frozen.unwrap_or(self.updates) as u64,
            schema: self.data.schema.clone(),
            standardizer: self.data.standardizer.clone(),
            target: self.data.target.clone(),
        }
    }
}

/// The next chunk's steps: as many as fit into its time, up to four times as many as before. One that was short for
/// want of steps shortens none.
fn adapted(chunk: usize, count: usize, seconds: f64) -> usize {
    let fitting = count as f64 * CHUNK_SECONDS / seconds.max(1e-6);
    (fitting as usize).clamp(1, (4 * count).max(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_take_their_time_and_stay_long_after_a_short_one() {
        // A fast device, then the two steps of a validation, a slow one, and one that hung.
        assert_eq!([adapted(1, 1, 1e-5), adapted(4, 4, 1e-4), adapted(16, 16, 0.2)], [4, 16, 40]);
        assert_eq!(adapted(400, 2, 1e-4), 400);
        assert_eq!(adapted(400, 2, 0.1), 10);
        assert_eq!([adapted(400, 400, 2.0), adapted(4, 4, 60.0)], [100, 1]);
    }
}
