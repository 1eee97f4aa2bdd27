use std::ops::{ControlFlow, Range};

use ndarray::{Array1, Array2, Axis, concatenate, s};
use serde::Serialize;

use super::checks::suits;
use super::measure::Measured;
use super::predict::outputs_of_each;
use crate::data::{Inputs, Order, epoch_order};
use crate::model::{Layer, Model};
use crate::sweep::Mean;
use crate::{Device, Error, Result};

/// Elements of the first layers of models that are side by side.
const ELEMENTS: usize = 1 << 23;
/// Features that are shuffled at once though the first layer is narrower, since each chunk of them starts a session.
const FEATURES: usize = 32;

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
/// A shuffle adds to the sums `z = W x` of the first layer what the column's features, j, make of their differences:
///
/// ```text
/// z' = z + Σⱼ Wⱼ (x_πⱼ − xⱼ)
/// ```
///
/// So the differences of a few columns stand on the device after z, or after x in a table that is narrower, and copies of
/// the model are evaluated side by side, each with one column's weights for them. `observe` is told of how many of all
/// such copies were; none where it breaks off.
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
    let weight = &model.parameters[0];
    suits(values.nrows(), values.ncols(), weight.ncols())?;
    let columns = columns(model);
    let rows: Vec<u32> = (0..values.nrows() as u32).collect();
    let order = |shuffle| epoch_order(&rows, Order::Shuffled, seed, shuffle);
    let orders: Vec<Vec<u32>> = (0..shuffles).map(order).collect();
    let (unshuffled, own) = if *outputs < values.ncols() {
        (values.dot(&weight.t()), Array2::eye(*outputs))
    } else {
        (values.clone(), weight.clone())
    };
    let mut plain = with_first(model, own);
    // So that no copy has the names of all columns.
    plain.schema.features.clear();
    let base = measured(&[plain.clone()], &Inputs::Real(unshuffled.clone()), &targets, device).await?[0];
    let widest = columns.iter().map(|(_, places)| places.len()).max().unwrap_or(0);
    let features = unshuffled.ncols().max(FEATURES);
    let features = (ELEMENTS / (outputs * (2 * features + widest))).clamp(1, features);
    let (mut done, copies) = (0, shuffles * columns.len());
    let mut all = vec![];
    for some in columns.chunk_by(|(_, a), (_, b)| a.start / features == b.start / features) {
        let places = some[0].1.start..some[some.len() - 1].1.end;
        let values = values.slice(s![.., places.clone()]);
        let of_column = |(_, column): &(String, Range<usize>)| {
            let mut second = Array2::zeros((*outputs, places.len()));
            let at = column.start - places.start..column.end - places.start;
            second.slice_mut(s![.., at]).assign(&weight.slice(s![.., column.clone()]));
            with_first(&plain, concatenate![Axis(1), plain.parameters[0], second])
        };
        let models: Vec<Model> = some.iter().map(of_column).collect();
        let mut increases = vec![vec![]; some.len()];
        for order in &orders {
            if observe(done, copies).is_break() {
                return Ok(None);
            }
            done += some.len();
            let order: Vec<usize> = order.iter().map(|&row| row as usize).collect();
            let differences = values.select(Axis(0), &order) - values;
            let inputs = Inputs::Real(concatenate![Axis(1), unshuffled, differences]);
            let measured = measured(&models, &inputs, &targets, device).await?;
            for (increases, shuffled) in increases.iter_mut().zip(measured) {
                let error = shuffled.accuracy.zip(base.accuracy).map(|(shuffled, base)| base - shuffled);
                increases.push((shuffled.loss - base.loss, error));
            }
        }
        all.extend(some.iter().zip(increases).filter_map(|((column, _), increases)| {
            let loss = Mean::of(increases.iter().map(|(loss, _)| *loss))?;
            let error = Mean::of(increases.iter().filter_map(|(_, error)| *error));
            Some(Importance { column: column.clone(), loss, error })
        }));
    }
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

/// A copy with another weight of the first layer, of as many inputs as that has.
fn with_first(model: &Model, weight: Array2<f64>) -> Model {
    let mut copy = model.clone();
    if let Some(Layer::Linear { inputs, .. }) = copy.spec.layers.first_mut() {
        *inputs = weight.ncols();
    }
    copy.parameters[0] = weight;
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
