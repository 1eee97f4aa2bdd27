//! Tiles of products: measured once, remembered in a file, and chosen from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use minilote::gpu::{Autotune, GpuDevice, Tuning};
use minilote::ops::{MatMul, Op, Tile, Variant};
use minilote::program::Plan;
use minilote::train::{Config, Part, Sizes, Trainer, TrainingData};
use pollster::block_on;
use serde_json::{Value, json};

type Remembered = BTreeMap<String, BTreeMap<String, String>>;

fn plan() -> Plan {
    let config = Config { target: Some("digit".into()), hidden: Sizes(vec![20]), ..Config::default() };
    let config = Config { valid: Part::Fraction(0.0), test: Part::Fraction(0.0), ..config };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");
    Trainer::plan(&TrainingData::read(path.as_ref(), &config).unwrap(), &config).unwrap()
}

fn tune(gpu: &GpuDevice, autotune: Autotune, file: Option<&Path>) -> (Tuning, Vec<Option<Tile>>) {
    let (plan, tuning) = block_on(gpu.tune(plan(), autotune, file)).unwrap();
    let ops = plan.programs.into_iter().flat_map(|program| program.ops);
    let tile = |op| if let Op::MatMul(MatMul { tile, .. }) = op { Some(tile) } else { None };
    (tuning, ops.filter_map(tile).collect())
}

fn remembered(file: &Path) -> Remembered {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn tiles_are_measured_once() {
    let Some(gpu) = crate::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/tuning.json");
    let (off, _) = tune(&gpu, Autotune::Off, Some(&file));
    assert!(off.choices.is_empty() && !file.exists());

    let (first, tiles) = tune(&gpu, Autotune::Quick, Some(&file));
    assert!(first.measured >= 3 && first.measured == first.choices.len(), "{first:?}");
    assert!(tiles.iter().all(Option::is_some) && first.notes.is_empty(), "{first:?}");
    let (second, again) = tune(&gpu, Autotune::Quick, Some(&file));
    assert_eq!((second.measured, &second.choices, &again), (0, &first.choices, &tiles));

    // Another choice in the file is taken as it is; a name that is no tile's is measured again.
    let mut changed = remembered(&file);
    let of_device = changed.values_mut().next().unwrap();
    assert_eq!(*of_device, first.choices);
    let mut classes = of_device.iter_mut();
    let ((class, other), (_, nothing)) = (classes.next().unwrap(), classes.next().unwrap());
    let candidates = Tile::candidates(gpu.variant()).iter().map(Tile::to_string);
    *other = candidates.rev().find(|name| name != other).unwrap();
    *nothing = "8x8".into();
    let (class, other) = (class.clone(), other.clone());
    fs::write(&file, serde_json::to_vec(&changed).unwrap()).unwrap();
    let (third, _) = tune(&gpu, Autotune::Quick, Some(&file));
    assert_eq!((third.measured, &third.choices[&class]), (1, &other));
    assert_eq!(tune(&gpu, Autotune::Full, Some(&file)).0.measured, first.measured);
}

/// Those of a software adapter whose vectors are subgroups: of others, nothing would be.
#[test]
fn products_of_measured_tiles_are_joined_as_others_are() {
    let Some(gpu) = crate::gpu().map(|gpu| gpu.with_variant(Variant::Software)) else { return };
    let (tuned, _) = block_on(gpu.tune(plan(), Autotune::Quick, None)).unwrap();
    let joined = |plan: &Plan| {
        let ops = plan.programs.iter().flat_map(|program| &program.ops);
        ops.filter(|op| ["MatMulNorm", "MatMulLoss"].contains(&op.name())).count()
    };
    assert_eq!(joined(&tuned), joined(&gpu.rewrite(plan())));
}

#[test]
fn a_damaged_or_unwritable_cache_is_a_note() {
    let Some(gpu) = crate::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tuning.json");
    fs::write(&file, "{\"llvmpipe\": [").unwrap();
    let (tuning, tiles) = tune(&gpu, Autotune::Quick, Some(&file));
    assert!(tuning.notes[0].contains("tuning.json") && tuning.notes.len() == 1, "{:?}", tuning.notes);
    assert!(tiles.iter().all(Option::is_some));
    assert_eq!(remembered(&file).len(), 1);

    let below_a_file = file.join("tuning.json");
    let (tuning, tiles) = tune(&gpu, Autotune::Quick, Some(&below_a_file));
    assert!(tuning.notes.iter().any(|note| note.contains("not remembered")), "{:?}", tuning.notes);
    assert!(tiles.iter().all(Option::is_some));
}

/// The command says what it found, and where the next run finds it.
#[test]
fn the_command_writes_tiles_down() {
    let Some(_) = crate::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/breast_cancer.csv");
    let train = |cache: &str, out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minilote"));
        command.current_dir(&folder).env("MINILOTE_CACHE", cache);
        command.args(["train", data, "--target", "diagnosis", "--device", "gpu", "--epochs", "1"]);
        let output = command.args(["--autotune", "quick", "--out", out]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let environment = fs::read(folder.path().join(out).join("environment.json")).unwrap();
        let environment: Value = serde_json::from_slice(&environment).unwrap();
        (text, environment["tuning"].clone())
    };
    let (text, tiles) = train("cache", "first");
    assert!(text.contains("measured, 0 remembered"), "{text}");
    assert_eq!(&json!(remembered(&folder.path().join("cache/tuning.json")).values().next()), &tiles);
    let (text, again) = train("cache", "second");
    assert!(text.contains("kernels: 0 measured") && again == tiles, "{text}");
    // Without a cache there is nothing to remember, and nothing to complain of.
    let (text, tiles) = train("", "third");
    assert!(text.contains("measured, 0 remembered") && !text.contains("not remembered"), "{text}");
    assert!(tiles.as_object().is_some_and(|tiles| tiles.len() >= 3));
}
