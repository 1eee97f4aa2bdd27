//! Runs that are killed or run out of time, and go on.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{command, directory, json, read, run, succeed, train};

/// Its log, without the time that epochs took.
fn log(run: &Path) -> Vec<Value> {
    let line = |line: &str| {
        let mut line = json(line);
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    read(run.join("log.jsonl")).lines().map(line).collect()
}

fn checkpoints(run: &Path) -> Vec<String> {
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("checkpoint-")).collect()
}

const LONG: &str = "--epochs 60 --patience 0 --dropout 0.1 --log step --tensorboard --quiet";

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let at = directory("killed");
    succeed(&at, &train("whole", LONG));
    let start = |arguments: &str| -> Child {
        command(&at, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // So often that most kills fall into a save.
    let every = "--checkpoint-every 1";
    let mut child = start(&train("run", &format!("{LONG} {every}")));
    let mut kills = 0;
    for attempt in 0u64.. {
        // Some times of up to 60 ms, the same on every run of the test.
        std::thread::sleep(Duration::from_millis(20 + attempt * 7919 % 41));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "attempt {attempt}: {status}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let begun = at.join("run/config.toml").exists() && !checkpoints(&at.join("run")).is_empty();
        // After some it may end in peace, as a slow machine gets nowhere in 60 ms.
        let every = if kills < 25 { every } else { "--checkpoint-every 0" };
        let again = if begun {
            format!("train --resume run --log step --tensorboard --quiet {every}")
        } else {
            train("run", &format!("{LONG} {every} --force"))
        };
        child = start(&again);
        if kills == 25 {
            assert!(child.wait().unwrap().success());
            break;
        }
    }
    assert!(kills > 3, "the run ended after {kills} kills");
    assert_eq!(
        fs::read(at.join("run/model.safetensors")).unwrap(),
        fs::read(at.join("whole/model.safetensors")).unwrap()
    );
    assert_eq!(log(&at.join("run")), log(&at.join("whole")));
    let [ours, whole] =
        ["run", "whole"].map(|run| fs::read(at.join(run).join("events.out.tfevents.minilote")).unwrap());
    assert_eq!(ours.len(), whole.len());
    assert_eq!(checkpoints(&at.join("run")), [""; 0], "a run that ended needs none");
}

#[test]
fn time_that_is_up_ends_a_run_in_peace_and_a_damaged_checkpoint_falls_back() {
    let at = directory("resumed");
    succeed(&at, &train("whole", LONG));
    let ran = run(&at, &train("run", &format!("{LONG} --max-time 0s --checkpoint-every 1")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(json(&read(at.join("run/summary.json")))["end"], "interrupted");
    succeed(&at, "train --resume run --log step --quiet --max-time 0s");
    let mut names = checkpoints(&at.join("run"));
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    fs::write(at.join("run").join(&names[1]), "half").unwrap();
    let ran = run(&at, "train --resume run --log step");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains(&names[1]) && ran.err.contains("trying the one before it"), "{}", ran.err);
    assert!(ran.err.contains("going on from update 1 of 720, in epoch 1"), "{}", ran.err);
    assert_eq!(log(&at.join("run")), log(&at.join("whole")));

    let ran = run(&at, "train --resume run");
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains("run: there is no checkpoint to go on from"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_run_with_its_model_and_a_checkpoint() {
    let at = directory("signals");
    succeed(&at, &train("whole", LONG));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let out = format!("run{code}");
        let flags = LONG.replace("--epochs 60", "--epochs 60000");
        let mut child = command(&at, &train(&out, &flags)).stdout(Stdio::null()).spawn().unwrap();
        let log = at.join(&out).join("log.jsonl");
        while fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(at.join(&out).join("model.safetensors").exists());
        assert_eq!(checkpoints(&at.join(&out)).len(), 1);
    }
}

/// Past the system's limit of a file's size a write fails, once the signal that comes with it is ignored.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_checkpoint_before_and_names_the_file() {
    let at = directory("full");
    succeed(&at, &train("run", &format!("{LONG} --hidden 64,64 --max-time 0s")));
    let before = checkpoints(&at.join("run"));
    let minilote = env!("CARGO_BIN_EXE_minilote");
    // Blocks of 512 bytes: the log grows past them never, the checkpoint at once.
    let script = format!(
        "trap '' XFSZ; ulimit -f 40; exec {minilote} train --resume run --log step --checkpoint-every 1"
    );
    let ran = std::process::Command::new("sh").args(["-c", &script]).current_dir(&at).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(6), "{words}");
    assert!(words.contains("run/checkpoint-0") && words.contains("too large"), "{words}");
    assert_eq!(checkpoints(&at.join("run")), before);
    succeed(&at, "train --resume run --log step --tensorboard --quiet");
}

#[test]
fn what_can_not_be_gone_on_with_is_refused() {
    let at = directory("not_resumed");
    succeed(&at, &train("run", &format!("{LONG} --max-time 0s")));
    for (arguments, code, words) in [
        ("train --resume run --lr 0.5", 2, "--lr 0.5 instead of null"),
        ("train --resume nowhere", 6, "nowhere/config.toml"),
        ("train --resume run --out other", 2, "cannot be used with"),
        ("train --resume run --checkpoint-every often", 2, "90s, 10m or 1.5h, or 500 for steps"),
        ("train --resume run --max-time 5", 2, "90s, 10m or 1.5h"),
    ] {
        let ran = run(&at, arguments);
        assert_eq!(ran.code, Some(code), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(words), "{arguments}: {}", ran.err);
    }
    // The shortest log that a checkpoint can stand beside is the one that it was made with.
    fs::write(at.join("run/log.jsonl"), "").unwrap();
    let ran = run(&at, "train --resume run");
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains("shorter than when the checkpoint was made"), "{}", ran.err);
}
