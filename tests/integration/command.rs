//! The `minilote` command as a person or a script meets it: its files, its output, its exit codes.

mod bench;
mod diverged;
mod doctor;
mod hostile;
mod images;
mod inspect;
mod long;
mod predictions;
mod refused;
mod report;
mod resume;
mod running;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use images::{gzip, idx, images};
use running::Running;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");

/// An empty directory of a test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(directory: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minilote"));
    command.current_dir(directory).args(arguments.split_whitespace());
    command.env("MINILOTE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// Runs the command in a directory; arguments hold no spaces.
fn run(directory: &Path, arguments: &str) -> Ran {
    let output = command(directory, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// As [`run`], for what has to succeed; its standard output.
fn succeed(directory: &Path, arguments: &str) -> String {
    let ran = run(directory, arguments);
    assert_eq!(ran.code, Some(0), "{arguments}: {}", ran.err);
    ran.out
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn train(out: &str, rest: &str) -> String {
    format!("train {DATA}/breast_cancer.csv --target diagnosis --device cpu --epochs 3 --out {out} {rest}")
}

#[test]
fn a_run_writes_its_files_and_its_configuration_repeats_it() {
    let at = directory("repeat");
    let text = succeed(&at, &train("one", "--log step"));
    for words in
        ["finished 3 epochs", "accuracy", "malignant", "recall", "fold", "verdict: ", "minilote predict one"]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let log: Vec<Value> = read(at.join("one/log.jsonl")).lines().map(json).collect();
    let count = |event| log.iter().filter(|line| line["event"] == event).count();
    assert_eq!(["epoch", "step", "statistics", "norms"].map(count), [3, 36, 3, 3]);
    assert_eq!(log.len(), 45);
    let epoch = log.iter().rfind(|line| line["event"] == "epoch").unwrap();
    for key in ["loss", "accuracy", "valid_loss", "valid_accuracy", "lr", "seconds"] {
        assert!(epoch[key].is_number(), "{key} in {epoch}");
    }
    let environment = json(&read(at.join("one/environment.json")));
    assert_eq!(environment["minilote"], env!("CARGO_PKG_VERSION"));
    let summary = json(&read(at.join("one/summary.json")));
    assert_eq!((&summary["end"], &summary["updates"]), (&"finished".into(), &36.into()));
    assert_eq!(summary["sources"].as_array().unwrap().len(), 4);
    let diagnosis = &summary["diagnosis"];
    assert!(text.contains(&format!("verdict: {}\n", diagnosis["verdict"].as_str().unwrap())), "{diagnosis}");
    assert!(
        text.contains(diagnosis["command"].as_str().unwrap()) && text.contains("with one seed"),
        "{text}"
    );
    assert_eq!(summary["evidence"]["fits"].as_array().unwrap().len(), 1);
    assert!(summary["fold"]["max_difference"].as_f64().unwrap() < 1e-4);

    let again = json(&succeed(&at, "train --config one/config.toml --out two --json --quiet"));
    assert_eq!(again["run"], "two");
    assert_eq!(again["test"], summary["test"]);
    assert_eq!(fs::read(at.join("one/model.safetensors")).unwrap(), {
        fs::read(at.join(again["model"].as_str().unwrap())).unwrap()
    });
}

#[test]
fn a_learning_curve_is_a_table_a_file_and_evidence() {
    let at = directory("curve");
    let text = succeed(&at, &train("run", "--hidden 8 --learning-curve=0.1,0.3,0.6,1 --curve-seeds 2"));
    for words in ["learning curve, means and deviations of 2 seeds", "more data", " 60.0 %   222  "] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let csv = read(at.join("run/learning_curve.csv"));
    let rows: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(rows, ["37", "111", "222", "370"]);
    let summary = json(&read(at.join("run/summary.json")));
    assert_eq!(summary["learning_curve"]["points"].as_array().unwrap().len(), 4);
    assert!(summary["evidence"]["curve"]["bound"].as_f64() > Some(0.0));
    let html = read(at.join("run/report.html"));
    for words in
        ["Learning curve: loss", "Learning curve: accuracy", "class=\"bar s1\"", "statistics of all training"]
    {
        assert!(html.contains(words), "{words:?} is not in the report");
    }
    succeed(&at, &train("run", "--force --quiet"));
    assert!(!at.join("run/learning_curve.csv").exists());
    // Killed in its curve, a run has all but that.
    let mut running = Running::start(&at, &train("killed", "--quiet --learning-curve --curve-seeds 200"));
    running.until(|| at.join("killed/report.html").exists());
    drop(running);
    let summary = json(&read(at.join("killed/summary.json")));
    assert!(summary["end"] == "finished" && summary["learning_curve"].is_null(), "{summary}");
}

#[test]
fn a_run_writes_scalars_for_tensorboard_where_asked() {
    let at = directory("tensorboard");
    let events = at.join("run/events.out.tfevents.minilote");
    let count = |tag: &str| {
        let bytes = fs::read(&events).unwrap();
        bytes.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count()
    };
    succeed(&at, &train("run", "--quiet --tensorboard --hidden 8,4"));
    for tag in ["loss/train", "loss/valid", "accuracy/train", "accuracy/valid", "learning_rate/epoch"] {
        assert_eq!(count(tag), 3, "{tag}");
    }
    assert_eq!((count("batch_norm_1/mean_15"), count("batch_norm_2/deviation_85")), (3, 3));
    assert_eq!((count("layer_1/weight_norm"), count("layer_3/gradient_norm")), (3, 3));
    assert_eq!((count("brain.Event:2"), count("minibatch")), (1, 0));
    succeed(&at, &train("run", "--quiet --tensorboard --log step --force"));
    assert_eq!((count("loss/minibatch"), count("loss/train")), (36, 3));
    succeed(&at, &train("run", "--quiet --force"));
    assert!(!events.exists());
}

#[test]
fn importance_is_of_columns_and_not_of_their_levels() {
    let at = directory("importance");
    let row = |i: usize| {
        format!("{},{},{}\n", i * 7 % 13, ["red", "green", "blue"][i * 5 % 3], f64::from(i as u32 * 5 % 3))
    };
    fs::write(at.join("t.csv"), format!("x,color,y\n{}", (0..120).map(row).collect::<String>())).unwrap();
    let flags = "--target y --task regression --device cpu --epochs 30 --importance";
    let text = succeed(&at, &format!("train t.csv {flags} --out run"));
    assert!(text.contains("importance, what 5 shuffles of a column add:\ncolumn "), "{text}");
    let csv = read(at.join("run/importance.csv"));
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[1][0], lines[2][0]), (3, "color", "x"), "{csv}");
    let [color, other] = [1, 2].map(|line| lines[line][1].parse::<f64>().unwrap());
    assert!(color > 1.0 && other.abs() < 0.2 && lines[1][3].is_empty(), "{csv}");
    let html = read(at.join("run/report.html"));
    assert!(
        html.contains("<h2>Columns</h2>")
            && html.contains("width: 100.0%")
            && html.contains("arXiv:1801.01489")
    );
    let text = succeed(&at, "evaluate run/model.safetensors t.csv --device cpu --importance --json");
    let columns = &json(&text)["importance"];
    assert_eq!((&columns[0]["column"], columns.as_array().unwrap().len()), (&"color".into(), 2));
    assert!(columns[0]["loss"]["deviation"].is_number() && columns[0]["error"].is_null());
}

#[test]
fn runs_without_a_name_are_numbered() {
    let at = directory("numbered");
    fs::copy(format!("{DATA}/diabetes.csv"), at.join("diabetes.csv")).unwrap();
    for _ in 0..2 {
        succeed(&at, "train diabetes.csv --target progression --device cpu --epochs 1 --quiet");
    }
    assert!(at.join("runs/diabetes-1/summary.json").exists() && at.join("runs/diabetes-2").exists());
}

#[test]
fn a_run_is_overwritten_only_by_force_and_other_directories_never() {
    let at = directory("force");
    succeed(&at, &train("run", "--quiet"));
    let before = fs::read(at.join("run/model.safetensors")).unwrap();
    let refused = run(&at, &train("run", "--seed 1"));
    assert_eq!(refused.code, Some(6));
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(before, fs::read(at.join("run/model.safetensors")).unwrap());
    succeed(&at, &train("run", "--quiet --seed 1 --force"));
    assert_ne!(before, fs::read(at.join("run/model.safetensors")).unwrap());

    fs::create_dir(at.join("other")).unwrap();
    for file in ["thesis.txt", "config.toml"] {
        fs::write(at.join("other").join(file), "years of work").unwrap();
        assert_eq!(run(&at, &train("other", "--force")).code, Some(6));
        assert_eq!(read(at.join("other").join(file)), "years of work");
    }
}

#[test]
fn flags_win_over_the_configuration_file() {
    let at = directory("config");
    let file = format!(
        "data = '{DATA}/breast_cancer.csv'\ntarget = \"diagnosis\"\ndevice = \"cpu\"\nepochs = 1\nlog = 'step'\n\
         hidden = [8, 4]\noptimizer = \"momentum\"\nnesterov = true\nlr = 0.02\nquiet = true\nforce = false\n"
    );
    fs::write(at.join("c.toml"), file).unwrap();
    succeed(&at, "train --config c.toml --out run --lr 0.01 --epochs 2 --nesterov=false");
    let config = read(at.join("run/config.toml"));
    for line in ["epochs = 2", "lr = 0.01", "hidden = \"8,4\"", "nesterov = false", "device = \"cpu\""] {
        assert!(config.lines().any(|other| other == line), "{line:?} is not in {config}");
    }
    assert!(read(at.join("run/log.jsonl")).contains("\"step\""));
    fs::write(at.join("curve.toml"), "learning-curve = true\nnesterov = false\nignore = []\nepochs = 1")
        .unwrap();
    succeed(&at, &format!("{} --config curve.toml --curve-seeds 2", train("curve", "")));
    assert!(at.join("curve/learning_curve.csv").exists());
}

#[test]
fn a_flag_that_decides_nothing_is_noted() {
    let at = directory("no-effect");
    let grid = "--hidden 2 --lambda 0 --seeds 1";
    for arguments in [train("one", ""), train("two", grid).replace("train ", "sweep ")] {
        let arguments = format!("{arguments} --momentum 0.8");
        let ran = run(&at, &arguments);
        assert!(ran.code == Some(0) && ran.err.contains("--momentum has no effect"), "{}", ran.err);
        let ran = run(&at, &format!("{arguments} --optimizer momentum --force"));
        assert!(ran.code == Some(0) && !ran.err.contains("has no effect"), "{}", ran.err);
    }
}

#[test]
fn evaluate_scores_as_training_did_and_predict_needs_no_target() {
    let at = directory("apply");
    let all = read(format!("{DATA}/breast_cancer.csv"));
    let (header, rows) = all.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let table = |rows: &[&str]| format!("{header}\n{}\n", rows.join("\n"));
    fs::write(at.join("train.csv"), table(&rows[100..])).unwrap();
    fs::write(at.join("test.csv"), table(&rows[..100])).unwrap();
    let arguments =
        "train train.csv --target diagnosis --device cpu --epochs 4 --test test.csv --json --out run";
    let trained = json(&succeed(&at, arguments));
    let model = at.join("run/model.safetensors");
    let bytes = fs::read(&model).unwrap();

    let evaluated = succeed(&at, "evaluate run/model.safetensors test.csv --device cpu --json");
    assert_eq!(json(&evaluated)["scores"], trained["test"]);
    let text = succeed(&at, "evaluate run/model.safetensors test.csv --device cpu");
    assert!(text.contains("100 rows: accuracy") && text.contains("fold: max"), "{text}");
    assert_eq!(bytes, fs::read(&model).unwrap());

    // The target is the last column.
    let cut = |row: &str| row[..row.rfind(',').unwrap()].to_string() + "\n";
    let bare: String = table(&rows[..100]).lines().map(cut).collect();
    fs::write(at.join("bare.csv"), bare).unwrap();
    let with = succeed(&at, "predict run/model.safetensors test.csv --device cpu");
    succeed(&at, "predict run/model.safetensors bare.csv --device cpu --out out.csv");
    assert_eq!(with, read(at.join("out.csv")));
    let mut lines = with.lines();
    assert_eq!(lines.next(), Some("row,prediction,p(benign),p(malignant)"));
    let mut correct = 0;
    for (number, (line, row)) in lines.zip(&rows[..100]).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], (number + 2).to_string());
        let sum: f64 = cells[2..].iter().map(|p| p.parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-8);
        correct += usize::from(row.ends_with(cells[1]));
    }
    assert_eq!(trained["test"]["accuracy"], correct as f64 / 100.0);
    let far = ["3e38,"; 30].concat() + "benign";
    fs::write(at.join("far.csv"), table(&[rows[0], &far])).unwrap();
    for subcommand in ["evaluate", "predict"] {
        let ran = run(&at, &format!("{subcommand} run/model.safetensors far.csv --device cpu"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
        assert!(ran.err.contains("far.csv, line 3: the network's outputs"), "{}", ran.err);
    }
    let ran = run(&at, "predict run/model.safetensors test.csv --device cpu --out test.csv");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn an_output_that_is_no_ordinary_file_stays_what_it_is() {
    let at = directory("null");
    succeed(&at, &train("run", "--quiet"));
    std::os::unix::fs::symlink("/dev/null", at.join("null")).unwrap();
    let arguments = format!("predict run/model.safetensors {DATA}/breast_cancer.csv --device cpu --out null");
    succeed(&at, &arguments);
    assert!(fs::symlink_metadata(at.join("null")).unwrap().is_symlink());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_its_best_model() {
    use std::process::Stdio;
    let at = directory("interrupted");
    let arguments = train("run", "--epochs 1000000 --patience 0 --json");
    let child = command(&at, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let log = at.join("run/log.jsonl");
    for _ in 0..600 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            break;
        }
    }
    assert!(fs::metadata(&log).unwrap().len() > 0, "no epoch was logged in 30 s");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(summary["end"], "interrupted");
    succeed(&at, &format!("evaluate run/model.safetensors {DATA}/breast_cancer.csv --device cpu"));
}

#[test]
fn a_run_that_diverges_at_once_leaves_a_summary() {
    let at = directory("diverged_at_once");
    let ran = run(&at, &train("run", "--norm none --optimizer sgd --lr 1e30 --json"));
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    let printed = json(&ran.out);
    assert_eq!((&printed["end"], &printed["diagnosis"]["verdict"]), (&"diverged".into(), &"diverged".into()));
    assert!(printed["error"].as_str().unwrap().contains("in epoch 1, step"), "{printed}");
    assert_eq!(json(&read(at.join("run/summary.json"))), printed);
    let ran = run(&at, "report run");
    assert!(
        ran.code == Some(6) && ran.err.contains("no model to report on: training diverged"),
        "{}",
        ran.err
    );
}

#[test]
fn a_run_that_diverges_keeps_its_best_model() {
    let at = directory("diverged");
    let flags = "--norm none --optimizer sgd --lr 1e6 --warmup 1e7 --epochs 500 --patience 0";
    let ran = run(
        &at,
        &format!("train {DATA}/diabetes.csv --target progression --device cpu --out run --json {flags}"),
    );
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("diverged in epoch") && json(&ran.out)["end"] == "diverged", "{}", ran.err);
    succeed(&at, &format!("evaluate run/model.safetensors {DATA}/diabetes.csv --device cpu"));
}
