//! What training compiles: which programs, at which sizes, and what to do if they do not fit.

use std::collections::BTreeSet;

use super::config::Config;
use super::data::TrainingData;
use super::values::Batch;
use crate::data::Inputs;
use crate::engine::Device;
use crate::model::Spec;
use crate::program::{DataShape, Mode, Plan};
use crate::{Error, Result};

/// Steps of a chunk at the most.
pub const CHUNK: usize = 500;
/// Rows of an evaluation minibatch, unless training's are more.
const EVALUATION_ROWS: usize = 256;

/// Rows of an evaluation minibatch.
pub fn evaluation_rows(batch: usize, rows: usize) -> usize {
    batch.max(EVALUATION_ROWS).min(rows)
}

/// The network that a configuration describes for a data set, with hidden layers of these sizes.
///
/// # Errors
/// [`Error::Config`] if a layer or a flag is out of range.
pub fn spec(data: &TrainingData, config: &Config, hidden: &[usize]) -> Result<Spec> {
    config.check()?;
    let outputs = data.schema.outputs(data.task).unwrap_or(1);
    let inputs = data.inputs.width();
    let (function, norm) = (config.activation, config.norm);
    let spec = Spec::mlp(data.task, inputs, hidden, outputs, function, norm, config.dropout);
    spec.check()?;
    Ok(spec)
}

/// Rows of a minibatch where none are asked for.
const DEFAULT_ROWS: usize = 32;

/// Rows of a minibatch of this data set.
///
/// # Errors
/// [`Error::Config`] for more rows than there are, or where a minibatch of one row would be batch normalized:
/// its variance is 0.
pub fn batch_rows(spec: &Spec, data: &TrainingData, config: &Config) -> Result<usize> {
    let rows = data.split.train.len();
    let normalizes = spec.batch_norms().next().is_some();
    if normalizes && rows == 1 {
        let message = "one training row can't be batch normalized: use --norm none, or more rows";
        return Err(Error::Config(message.into()));
    }
    let fits = |batch: usize| (1..=rows).contains(&batch) && !(normalizes && leaves_one(rows, batch));
    let near = |batch: usize| {
        let mut around = (0..rows).flat_map(|d| [batch.saturating_sub(d), batch + d]);
        around.find(|&batch| batch > 1 && fits(batch)).unwrap_or(rows)
    };
    match config.batch {
        None => Ok(near(DEFAULT_ROWS.min(rows))),
        Some(Batch::Full) => Ok(rows),
        Some(Batch::Rows(batch)) if batch > rows => Err(Error::Config(format!(
            "--batch {batch} is more than the {rows} training rows: use --batch full, or a smaller one"
        ))),
        Some(Batch::Rows(batch)) if fits(batch) => Ok(batch),
        Some(Batch::Rows(1)) => Err(Error::Config(
            "a minibatch of one row can't be batch normalized, as its variance is 0: use --norm none for \
             online training, or --batch 2 or more"
                .into(),
        )),
        Some(Batch::Rows(batch)) => Err(Error::Config(format!(
            "{rows} training rows in minibatches of {batch} leave one row over, and one row can't be batch \
             normalized: use --batch {}, or --norm none",
            near(batch)
        ))),
    }
}

/// Whether a minibatch of an epoch has one row.
pub fn leaves_one(rows: usize, batch: usize) -> bool {
    batch == 1 || rows % batch == 1
}

pub fn plan(spec: &Spec, models: usize, data: &TrainingData, config: &Config, batch: usize) -> Plan {
    let split = &data.split;
    let mut requests = BTreeSet::new();
    let mut request = |mode, rows: usize, size: usize| {
        if rows >= size {
            requests.insert((mode, size));
        }
        if !rows.is_multiple_of(size) {
            requests.insert((mode, rows % size));
        }
    };
    request(Mode::Train, split.train.len(), batch);
    if spec.batch_norms().next().is_some() {
        request(Mode::Statistics, split.train.len(), batch);
    }
    for part in [&split.train, &split.valid, &split.test] {
        if !part.is_empty() {
            request(Mode::Evaluate, part.len(), evaluation_rows(batch, part.len()));
        }
    }
    let shape = DataShape {
        examples: data.targets.len(),
        features: data.inputs.width(),
        bytes: matches!(data.inputs, Inputs::Bytes(_)),
        places: [&split.train, &split.valid, &split.test]
            .map(|part| part.len())
            .into_iter()
            .max()
            .unwrap_or(0),
    };
    Plan::new(spec, models, shape, config.rule(), &requests, CHUNK)
}

/// What to do about a plan of so many models that does not fit a device: fewer of them, or the largest batch with
/// which one fits, if any.
pub fn way_out(
    spec: &Spec,
    models: usize,
    data: &TrainingData,
    config: &Config,
    device: &Device,
    batch: usize,
) -> String {
    let fits = |batch: usize| device.check(&device.rewrite(plan(spec, 1, data, config, batch)), "").is_ok();
    if fits(batch) {
        return "train fewer models side by side".into();
    }
    let (mut fitting, mut too_many) = (0, batch);
    while too_many - fitting > 1 {
        let middle = (fitting + too_many) / 2;
        if fits(middle) { fitting = middle } else { too_many = middle }
    }
    let normalizes = spec.batch_norms().next().is_some();
    while fitting > 0 && normalizes && leaves_one(data.split.train.len(), fitting) {
        fitting -= 1;
    }
    match (fitting, device) {
        (0, Device::Gpu(_)) => "no batch size fits: use smaller layers, or --device cpu".into(),
        (0, _) => "no batch size fits: use smaller layers".into(),
        (fitting, _) if models > 1 => format!("--batch {fitting} would fit for one model"),
        (fitting, _) => format!("--batch {fitting} would fit"),
    }
}
