//! Reading a file takes no more than four times its size and 64 MB: of compressed content, of what it expands to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minilote::data::{Images, Table};
use minilote::model::Model;
use minilote::train::Checkpoint;
use serde_json::json;

use super::super::{directory, gzip, idx};
use super::checkpoint::made;
use super::parts::{Parts, Tensor};
use super::trained;

const READ: &str = "MINILOTE_TEST_READ";

/// Reads the file that the environment names and prints the most memory that the process has had, for the test below;
/// without such a file it is no test.
#[test]
#[ignore = "a process of the test of memory"]
fn reads_a_file() {
    let path = PathBuf::from(std::env::var_os(READ).expect(READ));
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Table::read(&path).map(|_| ()),
        Some("idx") => Images::read(&path, None).map(|_| ()),
        Some("model") => Model::load(&path).map(|_| ()),
        _ => Checkpoint::load(&path).map(|_| ()),
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak {peak} read {read:?}");
}

/// The most memory in bytes of a process that reads the file, and what came of it.
fn peak(path: &Path) -> (u64, String) {
    let name = "command::hostile::memory::reads_a_file";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(READ, path)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.split_once("peak ")).unwrap_or_else(|| panic!("{said}")).1;
    let kilobytes = line.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    (kilobytes * 1024, line.split_once("read ").unwrap().1.into())
}

#[test]
fn reading_takes_four_times_the_file_at_the_most() {
    const SIZE: usize = 24 << 20;
    let at = directory("hostile-memory");
    let lines =
        |line: &str, header: &str| format!("{header}\n{}", line.repeat(SIZE / line.len())).into_bytes();
    let header: Vec<String> = (0..20_000).map(|i| format!("c{i}")).collect();
    let wide = lines(&("1,".repeat(19_999) + "1\n"), &header.join(","));
    let pixels =
        idx(&[(SIZE / 784) as u32, 28, 28], (0..SIZE / 784 * 784).map(|i| ((i * 2_654_435_761) >> 7) as u8));
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("long.csv", lines("0.12345,-3.25e-5,a\n", "x,y,c")),
        ("digits.csv", lines("1,2\n", "x,y")),
        ("one-column.csv", lines("1\n", "x")),
        ("empty-cells.csv", lines(",,,,,,,\n", "a,b,c,d,e,f,g,h")),
        ("empty-pairs.csv", lines(",\n", "a,b")),
        ("quoted.csv", lines("\"\"\"\",\"\"\n", "a,b")),
        ("wide.csv", wide),
        ("open.csv", [&b"x,y\n1,\""[..], &vec![b'a'; SIZE]].concat()),
        (
            "names.csv",
            format!("{0}0\n{0}0\n", (1..100_000).map(|i| format!("{i},")).collect::<String>()).into(),
        ),
        ("images.idx", pixels.clone()),
        ("cut.idx", pixels[..SIZE / 2].into()),
    ];
    let mut over = vec![];
    let mut check = |name: &str, bytes: &[u8], size: usize| {
        let path = at.join(name);
        fs::write(&path, bytes).unwrap();
        let (peak, read) = peak(&path);
        fs::remove_file(path).unwrap();
        let times = peak as f64 / size as f64;
        println!("{name}: {size} bytes, peak {peak}, {times:.2} times: {}", &read[..read.len().min(60)]);
        if peak > 4 * size as u64 + (64 << 20) {
            over.push(format!("{name}: {peak} of {size}"));
        }
    };
    for (name, bytes) in &files {
        check(name, bytes, bytes.len());
    }
    check("zipped.idx", &gzip(&pixels), pixels.len());
    check("zipped.csv", &gzip(&lines("0.12345,-3.25e-5,a\n", "x,y,c")[..SIZE / 2]), SIZE / 2);
    check("bomb.csv", &gzip(&vec![b'0'; 64 << 20]), 64 << 10);
    assert!(over.is_empty(), "{over:?}");
}

#[test]
fn reading_models_and_checkpoints_takes_four_times_the_file_at_the_most() {
    let at = trained("hostile-memory-models");
    let mut over = vec![];
    let mut check = |name: &str, bytes: Vec<u8>| {
        let path = at.join(name);
        fs::write(&path, &bytes).unwrap();
        let (peak, read) = peak(&path);
        println!("{name}: {} bytes, peak {peak}: {}", bytes.len(), &read[..read.len().min(80)]);
        if peak > 4 * bytes.len() as u64 + (64 << 20) {
            over.push(format!("{name}: {peak} of {}", bytes.len()));
        }
    };
    let large = "train good.csv --target c --device cpu --epochs 1 --batch 10 --hidden 2000,2000,2000 --quiet --out large";
    super::succeed(&at, large);
    check("large.model", fs::read(at.join("large/model.safetensors")).unwrap());
    let checkpoint = Parts::of(&made(&at));
    let mut spaces = checkpoint.clone();
    for space in ["parameters", "gradients", "moment1", "moment2", "history"] {
        let tensor = spaces.tensors.get_mut(space).unwrap();
        tensor.2 = vec![0; 8 << 20];
        tensor.1 = if space == "history" { vec![1 << 19, 2] } else { vec![2 << 20] };
    }
    check("large.checkpoint", super::checkpoint::sealed(spaces));
    // The state fails only where it ends.
    let of_state = |text: String| {
        let mut parts = checkpoint.clone();
        parts.metadata.remove("minilote-checkpoint");
        parts
            .tensors
            .insert("minilote-checkpoint".into(), Tensor("U8".into(), vec![text.len() as u64], text.into()));
        super::checkpoint::sealed(parts)
    };
    check(
        "moving.checkpoint",
        of_state(format!("{{\"moving\":[{{\"ema\":{{\"mean\":[0{}", ",0".repeat(11_900_000))),
    );
    check("note.checkpoint", of_state(format!("{{\"note\":[0{}]}}", ",0".repeat(11_900_000))));
    // Descriptions that take many times their length in memory.
    let model = Parts::of(&fs::read(at.join("run/model.safetensors")).unwrap());
    let described = |text: String| {
        let mut parts = model.clone();
        parts.metadata.clear();
        parts.tensors.insert("minilote".into(), Tensor("U8".into(), vec![text.len() as u64], text.into()));
        parts.bytes()
    };
    let model = |features: &str| {
        let target = json!({ "name": "t", "kind": "value" });
        format!(
            "{{\"version\":1,\"spec\":{{\"task\":\"regression\",\"layers\":[]}},\"source\":\"ema\",\"schema\":{{\
             \"missing\":\"drop\",\"target\":{target},\"features\":[{features}]}}}}"
        )
    };
    let levels = "\"a\",".repeat(1_240_000) + "\"a\"";
    let levels =
        format!("{{\"name\":\"x\",\"kind\":{{\"categorical\":{{\"fill\":null,\"levels\":[{levels}]}}}}}}");
    let columns = "{\"name\":\"a\",\"kind\":{\"numeric\":{\"fill\":null}}},".repeat(100_000);
    check("levels.model", described(model(&levels)));
    check("columns.model", described(model(columns.trim_end_matches(','))));
    check(
        "numbers.model",
        described(format!(
            "{{\"version\":1,\"standardizer\":{{\"mode\":\"none\",\"mean\":[0{}",
            ",0".repeat(2_400_000)
        )),
    );
    assert!(over.is_empty(), "{over:?}");
}
