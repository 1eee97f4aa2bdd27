//! Bad input of all kinds: each is refused with a reason and its exit code, and never a panic.

use std::fs;
use std::path::Path;

use super::{directory, gzip, idx, images, run, succeed};

/// Files that the cases below are about, some of them good.
fn write_bad_files(at: &Path) {
    let good = |i: usize| format!("{},{},{}\n", i * 7 % 13, i * 5 % 11, ["a", "b"][i % 2]);
    let table = |rows: std::ops::Range<usize>| rows.map(good).collect::<String>();
    let write = |name: &str, content: &[u8]| fs::write(at.join(name), content).unwrap();
    let csv = |name: &str, last: &str| write(name, format!("x,y,c\n{}{last}", table(0..60)).as_bytes());
    csv("good.csv", "");
    csv("ragged.csv", "1,2\n");
    csv("nan.csv", "nan,2,a\n");
    csv("inf.csv", "inf,2,a\n");
    csv("huge.csv", "1e400,2,a\n");
    csv("once.csv", "1,2,z\n");
    csv("typo.csv", "1o,2,a\n");
    csv("rare.csv", "1,2,r\n1,3,r\n1,4,r\n");
    write("empty.csv", b"");
    write("header.csv", b"x,y,c\n");
    write("duplicate.csv", b"x,x,c\n1,2,a\n");
    write("latin.csv", b"x,y,c\n1,2,\xe9\n");
    write("one.csv", b"x,y,c\n1,2,a\n");
    write("three.csv", b"x,y\n1,5.5\n2,5.5\n3,7\n");
    let constant: String = (0..60).map(|i| format!("{i},5,{}\n", i % 2)).collect();
    write("constant.csv", format!("x,k,c\n{constant}").as_bytes());

    let (pixels, labels) = images();
    write("images", &pixels);
    write("labels", &labels);
    write("magic", &[&[0, 0, 0x0d], &pixels[3..]].concat());
    write("short", &pixels[..500]);
    write("labels59", &idx(&[59], (0..59).map(|i| i % 2)));
    let zipped = gzip(&pixels);
    write("cut.gz", &zipped[..zipped.len() / 2]);

    succeed(at, "train good.csv --target c --device cpu --epochs 1 --batch 10 --hidden 5 --out run --quiet");
    let model = fs::read(at.join("run/model.safetensors")).unwrap();
    let replaced = |from: &[u8], to: &[u8]| {
        let place = model.windows(from.len()).position(|window| window == from).unwrap();
        [&model[..place], to, &model[place + from.len()..]].concat()
    };
    write("cut.model", &model[..model.len() - 8]);
    write("cut-header.model", &model[..100]);
    write("future.model", &replaced(br#"\"version\":1"#, br#"\"version\":7"#));
    write("shape.model", &replaced(br#""shape":[5,2]"#, br#""shape":[2,5]"#));
    fs::create_dir(at.join("directory")).unwrap();
    fs::create_dir(at.join("full")).unwrap();
    write("full/notes", b"mine");

    write("key.toml", b"target = 'c'\nepocs = 3\n");
    write("value.toml", b"target = 'c'\n\nepochs = 'many'\n");
    write("table.toml", b"[target]\nname = 'c'\n");
    write("broken.toml", b"target = \n");
    write("nested.toml", b"hidden = [[1], [2]]\n");
}

/// Arguments of `train`, the exit code, and words of the message.
const TRAINING: &[(&str, i32, &[&str])] = &[
    // Files.
    ("empty.csv --target c", 3, &["empty.csv", "empty"]),
    ("header.csv --target c", 3, &["no rows"]),
    ("ragged.csv --target c", 3, &["line 62", "expected 3 fields, found 2"]),
    ("duplicate.csv --target c", 3, &["\"x\"", "two columns"]),
    ("good.csv --target clas", 3, &["no column \"clas\""]),
    ("good.csv", 2, &["--target", "x, y, c"]),
    ("latin.csv --target c", 3, &["line 2", "UTF-8"]),
    ("nan.csv --target c", 3, &["line 62", "\"x\"", "missing"]),
    ("inf.csv --target c", 3, &["line 62", "not a finite number"]),
    ("huge.csv --target c", 3, &["line 62", "not a finite number"]),
    ("typo.csv --target c", 3, &["line 62", "\"1o\" is not a number"]),
    ("once.csv --target c", 3, &["class \"z\"", "line 62"]),
    ("constant.csv --target c --epochs 1 --out ok1", 0, &[]),
    ("one.csv --target c", 3, &["only one class"]),
    ("three.csv --target y --batch full --norm none", 2, &["same in all training rows"]),
    ("absent.csv --target c", 6, &["absent.csv"]),
    ("directory --target c", 6, &["directory"]),
    ("good.csv --target c --labels labels", 3, &["--labels"]),
    ("magic --labels labels", 3, &["0x0d"]),
    ("short --labels labels", 3, &["truncated"]),
    ("images --labels labels59", 3, &["59 labels for the 60 images"]),
    ("cut.gz --labels labels", 6, &["cut.gz"]),
    ("images --labels labels --importance", 2, &["--importance", "images have none"]),
    // Flags.
    ("good.csv --target c --batch 100", 2, &["--batch 100"]),
    ("good.csv --target c --batch 1", 2, &["--norm none", "variance"]),
    ("good.csv --target c --batch 1 --norm none --epochs 1 --out ok2", 0, &[]),
    ("good.csv --target c --valid 0 --test 0 --batch 59", 2, &["one row over"]),
    ("good.csv --target c --batch 0", 2, &["--batch"]),
    ("good.csv --target c --hidden 0", 2, &["at least 1 unit"]),
    ("good.csv --target c --hidden -3", 2, &["\"-3\" is no number of units"]),
    ("good.csv --target c --hidden", 2, &["a value is required"]),
    ("good.csv --target c --epochs 0", 2, &["--epochs"]),
    ("good.csv --target c --epochs 18446744073709551615", 2, &["--epochs 18446744073709551615 must be"]),
    (
        "good.csv --target c --batch 10 --schedule step --step-epochs 9223372036854775808",
        2,
        &["--step-epochs"],
    ),
    ("good.csv --target c --lr -1", 2, &["--lr -1 must be above 0"]),
    ("good.csv --target c --lr nan", 2, &["--lr NaN"]),
    ("good.csv --target c --lr 1e999", 2, &["--lr inf"]),
    ("good.csv --target c --dropout 1", 2, &["--dropout 1"]),
    ("good.csv --target c --fraction 0", 2, &["--fraction 0 must be above 0"]),
    ("good.csv --target c --fraction 1.5", 2, &["--fraction 1.5 must"]),
    ("good.csv --target c --fraction 1e-9", 2, &["a fraction of 0.000000001 of 39", "one row"]),
    ("rare.csv --target c --learning-curve", 2, &["class \"r\" has 2 of", "--learning-curve=0.4,0.7,1"]),
    ("good.csv --target c --learning-curve=0.5,1", 2, &["three or more", "0.25,0.5,1"]),
    ("good.csv --target c --learning-curve --valid 0", 2, &["--valid above 0"]),
    ("good.csv --target c --learning-curve --curve-seeds 0", 2, &["--curve-seeds"]),
    (
        "good.csv --target c --learning-curve --curve-seeds 100000000",
        2,
        &["1000000000 models", "at most 10000"],
    ),
    ("good.csv --target c --valid 1.5", 2, &["1.5 is no fraction"]),
    ("good.csv --target c --valid absent.csv", 6, &["absent.csv"]),
    ("good.csv --target c --nesterov", 2, &["--optimizer momentum"]),
    ("good.csv --target c --optimiser sgd", 2, &["--optimizer"]),
    ("good.csv --target c --init-weights absent", 6, &["absent"]),
    ("good.csv --target c --hidden 16000000,16000000", 7, &["TiB", "smaller layers"]),
    ("good.csv --target c --hidden 16777216,16777216 --learning-curve", 7, &["TiB", "smaller layers"]),
    ("good.csv --target c --device nosuch", 4, &["nosuch", "--device cpu"]),
    ("good.csv --target c --out full", 6, &["full", "not empty"]),
    ("good.csv --target c --out run", 6, &["run", "--force"]),
    ("good.csv --target c --out good.csv", 6, &["good.csv"]),
    (
        "good.csv --target c --optimizer sgd --lr 1e30 --norm none --out lost",
        5,
        &["diverged", "lower --lr", "verdict: diverged", "--lr=0.1"],
    ),
    ("", 2, &["DATA is missing"]),
    // Configuration files.
    ("good.csv --config key.toml", 2, &["key.toml, line 2", "\"epocs\"", "did you mean \"epochs\"?"]),
    ("good.csv --config value.toml", 2, &["value.toml, line 3", "'many'", "--epochs"]),
    ("good.csv --config table.toml", 2, &["table.toml", "target must be"]),
    ("good.csv --config broken.toml", 2, &["broken.toml", "line 1"]),
    ("good.csv --config nested.toml", 2, &["nested.toml, line 1", "hidden"]),
    ("good.csv --config absent.toml", 6, &["absent.toml"]),
];

/// The same for the other subcommands.
const OTHERS: &[(&str, i32, &[&str])] = &[
    ("evaluate cut.model good.csv", 6, &["cut.model", "cut short"]),
    ("evaluate cut-header.model good.csv", 6, &["cut-header.model"]),
    ("evaluate future.model good.csv", 6, &["version 7", "update"]),
    ("evaluate shape.model good.csv", 6, &["[2, 5]", "[5, 2]"]),
    ("evaluate good.csv good.csv", 6, &["good.csv"]),
    ("evaluate run/model.safetensors images", 3, &["images"]),
    ("evaluate run/model.safetensors constant.csv", 3, &["\"y\""]),
    ("predict run/model.safetensors absent.csv", 6, &["absent.csv"]),
    ("predict run/model.safetensors good.csv --out absent/out.csv", 6, &["absent/out.csv"]),
    ("inspect cut.model", 6, &["cut.model"]),
    ("inspect cut-header.model", 6, &["cut-header.model"]),
    ("inspect empty.csv", 3, &["empty"]),
    ("inspect", 2, &["PATH"]),
    ("bench --seconds 0", 2, &["--seconds 0"]),
    ("bench --seconds nan", 2, &["--seconds NaN"]),
    ("bench --net nosuch", 2, &["tiny", "deep"]),
    ("bench --device nosuch", 4, &["nosuch"]),
    ("bench --against good.csv", 6, &["good.csv", "minilote bench"]),
    ("bench --against absent.json", 6, &["absent.json"]),
    (
        "sweep good.csv --target c --device cpu --hidden 16777216x16777216 --seeds 1000",
        7,
        &["TiB", "smaller layers"],
    ),
    ("retrain", 2, &["retrain"]),
];

#[test]
fn bad_input_is_refused_with_a_reason_and_the_right_exit_code() {
    let at = directory("refused");
    write_bad_files(&at);
    let train = |case: &str| {
        let device = if case.contains("--device") { "" } else { "--device cpu" };
        format!("train {case} {device}")
    };
    let apply = |case: &str| match case.split_once(' ') {
        Some(("evaluate" | "predict", _)) => format!("{case} --device cpu"),
        _ => case.to_string(),
    };
    let cases = TRAINING.iter().map(|(case, code, words)| (train(case), code, words));
    let mut failures = vec![];
    for (arguments, code, words) in cases.chain(OTHERS.iter().map(|(case, c, w)| (apply(case), c, w))) {
        let ran = run(&at, &arguments);
        let missing: Vec<_> = words.iter().filter(|word| !ran.err.contains(**word)).collect();
        let says_error = *code == 0 || ran.err.contains("error: ");
        if ran.code != Some(*code) || !missing.is_empty() || !says_error {
            failures.push(format!("{arguments}: {:?}, lacks {missing:?}: {}", ran.code, ran.err));
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(!at.join("runs").exists(), "a refused run left a directory");
}
