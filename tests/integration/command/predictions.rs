//! What a model says of rows: `predict`, and predictions.csv of a run.

use minilote::data::FeatureKind;
use minilote::model::Model;

use super::*;

/// Cells of lines, the first one's names aside.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().skip(1).map(|line| line.split(',').collect()).collect()
}

/// predictions.csv is what `predict` writes of the rows that the run was scored on, with their targets: to 15 digits of
/// their spread.
#[test]
fn a_run_predicts_what_predict_does_and_copies_the_targets() {
    let at = directory("predictions");
    // Values far from 0 beside their spread, and in the last columns two and three classes.
    let row = |i: usize| format!("{i},{},{},{}\n", 1_700_000_000 + i * i, i / 30, i % 3);
    fs::write(at.join("t.csv"), "x,value,two,three\n".to_string() + &(0..60).map(row).collect::<String>())
        .unwrap();
    let table = read(at.join("t.csv"));
    for (column, target) in [(1, "value"), (2, "two"), (3, "three")] {
        let train = format!("train t.csv --target {target} --device cpu --epochs 2 --quiet --out {target}");
        succeed(&at, &train);
        let written = read(at.join(target).join("predictions.csv"));
        let predicted = succeed(&at, &format!("predict {target}/model.safetensors t.csv --device cpu"));
        let (head, head_of_predict) = (written.lines().next().unwrap(), predicted.lines().next().unwrap());
        assert_eq!(head.replace("row,target,", "row,"), head_of_predict);
        let all = cells(&predicted);
        let scored = cells(&written);
        assert_eq!(scored.len(), 12);
        for line in scored {
            let row: usize = line[0].parse().unwrap();
            assert_eq!(line[1], cells(&table)[row - 2][column], "row {row}");
            assert_eq!([&line[..1], &line[2..]].concat(), all[row - 2], "row {row}");
        }
    }
}

#[test]
fn predictions_of_a_value_keep_the_lines_of_rows_that_are_not_dropped() {
    let at = directory("dropped");
    let rows = |i: usize| format!("{i}.5,{},{}.25\n", if i == 7 { "NA" } else { "1" }, 2 * i);
    fs::write(at.join("t.csv"), "x,z,y\n".to_string() + &(0..40).map(rows).collect::<String>()).unwrap();
    let text =
        succeed(&at, "train t.csv --target y --device cpu --epochs 2 --missing drop --batch 5 --out run");
    assert!(text.contains("R²") && text.contains("RMSE"), "{text}");
    let rest = "--target y --device cpu --epochs 1 --missing drop --batch 5 --out part --test t.csv";
    let ran = run(&at, &format!("train t.csv {rest}"));
    assert_eq!(ran.err.matches("t.csv: rows with missing values dropped: 1").count(), 2, "{}", ran.err);
    let text = succeed(&at, "predict run/model.safetensors t.csv --device cpu");
    let numbers: Vec<&str> = text.lines().map(|line| line.split_once(',').unwrap().0).collect();
    let expected: Vec<String> = (2..42).filter(|line| *line != 9).map(|line| line.to_string()).collect();
    assert_eq!(numbers[0], "row");
    assert_eq!(numbers[1..], expected);
}

#[test]
fn rows_that_miss_a_value_are_refused_filled_or_dropped_as_asked() {
    let at = directory("missing");
    let rows = |i: usize| format!("{i},{}\n", 2 * i);
    fs::write(at.join("t.csv"), "x,y\n".to_string() + &(0..40).map(rows).collect::<String>()).unwrap();
    fs::write(at.join("new.csv"), "x,y\n1,2\nNA,3\n4,\n").unwrap();
    fs::write(at.join("gap.csv"), "x,y\n1,2\nNA,3\n").unwrap();
    fs::write(at.join("filled.csv"), "x,y\n1,2\n19.5,3\n").unwrap();
    succeed(&at, "train t.csv --target y --device cpu --epochs 1 --quiet --out run");
    let mut earlier = Model::load(&at.join("run/model.safetensors")).unwrap();
    earlier.schema.features[0].kind = FeatureKind::Numeric { fill: None };
    earlier.save(&at.join("earlier.model")).unwrap();
    for (verb, kept) in [("predict", 2), ("evaluate", 1)] {
        let arguments = format!("{verb} run/model.safetensors new.csv --device cpu");
        let ran = run(&at, &arguments);
        let ways_out = "--missing mean fills in the training file's mean or most frequent category, --missing drop \
                        leaves such rows out";
        assert!(ran.code == Some(3) && ran.err.contains(ways_out), "{}", ran.err);
        let of = |rest: &str| format!("{verb} {rest} --device cpu");
        let filled = succeed(&at, &of("run/model.safetensors gap.csv --missing mean"));
        assert_eq!(filled, succeed(&at, &of("run/model.safetensors filled.csv")));
        let ran = run(&at, &of("earlier.model gap.csv --missing mean"));
        assert!(ran.code == Some(2) && ran.err.contains("nothing to fill in"), "{}", ran.err);
        let ran = run(&at, &format!("{arguments} --missing drop"));
        let left_out = format!("rows with missing values left out: {}", 3 - kept);
        assert!(ran.code == Some(0) && ran.err.contains(&left_out), "{}", ran.err);
    }
}

#[test]
fn unknown_categories_are_refused_or_taken_as_zeros() {
    let at = directory("unknown");
    let head = "size,color,shape,y\n";
    let row = |i: usize| format!("{i},{},{},{}\n", ["red", "blue"][i % 2], ["x", "o", "+"][i % 3], i % 2);
    fs::write(at.join("t.csv"), head.to_string() + &(0..40).map(row).collect::<String>()).unwrap();
    fs::write(at.join("new.csv"), format!("{head}1,red,x,0\n2,pink,*,1\n2,gray,#,1\n3,gray,o,0\n")).unwrap();
    succeed(&at, "train t.csv --target y --device cpu --epochs 1 --quiet --out run");
    let refused = |arguments: &str| {
        let ran = run(&at, arguments);
        let all = ["new.csv, line 3, column \"color\"", "\"pink\"", "--unknown zero"];
        assert!(ran.code == Some(3) && all.iter().all(|words| ran.err.contains(words)), "{}", ran.err);
    };
    refused("train t.csv --target y --device cpu --valid new.csv");
    for verb in ["predict", "evaluate"] {
        let arguments = format!("{verb} run/model.safetensors new.csv --device cpu");
        refused(&arguments);
        let ran = run(&at, &format!("{arguments} --unknown zero"));
        let told = "cells of unknown categories, taken as zeros: 5 (color 3, shape 2)";
        assert!(ran.code == Some(0) && ran.err.contains(told), "{}", ran.err);
        if verb == "predict" {
            let rows = cells(&ran.out);
            assert!(
                rows.len() == 4 && rows[1][1..] == rows[2][1..] && rows[2][2..] != rows[3][2..],
                "{rows:?}"
            );
        }
    }
}

/// As they stand in the file, in step with the rows that are left.
#[test]
fn columns_are_kept_beside_predictions() {
    let at = directory("kept");
    let rows = |i: usize| format!("{i},{}\n", 2 * i);
    fs::write(at.join("t.csv"), "x,y\n".to_string() + &(0..40).map(rows).collect::<String>()).unwrap();
    succeed(&at, "train t.csv --target y --device cpu --epochs 1 --quiet --out run");
    let new = "id,\"no,te\",x,row,note\n007,\"a, \"\"b\"\"\",1,NA,p\n8,c,,r,q\n1.50,,3,s,\n";
    fs::write(at.join("new.csv"), new).unwrap();
    let predict = "predict run/model.safetensors new.csv --device cpu --missing drop";
    let plain = succeed(&at, predict);
    for (keep, kept) in [
        ("id", ["id", "007", "1.50"]),
        ("no,te", ["\"no,te\"", "\"a, \"\"b\"\"\"", ""]),
        ("note,x", ["note,x", "p,1", ",3"]),
    ] {
        let text = succeed(&at, &format!("{predict} --keep {keep}"));
        let beside = |(line, kept): (&str, &str)| {
            let (row, prediction) = line.split_once(',').unwrap();
            format!("{row},{kept},{prediction}\n")
        };
        assert_eq!(text, plain.lines().zip(kept).map(beside).collect::<String>(), "{keep}");
    }
    for (keep, code, said) in [
        ("row", 2, "columns of the output would be named \"row\""),
        ("x,x", 2, "\"x\""),
        (",", 2, "names no column"),
    ] {
        let ran = run(&at, &format!("{predict} --keep {keep}"));
        assert!(ran.code == Some(code) && ran.err.contains(said), "{}", ran.err);
    }
    let ran = run(&at, &format!("{predict} --keep idd"));
    assert!(
        ran.code == Some(3) && ran.err.contains("no column \"idd\"; did you mean \"id\"?"),
        "{}",
        ran.err
    );
}

/// Semicolons separate, and columns are left out, by a run, by what repeats it, and by its model.
#[test]
fn columns_are_ignored_by_a_run_and_its_configuration() {
    let at = directory("ignored");
    let row = |i: usize| format!("id{i};{i};note {i};{}\n", 2 * i);
    let rows: String = (0..40).map(row).collect();
    fs::write(at.join("t.csv"), "id;x;note;y\n".to_string() + &rows).unwrap();
    fs::write(at.join("new.csv"), "x\n1\n2\n").unwrap();
    fs::write(
        at.join("comma.csv"),
        rows.lines().fold("\"id, no\";x;y\n".to_string(), |text, line| {
            let cells: Vec<_> = line.split(';').collect();
            text + &format!("{};{};€{},50\n", cells[0], cells[1], i32::from(cells[1].len() > 1) + 1)
        }),
    )
    .unwrap();
    let mut comma = command(&at, "train comma.csv --target y --device cpu --epochs 1 --out comma");
    let ran = comma.args(["--ignore", "id, no"]).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && said.contains("2 classes, most of which look like numbers"), "{said}");
    let refused = run(&at, "train t.csv --target y --device cpu");
    assert!(
        refused.code == Some(3) && refused.err.contains("leave an identifier out by --ignore"),
        "{}",
        refused.err
    );
    succeed(&at, "train t.csv --target y --device cpu --ignore id,note --epochs 1 --quiet --out run");
    succeed(&at, "train --config run/config.toml --quiet --out again");
    assert_eq!(
        fs::read(at.join("run/model.safetensors")).unwrap(),
        fs::read(at.join("again/model.safetensors")).unwrap()
    );
    assert_eq!(cells(&succeed(&at, "predict run/model.safetensors new.csv --device cpu")).len(), 2);
    let board = json(&succeed(
        &at,
        "sweep t.csv --target y --device cpu --ignore id,note --epochs 1 --json --out sweep",
    ));
    assert!(board["diagnosis"]["command"].as_str().unwrap().contains("--ignore=id,note"), "{board}");
}
