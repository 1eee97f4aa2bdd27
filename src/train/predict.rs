use std::borrow::Cow;
use std::collections::BTreeSet;

use ndarray::Array2;

use crate::data::Inputs;
use crate::engine::{Device, Engine};
use crate::model::Model;
use crate::ops::{Rule, Step};
use crate::program::{DataShape, Mode, Plan};
use crate::{Error, Result};

/// Rows of a minibatch in prediction.
const ROWS: usize = 256;

/// A trained model on a device, with rows to predict.
pub struct Predictor {
    engine: Engine,
    rows: usize,
    outputs: usize,
}

impl Predictor {
    /// Compiles what predicts so many rows, which are kept as bytes or not, without a device.
    pub fn plan(model: &Model, rows: usize, bytes: bool) -> Plan {
        let mut requests = BTreeSet::from([(Mode::Predict, rows.clamp(1, ROWS))]);
        if !rows.is_multiple_of(ROWS) {
            requests.insert((Mode::Predict, rows % ROWS));
        }
        let data = DataShape { examples: rows, features: model.spec.inputs(), bytes, places: rows };
        Plan::new(&model.spec, 1, data, Rule::Sgd, &requests, 64).fused()
    }

    /// Loads a model and rows as they are in the table, `[rows, features]`, onto a device.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows have another width than the model; [`Error::Fit`] and
    /// [`Error::Device`].
    pub async fn new(model: &Model, inputs: &Inputs, device: &Device) -> Result<Predictor> {
        Predictor::prepared(model, &model.prepare(inputs), device).await
    }

    /// The same with reals that are standardized already, as [`super::TrainingData`] holds them.
    ///
    /// # Errors
    /// As for [`Predictor::new`].
    pub async fn prepared(model: &Model, inputs: &Inputs, device: &Device) -> Result<Predictor> {
        let (rows, width) = (inputs.rows(), inputs.width());
        if width != model.spec.inputs() || rows == 0 {
            let wanted = model.spec.inputs();
            return Err(Error::Config(format!("{rows} rows of {width} features; the model takes {wanted}")));
        }
        let plan = Predictor::plan(model, rows, matches!(inputs, Inputs::Bytes(_)));
        let way_out = if matches!(device, Device::Gpu(_)) {
            "predict fewer rows at a time, or use --device cpu"
        } else {
            "predict fewer rows at a time"
        };
        device.check(&plan, way_out)?;
        let mut engine = Engine::new(device, plan).await?;
        engine.write_inputs(inputs, &model.standardizer.affine());
        engine.write_parameters([&model.parameters[..]]);
        engine.write_statistics([&model.statistics[..]]);
        let order: Vec<u32> = (0..rows as u32).collect();
        engine.write_order([&order[..]]);
        Ok(Predictor { engine, rows, outputs: model.spec.outputs() })
    }

    /// The network's outputs for every row, `[rows, outputs]`: logits, or a standardized value.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn outputs(&mut self) -> Result<Array2<f64>> {
        let mut all = Array2::zeros((self.rows, self.outputs));
        let starts: Vec<usize> = (0..self.rows).step_by(ROWS).collect();
        for chunk in starts.chunks(self.engine.plan().slots) {
            let plan = self.engine.plan();
            let step = |(slot, &first): (usize, &usize)| {
                let program = plan.program(Mode::Predict, ROWS.min(self.rows - first));
                (program, Step { first: first as u32, slot: slot as u32, ..Step::default() })
            };
            let steps: Vec<_> = chunk.iter().enumerate().map(step).collect();
            let record = plan.record;
            let log = self.engine.run(&steps).await?;
            let ld = self.outputs.next_multiple_of(4);
            for (&first, record) in chunk.iter().zip(log.chunks(record)) {
                for (row, values) in record.chunks(ld).take(self.rows - first).take(ROWS).enumerate() {
                    for (output, &value) in values[..self.outputs].iter().enumerate() {
                        all[(first + row, output)] = value;
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Model {
    /// Rows of a table as [`Predictor::prepared`] takes them: reals standardized, bytes as they are.
    pub fn prepare<'a>(&self, inputs: &'a Inputs) -> Cow<'a, Inputs> {
        match inputs {
            Inputs::Real(_) if inputs.width() == self.spec.inputs() => {
                Cow::Owned(Inputs::Real(self.standardizer.transform(inputs)))
            }
            _ => Cow::Borrowed(inputs),
        }
    }

    /// What the outputs mean, `[rows, classes]` or `[rows, 1]`: the probability of each class, or the
    /// value in the table's own units.
    pub fn interpret(&self, outputs: &Array2<f64>) -> Array2<f64> {
        use crate::Task;
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        match self.spec.task {
            Task::Binary => {
                let of = |(row, class)| {
                    let z: f64 = outputs[(row, 0)];
                    if class == 1 { sigmoid(z) } else { sigmoid(-z) }
                };
                Array2::from_shape_fn((outputs.nrows(), 2), of)
            }
            Task::Classification => {
                let mut all = outputs.clone();
                for mut row in all.outer_iter_mut() {
                    let top = row.fold(f64::NEG_INFINITY, |top, &z| top.max(z));
                    row.mapv_inplace(|z| (z - top).exp());
                    let sum = row.sum();
                    row /= sum;
                }
                all
            }
            Task::Regression => {
                outputs.mapv(|z| self.target.as_ref().map_or(z, |target| target.invert_value(0, z)))
            }
        }
    }

    /// How far the folded network's outputs are from this one's: the largest difference, and the largest
    /// absolute output to hold it against.
    ///
    /// # Errors
    /// As for [`Predictor::prepared`].
    pub async fn fold_difference(&self, inputs: &Inputs, device: &Device) -> Result<(f64, f64)> {
        let inputs = self.prepare(inputs);
        let plain = Predictor::prepared(self, &inputs, device).await?.outputs().await?;
        self.fold_difference_from(&plain, &inputs, device).await
    }

    /// The same with inputs for [`Predictor::prepared`] and this model's outputs for them.
    ///
    /// # Errors
    /// As for [`Predictor::prepared`].
    pub async fn fold_difference_from(
        &self,
        plain: &Array2<f64>,
        inputs: &Inputs,
        device: &Device,
    ) -> Result<(f64, f64)> {
        let folded = Predictor::prepared(&self.fold(), inputs, device).await?.outputs().await?;
        let largest = |values: &Array2<f64>| values.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        Ok((largest(&(folded - plain)), largest(plain)))
    }
}
