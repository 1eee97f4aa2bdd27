use std::ops::{ControlFlow, Range};

use ndarray::{Array1, Array2, Axis, concatenate, s};
use serde::Serialize;

use super::measure::Measured;
use super::predict::outputs_of_each;
use crate::data::{Inputs, Order, epoch_order};
use crate::model::{Layer, Model};
use crate::sweep::Mean;
use crate::{Device, Error, Result};

/// Elements of the first layers of models that are side by side.
const ELEMENTS: usize = 1 << 23;

/// What a model loses as a column of a table is shuffled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// The column's name.
    pub column: String,
    /// By how much the loss rises, over shuffles.
    pub loss: Mean,
    /// By how much the share of rows classified wrong rises; none for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Mean>,
}

/// Permutation importance (Breiman, *Random forests*, 2001; Fisher, Rudin and Dominici, *All models are wrong, but many
/// are useful*, 2019): of each column of a table the mean over shuffles of
///
/// ```text
/// loss(rows with the column's values of rows π) − loss(rows),   π = epoch_order(rows, Shuffled, seed, shuffle)
/// ```
///
/// the most important first. A categorical column's levels are shuffled together. Columns that say the same may each
/// have little importance, as the model reads the other one. `inputs` are as [`Model::prepare`] gives them, `targets` in
/// the table's own units.
///
/// For each shuffle the columns stand twice, as they are and shuffled, on the device, and copies of the model are
/// evaluated side by side, each with one column's weights moved to the shuffled values. `observe` is told of how many of
/// all such copies were; none where it breaks off.
///
/// # Errors
/// [`Error::Config`] for images; as for [`super::Predictor::prepared`].
pub async fn importance(
    model: &Model,
    inputs: &Inputs,
    targets: &Array1<f64>,
    shuffles: usize,
    seed: u64,
    device: &Device,
    observe: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Importance>>> {
    let (Inputs::Real(values), Some(Layer::Linear { outputs, .. })) = (inputs, model.spec.layers.first())
    else {
        return Err(Error::Config("importance is of a table's columns, and images have none".into()));
    };
    let mut targets = targets.to_vec();
    if let Some(target) = &model.target {
        targets.iter_mut().for_each(|value| target.apply_row(std::slice::from_mut(value)));
    }
    let columns = columns(model);
    let rows: Vec<u32> = (0..values.nrows() as u32).collect();
    let mut increases = vec![vec![]; columns.len()];
    let (mut done, all) = (0, shuffles * columns.len());
    let chunk = (ELEMENTS / (2 * values.ncols() * outputs).max(1)).max(1);
    for shuffle in 0..shuffles {
        let order = epoch_order(&rows, Order::Shuffled, seed, shuffle);
        let order: Vec<usize> = order.into_iter().map(|row| row as usize).collect();
        let twice = concatenate![Axis(1), values.view(), values.select(Axis(0), &order).view()];
        let twice = Inputs::Real(twice);
        let base = measured(&[reading(model, 0..0)], &twice, &targets, device).await?[0];
        for (some, increases) in columns.chunks(chunk).zip(increases.chunks_mut(chunk)) {
            if observe(done, all).is_break() {
                return Ok(None);
            }
            done += some.len();
            let models: Vec<Model> = some.iter().map(|(_, places)| reading(model, places.clone())).collect();
            let measured = measured(&models, &twice, &targets, device).await?;
            for (increases, shuffled) in increases.iter_mut().zip(measured) {
                let error = shuffled.accuracy.zip(base.accuracy).map(|(shuffled, base)| base - shuffled);
                increases.push((shuffled.loss - base.loss, error));
            }
        }
    }
    let of_column = |((column, _), increases): ((String, _), Vec<(f64, Option<f64>)>)| {
        let loss = Mean::of(increases.iter().map(|(loss, _)| *loss))?;
        Some(Importance { column, loss, error: Mean::of(increases.iter().filter_map(|(_, error)| *error)) })
    };
    let mut all: Vec<Importance> = columns.into_iter().zip(increases).filter_map(of_column).collect();
    all.sort_by(|a, b| b.loss.mean.total_cmp(&a.loss.mean));
    Ok(Some(all))
}

/// Each column's name, and where its encoded features are.
fn columns(model: &Model) -> Vec<(String, Range<usize>)> {
    let mut end = 0;
    let place = |feature: &crate::data::Feature| {
        let begin = end;
        end += feature.kind.width();
        (feature.name.clone(), begin..end)
    };
    model.schema.features.iter().map(place).collect()
}

/// A copy for columns that stand twice: it reads some of them from their second place.
fn reading(model: &Model, places: Range<usize>) -> Model {
    let mut copy = model.clone();
    let weight = &model.parameters[0];
    let mut second = Array2::zeros(weight.dim());
    second.slice_mut(s![.., places.clone()]).assign(&weight.slice(s![.., places.clone()]));
    copy.parameters[0].slice_mut(s![.., places]).fill(0.0);
    copy.parameters[0] = concatenate![Axis(1), copy.parameters[0].view(), second.view()];
    if let Some(Layer::Linear { inputs, .. }) = copy.spec.layers.first_mut() {
        *inputs *= 2;
    }
    copy
}

async fn measured(
    models: &[Model],
    inputs: &Inputs,
    targets: &[f64],
    device: &Device,
) -> Result<Vec<Measured>> {
    let mut all = vec![Measured::default(); models.len()];
    let take = |model: usize, outputs: &Array2<f64>| {
        all[model] = Measured::of(&models[model], outputs, targets.iter().copied().enumerate());
    };
    outputs_of_each(&models.iter().collect::<Vec<_>>(), inputs, None, device, take).await?;
    Ok(all)
}
