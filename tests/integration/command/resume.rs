//! Runs that are killed or run out of time, and go on.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{DATA, Running, command, directory, json, read, run, succeed, train};

/// Its log, without the time that epochs took.
fn log(run: &Path) -> Vec<Value> {
    let line = |line: &str| {
        let mut line = json(line);
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    read(run.join("log.jsonl")).lines().map(line).collect()
}

fn names(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run).into_iter().flatten();
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn checkpoints(run: &Path) -> Vec<String> {
    let whole = |name: &String| name.starts_with("checkpoint-") && name.ends_with(".safetensors");
    names(run).into_iter().filter(whole).collect()
}

/// Files that a save has begun and not yet given their name.
fn parts(run: &Path) -> Vec<String> {
    names(run).into_iter().filter(|name| name.ends_with(".part")).collect()
}

const LONG: &str = "--epochs 60 --patience 0 --dropout 0.1 --log step --tensorboard --quiet";

/// Kills runs as often as MINILOTE_KILLS says, 25 times without, most of them inside a save.
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let at = directory("killed");
    let kills: u64 = std::env::var("MINILOTE_KILLS").map_or(25, |kills| kills.parse().unwrap());
    // Wide enough that saving takes longer than a step.
    let long = format!("{} --hidden 128,128", LONG.replace("60", &(3 * kills).to_string()));
    succeed(&at, &train("whole", &long));
    let run = at.join("run");
    // So often that most kills fall into a save.
    let every = "--checkpoint-every 1";
    let mut in_saves = 0;
    for kill in 0..kills {
        let before = checkpoints(&run);
        let arguments = if before.is_empty() {
            train("run", &format!("{long} {every} --force"))
        } else {
            format!("train --resume run --log step --tensorboard --quiet {every}")
        };
        let left = parts(&run);
        let mut child =
            command(&at, &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Of ten one at its start, the others once it has saved something and after one of many times, the same on every
        // run of the test; and of those seven as they are seen to save.
        while kill % 10 != 0 && checkpoints(&run) == before {
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("kill {kill}: {arguments}: {status}: {said}");
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 6007));
        let saving = || parts(&run).iter().any(|part| !left.contains(part));
        while kill % 10 > 2 && !saving() && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        // Named, but the one before the one before it is still there.
        let named = checkpoints(&run).len() > 2;
        in_saves += u64::from(named || saving());
    }
    println!("{in_saves} of {kills} kills left an unfinished save");
    assert!(in_saves > 0, "none of {kills} kills fell into a save");
    if checkpoints(&run).is_empty() {
        succeed(&at, &train("run", &format!("{long} --force")));
    } else {
        succeed(&at, "train --resume run --log step --tensorboard --quiet --checkpoint-every 0");
    }
    assert_eq!(
        fs::read(run.join("model.safetensors")).unwrap(),
        fs::read(at.join("whole/model.safetensors")).unwrap()
    );
    assert_eq!(log(&run), log(&at.join("whole")));
    let [ours, whole] =
        ["run", "whole"].map(|run| fs::read(at.join(run).join("events.out.tfevents.minilote")).unwrap());
    assert_eq!(ours.len(), whole.len());
    assert_eq!(checkpoints(&run), [""; 0], "a run that ended needs none");
    assert_eq!(parts(&run), [""; 0], "nor what killed runs left");
}

#[test]
fn time_that_is_up_ends_a_run_in_peace_and_a_damaged_checkpoint_falls_back() {
    let at = directory("resumed");
    succeed(&at, &train("whole", LONG));
    let ran = run(&at, &train("run", &format!("{LONG} --max-time 0s --checkpoint-every 1 --importance")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(json(&read(at.join("run/summary.json")))["end"], "interrupted");
    // What was measured of the weights before is not left beside those after, but stays where none come after.
    assert_eq!(run(&at, "train --resume run --lr 0.5").code, Some(2));
    assert!(at.join("run/importance.csv").exists());
    succeed(&at, "train --resume run --log step --quiet --max-time 0s");
    assert!(!at.join("run/importance.csv").exists());
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
    fs::write(at.join("run").join(&names[1]), "half").unwrap();
    let ran = run(&at, "train --resume run");
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains(&names[1]) && !ran.err.contains("trying"), "{}", ran.err);
}

#[test]
fn a_run_goes_on_with_the_logs_that_it_began() {
    let at = directory("resumed_logs");
    succeed(&at, &train("whole", LONG));
    succeed(&at, &train("run", &format!("{LONG} --max-time 0s")));
    succeed(&at, "train --resume run --quiet");
    assert_eq!(log(&at.join("run")), log(&at.join("whole")));
    let events = |run: &str| fs::metadata(at.join(run).join("events.out.tfevents.minilote")).unwrap().len();
    assert_eq!(events("run"), events("whole"));
    // Unless they are gone; asked for, they begin anew.
    succeed(&at, &train("run", &format!("{LONG} --max-time 0s --force")));
    let events = at.join("run/events.out.tfevents.minilote");
    fs::remove_file(&events).unwrap();
    succeed(&at, "train --resume run --quiet --max-time 0s");
    assert!(!events.exists());
    succeed(&at, "train --resume run --quiet --tensorboard");
    assert!(events.exists());
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

/// Whatever the machine's speed: the signal is sent as soon as it is caught, and the table's columns take far longer.
#[cfg(target_os = "linux")]
#[test]
fn importance_that_is_interrupted_is_left_out_of_the_scores() {
    let at = directory("importance_interrupted");
    let table = |rows: usize| {
        let row = |row: usize| {
            (1..=300).map(move |i| format!("{}{}", row * i % 1009, if i < 300 { "," } else { "\n" }))
        };
        let names: String = (1..300).map(|i| format!("x{i},")).collect();
        format!("{names}y\n{}", (0..rows).flat_map(row).collect::<String>())
    };
    fs::write(at.join("few.csv"), table(60)).unwrap();
    fs::write(at.join("many.csv"), table(5000)).unwrap();
    let flags = "--target y --task regression --device cpu --hidden 512,512 --epochs 1 --quiet --out run";
    succeed(&at, &format!("train few.csv {flags}"));
    let arguments = "evaluate run/model.safetensors many.csv --device cpu --importance --json";
    let mut child = command(&at, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    // SIGTERM, the last that it comes to catch, is the 15th bit.
    let caught = || {
        let status = read(&status);
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
        u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> 14 & 1 == 1)
    };
    while !caught() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{words}");
    assert!(words.contains("interrupted: the columns' importance was not finished"), "{words}");
    let all = json(&String::from_utf8(ended.stdout).unwrap());
    assert!(all["scores"]["rmse"].is_number() && all["importance"].is_null(), "{all}");
}

/// Past the system's limit of a file's size a write fails, once the signal that comes with it is ignored.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_checkpoint_before_and_names_the_file_with_the_model_saved_where_it_fits() {
    let at = directory("full");
    succeed(&at, &train("run", &format!("{LONG} --hidden 64,64 --max-time 0s")));
    let before = checkpoints(&at.join("run"));
    let minilote = env!("CARGO_BIN_EXE_minilote");
    let model = at.join("run/model.safetensors");
    // Blocks of 512 bytes: the log grows past them never, the checkpoint at once, the model past the fewer.
    for (blocks, fits) in [(40, false), (160, true)] {
        fs::remove_file(&model).unwrap();
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec {minilote} train --resume run --log step --checkpoint-every 1"
        );
        let ran = std::process::Command::new("sh").args(["-c", &script]).current_dir(&at).output().unwrap();
        let words = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(6), "{words}");
        assert!(words.contains("run/checkpoint-0") && words.contains("too large"), "{words}");
        assert_eq!(checkpoints(&at.join("run")), before);
        assert_eq!(model.exists(), fits, "{words}");
        assert!(words.contains("the best model so far is saved") == fits, "{words}");
        fs::write(&model, "").unwrap();
    }
    succeed(&at, "train --resume run --log step --tensorboard --quiet");
}

/// The same on a file system in memory that has no room left, of a mount namespace of its own, where the system lets
/// anybody have one; and once there is room the run goes on from what it holds.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_leaves_the_checkpoint_before_and_names_the_file() {
    let in_namespace = |script: &str, at: &Path| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["-rm", "sh", "-ec", script]).current_dir(at).output().unwrap()
    };
    let at = directory("full_file_system");
    if !in_namespace("mount -t tmpfs tmpfs .", &at).status.success() {
        println!("skipped: no mount namespaces here");
        return;
    }
    let flags = format!("{LONG} --hidden 64,64");
    succeed(&at, &train("whole", &flags));
    succeed(&at, &train("run", &format!("{flags} --max-time 0s")));
    let script = format!(
        "mkdir small; mount -t tmpfs -o size=4m tmpfs small; cp -r run small; cd small
         ls run/checkpoint-* >before
         dd if=/dev/zero of=filler bs=1k 2>/dev/null || truncate -s -40k filler
         code=0; {0} train --resume run --log step --checkpoint-every 1 2>words || code=$?
         ls run/checkpoint-* >after
         rm filler; {0} train --resume run --log step --tensorboard --quiet
         cat words >&2; cmp before after; cp run/model.safetensors ..; exit $code",
        env!("CARGO_BIN_EXE_minilote")
    );
    let ran = in_namespace(&script, &at);
    let words = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(6), "{words}");
    assert!(words.contains("run/checkpoint-0") && words.contains("No space left"), "{words}");
    assert_eq!(
        fs::read(at.join("model.safetensors")).unwrap(),
        fs::read(at.join("whole/model.safetensors")).unwrap()
    );
}

/// Two processes that write one run would leave neither whole.
#[cfg(unix)]
#[test]
fn a_run_that_another_process_writes_is_refused() {
    let at = directory("claimed");
    let arguments = train("run", "--epochs 1000000 --patience 0 --checkpoint-every 20 --quiet");
    let mut running = Running::start(&at, &arguments);
    running.until(|| !checkpoints(&at.join("run")).is_empty());
    let sweep = format!("sweep {DATA}/breast_cancer.csv --target diagnosis --device cpu --out run --force");
    for arguments in ["train --resume run", &train("run", "--force"), &sweep] {
        let ran = run(&at, arguments);
        assert!(
            ran.code == Some(6) && ran.err.contains("run: another process is writing this run"),
            "{}",
            ran.err
        );
    }
    running.until(|| at.join("run/config.toml").exists());
    drop(running);
    let changed = run(&at, "train --resume run --ignore mean_area --quiet");
    assert!(changed.code == Some(2) && changed.err.contains("--ignore"), "{}", changed.err);
    succeed(&at, "train --resume run --max-time 0s --quiet");
}

#[test]
fn what_can_not_be_gone_on_with_is_refused() {
    let at = directory("not_resumed");
    succeed(&at, &train("run", &format!("{LONG} --max-time 0s")));
    for (arguments, code, words) in [
        ("train --resume run --lr 0.5", 2, "--lr 0.5 instead of not given"),
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
