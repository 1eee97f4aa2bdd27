use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ops::Function;
use crate::train::{Config, Group, Sizes, TrainingData};
use crate::{Device, Error, Result};

/// A sweep has at most so many models.
pub(crate) const MODELS: usize = 10_000;

/// Settings to be tried in all combinations, each with several seeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grid {
    /// Hidden layers.
    pub hidden: Vec<Sizes>,
    /// See [`Config::lambda`].
    pub lambda: Vec<f64>,
    /// Learning rates; none for the optimizer's own.
    pub lr: Vec<f64>,
    /// How many: the configuration's own and those that follow it.
    pub seeds: usize,
}

impl Grid {
    /// The settings of every model: all seeds of a combination beside each other, hidden layers changing last.
    ///
    /// # Errors
    /// [`Error::Config`] that names the flag, if there is no model or too many, a value is named twice, or one can't
    /// be used.
    pub fn configs(&self, base: &Config) -> Result<Vec<Config>> {
        let refuse = |message: String| Err(Error::Config(message));
        let lr: Vec<Option<f64>> =
            if self.lr.is_empty() { vec![base.lr] } else { self.lr.iter().copied().map(Some).collect() };
        let sizes = [self.hidden.len(), self.lambda.len(), lr.len(), self.seeds];
        for (flag, size) in ["--hidden", "--lambda", "--lr", "--seeds"].into_iter().zip(sizes) {
            if size == 0 {
                return refuse(format!("a sweep without models: {flag} must name at least one"));
            }
        }
        let models = sizes.into_iter().fold(1, usize::saturating_mul);
        if models > MODELS {
            let [hidden, lambda, lr, seeds] = sizes;
            return refuse(format!(
                "{hidden} --hidden × {lambda} --lambda × {lr} --lr × {seeds} --seeds are {models} models; a sweep has \
                 at most {MODELS}: name fewer values, or sweep in parts with --out of their own"
            ));
        }
        let Some(last) = base.seed.checked_add(self.seeds as u64 - 1) else {
            return refuse(format!(
                "--seed {} leaves no room for {} seeds: use a smaller one",
                base.seed, self.seeds
            ));
        };
        let mut configs = vec![];
        for hidden in &self.hidden {
            for &lambda in &self.lambda {
                for &lr in &lr {
                    for seed in base.seed..=last {
                        configs.push(Config { hidden: hidden.clone(), lambda, lr, seed, ..base.clone() });
                    }
                }
            }
        }
        for combination in configs.iter().step_by(self.seeds) {
            combination.check()?;
            if configs.iter().filter(|config| *config == combination).count() > 1 {
                return refuse(format!("{} is in the grid twice: name each value once", label(combination)));
            }
        }
        Ok(configs)
    }
}

/// Hidden layers as a list of them has them: `64x32`.
pub fn name(hidden: &Sizes) -> String {
    hidden.to_string().replace(',', "x")
}

/// A combination in words.
pub fn label(config: &Config) -> String {
    format!("hidden {}, lambda {}, lr {}", name(&config.hidden), config.lambda, config.learning_rate())
}

/// Units of each hidden layer that have room for all of these models.
pub fn room(configs: &[Config]) -> Vec<usize> {
    let mut room: Vec<usize> = vec![];
    for sizes in configs.iter().map(|config| &config.hidden.0) {
        room.resize(room.len().max(sizes.len()), 0);
        room.iter_mut().zip(sizes).for_each(|(room, size)| *room = *size.max(room));
    }
    room
}

/// Which models are trained at once: those of as many layers, narrow ones first, as many as fit the device.
///
/// On a GPU they may differ in sizes, since a dispatch costs more than the arithmetic of small networks; on the CPU
/// backend, and with sigmoid, whose value at 0 is not 0, they are of the same sizes.
///
/// # Errors
/// [`Error::Config`] without validation rows; as for [`TrainingData::training_rows`], and for [`Group::check`] where
/// not even one model fits.
pub fn passes(data: &TrainingData, configs: &[Config], device: &Device) -> Result<Vec<Vec<usize>>> {
    if data.split.valid.is_empty() {
        return Err(Error::Config("a sweep compares models on validation rows: use --valid above 0".into()));
    }
    let mut alike: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
    for (model, config) in configs.iter().enumerate() {
        data.training_rows(config)?;
        let sizes = &config.hidden.0;
        let mixed = matches!(device, Device::Gpu(_)) && config.activation != Function::Sigmoid;
        let key = (sizes.len(), if mixed { vec![] } else { sizes.clone() });
        alike.entry(key).or_default().push(model);
    }
    let mut passes = vec![];
    for mut models in alike.into_values() {
        models.sort_by_key(|&model| configs[model].hidden.0.iter().sum::<usize>());
        let of_models: Vec<Config> = models.iter().map(|&model| configs[model].clone()).collect();
        let room = room(&of_models);
        let fits = |count: usize| -> Result<bool> {
            let plan = Group::plan(data, &of_models[..count], &room)?;
            Ok(device.check(&device.rewrite(plan), "").is_ok())
        };
        let (mut fitting, mut too_many) = (1, models.len() + 1);
        while too_many - fitting > 1 {
            let middle = (fitting + too_many) / 2;
            if fits(middle)? { fitting = middle } else { too_many = middle }
        }
        Group::check(data, &of_models[..fitting], &room, device)?;
        let count = models.len().div_ceil(fitting);
        passes.extend(models.chunks(models.len().div_ceil(count)).map(<[usize]>::to_vec));
    }
    Ok(passes)
}
