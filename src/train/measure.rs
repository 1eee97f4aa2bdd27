use std::collections::HashMap;

use ndarray::Array2;
use serde::Serialize;

use super::config::Config;
use super::data::TrainingData;
use super::predict::outputs_of_each;
use super::record::Rows;
use crate::model::Model;
use crate::{Device, Result, Task};

/// What a trained model does on some rows: means over them, as inference computes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Without the L2 term.
    pub loss: f64,
    /// Of the mean loss, by the spread of the rows' losses: `sqrt(Σ(l − mean)² / (n − 1) / n)`; 0 for one row.
    pub standard_error: f64,
    /// Share of rows classified right; none for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Measured {
    /// Of outputs `[rows, outputs]`, some of whose rows are taken, each with its target as [`TrainingData`] has it.
    pub fn of(
        model: &Model,
        outputs: &Array2<f64>,
        rows: impl IntoIterator<Item = (usize, f64)>,
    ) -> Measured {
        let loss = model.spec.loss();
        let of_row = |(row, target)| loss.row(&mut outputs.row(row).to_vec(), target);
        let all: Vec<(f64, bool)> = rows.into_iter().map(of_row).collect();
        let n = all.len() as f64;
        let mean = all.iter().map(|(loss, _)| loss).sum::<f64>() / n;
        let squares = all.iter().map(|(loss, _)| (loss - mean).powi(2)).sum::<f64>();
        let right = all.iter().filter(|(_, right)| *right).count() as f64;
        Measured {
            loss: mean,
            standard_error: (squares / (n - 1.0).max(1.0) / n).sqrt(),
            accuracy: (model.spec.task != Task::Regression).then(|| right / n),
        }
    }
}

/// Measures models, side by side, on a part of the data set that they were trained with; with their configurations,
/// as a model of a fraction of the training rows is measured on its own. See [`outputs_of_each`] for what they may
/// differ in.
///
/// # Errors
/// As for [`super::Predictor::prepared`] and [`TrainingData::training_rows`]; [`crate::Error::Config`] for a part without
/// rows.
pub async fn measure(
    models: &[(&Model, &Config)],
    data: &TrainingData,
    part: Rows,
    device: &Device,
) -> Result<Vec<Measured>> {
    let rows = data.rows(part);
    let own = |(_, config): &(&Model, &Config)| match part {
        Rows::Train => data.training_rows(config),
        _ => Ok(rows.into()),
    };
    let own: Vec<_> = models.iter().map(own).collect::<Result<_>>()?;
    let places: HashMap<u32, usize> = rows.iter().enumerate().map(|(place, &row)| (row, place)).collect();
    let mut all = vec![Measured::default(); models.len()];
    let take = |model: usize, outputs: &Array2<f64>| {
        let targets = own[model].iter().map(|row| (places[row], data.targets[*row as usize]));
        all[model] = Measured::of(models[model].0, outputs, targets);
    };
    let of: Vec<&Model> = models.iter().map(|(model, _)| *model).collect();
    outputs_of_each(&of, &data.inputs, Some(rows), device, take).await?;
    Ok(all)
}
