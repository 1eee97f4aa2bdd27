//! What a run came to: summary.json, and the same for people.

use std::path::Path;

use minilote::data::{Inputs, Split};
use minilote::diagnosis::{Curve, Diagnosis, Evidence, Setup};
use minilote::model::{Model, Source};
use minilote::sweep::Trained;
use minilote::train::{
    End, Importance, Measured, Outcome, Scores, SourceReport, TrainingData, Validation, score,
};
use minilote::{Device, Result};
use ndarray::{Array1, Array2};
use serde::Serialize;

use super::progress::Watch;
use super::report::{self, Fold};
use super::{curve, html, importance, predictions, run};

/// What `summary.json` holds.
#[derive(Serialize)]
pub struct Summary {
    /// finished, stopped (early), interrupted, diverged, or lost with its device.
    end: &'static str,
    epochs: usize,
    best_epoch: usize,
    updates: u64,
    #[serde(flatten)]
    pub judged: Judged,
    valid: Option<Validation>,
    test: Option<Scores>,
    statistics: Source,
    sources: Vec<SourceReport>,
    fold: Option<Fold>,
    /// Rows of each part.
    rows: Parts,
    /// Rows of a whole minibatch.
    batch: usize,
    /// The part that predictions.csv is of: test, or valid, or train.
    scored: &'static str,
    seconds: f64,
    examples_per_second: f64,
}

/// What the model is judged by, and how.
#[derive(Serialize)]
pub struct Judged {
    /// On the training rows.
    train: Option<Measured>,
    pub diagnosis: Diagnosis,
    evidence: Evidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_curve: Option<Curve>,
    /// Of the columns, on the rows that predictions.csv is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    importance: Option<Vec<Importance>>,
}

impl Judged {
    pub fn new(trained: &Trained, data: &TrainingData, setup: &Setup) -> Judged {
        let evidence = Evidence::new(data, std::slice::from_ref(trained));
        let diagnosis = Diagnosis::new(&evidence, setup);
        Judged { train: trained.train, diagnosis, evidence, learning_curve: None, importance: None }
    }

    /// Judges by a learning curve, too.
    pub fn learn(&mut self, curve: Curve, setup: &Setup) {
        self.evidence.curve = curve.doubling;
        self.diagnosis = Diagnosis::new(&self.evidence, setup);
        self.learning_curve = Some(curve);
    }

    /// Adds the columns' importance, and writes its file, unless a signal ends it.
    ///
    /// # Errors
    /// As for [`minilote::train::importance`]; [`minilote::Error::File`].
    pub async fn importance(
        &mut self,
        model: &Model,
        data: &TrainingData,
        seed: u64,
        device: &Device,
        directory: &Path,
        quiet: bool,
    ) -> Result<()> {
        let (_, rows) = scored(&data.split);
        let (inputs, targets) = (data.inputs.select(rows), targets_of(model, data, rows));
        self.importance = importance::measure(model, &inputs, &targets, seed, device, quiet).await?;
        let file = directory.join(run::IMPORTANCE);
        self.importance.as_ref().map_or(Ok(()), |all| importance::write(&file, all))
    }
}

#[derive(Serialize)]
pub struct Parts {
    train: usize,
    valid: usize,
    test: usize,
}

/// Measures a trained model on the test rows, or where there are none on others, and writes its predictions.
///
/// # Errors
/// As for [`minilote::train::Predictor::prepared`]; [`minilote::Error::File`].
pub async fn summary(
    outcome: &Outcome,
    judged: Judged,
    data: &TrainingData,
    batch: usize,
    device: &Device,
    watch: &Watch,
    directory: &Path,
) -> Result<Summary> {
    let model = &outcome.model;
    let split = &data.split;
    let (scored, rows) = scored(split);
    let inputs: Inputs = data.inputs.select(rows);
    let (outputs, fold) = report::outputs(model, &inputs, device).await?;
    let targets = targets_of(model, data, rows);
    let lines = rows.iter().map(|&row| data.lines[row as usize]);
    predictions::write(&directory.join(run::PREDICTIONS), model, &outputs, &targets, lines)?;
    let test = (scored == "test").then(|| score(model, &outputs, &targets)).transpose()?;
    Ok(Summary {
        end: match outcome.end {
            End::Finished => "finished",
            End::Stopped => "stopped",
            End::Interrupted => "interrupted",
            End::Diverged(_) => "diverged",
            End::Lost(_) => "lost",
        },
        epochs: outcome.epochs,
        best_epoch: outcome.best_epoch,
        updates: model.updates,
        judged,
        valid: outcome.valid,
        test,
        statistics: model.source,
        sources: outcome.sources.clone(),
        fold,
        rows: Parts { train: split.train.len(), valid: split.valid.len(), test: split.test.len() },
        batch,
        scored,
        seconds: watch.elapsed(),
        examples_per_second: watch.rows as f64 / watch.seconds.max(1e-9),
    })
}

impl Summary {
    /// Writes the run's summary and its report.
    ///
    /// # Errors
    /// [`minilote::Error::File`].
    pub fn save(&self, directory: &Path) -> Result<()> {
        run::write_json(&directory.join(run::SUMMARY), self)?;
        html::write(directory)
    }
}

/// The rows that a model is scored on, and what they are called.
fn scored(split: &Split) -> (&'static str, &[u32]) {
    let parts = [("test", &split.test[..]), ("valid", &split.valid), ("train", &split.train)];
    parts.into_iter().find(|(_, rows)| !rows.is_empty()).unwrap_or(parts[2])
}

/// The scores of a model with these outputs for some rows of the data that it was trained with.
///
/// # Errors
/// As for [`score`].
pub fn scores_of(model: &Model, data: &TrainingData, rows: &[u32], outputs: &Array2<f64>) -> Result<Scores> {
    score(model, outputs, &targets_of(model, data, rows))
}

/// Targets in the table's own units.
fn targets_of(model: &Model, data: &TrainingData, rows: &[u32]) -> Array1<f64> {
    let own = |&row: &u32| match &model.target {
        Some(target) => target.invert_value(0, data.targets[row as usize]),
        None => data.targets[row as usize],
    };
    rows.iter().map(own).collect()
}

/// The summary for people.
pub fn text(summary: &Summary, epochs: usize) -> String {
    let (epoch, best) = (summary.epochs, summary.best_epoch);
    let mut text = match summary.end {
        "finished" => format!("finished {epoch} epochs"),
        "stopped" => format!("stopped early after epoch {epoch} of {epochs}, as validation got no better"),
        end => format!("{end} in epoch {epoch} of {epochs}"),
    };
    text += &format!(
        " ({:.1} s, {:.0} examples/s); the model is that of epoch {best}\n",
        summary.seconds, summary.examples_per_second
    );
    if let Some(train) = &summary.judged.train {
        text += &format!("train: loss {}\n", report::loss(train.loss, train.accuracy));
    }
    if let Some(valid) = &summary.valid {
        text += &format!("valid: loss {}\n", report::loss(valid.loss, valid.accuracy));
    }
    if let Some(test) = &summary.test {
        text += &format!("test: {}", report::scores(test));
    }
    if !summary.sources.is_empty() {
        let of = |report: &SourceReport| {
            let name = format!("{:?}", report.source).to_lowercase();
            let used = if report.source == summary.statistics { " (used)" } else { "" };
            format!("{name} {}{used}", report::number(report.loss))
        };
        let all: Vec<String> = summary.sources.iter().map(of).collect();
        let rows = if summary.valid.is_some() { "validation" } else { "training" };
        text += &format!("{rows} loss by statistics: {}\n", all.join(", "));
    }
    text += &summary.fold.as_ref().map_or(String::new(), report::fold);
    text += &summary.judged.learning_curve.as_ref().map_or(String::new(), curve::text);
    text += &summary.judged.importance.as_ref().map_or(String::new(), |all| importance::text(all));
    text + &report::diagnosis(&summary.judged.diagnosis)
}
