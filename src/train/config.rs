use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Batch, Betas, OptimizerKind, Part, ScheduleKind, Sizes};
use crate::Task;
use crate::data::{Missing, Order, Splitting, Standardize};
use crate::gpu::Autotune;
use crate::model::{Init, Norm, Source};
use crate::ops::{Function, Rule};

/// Everything that decides how a model is trained, but for the data file and the device. The command's
/// flags, the keys of its configuration file and these fields are the same. What makes a data set ([`Config::target`] to
/// [`Config::group`], and the split's seed) is read where that is made, as by [`super::TrainingData::read`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Config {
    /// The column to predict (CSV)
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN", help_heading = "Data"))]
    pub target: Option<String>,

    /// Columns to leave out, as identifiers (CSV); one whose name has a comma stands alone
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN,…", help_heading = "Data"))]
    pub ignore: Option<String>,

    /// The file of labels (IDX); by default the one named like the images, with "labels" for
    /// "images", as in t10k-labels-idx1-ubyte
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", help_heading = "Data"))]
    pub labels: Option<PathBuf>,

    /// What to predict: one of two classes, one of several, or a value. By default a target that is not
    /// a number, or takes at most 20 whole values, is a class
    #[cfg_attr(feature = "cli", arg(long, value_enum, help_heading = "Data"))]
    pub task: Option<Task>,

    /// What to do with rows that miss a value: refuse the file, put the mean (or the most frequent
    /// category) in its place, or drop the row
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "refuse", help_heading = "Data"))]
    pub missing: Missing,

    /// How features are scaled, by statistics of the training rows that are kept in the model: (x − mean)/sigma,
    /// (x − mean)/sigma², to [−1, 1], or not at all. A value to predict is scaled alike, with
    /// variance by (y − mean)/sigma
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "standard", help_heading = "Data"))]
    pub standardize: Standardize,

    /// Rows that choose the best epoch and stop training early: a fraction of the data or a file; 0 for
    /// none
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "FRACTION|FILE", default_value = "0.15", help_heading = "Data")
    )]
    pub valid: Part,

    /// Rows that measure the trained model: a fraction of the data or a file; 0 for none
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "FRACTION|FILE", default_value = "0.2", help_heading = "Data")
    )]
    pub test: Part,

    /// How the fractions of --valid and --test are taken from the rows
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "random", help_heading = "Data"))]
    pub split: Splitting,

    /// Rows with the same value of this column, as of a patient or a day, stay in one part; the column is no feature (CSV)
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN", help_heading = "Data"))]
    pub group: Option<String>,

    /// Units of each hidden layer, as in 64,64; "none" for a linear model
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "UNITS,…", default_value_t = Config::default().hidden, help_heading = "Network")
    )]
    pub hidden: Sizes,

    /// The function that hidden units apply
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "relu", help_heading = "Network"))]
    pub activation: Function,

    /// Batch normalization of each hidden layer: none, before or after the activation
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "before", help_heading = "Network"))]
    pub norm: Norm,

    /// Probability that a hidden unit is dropped in a training step
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "P", default_value_t = Config::default().dropout, help_heading = "Network")
    )]
    pub dropout: f64,

    /// Weights start uniform in ±sqrt(6/inputs) (he) or ±sqrt(6/(inputs + outputs)) (xavier)
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "he", help_heading = "Network"))]
    pub init: Init,

    /// Start from these weights: a safetensors file with the names and layouts of PyTorch's equivalent
    /// nn.Sequential (0.weight [out, in], 1.running_mean, …), or a model file of the same network
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", help_heading = "Network"))]
    pub init_weights: Option<PathBuf>,

    /// Rows of a minibatch: 1 is online training, "full" one update an epoch [default: 32, or all rows where
    /// there are fewer; near 32 where it would leave one row over for batch normalization]
    #[cfg_attr(feature = "cli", arg(long, value_name = "ROWS|full", help_heading = "Training"))]
    pub batch: Option<Batch>,

    /// Train on this share of the training rows, the first of an order that the seed gives and in which classes keep
    /// their proportions. An epoch has as many updates as with all rows, which it repeats
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SHARE", default_value_t = Config::default().fraction, help_heading = "Training")
    )]
    pub fraction: f64,

    /// The order of the training rows: new in each epoch, or that of the file
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, default_value = "shuffled", help_heading = "Training")
    )]
    pub order: Order,

    /// Passes over the training rows, at the most
    #[cfg_attr(
        feature = "cli",
        arg(long, default_value_t = Config::default().epochs, help_heading = "Training")
    )]
    pub epochs: usize,

    /// Stop when this many epochs in a row brought no better validation loss; 0 never stops. The best
    /// epoch's weights are kept either way
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "EPOCHS", default_value_t = Config::default().patience, help_heading = "Training")
    )]
    pub patience: usize,

    /// How gradients move parameters
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "adam", help_heading = "Training"))]
    pub optimizer: OptimizerKind,

    /// Learning rate [default: 0.003 for adam and adamw, 0.1 for sgd, 0.01 for momentum]
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Training"))]
    pub lr: Option<f64>,

    /// What is kept of the last update by the momentum optimizer
    #[cfg_attr(
        feature = "cli",
        arg(long, default_value_t = Config::default().momentum, help_heading = "Training")
    )]
    pub momentum: f64,

    /// Nesterov's momentum: the gradient is taken to act ahead of the step
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "true|false", help_heading = "Training", action = clap::ArgAction::Set,
            num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")
    )]
    pub nesterov: bool,

    /// Decay of Adam's first and second moments
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "B1,B2", default_value_t = Config::default().betas, help_heading = "Training")
    )]
    pub betas: Betas,

    /// What Adam adds to the root of the second moment
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "EPS", default_value = "1e-8", help_heading = "Training")
    )]
    pub adam_eps: f64,

    /// How the learning rate goes over training: constant; step, times --step-factor every
    /// --step-epochs; cosine, down to 0
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, default_value = "constant", help_heading = "Training")
    )]
    pub schedule: ScheduleKind,

    /// Epochs over which the learning rate first rises from 0
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "EPOCHS", default_value_t = Config::default().warmup, help_heading = "Training")
    )]
    pub warmup: f64,

    /// Epochs between the steps of --schedule step
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "EPOCHS", default_value_t = Config::default().step_epochs, help_heading = "Training")
    )]
    pub step_epochs: usize,

    /// What a step of --schedule step multiplies the learning rate by
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "FACTOR", default_value_t = Config::default().step_factor, help_heading = "Training")
    )]
    pub step_factor: f64,

    /// L2 regularization: adds lambda/(2m) · Σ weight² to the loss, m the number of training rows, so it
    /// means the same at every batch size; biases, gamma and beta are exempt
    #[cfg_attr(
        feature = "cli",
        arg(long, default_value_t = Config::default().lambda, help_heading = "Training")
    )]
    pub lambda: f64,

    /// Decoupled weight decay: each step multiplies weights by 1 − lr · decay. Not L2: see --lambda
    /// [default: 0.01 for adamw, else 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DECAY", help_heading = "Training"))]
    pub weight_decay: Option<f64>,

    /// Statistics that batch normalization uses in inference: a moving average (ema), one pass over the
    /// training minibatches with the final weights (population), the exact ones of all rows of that pass
    /// (pooled), or PyTorch's moving average (pytorch)
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, default_value = "population", help_heading = "Training")
    )]
    pub stats: Source,

    /// Decides the split, the initial weights, the order of rows and dropout
    #[cfg_attr(
        feature = "cli",
        arg(long, default_value_t = Config::default().seed, help_heading = "Training")
    )]
    pub seed: u64,

    /// Decides the split in place of --seed, so that models of several seeds share one
    #[cfg_attr(feature = "cli", arg(long, value_name = "SEED", help_heading = "Training"))]
    pub split_seed: Option<u64>,

    /// On a GPU, whether a step runs in stages and how products are shared out among threads: by a rule (off), or
    /// as measured, which is remembered for the next run (quick); full measures again. Their last digits differ
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value = "off", help_heading = "Training"))]
    pub autotune: Autotune,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            target: None,
            ignore: None,
            labels: None,
            task: None,
            missing: Missing::Refuse,
            standardize: Standardize::Standard,
            valid: Part::Fraction(0.15),
            test: Part::Fraction(0.2),
            split: Splitting::Random,
            group: None,
            hidden: Sizes(vec![64, 32]),
            activation: Function::Relu,
            norm: Norm::Before,
            dropout: 0.0,
            init: Init::He,
            init_weights: None,
            batch: None,
            fraction: 1.0,
            order: Order::Shuffled,
            epochs: 100,
            patience: 20,
            optimizer: OptimizerKind::Adam,
            lr: None,
            momentum: 0.9,
            nesterov: false,
            betas: Betas(0.9, 0.999),
            adam_eps: 1e-8,
            schedule: ScheduleKind::Constant,
            warmup: 0.0,
            step_epochs: 30,
            step_factor: 0.1,
            lambda: 0.0,
            weight_decay: None,
            stats: Source::Population,
            seed: 0,
            split_seed: None,
            autotune: Autotune::Off,
        }
    }
}

impl Config {
    /// The learning rate, the optimizer's own where none is given.
    pub fn learning_rate(&self) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            OptimizerKind::Sgd => 0.1,
            OptimizerKind::Momentum => 0.01,
            OptimizerKind::Adam | OptimizerKind::Adamw => 0.003,
        })
    }

    /// Decoupled weight decay, AdamW's own where none is given.
    pub fn decay(&self) -> f64 {
        self.weight_decay.unwrap_or(if self.optimizer == OptimizerKind::Adamw { 0.01 } else { 0.0 })
    }

    /// What decides the split.
    pub fn split_seed(&self) -> u64 {
        self.split_seed.unwrap_or(self.seed)
    }

    /// The optimizer's rule.
    pub fn rule(&self) -> Rule {
        match self.optimizer {
            OptimizerKind::Sgd => Rule::Sgd,
            OptimizerKind::Momentum => Rule::Momentum { momentum: self.momentum, nesterov: self.nesterov },
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                Rule::Adam { beta1: self.betas.0, beta2: self.betas.1, eps: self.adam_eps }
            }
        }
    }
}
