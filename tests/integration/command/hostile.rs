//! Files that are broken, or that somebody made to do harm: each is refused by name and place, within seconds and
//! without a panic.

mod checkpoint;
mod config;
mod csv;
mod idx;
#[cfg(target_os = "linux")]
mod memory;
mod model;
mod parts;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{command, directory, run, succeed};

/// Deeper than any parser may follow.
const DEEP: usize = 100_000;
/// What a command may take for a bad file.
const TIME: Duration = Duration::from_secs(5);

/// A bad file, the arguments of the command that reads it, the exit code, and words of the message, in which the file
/// is named, too. In arguments and words `@` stands for the file.
struct Case {
    name: String,
    bytes: Vec<u8>,
    arguments: String,
    code: i32,
    words: Vec<String>,
}

fn case(name: &str, bytes: impl Into<Vec<u8>>, arguments: &str, code: i32, words: &[&str]) -> Case {
    let words = words.iter().chain(&["@"]).map(|word| word.replace('@', name)).collect();
    let arguments = arguments.replace('@', name);
    Case { name: name.into(), bytes: bytes.into(), arguments, code, words }
}

/// 60 rows of two numbers and a class, on lines 2 to 61.
fn table() -> String {
    let rows = (0..60).map(|i| format!("{},{},{}\n", i % 13, i % 11, ["a", "b"][i % 2]));
    format!("x,y,c\n{}", rows.collect::<String>())
}

/// What is wrong with what the command says to a bad file, if anything.
fn wrong(at: &Path, case: &Case) -> Option<String> {
    let log = at.join(format!("{}.said", case.name.replace('/', "-")));
    let mut command = command(at, &case.arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let (mut child, started) = (command.spawn().unwrap(), Instant::now());
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > TIME => {
                child.kill().unwrap();
                child.wait().unwrap();
                return Some(format!("{}: over {TIME:?}", case.name));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let said = String::from_utf8(fs::read(&log).unwrap()).unwrap();
    let missing: Vec<_> = case.words.iter().filter(|word| !said.contains(*word)).collect();
    let shown = said.contains('\x1b') || said.contains("panicked") || !said.contains("error: ");
    let right = status.code() == Some(case.code) && missing.is_empty() && !shown && said.len() < 4000;
    let said: String = said.chars().take(600).collect();
    (!right).then(|| format!("{}: {:?}, lacks {missing:?}: {said}", case.name, status.code()))
}

/// Fails with the list of all cases that are not refused as they should be.
fn refuse(at: &Path, cases: Vec<Case>) {
    let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    for case in &cases {
        let path = at.join(&case.name);
        if !path.exists() && !path.is_symlink() {
            fs::write(path, &case.bytes).unwrap();
        }
    }
    let (queue, failures) = (Mutex::new(cases.iter()), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(case) = { queue.lock().unwrap().next() } {
                failures.lock().unwrap().extend(wrong(at, case));
            }
        };
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(!at.join("none").exists() && !at.join("runs").exists(), "a refused run left a directory");
}

/// A directory with `good.csv` and a model of it, `run/model.safetensors`.
fn trained(name: &str) -> PathBuf {
    let at = directory(name);
    fs::write(at.join("good.csv"), table()).unwrap();
    succeed(&at, "train good.csv --target c --device cpu --epochs 1 --batch 10 --hidden 5 --out run --quiet");
    at
}

#[test]
fn there_are_three_hundred_bad_files() {
    let model = trained("hostile-count");
    let all = [
        csv::cases().len(),
        csv::applied().len(),
        idx::cases().len(),
        config::cases().len(),
        model::cases(&fs::read(model.join("run/model.safetensors")).unwrap()).len(),
        checkpoint::cases(&checkpoint::made(&model)).len(),
    ];
    assert!(all.iter().sum::<usize>() >= 300, "{all:?}");
}

/// Names that would be paths are names: nothing is opened, made or written by them.
#[test]
fn no_path_inside_a_file_is_followed() {
    let at = directory("hostile-paths").join("inner");
    fs::create_dir(&at).unwrap();
    let rows: String =
        (0..40).map(|i| format!("{},{}\n", i % 7, ["../../evil", "/tmp/minilote-evil"][i % 2])).collect();
    fs::write(at.join("t.csv"), format!("../x,../../y\n{rows}")).unwrap();
    succeed(
        &at,
        "train t.csv --target ../../y --device cpu --epochs 2 --batch 10 --hidden 2 --out run --importance",
    );
    succeed(&at, "predict run/model.safetensors t.csv --device cpu --out p.csv");
    succeed(&at, "evaluate run/model.safetensors t.csv --device cpu --importance");
    let names = |path: &Path| {
        let entries =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    };
    assert_eq!(names(at.parent().unwrap()), ["inner"]);
    assert_eq!(names(&at), ["p.csv", "run", "t.csv"]);
    assert!(!Path::new("/tmp/minilote-evil").exists());
    // A configuration stands for flags, but it can't say where to write.
    for key in ["out", "resume"] {
        fs::write(at.join("c.toml"), format!("{key} = '../elsewhere'\n")).unwrap();
        let ran = run(&at, "train t.csv --target ../../y --device cpu --config c.toml");
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains("c.toml, line 1") && ran.err.contains("command line"), "{}", ran.err);
    }
    assert!(!at.parent().unwrap().join("elsewhere").exists());
}
