//! Checkpoints: a run that goes on from one ends as if it had never stopped, and what is damaged is refused.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use minilote::model::Norm;
use minilote::train::{
    Batch, Checkpoint, Config, Observer, OptimizerKind, Progress, ScheduleKind, Sizes, StepRecord, Trainer,
    TrainingData, resume, train,
};
use minilote::{Device, Error, Result};
use pollster::block_on;

use crate::{devices, learned};

/// Keeps a checkpoint of every chunk, and ends the run where it is told to.
#[derive(Default)]
struct Keep {
    end_at: Option<usize>,
    ending: bool,
    kept: Vec<Checkpoint>,
}

impl Observer for Keep {
    fn steps(&mut self, _: &[StepRecord], progress: &Progress) -> Result<ControlFlow<()>> {
        self.ending = self.end_at.is_some_and(|end| progress.step >= end);
        Ok(if self.ending { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn wants_checkpoint(&mut self) -> bool {
        true
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.kept.push(checkpoint);
        Ok(())
    }
}

fn config() -> Config {
    Config {
        target: Some("diagnosis".into()),
        hidden: Sizes(vec![8, 5]),
        epochs: 4,
        batch: Some(Batch::Rows(60)),
        ..Config::default()
    }
}

fn trainer(config: &Config, device: &Device) -> Trainer {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    let data = TrainingData::read(&file, config).unwrap();
    block_on(Trainer::new(data, config.clone(), device)).unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_run_that_goes_on_has_the_bits_of_one_that_never_stopped() {
    let all = [
        Config { optimizer: OptimizerKind::Sgd, schedule: ScheduleKind::Cosine, ..config() },
        Config { optimizer: OptimizerKind::Momentum, nesterov: true, dropout: 0.3, ..config() },
        Config { optimizer: OptimizerKind::Adam, schedule: ScheduleKind::Step, step_epochs: 1, ..config() },
        Config { optimizer: OptimizerKind::Adamw, warmup: 2.0, lambda: 1.0, norm: Norm::After, ..config() },
        Config { patience: 1, lr: Some(0.3), epochs: 9, ..config() },
    ];
    for (name, device) in devices() {
        for config in &all {
            let whole = block_on(train(&mut trainer(config, &device), &mut ())).unwrap();
            let mut kept = vec![];
            // Chunks grow: the first ends after a step, then in the middle of an epoch, at its end, in a later one.
            for end_at in [1, 3, 6, 7, 20] {
                let mut keep = Keep { end_at: Some(end_at), ..Keep::default() };
                block_on(train(&mut trainer(config, &device), &mut keep)).unwrap();
                kept.extend(keep.kept.pop());
            }
            for checkpoint in kept {
                let place = format!("{name}, {:?}, after {}", config.optimizer, checkpoint.updates());
                let path = file("on.safetensors");
                checkpoint.save(&path).unwrap();
                let read = Checkpoint::load(&path).unwrap();
                let outcome = block_on(resume(&mut trainer(config, &device), read, &mut ())).unwrap();
                assert_eq!(learned(&outcome.model), learned(&whole.model), "{place}");
                assert_eq!((outcome.epochs, outcome.best_epoch), (whole.epochs, whole.best_epoch), "{place}");
                assert_eq!(outcome.history, whole.history, "{place}");
            }
        }
    }
}

#[test]
fn another_configuration_or_other_data_is_refused_by_what_differs() {
    let mut keep = Keep { end_at: Some(8), ..Keep::default() };
    block_on(train(&mut trainer(&config(), &Device::Cpu), &mut keep)).unwrap();
    let checkpoint = keep.kept.pop().unwrap();
    let refused = |mut trainer: Trainer| {
        let went_on = block_on(resume(&mut trainer, checkpoint.clone(), &mut ()));
        let Err(Error::Config(message)) = went_on else { panic!("{went_on:?}") };
        message
    };
    let other = Config { lr: Some(0.5), hidden: Sizes(vec![8, 6]), ..config() };
    let message = refused(trainer(&other, &Device::Cpu));
    for words in ["--lr 0.5 instead of not given", "--hidden \"8,6\" instead of \"8,5\""] {
        assert!(message.contains(words), "{message}");
    }
    let mut data = trainer(&config(), &Device::Cpu).into_data();
    data.targets[3] = 1.0 - data.targets[3];
    let changed = block_on(Trainer::new(data, config(), &Device::Cpu)).unwrap();
    assert!(refused(changed).contains("has changed"));
}

#[test]
fn a_damaged_checkpoint_is_refused_whatever_byte_it_is() {
    let mut keep = Keep { end_at: Some(8), ..Keep::default() };
    block_on(train(&mut trainer(&config(), &Device::Cpu), &mut keep)).unwrap();
    let path = file("damaged.safetensors");
    keep.kept.pop().unwrap().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let refuse = |bytes: &[u8], what: String| {
        fs::write(&path, bytes).unwrap();
        let loaded = Checkpoint::load(&path);
        assert!(
            matches!(&loaded, Err(Error::File { path: named, .. }) if *named == path),
            "{what}: {loaded:?}"
        );
    };
    for at in (0..whole.len()).step_by(23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        // Spaces that pad the header may become others.
        if bytes[at].is_ascii_whitespace() && whole[at] == b' ' {
            continue;
        }
        refuse(&bytes, format!("byte {at}"));
        refuse(&whole[..at], format!("the first {at} bytes"));
    }
    refuse(&[], "nothing".into());
    refuse(b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "a header beyond all memory".into());
}
