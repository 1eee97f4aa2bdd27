use serde::{Deserialize, Serialize};

use super::fault::DIVERGED;
use super::statistics::{BatchStatistics, of_record};
use crate::model::Spec;
use crate::{Error, Result};

/// What one update was.
#[derive(Clone, Debug, Serialize)]
pub struct StepRecord {
    /// Of those trained side by side, from 0.
    #[serde(skip)]
    pub model: usize,
    /// From 1.
    pub epoch: usize,
    /// Updates so far, this one included.
    pub step: usize,
    /// Rows of the minibatch.
    pub rows: usize,
    /// With the schedule's factor.
    pub lr: f64,
    /// Mean over the minibatch's rows, before the update.
    pub loss: f64,
    /// Share of the minibatch's rows that were classified right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// An epoch's means over its rows, each row's before the update that it took part in.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Epoch {
    /// Of those trained side by side, from 0.
    #[serde(skip)]
    pub model: usize,
    /// From 1.
    pub epoch: usize,
    /// Rows seen.
    pub rows: usize,
    /// Without the L2 term.
    pub loss: f64,
    /// Share of rows classified right; none for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Of the last step.
    pub lr: f64,
    /// It took.
    pub seconds: f64,
    /// Whether all minibatches were seen.
    #[serde(skip)]
    pub complete: bool,
    /// Whether the observer asked for an end.
    #[serde(skip)]
    pub interrupted: bool,
}

/// Euclidean norms of a layer's weight at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Norms {
    /// Of the weight.
    pub weight: f64,
    /// Of its gradient in the epoch's last step, see [`super::Group::gradients`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient: Option<f64>,
}

/// Means over rows that were evaluated with inference's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Without the L2 term.
    pub loss: f64,
    /// Share of rows classified right; none for a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The rows that gradients come from.
    Train,
    /// The rows that choose the best epoch.
    Valid,
    /// The rows that measure the result.
    Test,
}

/// The statistics of a network's training step, if they and its loss are finite: see [`of_record`].
pub fn checked(
    spec: &Spec,
    laid_out: &Spec,
    record: &[f64],
    rows: usize,
    (epoch, step): (usize, usize),
) -> Result<Vec<BatchStatistics>> {
    let diverged = |what: String| Error::Diverged { epoch, step, what, way_out: DIVERGED };
    if record[2] != 0.0 {
        return Err(diverged("an output of the network".into()));
    }
    if !record[0].is_finite() {
        return Err(diverged("the loss".into()));
    }
    let batches = of_record(spec, laid_out, record, rows);
    for ((layer, _), batch) in spec.batch_norms().zip(&batches) {
        if !batch.mean.iter().chain(&batch.variance).all(|value| value.is_finite()) {
            return Err(diverged(format!("a statistic of layer {layer}")));
        }
    }
    Ok(batches)
}
