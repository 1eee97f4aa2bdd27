//! Files that somebody made to do harm: each is refused by name and place, without a panic and without the memory or
//! time that it asks for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{directory, gzip, idx, run, succeed};

/// Deeper than any parser may follow.
const DEEP: usize = 100_000;

fn tables() -> Vec<(&'static str, Vec<u8>)> {
    let rows: String = (0..60).map(|i| format!("{},{},{}\n", i % 13, i % 11, ["a", "b"][i % 2])).collect();
    let good = format!("x,y,c\n{rows}");
    let after = |text: &str| format!("{good}{text}").into_bytes();
    let names: Vec<String> = (0..100_001).map(|i| i.to_string()).collect();
    vec![
        ("good.csv", after("")),
        ("quote.csv", after(&format!("\"1,2,a\n{}", "1,2,a\n".repeat(1000)))),
        ("zero.csv", after("\0,2,a\n")),
        ("field.csv", after(&format!("1,2,{}\n", "a".repeat(1 << 21)))),
        ("wide.csv", names.join(",").into_bytes()),
        ("utf16.csv", vec![0xff, 0xfe, b'x', 0, b',', 0, b'y', 0, b'\n', 0]),
        ("escape.csv", format!("x,y,\x1b[31mc\n{rows}").into_bytes()),
        (
            "classes.csv",
            format!("x,c\n{}", (0..9000).map(|i| format!("1,c{}\n", i / 3)).collect::<String>()).into(),
        ),
        ("bomb.csv.gz", gzip(&[b"x,y,c\n", vec![b'0'; 32 << 20].as_slice()].concat())),
    ]
}

/// Headers alone, that claim what does not follow.
fn images() -> Vec<(&'static str, Vec<u8>)> {
    let header = |sizes: &[u32]| idx(sizes, std::iter::empty());
    vec![
        ("endless.idx", header(&[u32::MAX; 3])),
        ("claims.idx", header(&[70_000, 28, 1000])),
        ("none.idx", header(&[0, 28, 28])),
        ("flat.idx", header(&[10, 0, 28])),
        ("ranks.idx", header(&[1; 255])),
        ("bomb.idx.gz", gzip(&[header(&[10, 28, 28]), vec![0; 32 << 20]].concat())),
    ]
}

/// A model whose header or bytes are not as they were.
fn models(model: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (length, rest) = model.split_first_chunk().unwrap();
    let (head, body) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let head: Value = serde_json::from_slice(head).unwrap();
    let file = |head: &[u8], body: &[u8]| [&(head.len() as u64).to_le_bytes(), head, body].concat();
    let ours = |edit: &dyn Fn(&mut Value)| {
        let mut head = head.clone();
        let text = &mut head["__metadata__"]["minilote"];
        let mut inner: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        edit(&mut inner);
        *text = inner.to_string().into();
        file(head.to_string().as_bytes(), body)
    };
    let theirs = |pointer: &str, value: Value| {
        let mut head = head.clone();
        *head.pointer_mut(pointer).unwrap() = value;
        file(head.to_string().as_bytes(), body)
    };
    let deep = "[".repeat(DEEP);
    let layers = |inner: &mut Value| {
        let layers = inner["spec"]["layers"].as_array().unwrap();
        inner["spec"]["layers"] = layers.iter().cycle().take(4000).cloned().collect();
    };
    vec![
        ("length.model", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("deep.model", file(deep.as_bytes(), &[])),
        ("inner.model", theirs("/__metadata__/minilote", format!("{{\"version\":1,\"spec\":{deep}").into())),
        ("units.model", ours(&|inner| inner["spec"]["layers"][0]["outputs"] = json!(u64::MAX))),
        ("none.model", ours(&|inner| inner["spec"]["layers"] = json!([]))),
        ("layers.model", ours(&layers)),
        ("features.model", ours(&|inner| inner["schema"]["features"] = json!([]))),
        (
            "pixels.model",
            ours(&|inner| {
                inner["schema"]["features"] =
                    json!([{ "name": "p", "kind": { "pixels": { "count": u64::MAX } } }]);
            }),
        ),
        ("scale.model", ours(&|inner| inner["standardizer"]["variance"] = json!([1.0]))),
        ("offsets.model", theirs("/0.weight/data_offsets", json!([0, u64::MAX]))),
        ("overflow.model", theirs("/0.weight/shape", json!([1u64 << 32, 1u64 << 32]))),
        ("nan.model", file(head.to_string().as_bytes(), &vec![0xff; body.len()])),
    ]
}

fn configurations() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("deep.toml", format!("hidden = {}", "[".repeat(DEEP)).into()),
        ("bytes.toml", (0..=255).collect()),
        ("large.toml", b"epochs = 99999999999999999999\n".to_vec()),
        ("twice.toml", b"target = 'c'\ntarget = 'x'\n".to_vec()),
        ("itself.toml", b"target = 'c'\nconfig = 'itself.toml'\n".to_vec()),
    ]
}

/// A file, the exit code and words of the message, in which the file is named, too.
const CASES: &[(&str, i32, &[&str])] = &[
    ("quote.csv", 3, &["line 62", "\"x\"", "no other closes it"]),
    ("zero.csv", 3, &["line 62", "\"x\"", r#""\0" is not a number"#]),
    ("field.csv", 3, &["line 62", "\"c\"", "over 1 MB"]),
    ("wide.csv", 3, &["line 1", "over 100000 columns"]),
    ("utf16.csv", 3, &["line 1", "UTF-8"]),
    ("escape.csv", 3, &[r"\u{1b}[31mc"]),
    ("classes.csv", 3, &["\"c\"", "over 1000 classes"]),
    ("bomb.csv.gz", 6, &["gzip expands", "decompress"]),
    ("endless.idx", 3, &["over the limit of 2 GiB"]),
    ("claims.idx", 3, &["truncated: 0 of the 1960000000 bytes"]),
    ("none.idx", 3, &["[0, 28, 28]"]),
    ("flat.idx", 3, &["[10, 0, 28]"]),
    ("ranks.idx", 3, &["truncated"]),
    ("bomb.idx.gz", 3, &["after the 7840 bytes"]),
    ("length.model", 6, &["header"]),
    ("deep.model", 6, &["header"]),
    ("inner.model", 6, &["damaged header", "line 1 column"]),
    ("units.model", 6, &["layer 0", "units"]),
    ("none.model", 6, &["at least one linear layer"]),
    ("layers.model", 6, &["4000 layers"]),
    ("features.model", 6, &["no features"]),
    ("pixels.model", 6, &["encoded features"]),
    ("scale.model", 6, &["variance has 1 numbers"]),
    ("offsets.model", 6, &["offset"]),
    ("overflow.model", 6, &["overflow"]),
    ("nan.model", 6, &["\"0.weight\"", "element 0"]),
    ("deep.toml", 2, &["line 1"]),
    ("bytes.toml", 6, &["UTF-8"]),
    ("large.toml", 2, &["line 1"]),
    ("twice.toml", 2, &["line 2"]),
    ("itself.toml", 2, &["line 2", "\"config\""]),
];

fn write(at: &Path, files: Vec<(&'static str, Vec<u8>)>) {
    files.into_iter().for_each(|(name, content)| fs::write(at.join(name), content).unwrap());
}

#[test]
fn hostile_files_are_refused_by_name_and_place() {
    let at = directory("hostile");
    write(&at, tables());
    write(&at, images());
    write(&at, configurations());
    succeed(&at, "train good.csv --target c --device cpu --epochs 1 --batch 10 --hidden 5 --out run --quiet");
    write(&at, models(&fs::read(at.join("run/model.safetensors")).unwrap()));
    let mut failures = vec![];
    for &(file, code, words) in CASES {
        let ran = match file.split('.').nth(1) {
            Some("csv") => run(&at, &format!("train {file} --target c --device cpu --out none")),
            Some("idx") => run(&at, &format!("train {file} --labels none.idx --device cpu --out none")),
            Some("toml") => run(&at, &format!("train good.csv --config {file} --device cpu --out none")),
            _ => run(&at, &format!("evaluate {file} good.csv --device cpu")),
        };
        let missing: Vec<_> = words.iter().chain([&file]).filter(|word| !ran.err.contains(**word)).collect();
        if ran.code != Some(code) || !missing.is_empty() || ran.err.contains('\x1b') {
            failures.push(format!("{file}: {:?}, lacks {missing:?}: {}", ran.code, ran.err));
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(!at.join("none").exists(), "a refused run left a directory");
}
