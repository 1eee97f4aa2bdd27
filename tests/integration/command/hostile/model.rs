//! Model files, and weights to start from.

use std::fs;

use serde_json::{Value, json};

use super::parts::{Parts, Tensor, broken, file};
use super::{Case, DEEP, case, refuse, table, trained};

const EVALUATE: &str = "evaluate @ good.csv --device cpu";
const KEY: &str = "minilote";

pub fn cases(model: &[u8]) -> Vec<Case> {
    let good = Parts::of(model);
    let mut all: Vec<Case> = broken(&good, "0.weight")
        .into_iter()
        .map(|(name, bytes, said)| case(&format!("{name}.model"), bytes, EVALUATE, 6, &[said]))
        .collect();
    all.extend(descriptions(&good));
    all.extend(schemas(&good));
    all.extend(tensors(&good));
    all.extend(weights(&good));
    all
}

fn described(good: &Parts, name: &str, pointer: &str, value: Value, said: &[&str]) -> Case {
    let edit = |inner: &mut Value| *inner.pointer_mut(pointer).unwrap() = value.clone();
    case(&format!("{name}.model"), good.with_description(KEY, edit).bytes(), EVALUATE, 6, said)
}

fn descriptions(good: &Parts) -> Vec<Case> {
    let text = |name: &str, text: &str, said: &[&str]| {
        let mut parts = good.clone();
        parts.metadata.insert(KEY.into(), text.into());
        case(&format!("{name}.model"), parts.bytes(), EVALUATE, 6, said)
    };
    let described =
        |name: &str, pointer: &str, value: Value, said: &[&str]| described(good, name, pointer, value, said);
    let as_tensor = |name: &str, kind: &str, bytes: &[u8], alone: bool, said: &[&str]| {
        let mut parts = good.clone();
        parts.tensors.insert(KEY.into(), Tensor(kind.into(), vec![bytes.len() as u64], bytes.into()));
        if alone {
            parts.metadata.clear();
        }
        case(&format!("{name}.model"), parts.bytes(), EVALUATE, 6, said)
    };
    let layer = |i: usize, key: &str| format!("/spec/layers/{i}/{key}");
    let deep = format!("{{\"version\":1,\"spec\":{}", "[".repeat(DEEP));
    let all = vec![
        text("text-empty", "", &["damaged header", "line 1"]),
        text("text-null", "null", &["damaged header"]),
        text("text-cut", "{\"version\":1,", &["damaged header", "line 1 column"]),
        text("text-deep", &deep, &["damaged header", "line 1 column"]),
        text("text-twice", "{\"version\":1,\"version\":1}", &["damaged header", "duplicate field"]),
        text("text-bare", "{\"version\":1}", &["damaged header", "missing field"]),
        as_tensor("tensor-both", "U8", b"{}", false, &["\"minilote\"", "alone"]),
        as_tensor("tensor-type", "I8", b"{}", true, &["\"minilote\"", "must be a text"]),
        as_tensor("tensor-bytes", "U8", b"{\xff}", true, &["\"minilote\"", "utf-8"]),
        as_tensor("tensor-large", "U8", &vec![b' '; 5_000_001], true, &["\"minilote\"", "5000000 bytes"]),
        as_tensor("tensor-blank", "U8", b"  ", true, &["damaged header"]),
        described("version-0", "/version", json!(0), &["no version 0"]),
        described("version-2", "/version", json!(2), &["version 2", "update"]),
        described("version-large", "/version", json!(u64::MAX), &["damaged header", "line 1 column"]),
        described("version-text", "/version", json!("1"), &["damaged header"]),
        described("source", "/source", json!("guess"), &["damaged header", "guess"]),
        described("updates", "/updates", json!(-1), &["damaged header"]),
        described("task-unknown", "/spec/task", json!("any"), &["damaged header"]),
        described("task-other", "/spec/task", json!("regression"), &["the target and the network"]),
        described("task-many", "/spec/task", json!("classification"), &["at least two outputs"]),
        described("layers-none", "/spec/layers", json!([]), &["at least one linear layer"]),
        described("layers-null", "/spec/layers", json!(null), &["damaged header"]),
        described("layer-kind", &layer(0, "type"), json!("eval"), &["damaged header", "eval"]),
        described(
            "layer-field",
            "/spec/layers/2",
            json!({"type": "dropout", "p": 0.5, "path": "/x"}),
            &["`path`"],
        ),
        described("units-none", &layer(0, "outputs"), json!(0), &["layer 0", "0 units"]),
        described("units-all", &layer(0, "outputs"), json!(u64::MAX), &["layer 0", "units"]),
        described("units-negative", &layer(0, "outputs"), json!(-5), &["damaged header"]),
        described("units-other", &layer(0, "outputs"), json!(6), &["layer 1 takes 5 features and gets 6"]),
        described("inputs-other", &layer(0, "inputs"), json!(3), &["2 features and the network 3"]),
        described("eps-zero", &layer(1, "eps"), json!(0.0), &["layer 1", "eps"]),
        described("eps-negative", &layer(1, "eps"), json!(-1.0), &["layer 1", "eps -1"]),
        described("eps-large", &layer(1, "eps"), json!("1e999"), &["damaged header"]),
        described("dropout", "/spec/layers/2", json!({"type": "dropout", "p": 1.0}), &["dropout 1"]),
        described("function", &layer(2, "function"), json!("exec"), &["damaged header", "exec"]),
        described("no-bias", &layer(3, "bias"), json!(false), &["\"3.bias\" is none of this network's"]),
        described("more-bias", &layer(0, "bias"), json!(true), &["\"0.bias\" is missing"]),
        described("standardizer-null", "/standardizer", json!(null), &["damaged header"]),
        described("standardizer-mode", "/standardizer/mode", json!("cubic"), &["cubic"]),
        described("means-short", "/standardizer/mean", json!([1.0]), &["mean has 1 numbers, not 2"]),
        described("means-long", "/standardizer/mean", json!([1.0, 2.0, 3.0]), &["mean has 3 numbers, not 2"]),
        described("variances-short", "/standardizer/variance", json!([1.0]), &["variance has 1 numbers"]),
        described("variance-negative", "/standardizer/variance/1", json!(-1.0), &["a variance is -1"]),
        described("minimums", "/standardizer/minimum", json!([]), &["minimum has 0 numbers"]),
        described("maximums", "/standardizer/maximum", json!([1.0]), &["maximum has 1 numbers"]),
        described("above", "/standardizer/minimum/0", json!(99.0), &["a minimum, 99, is above its maximum"]),
        described("mean-null", "/standardizer/mean/0", json!(null), &["damaged header"]),
        described("target", "/target", good_standardizer(), &["only a regression has a standardized target"]),
    ];
    let repeated = |inner: &mut Value| {
        let layers = inner["spec"]["layers"].as_array().unwrap();
        inner["spec"]["layers"] = layers.iter().cycle().take(4000).cloned().collect();
    };
    let many = case(
        "layers-many.model",
        good.with_description(KEY, repeated).bytes(),
        EVALUATE,
        6,
        &["4000 layers"],
    );
    let foreign = |inner: &mut Parts| inner.metadata.clear();
    let mut bare = good.clone();
    foreign(&mut bare);
    let bare =
        case("foreign.model", bare.bytes(), EVALUATE, 6, &["not a model of minilote", "--init-weights"]);
    all.into_iter().chain([many, bare]).collect()
}

fn good_standardizer() -> Value {
    json!({ "mode": "standard", "mean": [0.0], "variance": [1.0], "minimum": [0.0], "maximum": [1.0] })
}

fn schemas(good: &Parts) -> Vec<Case> {
    let described = |name: &str, pointer: &str, value: Value, said: &[&str]| {
        described(good, name, &format!("/schema{pointer}"), value, said)
    };
    let feature = |kind: Value| json!([{ "name": "x", "kind": kind }]);
    let levels = |levels: Value| feature(json!({ "categorical": { "levels": levels, "fill": null } }));
    let unfilled = json!({
        "features": feature(json!({ "numeric": { "fill": null } })),
        "target": { "name": "c", "kind": { "classes": ["a", "b"] } },
        "missing": "mean",
    });
    let pixels = |count: u64| feature(json!({ "pixels": { "count": count } }));
    vec![
        described("no-features", "/features", json!([]), &["no features"]),
        described("columns-twice", "/features/1/name", json!("x"), &["two columns are named \"x\""]),
        described("column-target", "/features/1/name", json!("c"), &["two columns are named \"c\""]),
        described("target-column", "/target/name", json!("y"), &["two columns are named \"y\""]),
        described(
            "fewer-columns",
            "/features",
            feature(json!({"numeric": {"fill": null}})),
            &["1 features and the network 2"],
        ),
        described("column-kind", "/features/0/kind", json!({"shell": {}}), &["damaged header", "shell"]),
        described(
            "column-fill",
            "/features/0/kind",
            json!({"numeric": {"fill": "1e999"}}),
            &["damaged header"],
        ),
        described("missing", "", unfilled, &["no fill for missing cells"]),
        described("levels-none", "/features", levels(json!([])), &["\"x\"", "0 of them"]),
        described(
            "levels-twice",
            "/features",
            levels(json!(["a", "a"])),
            &["\"x\"", "\"a\" is empty or repeated"],
        ),
        described("levels-empty", "/features", levels(json!(["a", ""])), &["\"x\"", "empty or repeated"]),
        described(
            "levels-more",
            "/features",
            levels(json!(["a", "b", "d"])),
            &["3 features and the network 2"],
        ),
        described(
            "levels-fill",
            "/features",
            feature(json!({ "categorical": { "levels": ["a", "b"], "fill": 2 } })),
            &["\"x\"", "the fill is not a level"],
        ),
        described("pixels-none", "/features", pixels(0), &["images without pixels"]),
        described("pixels-all", "/features", pixels(u64::MAX), &["over 312500 encoded features"]),
        described("pixels-more", "/features", pixels(3), &["3 features and the network 2"]),
        described(
            "pixels-mixed",
            "/features/0/kind",
            json!({"pixels": {"count": 1}}),
            &["images and other features"],
        ),
        described("pixels-table", "/features", pixels(2), &["@"]),
        described("classes-none", "/target/kind", json!({"classes": []}), &["0 of them; 2 are needed"]),
        described("classes-one", "/target/kind", json!({"classes": ["a"]}), &["1 of them; 2 are needed"]),
        described(
            "classes-three",
            "/target/kind",
            json!({"classes": ["a", "b", "d"]}),
            &["the target and the network's 1"],
        ),
        described(
            "classes-twice",
            "/target/kind",
            json!({"classes": ["a", "a"]}),
            &["\"a\" is empty or repeated"],
        ),
        described("classes-empty", "/target/kind", json!({"classes": ["a", ""]}), &["empty or repeated"]),
        described("classes-value", "/target/kind", json!("value"), &["the target and the network's 1"]),
        described(
            "classes-escape",
            "/target/kind",
            json!({"classes": ["\x1b[31m", "\x1b[31m"]}),
            &["\\u{1b}[31m"],
        ),
    ]
    .into_iter()
    .map(|mut case| {
        // A model of images is one, and the table is what does not suit it.
        if case.name == "pixels-table.model" {
            (case.code, case.words) = (3, vec!["good.csv".into(), "trained on images".into()]);
        }
        case
    })
    .collect()
}

fn tensors(good: &Parts) -> Vec<Case> {
    let edited = |name: &str, tensor: &str, edit: &dyn Fn(&mut Tensor), said: &[&str]| {
        case(&format!("{name}.model"), good.with_tensor(tensor, edit).bytes(), EVALUATE, 6, said)
    };
    let float = |at: usize, value: f32| {
        move |tensor: &mut Tensor| tensor.2[at * 4..][..4].copy_from_slice(&value.to_le_bytes())
    };
    let double = |at: usize, value: f64| {
        move |tensor: &mut Tensor| tensor.2[at * 8..][..8].copy_from_slice(&value.to_le_bytes())
    };
    let statistics = |features: usize| {
        move |tensor: &mut Tensor| {
            (tensor.1, tensor.2) = (vec![features as u64], vec![0; features * 8]);
        }
    };
    let shaped = |shape: &'static [u64]| move |tensor: &mut Tensor| tensor.1 = shape.into();
    let without = |name: &str| {
        let mut parts = good.clone();
        parts.tensors.remove(name).unwrap();
        case(&format!("without-{name}.model"), parts.bytes(), EVALUATE, 6, &[name, "is missing"])
    };
    let mut more = good.clone();
    more.tensors.insert("9.weight".into(), Tensor("F32".into(), vec![1], vec![0; 4]));
    let mut path = good.clone();
    path.tensors.insert("../../x".into(), Tensor("F32".into(), vec![1], vec![0; 4]));
    vec![
        edited("weight-nan", "0.weight", &float(0, f32::NAN), &["\"0.weight\" is not finite in element 0"]),
        edited(
            "weight-nan-last",
            "0.weight",
            &float(9, f32::NAN),
            &["\"0.weight\" is not finite in element 9"],
        ),
        edited(
            "weight-inf",
            "3.weight",
            &float(2, f32::INFINITY),
            &["\"3.weight\" is not finite in element 2"],
        ),
        edited(
            "bias-inf",
            "3.bias",
            &float(0, f32::NEG_INFINITY),
            &["\"3.bias\" is not finite in element 0"],
        ),
        edited("gamma-nan", "1.weight", &float(4, f32::NAN), &["\"1.weight\" is not finite in element 4"]),
        edited(
            "mean-nan",
            "1.running_mean",
            &double(1, f64::NAN),
            &["\"1.running_mean\" is not finite in element 1"],
        ),
        edited("mean-past-f32", "1.running_mean", &double(0, 1e300), &["\"1.running_mean\" is not finite"]),
        edited(
            "var-inf",
            "1.running_var",
            &double(2, f64::INFINITY),
            &["\"1.running_var\" is not finite in element 2"],
        ),
        edited(
            "var-negative",
            "1.running_var",
            &double(4, -1e-9),
            &["\"1.running_var\" has a negative variance"],
        ),
        edited(
            "var-short",
            "1.running_var",
            &statistics(4),
            &["\"1.running_var\" has shape [4] and should have [5]"],
        ),
        edited("var-long", "1.running_var", &statistics(6), &["\"1.running_var\" has shape [6]"]),
        edited("mean-short", "1.running_mean", &statistics(4), &["\"1.running_mean\" has shape [4]"]),
        edited("mean-none", "1.running_mean", &statistics(0), &["\"1.running_mean\" has shape [0]"]),
        edited(
            "weight-turned",
            "0.weight",
            &shaped(&[2, 5]),
            &["\"0.weight\" has shape [2, 5] and should have [5, 2]"],
        ),
        edited("weight-flat", "0.weight", &shaped(&[10]), &["\"0.weight\" has shape [10]"]),
        edited("weight-cube", "0.weight", &shaped(&[5, 2, 1]), &["\"0.weight\" has shape [5, 2, 1]"]),
        edited(
            "bias-matrix",
            "3.bias",
            &shaped(&[1, 1]),
            &["\"3.bias\" has shape [1, 1] and should have [1]"],
        ),
        edited(
            "weight-ints",
            "0.weight",
            &|tensor| tensor.0 = "I32".into(),
            &["\"0.weight\" is of type I32"],
        ),
        edited(
            "var-ints",
            "1.running_var",
            &|tensor| tensor.0 = "U64".into(),
            &["\"1.running_var\" is of type U64"],
        ),
        without("0.weight"),
        without("1.bias"),
        without("3.bias"),
        without("1.running_mean"),
        without("1.running_var"),
        case("tensor-more.model", more.bytes(), EVALUATE, 6, &["\"9.weight\" is none of this network's"]),
        case("tensor-path.model", path.bytes(), EVALUATE, 6, &["\"../../x\" is none of this network's"]),
    ]
}

/// Other commands that read safetensors.
fn weights(good: &Parts) -> Vec<Case> {
    const WEIGHTS: &str = "train good.csv --target c --hidden 5 --init-weights @ --device cpu --out none";
    let nan = good.with_tensor("0.weight", |tensor| tensor.2.fill(0xff)).bytes();
    let wide = good.with_tensor("0.weight", |tensor| tensor.1 = vec![2, 5]).bytes();
    let mut other = good.clone();
    other.tensors.insert("fc1.weight".into(), Tensor("F32".into(), vec![1], vec![0; 4]));
    let deep = file(format!("{{\"a\":{}", "[".repeat(DEEP)).as_bytes(), &[]);
    vec![
        case("nan.weights", nan.clone(), WEIGHTS, 6, &["\"0.weight\" is not finite in element 0"]),
        case("turned.weights", wide, WEIGHTS, 6, &["\"0.weight\" has shape [2, 5]"]),
        case("names.weights", other.bytes(), WEIGHTS, 6, &["\"fc1.weight\" is none of this network's"]),
        case("text.weights", table(), WEIGHTS, 6, &["no readable safetensors file"]),
        case("empty.weights", "", WEIGHTS, 6, &["no length of a header"]),
        case("deep.weights", deep, WEIGHTS, 6, &["header:"]),
        case(
            "pickle.weights",
            &b"\x80\x02}q\0.PK\x03\x04 a pickle"[..],
            WEIGHTS,
            6,
            &["the limit is 1000000"],
        ),
        case("predicted.model", nan.clone(), "predict @ good.csv --device cpu", 6, &["\"0.weight\""]),
        case("inspected.model", nan, "inspect @", 6, &["\"0.weight\""]),
    ]
}

/// What 12,000 columns have to be remembered by does not fit a header of 1 MB.
#[test]
fn a_model_of_many_columns_has_its_description_in_a_tensor() {
    let at = super::directory("hostile-wide");
    let names: Vec<String> = (0..12_000).map(|i| format!("gene_{i}")).collect();
    let row = |i: usize| (0..12_000).map(|j| format!("{},", (i * i * 13 + j * 7) % 101)).collect::<String>();
    let rows: String = (0..40).map(|i| format!("{}{}\n", row(i), ["a", "b"][i % 2])).collect();
    fs::write(at.join("wide.csv"), format!("{},c\n{rows}", names.join(","))).unwrap();
    let train = "train wide.csv --target c --device cpu --epochs 2 --batch 10 --hidden 2 --test wide.csv --out run --json";
    let trained = super::super::json(&super::succeed(&at, train));
    let bytes = fs::read(at.join("run/model.safetensors")).unwrap();
    assert!(u64::from_le_bytes(*bytes.first_chunk().unwrap()) < 10_000);
    let evaluated = super::succeed(&at, "evaluate run/model.safetensors wide.csv --device cpu --json");
    assert_eq!(super::super::json(&evaluated)["scores"], trained["test"]);
}

#[test]
fn models_are_refused() {
    let at = trained("hostile-model");
    let model = fs::read(at.join("run/model.safetensors")).unwrap();
    // What is taken apart and put together again is a model.
    fs::write(at.join("again.model"), Parts::of(&model).bytes()).unwrap();
    super::succeed(&at, "evaluate again.model good.csv --device cpu");
    refuse(&at, cases(&model));
}
