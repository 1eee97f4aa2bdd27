use serde::Serialize;

use super::{Trained, grid};
use crate::diagnosis::{Evidence, Finding, Rivals, Verdict};
use crate::train::{Config, Measured, TrainingData, Validation};

/// What the seeds of a combination have on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation, `sqrt(Σ(x − mean)² / (n − 1))`; none for one seed.
    pub deviation: Option<f64>,
}

impl Mean {
    /// None of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Mean> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Mean { mean, deviation })
    }
}

/// One model of a combination.
#[derive(Clone, Debug, Serialize)]
pub struct Seed {
    /// Of weights, order and dropout.
    pub seed: u64,
    /// Epochs that were begun, and the one whose weights were kept; 0 where it diverged before a good one.
    pub epochs: usize,
    /// See `epochs`.
    pub best_epoch: usize,
    /// On the validation rows.
    pub valid: Option<Validation>,
    /// On the training rows.
    pub train: Option<Measured>,
}

/// A combination of settings, and what its models came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// From 1.
    pub rank: usize,
    /// Hidden layers: `64x32`.
    pub hidden: String,
    /// See [`Config::lambda`].
    pub lambda: f64,
    /// Learning rate.
    pub lr: f64,
    /// How many numbers a model learns, where one was trained.
    pub parameters: Option<usize>,
    /// Seeds without a good epoch; the means are those of the others.
    pub diverged: usize,
    /// Validation loss, which ranks the rows.
    pub valid_loss: Option<Mean>,
    /// Share of validation rows classified right.
    pub valid_accuracy: Option<Mean>,
    /// Loss on the training rows, without the L2 term.
    pub train_loss: Option<Mean>,
    /// Share of training rows classified right.
    pub train_accuracy: Option<Mean>,
    /// Epochs that were begun.
    pub epochs: Option<Mean>,
    /// On the combination: see [`crate::diagnosis`].
    pub verdict: Verdict,
    /// Why.
    pub finding: Finding,
    /// Each seed.
    pub seeds: Vec<Seed>,
    /// The settings of the first seed.
    #[serde(skip)]
    pub config: Config,
    /// What the verdict is judged by.
    #[serde(skip)]
    pub evidence: Evidence,
}

/// The combinations of a sweep, the best first: by mean validation loss, those with fewer diverged seeds before
/// all others.
#[derive(Clone, Debug, Serialize)]
pub struct Leaderboard {
    /// The best first.
    pub rows: Vec<Row>,
    /// Of the models that it was made of, the one to keep: of the best combination's, that with the lowest
    /// validation loss; none where all diverged.
    #[serde(skip)]
    pub best: Option<usize>,
}

impl Leaderboard {
    /// Of the models of a sweep over a data set.
    pub fn new(trained: &[Trained], data: &TrainingData) -> Leaderboard {
        let alone = |config: &Config| Config { seed: 0, ..config.clone() };
        let mut rows: Vec<(Row, Option<usize>)> = vec![];
        let mut from = 0;
        for models in trained.chunk_by(|a, b| alone(&a.config) == alone(&b.config)) {
            let losses = models.iter().enumerate().filter_map(|(i, model)| Some((i, loss(model)?)));
            let best = losses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| from + i);
            rows.push((row(models, Evidence::new(data, models)), best));
            from += models.len();
        }
        compare(&mut rows);
        let mean = |row: &Row| row.valid_loss.map_or(f64::INFINITY, |loss| loss.mean);
        // Of some combinations there may be a few seeds yet, all of which diverged.
        let key = |row: &Row| (row.valid_loss.is_none(), row.diverged);
        rows.sort_by(|(a, _), (b, _)| key(a).cmp(&key(b)).then(mean(a).total_cmp(&mean(b))));
        let best = rows.first().and_then(|(_, best)| *best);
        let ranked = |(i, (row, _)): (usize, (Row, _))| Row { rank: i + 1, ..row };
        Leaderboard { rows: rows.into_iter().enumerate().map(ranked).collect(), best }
    }

    /// A table with a line for each combination, each mean with its sample standard deviation beside it.
    pub fn csv(&self) -> String {
        let mut text = "rank,hidden,lambda,lr,parameters,seeds,diverged,verdict".to_string();
        for name in ["valid_loss", "valid_accuracy", "train_loss", "train_accuracy", "epochs"] {
            text += &format!(",{name},{name}_sd");
        }
        text.push('\n');
        let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for row in &self.rows {
            let Row { rank, hidden, lambda, lr, diverged, verdict, .. } = row;
            let parameters = cell(row.parameters.map(|count| count as f64));
            text += &format!(
                "{rank},{hidden},{lambda},{lr},{parameters},{},{diverged},{verdict}",
                row.seeds.len()
            );
            for mean in [row.valid_loss, row.valid_accuracy, row.train_loss, row.train_accuracy, row.epochs] {
                let deviation = mean.and_then(|mean| mean.deviation);
                text += &format!(",{},{}", cell(mean.map(|mean| mean.mean)), cell(deviation));
            }
            text.push('\n');
        }
        text
    }
}

/// A model's validation loss, where there is a model.
fn loss(model: &Trained) -> Option<f64> {
    Some(model.outcome.as_ref().ok()?.valid?.loss)
}

/// Judges each combination again, beside those with at least as many parameters and at most as much L2, not both equal.
fn compare(rows: &mut [(Row, Option<usize>)]) {
    let all: Vec<_> = rows
        .iter()
        .map(|(row, _)| (row.parameters, row.lambda, row.lr, row.valid_loss.map(|loss| loss.mean)))
        .collect();
    for (row, _) in rows {
        let own = (row.parameters, row.lambda);
        let rivals = all.iter().filter(|(parameters, lambda, lr, _)| {
            *lr == row.lr && *parameters >= own.0 && *lambda <= own.1 && (*parameters, *lambda) != own
        });
        let unit = row.evidence.unit();
        let loss = row.valid_loss.map_or(f64::INFINITY, |loss| loss.mean);
        row.evidence.rivals = Some(Rivals::of(rivals.map(|rival| rival.3), loss, unit));
        row.finding = Finding::of(&row.evidence);
        row.verdict = row.finding.verdict();
    }
}

/// The models of one combination.
fn row(models: &[Trained], evidence: Evidence) -> Row {
    let finding = Finding::of(&evidence);
    let config = &models[0].config;
    let seed = |model: &Trained| {
        let of_run = model.outcome.as_ref().ok();
        Seed {
            seed: model.config.seed,
            epochs: of_run.map_or(0, |outcome| outcome.epochs),
            best_epoch: of_run.map_or(0, |outcome| outcome.best_epoch),
            valid: of_run.and_then(|outcome| outcome.valid),
            train: model.train,
        }
    };
    let seeds: Vec<Seed> = models.iter().map(seed).collect();
    let mean = |value: &dyn Fn(&Seed) -> Option<f64>| Mean::of(seeds.iter().filter_map(value));
    let learned = models.iter().find_map(|model| model.outcome.as_ref().ok());
    Row {
        rank: 0,
        hidden: grid::name(&config.hidden),
        lambda: config.lambda,
        lr: config.learning_rate(),
        parameters: learned.map(|outcome| outcome.model.spec.parameter_count()),
        diverged: models.iter().filter(|model| model.outcome.is_err()).count(),
        valid_loss: mean(&|seed| Some(seed.valid?.loss)),
        valid_accuracy: mean(&|seed| seed.valid?.accuracy),
        train_loss: mean(&|seed| Some(seed.train?.loss)),
        train_accuracy: mean(&|seed| seed.train?.accuracy),
        epochs: mean(&|seed| (seed.epochs > 0).then_some(seed.epochs as f64)),
        verdict: finding.verdict(),
        finding,
        seeds,
        config: config.clone(),
        evidence,
    }
}
