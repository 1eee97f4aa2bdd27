//! Training: the configuration, the loop over chunks of steps, schedules, the statistics that inference
//! uses, and scores.

mod arrays;
mod checkpoint;
mod checks;
mod config;
mod data;
mod effect;
mod epoch;
mod fault;
mod finish;
mod group;
mod importance;
mod measure;
mod member;
mod passes;
mod planning;
mod predict;
mod ranges;
mod record;
mod recovery;
mod run;
/// How the learning rate goes over training.
pub mod schedule;
mod score;
mod snapshot;
mod split;
pub mod statistics;
mod trainer;
mod values;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use data::{TrainingData, labels_beside, read_for, read_to_predict};
pub use group::Group;
pub use importance::{Importance, importance};
pub use measure::{Measured, measure};
pub use predict::{Predictor, outputs_of_each};
pub use record::{Epoch, Norms, Rows, StepRecord, Validation};
pub use run::{End, Observer, Outcome, Progress, SourceReport, resume, train, train_all};
pub use score::{ClassScores, Roc, Scores, best_class, score};
pub use trainer::Trainer;
pub use values::{Batch, Betas, OptimizerKind, Part, ScheduleKind, Sizes};
