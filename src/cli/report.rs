//! What people read about data, models and scores.

use std::path::Path;

use minilote::data::{Inputs, Schema, TargetKind};
use minilote::diagnosis::Diagnosis;
use minilote::gpu::Tuning;
use minilote::model::Model;
pub use minilote::plot::significant;
use minilote::sweep::Mean;
use minilote::train::{ClassScores, Predictor, Scores, TrainingData};
use minilote::{Device, Error, Result, Task};
use ndarray::{Array2, ArrayView1};
use serde::Serialize;

/// A confusion matrix of more classes than this is left to --json.
const CLASSES: usize = 12;

/// How far the outputs are from those of the network whose batch normalization went into the layers
/// beside it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Fold {
    pub max_difference: f64,
    pub max_output: f64,
}

/// A model's outputs for rows that [`Model::prepare`] gave, and the folded network's beside them, if
/// there is something to fold.
pub async fn outputs(model: &Model, inputs: &Inputs, device: &Device) -> Result<(Array2<f64>, Option<Fold>)> {
    let outputs = Predictor::prepared(model, inputs, device).await?.outputs().await?;
    if model.spec.batch_norms().next().is_none() {
        return Ok((outputs, None));
    }
    let (max_difference, max_output) = model.fold_difference_from(&outputs, inputs, device).await?;
    Ok((outputs, Some(Fold { max_difference, max_output })))
}

/// Refuses outputs that are no numbers, by the line of `file` that they are for.
pub fn check(outputs: &Array2<f64>, lines: &[u64], file: &Path) -> Result<()> {
    let broken = |(row, line): (ArrayView1<f64>, &u64)| (!row.iter().all(|z| z.is_finite())).then_some(*line);
    match outputs.outer_iter().zip(lines).find_map(broken) {
        None => Ok(()),
        row => {
            let message = "the network's outputs are not finite: a value lies far outside those of training";
            Err(Error::Data { file: file.into(), row, column: None, message: message.into() })
        }
    }
}

/// What was found about the forms of steps and the tiles of products, if it was asked for.
pub fn tuning(tuning: &Tuning) -> Option<String> {
    let (count, measured) = (tuning.choices.len(), tuning.measured);
    (count > 0).then(|| format!("kernels: {measured} measured, {} remembered", count - measured.min(count)))
}

pub fn fold(fold: &Fold) -> String {
    format!("fold: max |Δ| {:.1e} of outputs up to {}\n", fold.max_difference, number(fold.max_output))
}

/// A number of ordinary size with four decimals, another with an exponent.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) { format!("{value:.4}") } else { format!("{value:.3e}") }
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A loss and the accuracy, where there is one: `0.0712 (97.4 %)`.
pub fn loss(loss: f64, accuracy: Option<f64>) -> String {
    number(loss) + &accuracy.map_or(String::new(), |accuracy| format!(" ({})", percent(accuracy)))
}

/// The verdict, its evidence, and what to try next.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let mut text = format!("verdict: {}\n", diagnosis.verdict);
    diagnosis.evidence.iter().for_each(|line| text += &format!("  {line}\n"));
    text + &format!("try: {}\n  {}\n", diagnosis.next, diagnosis.command)
}

/// A mean with its deviation: `0.0611 ± 0.0098`.
pub fn spread(mean: Option<Mean>, show: &dyn Fn(f64) -> String) -> String {
    let text = |mean: Mean| match mean.deviation {
        Some(deviation) => format!("{} ± {}", show(mean.mean), show(deviation)),
        None => show(mean.mean),
    };
    mean.map_or("-".to_string(), text)
}

/// One line on a data set.
pub fn data(data: &TrainingData) -> String {
    let split = &data.split;
    format!(
        "data: {} rows to train, {} to validate, {} to test; {} features; {}",
        split.train.len(),
        split.valid.len(),
        split.test.len(),
        data.inputs.width(),
        target(&data.schema, data.task)
    )
}

/// What is predicted: `target diagnosis (binary: benign, malignant)`.
pub fn target(schema: &Schema, task: Task) -> String {
    let classes = match &schema.target.kind {
        TargetKind::Classes(classes) if classes.len() <= 4 => format!(": {}", classes.join(", ")),
        TargetKind::Classes(classes) => format!(": {} classes", classes.len()),
        TargetKind::Value => String::new(),
    };
    format!("target {} ({task}{classes})", schema.target.name)
}

/// Scores as a table.
pub fn scores(scores: &Scores) -> String {
    let correct = |accuracy| {
        let correct: usize = (0..scores.confusion.len()).map(|class| scores.confusion[class][class]).sum();
        format!("accuracy {} ({correct} of {})", percent(accuracy), scores.rows)
    };
    let mut parts: Vec<String> = scores.accuracy.map(correct).into_iter().collect();
    parts.extend(scores.balanced_accuracy.map(|accuracy| format!("balanced {}", percent(accuracy))));
    let named = [("AUC", scores.auc), ("loss", Some(scores.loss))];
    let values = [("R²", scores.r2), ("RMSE", scores.rmse), ("MAE", scores.mae)];
    for (name, value) in named.into_iter().chain(values) {
        parts.extend(value.map(|value| format!("{name} {}", number(value))));
    }
    let text = format!("{} rows: {}\n", scores.rows, parts.join(", "));
    if (1..=CLASSES).contains(&scores.classes.len()) { text + &confusion(scores) } else { text }
}

/// Rows of each true class by predicted class, and how well each class is told from the others.
fn confusion(scores: &Scores) -> String {
    let name =
        |class: &ClassScores| class.class.replace(char::is_control, " ").chars().take(16).collect::<String>();
    let mut rows = vec![vec!["predicted".to_string()]];
    rows[0].extend(scores.classes.iter().map(name));
    rows[0].extend(["recall", "precision", "F1"].map(String::from));
    for (class, counts) in scores.classes.iter().zip(&scores.confusion) {
        let shares = [class.recall, class.precision, class.f1].map(|share| share.map_or("-".into(), percent));
        let counts = counts.iter().map(usize::to_string);
        rows.push([name(class)].into_iter().chain(counts).chain(shares).collect());
    }
    table(&rows, 1).lines().map(|line| format!("  {line}\n")).collect()
}

/// Cells below one another: so many columns of text, then columns of numbers, which end together.
pub fn table(rows: &[impl AsRef<[String]>], texts: usize) -> String {
    let length = |cell: Option<&String>| cell.map_or(0, |cell| cell.chars().count());
    let width = |column: usize| rows.iter().map(|row| length(row.as_ref().get(column))).max().unwrap_or(0);
    let cell = |(column, cell): (usize, &String)| {
        let width = width(column);
        if column < texts { format!("{cell:width$}") } else { format!("{cell:>width$}") }
    };
    let cells = |row: &[String]| row.iter().enumerate().map(cell).collect::<Vec<_>>();
    rows.iter().map(|row| cells(row.as_ref()).join("  ").trim_end().to_string() + "\n").collect()
}
