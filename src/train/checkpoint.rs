//! Checkpoints: all that a run in the middle of its training is, in a file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::config::Config;
use super::epoch::Running;
use super::group::Group;
use super::record::{Epoch, Validation};
use super::run::{Best, Progress, Run};
use super::snapshot::{SPACES, Snapshot};
use super::statistics::Moving;
use crate::checksum::Checksum;
use crate::files::write_whole;
use crate::model::{Spec, Statistics};
use crate::tensors::{self, Tensor, Tensors};
use crate::{Error, Result, caps};

/// The version of the file that this crate writes, and the only one it reads.
const VERSION: u32 = 1;

/// Keys of the file's metadata.
const STATE: &str = "minilote-checkpoint";
const SUM: &str = "checksum";
/// The tensor of [`State::history`], `[epochs, 2]`.
const HISTORY: &str = "history";

/// A run in the middle of its training, after a chunk of steps: parameters and the optimizer's state as the device
/// has them, moving averages, the place in the epoch, the best weights so far. Order of rows, dropout and schedule
/// follow from settings and place. A run that goes on from it on the same device ends with the same bits as one that
/// never stopped: see [`super::resume`].
#[derive(Clone, Debug)]
pub struct Checkpoint {
    state: State,
    /// As in [`SPACES`]; empty where the session has none.
    spaces: [Vec<f32>; SPACES.len()],
    /// The best parameters.
    best: Vec<Array2<f64>>,
    /// Where it was read, for messages; empty where it was made.
    file: PathBuf,
}

/// What the file's metadata holds, as JSON, whose numbers are exact.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    config: Config,
    /// [`super::TrainingData::checksum`].
    data: u64,
    updates: usize,
    /// From 1.
    epoch: usize,
    /// Minibatches of the epoch so far, and sums over their rows.
    minibatches: usize,
    rows: usize,
    loss: f64,
    correct: f64,
    seconds: f64,
    lr: f64,
    moving: Vec<Moving>,
    /// Of the epoch before.
    valid: Option<Validation>,
    /// A tensor of the file, as it grows with the epochs.
    #[serde(skip)]
    history: Vec<[f64; 2]>,
    best: Option<BestEpoch>,
    #[serde(deserialize_with = "short")]
    note: Value,
}

/// A value that takes little memory.
fn short<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    match Box::<RawValue>::deserialize(from)?.get() {
        note if note.len() > caps::NOTE => Err(D::Error::custom(format!("a note of {} bytes", note.len()))),
        note => serde_json::from_str(note).map_err(D::Error::custom),
    }
}

impl State {
    /// What can't be of a run of this network, if there is anything: a checksum proves no good will.
    fn wrong(&self, weights: &[Array2<f64>], spec: &Spec, steps: usize) -> Option<&'static str> {
        let suits = |all: &[Statistics]| {
            all.len() == spec.batch_norms().count()
                && all.iter().zip(spec.batch_norms()).all(|(of_norm, (_, features))| of_norm.suits(features))
        };
        let moving = self.moving.len() == spec.batch_norms().count()
            && self
                .moving
                .iter()
                .zip(spec.batch_norms())
                .all(|(moving, (_, features))| moving.suits(features));
        let weights_suit = |best: &BestEpoch| {
            let parameters = spec.parameters();
            weights.len() == parameters.len()
                && weights.iter().zip(&parameters).all(|(values, of)| values.dim() == (of.rows, of.cols))
                && weights.iter().flatten().all(|value| value.is_finite())
                && suits(&best.ema)
                && suits(&best.pytorch)
        };
        let place = self.epoch <= self.config.epochs
            && self.minibatches <= steps
            && self.updates == (self.epoch - 1) * steps + self.minibatches;
        match &self.best {
            _ if !place => Some("its place in the run is outside of it"),
            _ if !moving => Some("its moving averages are not of the network's sizes, or no statistics"),
            None if !weights.is_empty() => Some("best weights without their epoch"),
            Some(best) if best.epoch > self.epoch => Some("its best epoch is to come"),
            Some(best) if !weights_suit(best) => {
                Some("its best weights are not of the network's sizes, or no numbers")
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct BestEpoch {
    epoch: usize,
    valid: Option<Validation>,
    ema: Vec<Statistics>,
    pytorch: Vec<Statistics>,
}

impl Checkpoint {
    /// Of a snapshot of a group of one.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the epoch did.
    pub(super) fn of(group: &mut Group, snapshot: &Snapshot) -> Result<Checkpoint> {
        let epoch = snapshot.epochs[0].clone()?;
        let run = &snapshot.runs[0];
        let of_best = |best: &Best| BestEpoch {
            epoch: best.epoch,
            valid: best.valid,
            ema: best.ema.clone(),
            pytorch: best.pytorch.clone(),
        };
        let state = State {
            version: VERSION,
            config: group.config(0).clone(),
            data: group.checksum(),
            updates: snapshot.updates,
            epoch: snapshot.epoch,
            minibatches: snapshot.minibatches,
            rows: epoch.rows,
            loss: epoch.loss,
            correct: epoch.accuracy.unwrap_or(0.0),
            seconds: epoch.seconds,
            lr: epoch.lr,
            moving: snapshot.members[0].0.clone(),
            valid: snapshot.progress.valid,
            history: run.history.clone(),
            best: run.best.as_ref().map(of_best),
            note: Value::Null,
        };
        let best = run.best.as_ref().map_or(vec![], |best| best.parameters.clone());
        Ok(Checkpoint { state, spaces: snapshot.spaces.clone(), best, file: PathBuf::new() })
    }

    /// Brings a group that was just made to this place.
    ///
    /// # Errors
    /// [`Error::Config`] with what differs, if it trains on other data or by other settings; [`Error::File`] if it is of
    /// another network or can't be of this run.
    pub(super) fn restore(self, group: &mut Group) -> Result<(Running, Vec<Run>, Progress)> {
        let Checkpoint { state, spaces, best, file } = self;
        let differing = differences(&state.config, group.config(0));
        if !differing.is_empty() {
            let differing = differing.join(", ");
            return Err(Error::Config(format!(
                "a run goes on with its own settings, and these differ: {differing}"
            )));
        }
        if state.data != group.checksum() {
            return Err(Error::Config(
                "the data is not what the run began with: its file has changed".into(),
            ));
        }
        let plan = group.engine.plan();
        let size = |space| plan.spaces.get(&space).copied().unwrap_or(0);
        if let Some((values, (name, space))) =
            spaces.iter().zip(SPACES).find(|(values, (_, space))| values.len() != size(*space))
        {
            let message =
                format!("of another network: {name} has {} numbers, not {}", values.len(), size(space));
            return Err(Error::file(&file, message));
        }
        let wrong = state.wrong(&best, &group.members[0].spec, group.steps_per_epoch());
        if let Some(wrong) = wrong {
            return Err(Error::file(&file, format!("a damaged checkpoint ({wrong})")));
        }
        let epoch = Epoch {
            epoch: state.epoch,
            rows: state.rows,
            loss: state.loss,
            accuracy: Some(state.correct),
            lr: state.lr,
            seconds: state.seconds,
            ..Epoch::default()
        };
        let of_best =
            |BestEpoch { epoch, valid, ema, pytorch }| Best { epoch, valid, parameters: best, ema, pytorch };
        let best = state.best.map(of_best);
        let progress = Progress {
            epoch: state.epoch,
            step: state.updates,
            lr: state.lr,
            valid: state.valid,
            best: best.as_ref().and_then(|best| best.valid),
            ..Progress::default()
        };
        let snapshot = Snapshot {
            spaces,
            members: vec![(state.moving, None)],
            updates: state.updates,
            epoch: state.epoch,
            minibatches: state.minibatches,
            epochs: vec![Ok(epoch)],
            runs: vec![Run { epochs: state.epoch, best, end: None, history: state.history }],
            progress,
        };
        Ok(snapshot.restore(group))
    }

    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.state.updates
    }

    /// The epoch that it is in, from 1.
    pub fn epoch(&self) -> usize {
        self.state.epoch
    }

    /// The best epoch so far and its validation.
    pub fn best(&self) -> Option<(usize, Option<Validation>)> {
        self.state.best.as_ref().map(|best| (best.epoch, best.valid))
    }

    /// What who made it wrote down beside it.
    pub fn note(&self) -> &Value {
        &self.state.note
    }

    /// Writes something down beside it.
    pub fn set_note(&mut self, note: Value) {
        self.state.note = note;
    }

    /// Writes one safetensors file, so that after a crash at any moment `path` holds what it held before, or all of
    /// this.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes().map_err(|message| Error::file(path, message))?)
    }

    /// The file's content.
    ///
    /// # Errors
    /// What can't be written: a state that is over the caps.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let state = serde_json::to_string(&self.state).map_err(|error| error.to_string())?;
        let bytes =
            |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        let spaces = SPACES.iter().zip(&self.spaces);
        let mut tensors: Vec<Tensor> = spaces
            .map(|((name, _), values)| {
                (name.to_string(), Dtype::F32, vec![values.len()], bytes(&mut values.iter().copied()))
            })
            .collect();
        for (i, values) in self.best.iter().enumerate() {
            let (shape, values) = (values.shape().to_vec(), &mut values.iter().map(|&value| value as f32));
            tensors.push((best_name(i), Dtype::F32, shape, bytes(values)));
        }
        let history =
            self.state.history.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((HISTORY.into(), Dtype::F64, vec![self.state.history.len(), 2], history));
        let sum = sum(&state, tensors.iter().map(|(name, .., bytes)| (name.as_str(), bytes.as_slice())));
        let sum = HashMap::from([(SUM.to_string(), format!("{sum:016x}"))]);
        tensors::to_bytes(STATE, state, caps::STATE, sum, tensors)
    }

    /// Reads a file, and checks that it is as it was written.
    ///
    /// # Errors
    /// [`Error::File`] that says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Checkpoint> {
        Checkpoint::from_bytes(path, &tensors::read(path)?)
    }

    /// The same with the file's content; errors name `path`.
    ///
    /// # Errors
    /// As for [`Checkpoint::load`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Checkpoint> {
        Checkpoint::parse(path, bytes).map_err(|message| Error::file(path, message))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Checkpoint, String> {
        let damaged = |error: &dyn std::fmt::Display| format!("a damaged checkpoint, or none ({error})");
        let file = Tensors::new(bytes)?;
        let state = file.description(STATE, caps::STATE)?.ok_or_else(|| damaged(&format!("no {STATE}")))?;
        let written = file.metadata(SUM).ok_or_else(|| damaged(&format!("no {SUM}")))?;
        let tensors = &file.tensors;
        let others = SPACES.len() + 1 + usize::from(tensors.tensor(STATE).is_ok());
        let mut names = SPACES.map(|(name, _)| name.to_string()).to_vec();
        names.extend((0..tensors.len().saturating_sub(others)).map(best_name));
        names.push(HISTORY.into());
        let view = |name| match tensors.tensor(name) {
            Ok(view) if view.dtype() == if name == HISTORY { Dtype::F64 } else { Dtype::F32 } => {
                Ok((name, view))
            }
            Ok(view) => Err(damaged(&format!("tensor {name:?} is of type {:?}", view.dtype()))),
            Err(_) => Err(damaged(&format!("tensor {name:?} is missing"))),
        };
        let mut views: Vec<(&str, TensorView)> =
            names.iter().map(|name| view(name.as_str())).collect::<Result<_, _>>()?;
        let found = sum(state, views.iter().map(|(name, view)| (*name, view.data())));
        // A fuzzer would not find what is behind it.
        if cfg!(not(fuzzing)) && written != format!("{found:016x}") {
            return Err(damaged(&"its checksum is another"));
        }
        let mut state: State = serde_json::from_str(state).map_err(|error| damaged(&error))?;
        if state.version != VERSION {
            return Err(format!(
                "version {} of the checkpoint; this minilote reads {VERSION}",
                state.version
            ));
        }
        if state.epoch == 0 {
            return Err(damaged(&"epochs count from 1"));
        }
        let history = views.pop().map_or(&[][..], |(_, view)| view.data().as_chunks().0);
        let history: Vec<f64> = history.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        state.history = history.as_chunks().0.to_vec();
        let floats = |view: &TensorView| -> Vec<f32> {
            view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        };
        let spaces = std::array::from_fn(|i| floats(&views[i].1));
        let matrix = |(_, view): &(&str, TensorView)| {
            let [rows, cols] = view.shape() else { return Err(damaged(&"the best weights are no matrices")) };
            let values = floats(view).into_iter().map(f64::from).collect();
            Array2::from_shape_vec((*rows, *cols), values).map_err(|error| damaged(&error))
        };
        let best = views[SPACES.len()..].iter().map(matrix).collect::<Result<_, _>>()?;
        Ok(Checkpoint { state, spaces, best, file: path.into() })
    }
}

fn best_name(i: usize) -> String {
    format!("best.{i}")
}

/// Of all that a file holds.
fn sum<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> u64 {
    let add = |sum: Checksum, (name, bytes): (&str, &[u8])| sum.add(name.as_bytes()).add(bytes);
    tensors.fold(Checksum::default().add(state.as_bytes()), add).value()
}

/// The flags that differ: `--lr 0.1 instead of 0.003`.
fn differences(before: &Config, now: &Config) -> Vec<String> {
    let [before, now] = [before, now].map(|config| serde_json::to_value(config).unwrap_or_default());
    let named = before.as_object().into_iter().flatten().filter(|(key, value)| now[*key] != **value);
    let given = |value: &Value| if value.is_null() { "not given".into() } else { value.to_string() };
    named.map(|(key, value)| format!("--{key} {} instead of {}", given(&now[key]), given(value))).collect()
}
