//! `report.html` and `minilote report`: what the pages hold, that they are well-formed, and that they ask for
//! nothing.

use std::fs;
use std::path::Path;

use super::{DATA, directory, json, read, run, succeed, train};

/// The figures of a run's course: curves, then the loss by what it took.
const COURSE: [&str; 6] =
    ["Loss", "Accuracy", "Learning rate", "Loss by examples", "Loss by updates", "Loss by seconds"];

/// The figures of weights; on the CPU, steps leave gradients in memory.
const NORMS: [&str; 2] = ["Weights", "Gradients of the last minibatch's loss"];

/// Elements that stand alone in HTML; ours are closed all the same.
fn elements(html: &str) -> Vec<&str> {
    let tags = html.split('<').skip(1).map(|part| part.split_once('>').expect("a tag ends").0);
    tags.filter(|tag| !tag.starts_with('!')).collect()
}

/// Fails unless every element is closed in its order, and no text holds a letter of markup.
fn check_form(html: &str) {
    let mut open = vec![];
    for tag in elements(html) {
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
    }
    assert!(open.is_empty(), "{open:?} is not closed");
    for entity in html.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|name| entity.starts_with(name));
        assert!(known, "& in {:?}", &entity[..entity.len().min(20)]);
    }
}

/// Fails if opening the page would fetch or run anything: only links that a person may follow lead elsewhere.
fn check_offline(html: &str) {
    for tag in elements(html) {
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        assert!(!["script", "link", "img", "iframe", "object", "image", "use"].contains(&name), "{tag}");
        assert!(!tag.contains("src=") && (!tag.contains("href=") || name == "a"), "{tag}");
        assert!(!tag.contains("://") || name == "a", "{tag}");
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
    assert!(html.contains("default-src 'none'"));
}

/// The page of a run, checked.
fn page(path: impl AsRef<Path>) -> String {
    let html = read(path);
    check_form(&html);
    check_offline(&html);
    html
}

fn figures(html: &str) -> Vec<&str> {
    let captions = html.split("<figcaption>").skip(1);
    captions.map(|rest| rest.split_once("</figcaption>").unwrap().0).collect()
}

fn expect(html: &str, all: &[&str]) {
    let missing: Vec<_> = all.iter().filter(|words| !html.contains(**words)).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");
}

#[test]
fn a_binary_run_reports_its_curve_its_matrix_and_its_layers() {
    let at = directory("report_binary");
    let text = succeed(&at, &train("run", "--lambda 0.5 --log step --hidden 8,4"));
    assert!(text.contains("report: run/report.html"), "{text}");
    let html = page(at.join("run/report.html"));
    let summary = json(&read(at.join("run/summary.json")));
    let shown = figures(&html);
    assert_eq!(shown[..6], COURSE);
    assert!(shown[6].starts_with("ROC curve of &quot;malignant&quot;, test rows: AUC 0."), "{}", shown[6]);
    let layers = ["Layer 1, batch norm of 8", "Layer 4, batch norm of 4"];
    let layers = layers.map(|layer| ["mean", "deviation"].map(|what| format!("{layer}: {what}")));
    let rest: Vec<&str> = layers.iter().flatten().map(String::as_str).chain(NORMS).collect();
    assert_eq!(shown[7..], rest);
    expect(
        &html,
        &[
            "370 rows to train, 85 to validate, 114 to test",
            "30-8-4-1 with",
            "best: epoch",
            "minibatches of 32",
            "<title>training: examples 1110, cross-entropy (nats) ",
            "<title>validation: updates 36, cross-entropy (nats) ",
            "<title>3.weight: epoch 3, Euclidean norm ",
            "<title>validation: epoch 3, cross-entropy (nats) ",
            "<title>minibatches: epoch ",
            "<h2>Diagnosis: ",
            "with one seed, how much",
            "With batch normalization folded",
            "population (used)",
            "arXiv:1706.05350",
            "L2 (lambda 0.5)",
            "<th scope=\"row\" class=\"text\">0.weight</th><td>8 × 30</td>",
            "minilote train --config run/config.toml",
            "--hidden=8,4 --lambda=0.5",
            "prefers-color-scheme: dark",
            "@media print",
            &format!("minilote {}", env!("CARGO_PKG_VERSION")),
        ],
    );
    for class in 0..2 {
        let count = &summary["test"]["confusion"][class][class];
        assert!(html.contains(&format!(">{count}</td>")), "{count} of class {class}");
    }

    // What a run of a version without these files and fields holds is shown all the same.
    fs::remove_file(at.join("run/predictions.csv")).unwrap();
    let log = read(at.join("run/log.jsonl"));
    let old: Vec<&str> =
        log.lines().filter(|line| line.contains("epoch\",") || line.contains("step\",")).collect();
    fs::write(at.join("run/log.jsonl"), old.join("\n") + "\n").unwrap();
    assert_eq!(succeed(&at, "report run"), "report: run/report.html\n");
    let html = page(at.join("run/report.html"));
    assert_eq!(figures(&html), COURSE);
    let summary = read(at.join("run/summary.json")).replace("\"verdict\"", "\"unknown\"");
    fs::write(at.join("run/summary.json"), summary).unwrap();
    succeed(&at, "report run");
    let html = page(at.join("run/report.html"));
    assert!(!html.contains("Diagnosis"));
    expect(&html, &["There is no predictions.csv in this run", "did not log", "true \\ predicted"]);

    // A table that is not one of the model's classes is left out.
    let mut summary = json(&read(at.join("run/summary.json")));
    summary["test"]["confusion"] = serde_json::json!([[1, 2], [3, 4], [5, 6]]);
    fs::write(at.join("run/summary.json"), summary.to_string()).unwrap();
    succeed(&at, "report run");
    assert!(!page(at.join("run/report.html")).contains("true \\ predicted"));
}

#[test]
fn a_classification_and_a_regression_report_what_they_predict() {
    let at = directory("report_others");
    let name = "<b>&\"classes\"";
    let row = |i: usize| {
        format!("{},{},\"{}\"\n", i * 7 % 13, i * 5 % 11, ["a", "b", &name.replace('"', "\"\"")][i % 3])
    };
    fs::write(at.join("t.csv"), format!("x,y,c\n{}", (0..90).map(row).collect::<String>())).unwrap();
    let flags = "--device cpu --epochs 2 --quiet";
    succeed(&at, &format!("train t.csv --target c --test 0 --norm none --lambda 1 --out classes {flags}"));
    let html = page(at.join("classes/report.html"));
    assert_eq!(figures(&html), [&COURSE[..], &NORMS].concat());
    expect(
        &html,
        &["true \\ predicted", "recall", "&lt;b&gt;&amp;&quot;classes&quot;", "as there are no test rows"],
    );
    assert!(!html.contains("arXiv"), "there is no batch norm for L2 to act on");

    let target = format!("train {DATA}/diabetes.csv --target progression --out values --valid 0 {flags}");
    succeed(&at, &target);
    let html = page(at.join("values/report.html"));
    let predicted = "Predicted against true values, 88 test rows";
    let shown = figures(&html);
    assert_eq!(shown[..3], ["Loss, training", "RMSE, training", "Learning rate"]);
    assert_eq!((&shown[3..6], shown[6]), (&COURSE[3..], predicted));
    expect(&html, &["true progression", "test R²", "RMSE (units of the target)"]);
    assert_eq!(html.matches("<title>row: true progression ").count(), 88);

    let ran = run(&at, "report classes values");
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("values predicts a value and classes classes"), "{}", ran.err);
}

#[test]
fn several_runs_lie_over_one_another_and_what_differs_is_marked() {
    let at = directory("report_several");
    succeed(&at, &train("one", "--quiet"));
    succeed(&at, &train("two", "--quiet --lr 0.01 --norm none"));
    let ran = run(&at, "report one two --out one/model.safetensors");
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains("minilote has not written this file"), "{}", ran.err);
    succeed(&at, "report one two --out both.html");
    succeed(&at, "report one two --out both.html");
    let html = page(at.join("both.html"));
    assert_eq!(
        figures(&html),
        [
            "Training loss",
            "Validation loss",
            "Training accuracy",
            "Validation accuracy",
            "Learning rate",
            "Validation loss by examples",
            "Validation loss by updates",
            "Validation loss by seconds",
            "ROC curves"
        ]
    );
    expect(
        &html,
        &["<title>two: epoch 3, ", ">≠ lr</th><td><strong>0.003</strong></td><td><strong>0.01</strong>"],
    );
    assert_eq!(html.matches("≠ ").count(), 2 + 1, "lr and norm, and the sentence on the sign");

    // What is somebody else's is not overwritten by default.
    fs::write(at.join("report.html"), "years of work").unwrap();
    let ran = run(&at, "report one two");
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains("--out FILE"), "{}", ran.err);
    assert_eq!(read(at.join("report.html")), "years of work");
    fs::remove_file(at.join("report.html")).unwrap();
    for _ in 0..2 {
        assert_eq!(succeed(&at, "report one two"), "report: report.html\n");
    }
}

#[test]
fn a_sweep_reports_its_leaderboard_and_its_curves() {
    let at = directory("report_sweep");
    let sweep =
        |data: &str, rest: &str| format!("sweep {DATA}/{data} --device cpu --epochs 3 --quiet {rest}");
    let grid = "--hidden 4,8 --lambda 0,0.1,1 --lr 0.003,0.01 --seeds 2";
    let text = succeed(&at, &sweep("breast_cancer.csv", &format!("--target diagnosis --out one {grid}")));
    assert!(text.contains("report: one/report.html"), "{text}");
    let html = page(at.join("one/report.html"));
    let names = ["lambda", "size", "learning rate"].map(|over| {
        ["Validation loss", "Training loss", "Validation accuracy", "Training accuracy"]
            .map(|value| format!("{value} by {over}"))
    });
    assert_eq!(figures(&html), names.concat());
    let board = json(&read(at.join("one/leaderboard.json")));
    let first = &board["rows"][0];
    expect(
        &html,
        &[
            "12 combinations × 2 seeds",
            "<h2>Diagnosis of the best combination: ",
            "arXiv:1706.05350",
            "read with care",
            ">lambda 0</text>",
            "class=\"bar s1\"",
            "hidden 4, 8; lambda 0, 0.1, 1; learning rate 0.003, 0.01",
            "--hidden 4,8 --lambda 0,0.1,1 --lr 0.003,0.01 --seeds 2",
            &format!("<td class=\"text\">{}</td>", first["verdict"].as_str().unwrap()),
        ],
    );
    // A point of the figure of validation loss is the mean of the leaderboard.
    let (hidden, lambda) = (first["hidden"].as_str().unwrap(), first["lambda"].as_f64().unwrap());
    let at_lambda = if lambda > 0.0 { lambda } else { 0.01 };
    let title = format!("<title>hidden {hidden}: lambda {at_lambda}, cross-entropy (nats) ");
    let shown = html.split(&title).nth(1).unwrap_or_else(|| panic!("no {title}"));
    let value: f64 = shown.split('<').next().unwrap().parse().unwrap();
    let mean = first["valid_loss"]["mean"].as_f64().unwrap();
    assert!((value - mean).abs() < 1e-4 * mean, "{value} and {mean}");

    let target = "--target progression --out two --hidden none,8x4 --lambda 0 --seeds 1";
    succeed(&at, &sweep("diabetes.csv", target));
    let before = page(at.join("two/report.html"));
    assert_eq!(figures(&before), ["Validation loss by size", "Training loss by size"]);
    assert!(!before.contains("accuracy") && before.contains(">parameters, log scale<"));
    assert_eq!(succeed(&at, "report two"), "report: two/report.html\n");
    assert_eq!(page(at.join("two/report.html")), before);
}

#[test]
fn what_is_no_whole_run_is_refused_with_what_is_missing() {
    let at = directory("report_refused");
    succeed(&at, &train("run", "--quiet"));
    fs::create_dir(at.join("empty")).unwrap();
    let refused = |arguments: &str, words: &[&str]| {
        let ran = run(&at, &format!("report {arguments}"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(6), ""), "{arguments}: {}", ran.err);
        for word in words {
            assert!(ran.err.contains(word), "{arguments}: {word:?} is not in {}", ran.err);
        }
    };
    refused("absent", &["absent: no directory"]);
    refused("run run/config.toml", &["run/config.toml: no directory"]);
    succeed(
        &at,
        &format!(
            "sweep {DATA}/breast_cancer.csv --target diagnosis --device cpu --epochs 1 --hidden 4 --seeds 1 --quiet --out sweep"
        ),
    );
    refused("run sweep", &["sweep: this is a sweep", "by itself"]);
    let board = read(at.join("sweep/leaderboard.json"));
    for damage in
        [board.replace("\"rows\"", "\"raws\""), board.replace("\"lambda\": 0.0", "\"lambda\": \"x\"")]
    {
        fs::write(at.join("sweep/leaderboard.json"), damage).unwrap();
        refused("sweep", &["leaderboard.json: no leaderboard", "repeat the sweep"]);
    }
    fs::remove_file(at.join("sweep/leaderboard.json")).unwrap();
    refused("sweep", &["sweep is incomplete: there is no leaderboard.json", "minilote sweep"]);
    refused("empty", &["empty: this is no run", "config.toml", "minilote train DATA"]);
    let predictions = read(at.join("run/predictions.csv"));
    fs::write(at.join("run/predictions.csv"), predictions.replace(",benign,", ",bening,")).unwrap();
    refused("run", &["predictions.csv: line "]);
    fs::write(at.join("run/log.jsonl"), "{\"event\":\"epoch\",").unwrap();
    fs::write(at.join("run/predictions.csv"), predictions).unwrap();
    refused("run", &["log.jsonl: line 1"]);
    fs::remove_file(at.join("run/summary.json")).unwrap();
    refused("run", &["incomplete: there is no summary.json", "minilote train --config run/config.toml"]);
    fs::write(at.join("run/checkpoint-000000012.safetensors"), "").unwrap();
    refused("run", &["incomplete: there is no summary.json", "minilote train --resume run goes on"]);
}
