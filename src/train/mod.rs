//! Training: the configuration, the loop over chunks of steps, schedules, the statistics that inference
//! uses, and scores.

mod config;
mod data;
mod predict;
mod run;
/// How the learning rate goes over training.
pub mod schedule;
mod score;
pub mod statistics;
mod trainer;

pub use config::{Batch, Betas, Config, OptimizerKind, Part, ScheduleKind, Sizes};
pub use data::{TrainingData, read_for};
pub use predict::Predictor;
pub use run::{End, Observer, Outcome, Progress, SourceReport, train};
pub use score::{Scores, score};
pub use trainer::{Epoch, Rows, StepRecord, Trainer, Validation};
