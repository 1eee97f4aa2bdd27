use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use ndarray::Array2;

use super::checks::suits;
use crate::data::{Inputs, Standardizer};
use crate::engine::{Device, Engine};
use crate::model::{Model, Spec};
use crate::ops::{Rule, Step};
use crate::program::{DataShape, Mode, Plan};
use crate::{Error, Result};

/// Rows of a minibatch in prediction.
const ROWS: usize = 256;
/// Outputs that are held on the host at once, unless one model has more.
const ELEMENTS: usize = 1 << 24;

/// Trained models on a device, with rows to predict.
///
/// Where rows come a few at a time it is made once, with as many as may come, and then given others:
///
/// ```no_run
/// # use minilote::{Device, Result, data::Inputs, model::Model, ndarray::Array2, train::Predictor};
/// # async fn serve(requests: Vec<Inputs>) -> Result<()> {
/// let model = Model::load("model.safetensors".as_ref())?;
/// let most = Array2::zeros((16, model.spec.inputs())).into();
/// let mut predictor = Predictor::new(&model, &most, &Device::Cpu).await?;
/// for rows in requests {
///     predictor.set_inputs(&rows)?;
///     println!("{}", model.interpret(&predictor.outputs().await?));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Predictor {
    engine: Engine,
    standardizer: Standardizer,
    rows: usize,
    outputs: usize,
}

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut parts = f.debug_struct("Predictor");
        parts.field("engine", &self.engine).field("rows", &self.rows).field("outputs", &self.outputs);
        parts.finish_non_exhaustive()
    }
}

impl Predictor {
    /// Compiles what predicts so many rows, which are kept as bytes or not, without a device.
    pub fn plan(model: &Model, rows: usize, bytes: bool) -> Plan {
        Predictor::plan_of(&model.spec, 1, rows, bytes)
    }

    fn plan_of(spec: &Spec, models: usize, rows: usize, bytes: bool) -> Plan {
        let mut requests = BTreeSet::from([(Mode::Predict, rows.clamp(1, ROWS))]);
        if !rows.is_multiple_of(ROWS) {
            requests.insert((Mode::Predict, rows % ROWS));
        }
        let data = DataShape { examples: rows, features: spec.inputs(), bytes, places: rows };
        Plan::new(spec, models, data, Rule::Sgd, &requests, 64).fused()
    }

    /// Loads a model and rows as they are in the table, `[rows, features]`, onto a device.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows have another width than the model, or [`Model::check`] refuses it;
    /// [`Error::Fit`] and [`Error::Device`].
    pub async fn new(model: &Model, inputs: &Inputs, device: &Device) -> Result<Predictor> {
        Predictor::prepared(model, &model.prepare(inputs), device).await
    }

    /// The same with reals that are standardized already, as [`super::TrainingData`] holds them.
    ///
    /// # Errors
    /// As for [`Predictor::new`].
    pub async fn prepared(model: &Model, inputs: &Inputs, device: &Device) -> Result<Predictor> {
        Predictor::side_by_side(&[model], &model.spec, inputs, None, device).await
    }

    /// [`Predictor::prepared`] for models that lie in the beginning of the places of one network, as in
    /// [`super::Group`]; of the standardizers the first one's counts.
    async fn side_by_side(
        models: &[&Model],
        spec: &Spec,
        inputs: &Inputs,
        some: Option<&[u32]>,
        device: &Device,
    ) -> Result<Predictor> {
        let (rows, width) = (some.map_or(inputs.rows(), <[u32]>::len), inputs.width());
        suits(rows, width, spec.inputs())?;
        models.iter().try_for_each(|model| model.check())?;
        let plan = Predictor::plan_of(spec, models.len(), rows, matches!(inputs, Inputs::Bytes(_)));
        let way_out = if matches!(device, Device::Gpu(_)) {
            "predict fewer rows at a time, or use --device cpu"
        } else {
            "predict fewer rows at a time"
        };
        device.check(&plan, way_out)?;
        let mut engine = Engine::new(device, plan).await?;
        let standardizer = models[0].standardizer.clone();
        engine.write_inputs(inputs, some, &standardizer.affine());
        engine.write_parameters(models.iter().map(|model| &model.parameters[..]));
        engine.write_statistics(models.iter().map(|model| &model.statistics[..]));
        let order: Vec<u32> = (0..rows as u32).collect();
        engine.write_order(vec![&order[..]; models.len()]);
        Ok(Predictor { engine, standardizer, rows, outputs: spec.outputs() })
    }

    /// Takes other rows in place of those it has, as they are in the table: as many as it was made with, or fewer. Nothing
    /// is compiled, and no weight copied.
    ///
    /// Fewer rows take as long as up to 256 of those it was made with, whose places they share. Their outputs may differ
    /// by rounding from those of a predictor made for so many, since devices sum the products of more rows in another
    /// order.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no rows or more than it was made with, or they have another width, or
    /// are reals where those were bytes.
    pub fn set_inputs(&mut self, inputs: &Inputs) -> Result<()> {
        let DataShape { examples, features, bytes, .. } = self.engine.plan().data;
        let rows = inputs.rows();
        suits(rows, inputs.width(), features)?;
        if rows > examples {
            let message = format!(
                "{rows} rows; the predictor was made with {examples}: make it with as many as may come"
            );
            return Err(Error::Config(message));
        }
        let prepared = match inputs {
            _ if !bytes => Cow::Owned(Inputs::Real(self.standardizer.transform(inputs))),
            Inputs::Bytes(_) => Cow::Borrowed(inputs),
            Inputs::Real(_) => {
                let message = "the predictor was made with bytes and takes no reals: make it with reals";
                return Err(Error::Config(message.into()));
            }
        };
        self.engine.write_inputs(&prepared, None, &self.standardizer.affine());
        self.rows = rows;
        Ok(())
    }

    /// The network's outputs for every row, `[rows, outputs]`: logits, or a standardized value.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn outputs(&mut self) -> Result<Array2<f64>> {
        Ok(self.of_models().await?.swap_remove(0))
    }

    /// [`Predictor::outputs`] of each model.
    async fn of_models(&mut self) -> Result<Vec<Array2<f64>>> {
        let mut all = vec![Array2::zeros((self.rows, self.outputs)); self.engine.plan().models];
        let starts: Vec<usize> = (0..self.rows).step_by(ROWS).collect();
        for chunk in starts.chunks(self.engine.plan().slots) {
            let plan = self.engine.plan();
            // Behind fewer rows than it was made with a program finds others, from before.
            let rest = plan.data.examples % ROWS;
            let step = |(slot, &first): (usize, &usize)| {
                let rows = if self.rows - first <= rest { rest } else { ROWS };
                let program = plan.program(Mode::Predict, rows);
                (program, Step { first: first as u32, slot: slot as u32, ..Step::default() })
            };
            let steps: Vec<_> = chunk.iter().enumerate().map(step).collect();
            let (record, models) = (plan.record, plan.models);
            let log = self.engine.run(&steps).await?;
            let ld = self.outputs.next_multiple_of(4);
            for (&first, of_step) in chunk.iter().zip(log.chunks(record * models)) {
                for (all, record) in all.iter_mut().zip(of_step.chunks(record)) {
                    for (row, values) in record.chunks(ld).take(self.rows - first).take(ROWS).enumerate() {
                        for (output, &value) in values[..self.outputs].iter().enumerate() {
                            all[(first + row, output)] = value;
                        }
                    }
                }
            }
        }
        Ok(all)
    }
}

/// [`Predictor::outputs`] of each of several models for some rows, or all, of what [`Model::prepare`] gave: as many side
/// by side as fit the device, each given to `take` with its number. They differ in hidden sizes at the most, as in
/// [`super::Group`], and not even in those with sigmoid.
///
/// # Errors
/// As for [`Predictor::prepared`].
pub async fn outputs_of_each(
    models: &[&Model],
    inputs: &Inputs,
    rows: Option<&[u32]>,
    device: &Device,
    mut take: impl FnMut(usize, &Array2<f64>),
) -> Result<()> {
    let Some(first) = models.first() else { return Ok(()) };
    let spec = models.iter().fold(first.spec.clone(), |spec, model| spec.widest(&model.spec));
    let (number, bytes) = (rows.map_or(inputs.rows(), <[u32]>::len), matches!(inputs, Inputs::Bytes(_)));
    let fits = |count: usize| device.check(&Predictor::plan_of(&spec, count, number, bytes), "").is_ok();
    let mut count = (ELEMENTS / (number * spec.outputs()).max(1)).clamp(1, models.len());
    while count > 1 && !fits(count) {
        count = count.div_ceil(2);
    }
    for (chunk, some) in models.chunks(count).enumerate() {
        let outputs = Predictor::side_by_side(some, &spec, inputs, rows, device).await?.of_models().await?;
        outputs.iter().enumerate().for_each(|(model, outputs)| take(chunk * count + model, outputs));
    }
    Ok(())
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
    ///
    /// # Panics
    /// If there are not as many columns as the network has outputs.
    pub fn interpret(&self, outputs: &Array2<f64>) -> Array2<f64> {
        use crate::Task;
        assert_eq!(outputs.ncols(), self.spec.outputs(), "columns, and the network's outputs");
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
        self.check()?;
        let folded = Predictor::prepared(&self.fold(), inputs, device).await?.outputs().await?;
        let largest = |values: &Array2<f64>| values.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        Ok((largest(&(folded - plain)), largest(plain)))
    }
}
