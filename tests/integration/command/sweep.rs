//! `minilote sweep`: its files, and what it refuses.

use super::*;

fn sweep(out: &str, rest: &str) -> String {
    format!("sweep {DATA}/breast_cancer.csv --target diagnosis --device cpu --epochs 3 --out {out} {rest}")
}

#[test]
fn a_sweep_writes_its_leaderboard_and_an_ordinary_model() {
    let at = directory("sweep");
    let text = succeed(&at, &sweep("one", "--hidden 4,8x3 --lambda 0,1 --lr 0.01 --seeds 2"));
    for words in [
        "finished: 8 of 8 models",
        "±",
        "8x3",
        "verdict",
        "best, test: 114 rows",
        "minilote predict one/best",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let board = json(&read(at.join("one/leaderboard.json")));
    let rows = board["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &board["models"]), (4, &8.into()));
    let verdict = rows[0]["verdict"].as_str().unwrap();
    assert!(board["diagnosis"]["verdict"] == verdict && text.contains(&format!("verdict: {verdict}\n")));
    assert!(text.contains(board["diagnosis"]["command"].as_str().unwrap()), "{text}");
    assert_eq!(board["grid"]["hidden"], serde_json::json!(["4", "8,3"]));
    assert!(board["settings"]["hidden"].is_null() && board["settings"]["epochs"] == 3);
    let csv = read(at.join("one/leaderboard.csv"));
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|other| *other == name).unwrap();
    for (line, row) in lines.zip(rows) {
        assert_eq!(line.len(), header.len());
        assert_eq!(line[column("hidden")], row["hidden"]);
        let mean: f64 = line[column("valid_loss")].parse().unwrap();
        assert_eq!(Some(mean), row["valid_loss"]["mean"].as_f64());
        let seeds: Vec<f64> =
            row["seeds"].as_array().unwrap().iter().filter_map(|s| s["valid"]["loss"].as_f64()).collect();
        assert!(seeds.len() == 2 && (mean - (seeds[0] + seeds[1]) / 2.0).abs() < 1e-12, "{row}");
    }
    let evaluate = format!("evaluate one/best.safetensors {DATA}/breast_cancer.csv --device cpu");
    assert!(succeed(&at, &evaluate).contains("accuracy"));
    assert_eq!(json(&read(at.join("one/environment.json")))["device"], "CPU backend");

    let refused = run(&at, &sweep("one", "--hidden 4 --lambda 0"));
    assert!(refused.code == Some(6) && refused.err.contains("--force"), "{}", refused.err);
    let again = json(&succeed(&at, &sweep("one", "--hidden 4 --lambda 0 --seeds 1 --force --json --quiet")));
    assert_eq!((&again["run"], again["rows"].as_array().unwrap().len()), (&"one".into(), 1));
    assert!(again["rows"][0]["valid_loss"]["deviation"].is_null());
}

/// Killed, a sweep leaves what its finished passes trained: leaderboard, report and a model that predicts.
#[test]
fn a_killed_sweep_keeps_its_finished_passes() {
    let at = directory("sweep-killed");
    // On the CPU a pass has the models of one size, and an epoch of the second takes a while.
    let arguments = sweep("run", "--hidden 2,2000x2000 --lambda 0 --seeds 2 --patience 3 --quiet");
    let mut running = Running::start(&at, &arguments.replace("--epochs 3", "--epochs 1000000"));
    let (leaderboard, report) = (at.join("run/leaderboard.json"), at.join("run/report.html"));
    running.until(|| report.exists());
    drop(running);
    let board = json(&read(&leaderboard));
    assert_eq!(
        (&board["end"], &board["trained"], &board["models"]),
        (&"running".into(), &2.into(), &4.into())
    );
    assert_eq!(read(at.join("run/leaderboard.csv")).lines().count(), 2);
    assert!(read(report).contains("running: 2 of 4 models"));
    succeed(&at, &format!("predict run/best.safetensors {DATA}/breast_cancer.csv --device cpu"));
    succeed(&at, &sweep("run", "--hidden 2 --lambda 0 --seeds 1 --force"));
}

/// Seed s of a sweep is `train --seed s` on the sweep's split, so its first model is train's.
#[test]
fn the_first_seed_of_a_sweep_is_trains() {
    let at = directory("sweep-train");
    let flags = "--dropout 0.2 --seed 7 --quiet --json";
    let board = json(&succeed(&at, &sweep("sweep", &format!("--hidden 8 --lambda 2 --seeds 2 {flags}"))));
    let trained = json(&succeed(&at, &train("train", &format!("--hidden 8 --lambda 2 {flags}"))));
    let seed = &board["rows"][0]["seeds"][0];
    assert_eq!(seed["seed"], 7);
    let losses = [seed, &trained].map(|run| run["valid"]["loss"].as_f64().unwrap());
    assert!((losses[0] - losses[1]).abs() < 1e-6 * losses[1], "{losses:?}");
}

/// The best model of a sweep is trained alone by the command that it shows, whichever seed it has.
#[test]
fn the_best_model_is_trained_again_by_its_command() {
    let at = directory("sweep-best");
    let mut of_other_seeds = 0;
    for seeds in ["--seeds 1", "--seed 3 --seeds 6", "--seed 3 --seeds 6 --split-seed 7"] {
        let rest = format!("--hidden 3,5 --lambda 1 {seeds} --quiet --json --force");
        let board = json(&succeed(&at, &sweep("sweep", &rest)));
        of_other_seeds += usize::from(board["best_seed"] != board["settings"]["seed"]);
        let alone = board["best_command"].as_str().unwrap().strip_prefix("minilote ").unwrap();
        succeed(&at, &format!("{alone} --quiet --out alone --force"));
        let model = |file: &str| fs::read(at.join(file)).unwrap();
        assert_eq!(model("alone/model.safetensors"), model("sweep/best.safetensors"), "{alone}");
    }
    assert!(of_other_seeds > 0);
}

#[test]
fn a_bad_grid_is_refused() {
    let at = directory("sweep-refused");
    let cases: &[(&str, i32, &[&str])] = &[
        ("--seeds 0", 2, &["--seeds must name at least one"]),
        ("--seeds 100000", 2, &["1200000 models", "at most 10000", "fewer"]),
        ("--hidden 0", 2, &["at least 1 unit", "none"]),
        ("--hidden 8x0", 2, &["at least 1 unit"]),
        ("--hidden 8,-3", 2, &["\"-3\" is no number of units", "64x64"]),
        ("--hidden", 2, &["a value is required"]),
        ("--hidden 8,8", 2, &["hidden 8, lambda 0", "twice"]),
        ("--lambda 0,-1", 2, &["--lambda -1 must be from 0"]),
        ("--lambda x", 2, &["--lambda"]),
        ("--lr 0.1,0", 2, &["--lr 0 must be above 0"]),
        ("--lr 0.1,nan", 2, &["--lr NaN"]),
        ("--seed 18446744073709551615", 2, &["--seed 18446744073709551615", "smaller"]),
        ("--valid 0", 2, &["--valid above 0"]),
        ("--epochs 0", 2, &["--epochs 0"]),
        ("--init-weights w", 2, &["--init-weights", "seeds"]),
        ("--config c.toml", 2, &["--config", "flags"]),
        ("--log step", 2, &["--log", "leaderboard.json"]),
        ("--autotune quick", 2, &["--autotune"]),
        ("--optimiser sgd", 2, &["--optimizer"]),
        ("--batch 1", 2, &["--norm none"]),
        ("--hidden 16000000x16000000", 7, &["TiB", "smaller layers"]),
        (
            "--lr 1e30 --norm none --optimizer sgd --out lost",
            5,
            &["diverged", "lower --lr", "verdict: diverged", "--lr 0.1 "],
        ),
    ];
    let mut failures = vec![];
    for (arguments, code, words) in cases {
        let ran =
            run(&at, &format!("sweep {DATA}/breast_cancer.csv --target diagnosis --device cpu {arguments}"));
        let missing: Vec<_> = words.iter().filter(|word| !ran.err.contains(**word)).collect();
        if ran.code != Some(*code) || !missing.is_empty() || !ran.err.contains("error: ") {
            failures.push(format!("{arguments}: {:?}, lacks {missing:?}: {}", ran.code, ran.err));
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(!at.join("runs").exists(), "a refused sweep left a directory");
}
