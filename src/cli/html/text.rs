//! A run in words.

use minilote::Task;
use minilote::diagnosis::{flags, quoted};
use minilote::model::{Layer, Model, Norm};
use minilote::train::{Config, OptimizerKind, ScheduleKind};
use serde_json::Value;

use super::files::{Run, at};
use super::page::escape;
use crate::cli::importance::SHUFFLES;
use crate::cli::report::{number, target};

pub const AVERAGES: &str = "A training value is the mean over an epoch's minibatches, each before its update and as \
                            training computes it, with the minibatch's own statistics and with dropout; a validation \
                            value is measured after the epoch as inference computes it. So the one may lie above \
                            or below the other without any difference between the rows.";

pub const SOURCES: &str = "Loss on the validation rows, or the training rows where there are none, by the statistics \
                           that inference uses, and how far those are from the population's: of a layer's means the \
                           largest |mean − population mean| / population deviation, of its variances the largest \
                           |ln(variance / population variance)|. ema is the moving average over training, population \
                           the average over the training minibatches with the final weights, pooled the exact \
                           statistics of all those rows, pytorch PyTorch's moving average.";

pub const LEARNING_CURVE: &str = "Means over seeds, and one deviation up and down, of models that were trained on a \
                                  share of the training rows: each share's rows are among those of the larger ones, \
                                  classes keep their proportions, and every model takes as many updates, so that few \
                                  rows are seen more often. Columns, and a value to predict, are scaled by the \
                                  statistics of all training rows. Training values are of a model's own rows, \
                                  validation values of the same rows for all.";

/// Names and sentences.
pub fn words(run: &Run) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("Data", data(run)),
        ("Network", network(run)),
        ("Training", training(&run.train.config, run.score("/batch"))),
    ];
    let count = |pointer| run.score(pointer).unwrap_or(f64::NAN);
    let end = match run.summary["end"].as_str() {
        Some("stopped") => "stopped early, as validation got no better,",
        end => end.unwrap_or("–"),
    };
    all.push((
        "End",
        format!(
            "{end} after {} epochs and {} updates; the model is that of epoch {}.",
            count("/epochs"),
            count("/updates"),
            count("/best_epoch")
        ),
    ));
    if let (Some(difference), Some(output)) =
        (run.score("/fold/max_difference"), run.score("/fold/max_output"))
    {
        all.push((
            "Folding",
            format!(
                "With batch normalization folded into the linear layers, outputs of up to {} differ by at most \
                 {difference:.1e}.",
                number(output)
            ),
        ));
    }
    all.push(("Environment", environment(&run.environment)));
    all
}

fn data(run: &Run) -> String {
    let path = run.train.data.as_ref().map_or("–".into(), |data| data.display().to_string());
    let part = |name| run.score(&format!("/rows/{name}"));
    let rows = match (part("train"), part("valid"), part("test")) {
        (Some(train), Some(valid), Some(test)) => {
            format!("{train} rows to train, {valid} to validate, {test} to test")
        }
        _ => "the run is of a version that did not note its rows".into(),
    };
    format!("{path}: {rows}; {}.", columns(&run.model))
}

/// What a model sees and predicts.
pub fn columns(model: &Model) -> String {
    let (schema, mode) = (&model.schema, format!("{:?}", model.standardizer.mode).to_lowercase());
    format!(
        "{} features as {} inputs, standardize {mode}; {}",
        schema.features.len(),
        schema.width(),
        target(schema, model.spec.task)
    )
}

fn network(run: &Run) -> String {
    let (spec, config) = (&run.model.spec, &run.train.config);
    let sizes = spec.layers.iter().filter_map(|layer| match layer {
        Layer::Linear { outputs, .. } => Some(outputs.to_string()),
        _ => None,
    });
    let sizes: Vec<String> = std::iter::once(spec.inputs().to_string()).chain(sizes).collect();
    let mut text = format!("{} with {} parameters", sizes.join("-"), spec.parameter_count());
    if sizes.len() > 2 {
        text += &format!(", {}", config.activation);
        text += match config.norm {
            Norm::None => ", no batch normalization",
            Norm::Before => ", batch normalization before the activation",
            Norm::After => ", batch normalization after the activation",
        };
        if config.dropout > 0.0 {
            text += &format!(", dropout {}", config.dropout);
        }
    }
    text + "."
}

/// How a network is trained, with the rows of a minibatch where they are known.
pub fn training(config: &Config, batch: Option<f64>) -> String {
    let mut text = match config.optimizer {
        OptimizerKind::Sgd => "SGD".to_string(),
        OptimizerKind::Momentum if config.nesterov => format!("Nesterov's momentum {}", config.momentum),
        OptimizerKind::Momentum => format!("momentum {}", config.momentum),
        OptimizerKind::Adam => format!("Adam, betas {}", config.betas),
        OptimizerKind::Adamw => format!("AdamW, betas {}", config.betas),
    };
    text += &format!(", learning rate {}", config.learning_rate());
    text += match config.schedule {
        ScheduleKind::Constant => ", constant",
        ScheduleKind::Step => ", falling in steps",
        ScheduleKind::Cosine => ", falling as a cosine",
    };
    if config.warmup > 0.0 {
        text += &format!(" after {} epochs of warm-up", config.warmup);
    }
    for (name, value) in [("L2 with lambda", config.lambda), ("weight decay", config.decay())] {
        if value > 0.0 {
            text += &format!(", {name} {value}");
        }
    }
    if let Some(batch) = batch {
        text += &format!("; minibatches of {batch}");
    }
    let split = config.split_seed.map_or(String::new(), |seed| format!(", split by seed {seed}"));
    let Config { epochs, patience, seed, .. } = config;
    text + &format!("; at most {epochs} epochs, patience {patience}, seed {seed}{split}.")
}

/// What ran it.
pub fn environment(environment: &Value) -> String {
    let text = |pointer: &str| environment.pointer(pointer).and_then(Value::as_str);
    let mut all = vec![format!("minilote {}", text("/minilote").unwrap_or("of unknown version"))];
    all.extend(text("/device").map(String::from));
    all.extend(text("/adapter/driver").map(|driver| format!("driver {driver}")));
    all.extend(text("/os").zip(text("/arch")).map(|(os, arch)| format!("{os} {arch}")));
    all.extend(environment["cpu_threads"].as_u64().map(|threads| format!("{threads} CPU threads")));
    all.join("; ") + "."
}

/// What the curves' axis counts.
pub fn axis(run: &Run) -> String {
    match (run.score("/rows/train"), run.updates_per_epoch()) {
        (Some(rows), Some(updates)) => {
            format!("An epoch is a pass over the {rows} training rows, in {updates} updates.")
        }
        _ => "An epoch is a pass over the training rows.".into(),
    }
}

/// What rows the model is scored on.
pub fn scored(run: &Run) -> String {
    let rows = match run.scored() {
        "valid" => "validation rows, as there are no test rows",
        "train" => "training rows, as there are no others",
        _ => "test rows, which training has not seen",
    };
    let mut text = format!("Of the {rows}.");
    if run.predictions.is_none() {
        text += " There is no predictions.csv in this run, which one of this version writes: repeat the run for all \
                 that is drawn from it.";
    } else if run.model.spec.task == Task::Binary {
        text += " On the dashed line classes would be guessed; AUC is the share of pairs of a row of each class that \
                 the probability puts in order.";
    } else if run.model.spec.task == Task::Regression {
        text +=
            " On the dashed line predictions are exact: a point's height above it is the prediction's error.";
    }
    text
}

/// What the importance of a column is.
pub fn importance(run: &Run) -> String {
    let part = match run.scored() {
        "valid" => "validation rows",
        "train" => "training rows",
        _ => "test rows",
    };
    format!(
        "<p>By how much the mean loss of the {part}, and of classes the share of errors, rises as the values of a column \
         are shuffled among them: means and deviations of {SHUFFLES} shuffles; the levels of a category are shuffled together. Columns that \
         say the same may each seem to matter little. Permutation importance: L. Breiman, Random forests, 2001; A. \
         Fisher, C. Rudin and F. Dominici, All models are wrong, but many are useful, 2019, \
         <a href=\"https://arxiv.org/abs/1801.01489\">arXiv:1801.01489</a>.</p>\n"
    )
}

pub fn statistics(run: &Run) -> String {
    if run.statistics.is_empty() {
        return "This run did not log the layers' statistics by epoch, as one of this version does: repeat it to see \
                them."
            .into();
    }
    "The moving averages of the minibatches' statistics after each epoch, for the units of each layer: where their \
     mean and their deviation lie at three percentiles of units."
        .into()
}

pub fn norms(run: &Run) -> String {
    let mut text = "Euclidean norms, before the first update and of the model that was kept.".to_string();
    if run.train.config.init_weights.is_some() && run.start().is_none() {
        text += " The file of --init-weights can't be read any more, so the start is not known.";
    }
    if run.norms.is_empty() {
        text += " This run did not log norms by epoch, as one of this version does.";
    } else if run.norms.iter().all(|line| at(line, "/layers/0/gradient").is_none()) {
        text += " A step ran in stages, in which gradients of weights never reach memory: there is no figure of them.";
    } else {
        text += " Below, after each epoch; gradients are those of the mean loss without L2.";
    }
    text
}

/// What L2 does beside batch normalization, where there is both.
pub fn regularization(run: &Run) -> String {
    let config = &run.train.config;
    let by = match (config.lambda > 0.0, config.decay() > 0.0) {
        (true, _) => format!("L2 (lambda {})", config.lambda),
        (false, true) => format!("weight decay ({})", config.decay()),
        (false, false)
            if run.summary["diagnosis"]["next"].as_str().is_some_and(|next| next.contains("lambda")) =>
        {
            "L2".into()
        }
        (false, false) => return String::new(),
    };
    scale_free(config, &run.model, &by)
}

/// What L2 or weight decay does to weights before a batch normalization, where there is one.
pub fn scale_free(config: &Config, model: &Model, by: &str) -> String {
    if model.spec.batch_norms().next().is_none() || !super::figures::is_scale_free(config) {
        return String::new();
    }
    format!(
        "<p>Batch normalization takes the scale of the weights before it out of the network&apos;s function. So {by} \
         acts on them mainly through the effective learning rate, which is higher where their norm is lower, and \
         hardly limits the function: T. van Laarhoven, L2 regularization versus batch and weight normalization, \
         2017, <a href=\"https://arxiv.org/abs/1706.05350\">arXiv:1706.05350</a>. A sweep over it is read with care: \
         what does better may only have another effective learning rate. The last layer has no batch \
         normalization behind it.</p>\n"
    )
}

/// What to type, with the settings that are not the defaults.
pub fn commands(run: &Run) -> String {
    let config = run.directory.join(crate::cli::run::CONFIG);
    let data = run.train.data.as_ref().map_or(String::new(), |data| quoted(&data.display().to_string()));
    let device = quoted(&run.train.device);
    let command = format!("minilote train {data} --device {device}{}", flags(&run.train.config, &[]));
    let short = format!("minilote train --config {}", quoted(&config.display().to_string()));
    format!(
        "<p>In the folder where it was started, either of:</p>\n<pre>{}</pre>\n<pre>{}</pre>\n",
        escape(&short),
        escape(&command)
    )
}
