//! Data sets of rows that are in memory.

use ndarray::Array1;

use super::checks::{check, finite, suits};
use super::config::Config;
use super::data::TrainingData;
use super::split::split_of;
use super::values::Part;
use crate::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Target, TargetKind};
use crate::model::Model;
use crate::{Error, Result, Task};

impl TrainingData {
    /// Takes rows that are in memory, `[rows, features]`, named x0, x1, …, or images as bytes. `targets` are indices of
    /// `classes`, or values where there are no classes, and are named y. Of the configuration it takes what a data set is
    /// made by: `valid` and `test`, which are fractions here, the split's seed, `task` and `standardize`.
    ///
    /// ```
    /// use minilote::train::{Config, Predictor, Trainer, TrainingData, train};
    /// use minilote::{Device, data::Inputs};
    /// use ndarray::{Array1, Array2};
    ///
    /// # fn main() -> minilote::Result<()> {
    /// // Whether a point lies in a ring.
    /// let x = Array2::from_shape_fn((400, 2), |(row, column)| ((row * [7, 13][column]) % 101) as f64 / 50.0 - 1.0);
    /// let y: Array1<f64> = x.outer_iter().map(|p| f64::from((0.3..1.0).contains(&p.dot(&p)))).collect();
    /// let config = Config { epochs: 60, ..Config::default() };
    /// let data = TrainingData::of_arrays(Inputs::Real(x), y, &["outside", "inside"], &config)?;
    /// pollster::block_on(async {
    ///     let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
    ///     let model = train(&mut trainer, &mut ()).await?.model;
    ///     let rows = Inputs::Real(ndarray::array![[0.6, 0.5], [0.0, 0.1]]);
    ///     let outputs = Predictor::new(&model, &rows, &Device::Cpu).await?.outputs().await?;
    ///     let probabilities = model.interpret(&outputs); // [rows, classes]
    ///     assert!(probabilities[(0, 1)] > 0.5 && probabilities[(1, 1)] < 0.5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`TrainingData::new`]; [`Error::Config`] if the task does not suit the classes, `valid` or `test` is a file,
    /// or rows are too few for them.
    pub fn of_arrays(
        inputs: Inputs,
        targets: Array1<f64>,
        classes: &[&str],
        config: &Config,
    ) -> Result<TrainingData> {
        let numeric =
            |column| Feature { name: format!("x{column}"), kind: FeatureKind::Numeric { fill: None } };
        let features = match &inputs {
            Inputs::Real(values) => (0..values.ncols()).map(numeric).collect(),
            Inputs::Bytes(values) => {
                vec![Feature { name: "x".into(), kind: FeatureKind::Pixels { count: values.ncols() } }]
            }
        };
        let (task, kind) = match classes.len() {
            0 => (Task::Regression, TargetKind::Value),
            count => {
                let names = classes.iter().map(|class| class.to_string()).collect();
                (if count == 2 { Task::Binary } else { Task::Classification }, TargetKind::Classes(names))
            }
        };
        let task = config.task.unwrap_or(task);
        let schema = Schema { features, target: Target { name: "y".into(), kind }, missing: Missing::Refuse };
        // Before the split, which goes by classes.
        schema.check().map_err(Error::Config)?;
        check(task, &schema, inputs.rows(), &targets, &Split::default())?;
        if config.group.is_some() {
            let message = "--group is of a table's column: split rows in memory by TrainingData::new";
            return Err(Error::Config(message.into()));
        }
        if [&config.valid, &config.test].into_iter().any(|part| matches!(part, Part::File(_))) {
            let message =
                "rows in memory are split by fractions: give --valid and --test as such, not as files";
            return Err(Error::Config(message.into()));
        }
        let split = split_of(&targets, &schema, task, config, None, &Error::Config)?;
        TrainingData::new(task, schema, inputs, targets, split, config.standardize, vec![])
    }

    /// Takes rows to train a model further on: scaled by its own statistics, so that its weights see what they did.
    /// `inputs` and `targets` are as for [`TrainingData::new`], of the model's columns and classes.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no training rows, targets, classes, split or width do not suit, or a value is not finite.
    pub fn for_model(
        model: &Model,
        inputs: &Inputs,
        mut targets: Array1<f64>,
        split: Split,
    ) -> Result<TrainingData> {
        let (task, schema) = (model.spec.task, model.schema.clone());
        suits(inputs.rows(), inputs.width(), schema.width())?;
        check(task, &schema, inputs.rows(), &targets, &split)?;
        finite(&schema, inputs, &targets)?;
        if split.train.is_empty() {
            return Err(Error::Config("there are no rows to train on".into()));
        }
        if let Some(target) = &model.target {
            targets.iter_mut().for_each(|value| target.apply_row(std::slice::from_mut(value)));
        }
        let lines = (1..=targets.len() as u64).collect();
        let (standardizer, target) = (model.standardizer.clone(), model.target.clone());
        let inputs = model.prepare(inputs).into_owned();
        Ok(TrainingData { task, schema, standardizer, target, inputs, targets, lines, split, notes: vec![] })
    }
}
