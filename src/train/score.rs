use ndarray::{Array1, Array2};
use serde::Serialize;

use super::checks::of_classes;
use crate::model::Model;
use crate::{Error, Result, Task};

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
    /// Mean recall of the classes that have rows: rare ones count as much as frequent ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// Mean F1 of the classes that have rows or are predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Area under the ROC curve of the second of two classes: see [`Roc`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
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
    /// Of each class, in the same order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassScores>,
}

/// How well a class is told from the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// Its name.
    pub class: String,
    /// Share of the rows predicted as the class that are of it; none where none is predicted so.
    pub precision: Option<f64>,
    /// Share of the class's rows that are predicted as it; none where it has none.
    pub recall: Option<f64>,
    /// Harmonic mean of both, `2 hits / (rows of the class + rows predicted as it)`; none where there are neither.
    pub f1: Option<f64>,
}

impl ClassScores {
    /// From rows of each true class (outer) by predicted class (inner), and the classes' names.
    pub fn of_each(confusion: &[Vec<usize>], names: &[String]) -> Vec<ClassScores> {
        let ratio = |a: usize, b: usize| (b > 0).then(|| a as f64 / b as f64);
        let of_class = |(class, (row, name)): (usize, (&Vec<usize>, &String))| {
            let (hits, rows) = (row[class], row.iter().sum::<usize>());
            let predicted = confusion.iter().map(|row| row[class]).sum::<usize>();
            ClassScores {
                class: name.clone(),
                precision: ratio(hits, predicted),
                recall: ratio(hits, rows),
                f1: ratio(2 * hits, rows + predicted),
            }
        };
        confusion.iter().zip(names).enumerate().map(of_class).collect()
    }
}

/// The ROC curve of the second of two classes.
///
/// ```text
/// x = share of the first class's rows with p ≥ threshold,   y = the same of the second class's
/// ```
pub struct Roc {
    /// From (0, 0) to (1, 1).
    pub points: Vec<(f64, f64)>,
    /// Under the curve: the share of pairs of a row of either class that the probability puts in order, equal ones by half.
    pub area: f64,
}

impl Roc {
    /// From a class, 0 or 1, and the second one's probability for each row; none where either class has no row, or a
    /// probability is not finite.
    pub fn new(rows: impl IntoIterator<Item = (f64, f64)>) -> Option<Roc> {
        let mut rows: Vec<(f64, f64)> = rows.into_iter().collect();
        let positives = rows.iter().filter(|row| row.0 == 1.0).count() as f64;
        let negatives = rows.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 || !rows.iter().all(|row| row.1.is_finite()) {
            return None;
        }
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut x, mut y, mut area) = (0.0, 0.0, 0.0);
        let mut points = vec![(x, y)];
        for equals in rows.chunk_by(|a, b| a.1 == b.1) {
            let hits = equals.iter().filter(|row| row.0 == 1.0).count() as f64;
            let (width, height) = ((equals.len() as f64 - hits) / negatives, hits / positives);
            area += width * (y + height / 2.0);
            (x, y) = (x + width, y + height);
            points.push((x, y));
        }
        Some(Roc { points, area })
    }
}

/// Scores of outputs `[rows, outputs]`, against targets in the table's own units: class indices or values.
///
/// # Errors
/// [`Error::Config`] if there are no rows, outputs are not of as many rows as targets or not of the model's number, or
/// that names the row whose class the model lacks.
pub fn score(model: &Model, outputs: &Array2<f64>, targets: &Array1<f64>) -> Result<Scores> {
    check(model, outputs, targets)?;
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
        return Ok(Scores {
            rows,
            loss,
            r2: (spread > 0.0).then(|| 1.0 - squares / spread),
            rmse: Some((squares / n).sqrt()),
            mae: Some(errors.mapv(f64::abs).sum() / n),
            ..Scores::default()
        });
    }
    let classes = predictions.ncols();
    let mut confusion = vec![vec![0; classes]; classes];
    for (row, &target) in targets.iter().enumerate() {
        confusion[target as usize][best_class(&predictions, row)] += 1;
    }
    let correct: usize = (0..classes).map(|class| confusion[class][class]).sum();
    let scores = ClassScores::of_each(&confusion, model.classes());
    let mean = |of: fn(&ClassScores) -> Option<f64>| {
        let all: Vec<f64> = scores.iter().filter_map(of).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let roc = || Roc::new(targets.iter().copied().zip(predictions.column(1).iter().copied()));
    Ok(Scores {
        rows,
        loss,
        accuracy: Some(correct as f64 / n),
        balanced_accuracy: mean(|class| class.recall),
        macro_f1: mean(|class| class.f1),
        auc: if classes == 2 { roc().map(|roc| roc.area) } else { None },
        confusion,
        classes: scores,
        ..Scores::default()
    })
}

/// Whether there are outputs of the model for each target, and no class that it lacks.
fn check(model: &Model, outputs: &Array2<f64>, targets: &Array1<f64>) -> Result<()> {
    let refuse = |message: String| Err(Error::Config(message));
    let (rows, wanted) = (targets.len(), model.spec.outputs());
    if rows == 0 {
        return refuse("there are no rows to score".into());
    }
    if outputs.dim() != (rows, wanted) {
        let shape = outputs.shape();
        return refuse(format!(
            "outputs have shape {shape:?}; for {rows} targets it should be [{rows}, {wanted}]"
        ));
    }
    match model.spec.task {
        Task::Regression => Ok(()),
        Task::Binary => of_classes(targets, 2),
        Task::Classification => of_classes(targets, wanted),
    }
}

/// The most probable class of a row; the first of equals.
pub fn best_class(probabilities: &Array2<f64>, row: usize) -> usize {
    let row = probabilities.row(row);
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_under_the_curve_is_the_share_of_pairs_in_order() {
        let cases: [(&[f64], &[f64], Option<f64>); 5] = [
            (&[0.0, 0.0, 1.0, 1.0], &[0.1, 0.4, 0.35, 0.8], Some(0.75)),
            (&[0.0, 1.0], &[0.2, 0.9], Some(1.0)),
            (&[1.0, 0.0, 1.0, 0.0], &[0.5; 4], Some(0.5)),
            (&[1.0, 1.0], &[0.2, 0.9], None),
            (&[0.0, 1.0], &[f64::NAN, 0.9], None),
        ];
        for (classes, probabilities, expected) in cases {
            let roc = Roc::new(classes.iter().copied().zip(probabilities.iter().copied()));
            assert_eq!(roc.as_ref().map(|roc| roc.area), expected, "{classes:?} {probabilities:?}");
            assert!(roc.is_none_or(|roc| roc.points.last() == Some(&(1.0, 1.0))));
        }
    }

    /// As scikit-learn's `precision_recall_fscore_support`, but for what it sets to 0 where there are no rows.
    #[test]
    fn classes_without_rows_or_predictions_have_no_share_of_them() {
        let confusion = [vec![3, 1, 0, 0], vec![2, 0, 0, 0], vec![0, 0, 0, 0], vec![0, 0, 0, 0]];
        let names = ["a", "b", "c", "d"].map(String::from);
        let class =
            |name: &str, precision, recall, f1| ClassScores { class: name.into(), precision, recall, f1 };
        let expected = [
            class("a", Some(0.6), Some(0.75), Some(2.0 / 3.0)),
            class("b", Some(0.0), Some(0.0), Some(0.0)),
            class("c", None, None, None),
            class("d", None, None, None),
        ];
        assert_eq!(ClassScores::of_each(&confusion, &names), expected);
        let never = ClassScores::of_each(&[vec![5, 0], vec![1, 0]], &names);
        assert_eq!(never[1], class("b", None, Some(0.0), Some(0.0)));
    }
}
