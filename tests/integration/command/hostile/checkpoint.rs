//! Checkpoints, damaged ones and forged ones whose checksum is right.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::parts::{Parts, Tensor, broken};
use super::{Case, DEEP, case, refuse, succeed, trained};

const KEY: &str = "minilote-checkpoint";
const FILE: &str = "checkpoint-000000001.safetensors";

/// Of a run that time has stopped, after an epoch at the least.
pub fn made(at: &Path) -> Vec<u8> {
    let stopped = "train good.csv --target c --device cpu --epochs 1000000 --patience 0 --batch 10 --hidden 5 --quiet \
                   --out stopped --force";
    for time in ["0.3s", "3s", "30s"] {
        succeed(at, &format!("{stopped} --max-time {time}"));
        let files = fs::read_dir(at.join("stopped")).unwrap().map(|entry| entry.unwrap().path());
        let found = files.filter(|path| path.display().to_string().contains("checkpoint-")).max();
        let bytes = fs::read(found.unwrap()).unwrap();
        if Parts::of(&bytes).tensors.contains_key("best.0") {
            return bytes;
        }
    }
    panic!("an epoch of 39 rows took over 30 s");
}

/// FNV-1a of the state and of all tensors, as a person who forges a checkpoint would take it.
pub fn sealed(mut parts: Parts) -> Vec<u8> {
    let state = match parts.tensors.get(KEY) {
        Some(tensor) => String::from_utf8(tensor.2.clone()).unwrap(),
        None => parts.metadata[KEY].as_str().unwrap().into(),
    };
    let mut names: Vec<String> = ["parameters", "gradients", "moment1", "moment2"].map(String::from).to_vec();
    names.extend((0..).map(|i| format!("best.{i}")).take_while(|name| parts.tensors.contains_key(name)));
    names.push("history".into());
    let tensors = names.iter().filter_map(|name| Some((name.as_bytes(), &parts.tensors.get(name)?.2)));
    let all = tensors.fold(state.into_bytes(), |all, (name, bytes)| [&all, name, bytes].concat());
    let sum = all
        .iter()
        .fold(0xcbf29ce484222325, |sum: u64, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100000001b3));
    parts.metadata.insert("checksum".into(), format!("{sum:016x}").into());
    parts.bytes()
}

fn resume(name: &str, bytes: Vec<u8>, said: &[&str]) -> Case {
    case(&format!("{name}/{FILE}"), bytes, &format!("train --resume {name} --quiet"), 6, said)
}

pub fn cases(checkpoint: &[u8]) -> Vec<Case> {
    let good = Parts::of(checkpoint);
    let mut all: Vec<Case> = broken(&good, "parameters")
        .into_iter()
        .map(|(name, bytes, said)| resume(&format!("file-{name}"), bytes, &[said]))
        .collect();
    all.extend(damaged(&good));
    all.extend(states(&good));
    all.extend(tensors(&good));
    all
}

/// The checksum finds these.
fn damaged(good: &Parts) -> Vec<Case> {
    let flipped = |name: &str| {
        let bytes = good.with_tensor(name, |tensor| tensor.2[0] ^= 1).bytes();
        resume(&format!("flipped-{name}"), bytes, &["a damaged checkpoint", "its checksum is another"])
    };
    let metadata = |name: &str, edit: &dyn Fn(&mut Parts), said: &str| {
        let mut parts = good.clone();
        edit(&mut parts);
        resume(name, parts.bytes(), &["a damaged checkpoint", said])
    };
    let set = |key: &'static str, value: &'static str| {
        move |parts: &mut Parts| drop(parts.metadata.insert(key.into(), value.into()))
    };
    let mut all: Vec<Case> =
        ["parameters", "gradients", "moment1", "moment2", "best.0", "history"].map(flipped).into();
    all.extend([
        metadata("no-state", &|parts| drop(parts.metadata.remove(KEY)), "no minilote-checkpoint"),
        metadata("no-sum", &|parts| drop(parts.metadata.remove("checksum")), "no checksum"),
        metadata("sum-empty", &set("checksum", ""), "its checksum is another"),
        metadata("sum-zero", &set("checksum", "0000000000000000"), "its checksum is another"),
        metadata("sum-text", &set("checksum", "../../x"), "its checksum is another"),
        metadata("state-other", &set(KEY, "{}"), "its checksum is another"),
    ]);
    all
}

/// The checksum is right, and the state is none.
fn states(good: &Parts) -> Vec<Case> {
    let text = |name: &str, text: &str, said: &[&str]| {
        let mut parts = good.clone();
        parts.metadata.insert(KEY.into(), text.into());
        resume(name, sealed(parts), said)
    };
    let state = |name: &str, pointer: &str, value: Value, said: &[&str]| {
        let edit = |inner: &mut Value| *inner.pointer_mut(pointer).unwrap() = value.clone();
        resume(name, sealed(good.with_description(KEY, edit)), said)
    };
    let (outside, averages) = ("its place in the run is outside", "its moving averages");
    let weights = "its best weights are not of the network's sizes";
    let numbers = |count: usize, value: f64| json!(vec![value; count]);
    let other = |name: &str, key: &str, value: Value, said: &[&str]| {
        let mut case = state(name, &format!("/config/{key}"), value, said);
        // It is the run's settings that differ, by their names.
        case.words.pop();
        case.code = 2;
        case
    };
    vec![
        text("state-empty", "", &["a damaged checkpoint", "line 1"]),
        text("state-list", "[]", &["a damaged checkpoint"]),
        text("state-bare", "{\"version\":1}", &["a damaged checkpoint", "missing field"]),
        text(
            "state-deep",
            &format!("{{\"note\":{}", "[".repeat(DEEP)),
            &["a damaged checkpoint", "line 1 column"],
        ),
        state("version-0", "/version", json!(0), &["version 0 of the checkpoint"]),
        state("version-9", "/version", json!(9), &["version 9 of the checkpoint"]),
        state("epoch-0", "/epoch", json!(0), &["epochs count from 1"]),
        state("epoch-past", "/epoch", json!(100_001), &[outside]),
        state("epoch-all", "/epoch", json!(u64::MAX), &[outside]),
        state("epoch-negative", "/epoch", json!(-1), &["a damaged checkpoint"]),
        state("minibatches-past", "/minibatches", json!(5), &[outside]),
        state("minibatches-all", "/minibatches", json!(u64::MAX), &[outside]),
        state("updates-0", "/updates", json!(0), &[outside]),
        state("updates-all", "/updates", json!(u64::MAX), &[outside]),
        state("rows-negative", "/rows", json!(-1), &["a damaged checkpoint"]),
        state("loss-null", "/loss", json!(null), &["a damaged checkpoint"]),
        state("moving-none", "/moving", json!([]), &[averages]),
        state("moving-short", "/moving/0/ema/mean", numbers(4, 0.0), &[averages]),
        state("moving-long", "/moving/0/ema/variance", numbers(6, 1.0), &[averages]),
        state("moving-pytorch", "/moving/0/pytorch/mean", json!([]), &[averages]),
        state("moving-negative", "/moving/0/pytorch/variance", numbers(5, -1.0), &[averages]),
        state("moving-start", "/moving/0/start", json!(2.0), &[averages]),
        state("moving-null", "/moving/0/ema", json!(null), &["a damaged checkpoint"]),
        state("best-epoch", "/best/epoch", json!(u64::MAX), &["its best epoch is to come"]),
        state("best-ema", "/best/ema", json!([]), &[weights]),
        state("best-short", "/best/ema/0/mean", numbers(4, 0.0), &[weights]),
        state("best-negative", "/best/pytorch/0/variance", numbers(5, -1.0), &[weights]),
        state("best-none", "/best", json!(null), &["best weights without their epoch"]),
        state("data", "/data", json!(-1), &["a damaged checkpoint"]),
        other("config-lr", "lr", json!(0.5), &["--lr not given instead of 0.5"]),
        other("config-hidden", "hidden", json!("7"), &["--hidden", "instead of \"7\""]),
        other("config-weights", "init-weights", json!("../../x"), &["--init-weights", "\"../../x\""]),
        state("config-unknown", "/config/optimizer", json!("exec"), &["a damaged checkpoint", "exec"]),
        state("note-long", "/note", json!("x".repeat(100_000)), &["a note of 100002 bytes"]),
        {
            let mut case = state("note-text", "/note", json!("x"), &["the checkpoint's note"]);
            *case.words.last_mut().unwrap() = "note-text".into();
            case
        },
        {
            let mut case = state(
                "note-log",
                "/note/log",
                json!(u64::MAX),
                &["shorter than when the checkpoint was made"],
            );
            *case.words.last_mut().unwrap() = "note-log/log.jsonl".into();
            case
        },
    ]
}

/// The checksum is right, and the tensors are of no such run.
fn tensors(good: &Parts) -> Vec<Case> {
    let edited = |name: &str, tensor: &str, edit: &dyn Fn(&mut Tensor), said: &str| {
        resume(name, sealed(good.with_tensor(tensor, edit)), &[said])
    };
    let longer = |tensor: &mut Tensor| {
        tensor.1[0] += 1;
        tensor.2.extend([0; 4]);
    };
    let none = |tensor: &mut Tensor| (tensor.1, tensor.2) = (vec![0], vec![]);
    let turned = |tensor: &mut Tensor| tensor.1.reverse();
    let flat = |tensor: &mut Tensor| tensor.1 = vec![tensor.1.iter().product()];
    let without = |name: &str| {
        let mut parts = good.clone();
        parts.tensors.remove(name).unwrap();
        resume(&format!("without-{name}"), sealed(parts), &["a damaged checkpoint"])
    };
    let mut more = good.clone();
    more.tensors.insert("../../x".into(), Tensor("F32".into(), vec![1], vec![0; 4]));
    let mut all = vec![
        edited("parameters-longer", "parameters", &longer, "of another network: parameters has"),
        edited("parameters-none", "parameters", &none, "of another network: parameters has 0 numbers"),
        edited("gradients-none", "gradients", &none, "of another network: gradients has 0 numbers"),
        edited("moments-longer", "moment2", &longer, "of another network: moment2 has"),
        edited(
            "parameters-ints",
            "parameters",
            &|tensor| tensor.0 = "I32".into(),
            "\"parameters\" is of type I32",
        ),
        edited("history-ints", "history", &|tensor| tensor.0 = "U64".into(), "\"history\" is of type U64"),
        edited("best-turned", "best.0", &turned, "its best weights are not of the network's sizes"),
        edited("best-flat", "best.0", &flat, "the best weights are no matrices"),
        edited(
            "best-nan",
            "best.0",
            &|tensor| tensor.2.fill(0xff),
            "its best weights are not of the network's sizes",
        ),
        resume("tensor-path", sealed(more), &["a damaged checkpoint"]),
    ];
    all.extend(["parameters", "moment1", "best.0", "best.4", "history"].map(without));
    all
}

#[test]
fn checkpoints_are_refused() {
    let at = trained("hostile-checkpoint");
    let checkpoint = made(&at);
    let place = |name: &str| {
        let folder = at.join(name);
        fs::create_dir(&folder).unwrap();
        for file in ["config.toml", "environment.json", "log.jsonl"] {
            fs::copy(at.join("stopped").join(file), folder.join(file)).unwrap();
        }
    };
    // What is taken apart, put together and sealed again is gone on with.
    place("again");
    fs::write(at.join("again").join(FILE), sealed(Parts::of(&checkpoint))).unwrap();
    succeed(&at, "train --resume again --quiet --max-time 0.1s");
    let cases = cases(&checkpoint);
    cases.iter().for_each(|case| place(case.name.split('/').next().unwrap()));
    refuse(&at, cases);
}
