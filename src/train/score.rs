use ndarray::{Array1, Array2};
use serde::Serialize;

use crate::Task;
use crate::model::Model;

/// How well a model does on some rows; loss as in training (without L2), all means over rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// How many.
    pub rows: usize,
    /// Cross-entropy in nats, or squared error in the standardized target's units.
    pub loss: f64,
    /// Share of rows whose most probable class is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// `1 − Σ(y − ŷ)² / Σ(y − mean(y))²`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// Root of the mean squared error, in the table's units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// Mean absolute error, in the table's units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// Rows of each true class (outer) by predicted class (inner).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
}

/// Scores of outputs `[rows, outputs]`, against targets in the table's own units: class indices or values.
pub fn score(model: &Model, outputs: &Array2<f64>, targets: &Array1<f64>) -> Scores {
    let rows = targets.len();
    let n = rows as f64;
    let loss_of = |(row, &target): (usize, &f64)| {
        let mut z = outputs.row(row).to_vec();
        let mut target = [target];
        if let Some(standardizer) = &model.target {
            standardizer.apply_row(&mut target);
        }
        model.spec.loss().row(&mut z, target[0]).0
    };
    let loss = targets.iter().enumerate().map(loss_of).sum::<f64>() / n;
    let predictions = model.interpret(outputs);
    if model.spec.task == Task::Regression {
        let mean = targets.sum() / n;
        let errors = targets - &predictions.column(0);
        let squares = errors.mapv(|e| e * e).sum();
        let spread = targets.mapv(|y| (y - mean).powi(2)).sum();
        return Scores {
            rows,
            loss,
            r2: (spread > 0.0).then(|| 1.0 - squares / spread),
            rmse: Some((squares / n).sqrt()),
            mae: Some(errors.mapv(f64::abs).sum() / n),
            ..Scores::default()
        };
    }
    let classes = predictions.ncols();
    let mut confusion = vec![vec![0; classes]; classes];
    for (row, &target) in targets.iter().enumerate() {
        confusion[target as usize][best_class(&predictions, row)] += 1;
    }
    let correct: usize = (0..classes).map(|class| confusion[class][class]).sum();
    Scores { rows, loss, accuracy: Some(correct as f64 / n), confusion, ..Scores::default() }
}

/// The most probable class of a row; the first of equals.
pub fn best_class(probabilities: &Array2<f64>, row: usize) -> usize {
    let row = probabilities.row(row);
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
