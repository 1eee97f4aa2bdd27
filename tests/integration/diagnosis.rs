//! Verdicts on models that were trained on data sets built to cause them, and on real ones.

use std::path::Path;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::diagnosis::{Curve, Diagnosis, Doubling, Evidence, Finding, Fractions, Setup, Verdict};
use minilote::model::Norm;
use minilote::sweep::{Grid, Leaderboard, Trained, passes, sweep};
use minilote::train::{Config, Part, Sizes, TrainingData};
use minilote::{Device, Task};
use ndarray::{Array1, Array2};
use pollster::block_on;

/// Uniform in [−1, 1), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Rows to train, rows to validate, and columns, of which `target` sees a row and more randomness.
fn made(
    [train, valid, columns]: [usize; 3],
    task: Task,
    target: impl Fn(&[f64], &mut Random) -> f64,
) -> TrainingData {
    let mut random = Random(7);
    let rows = train + valid;
    let inputs = Array2::from_shape_fn((rows, columns), |_| random.next());
    let of_row = |row| target(inputs.row(row).as_slice().unwrap(), &mut random);
    let targets = Array1::from_iter((0..rows).map(of_row));
    let kind = match task {
        Task::Regression => TargetKind::Value,
        _ => TargetKind::Classes(vec!["no".into(), "yes".into()]),
    };
    let feature = |column| Feature { name: format!("x{column}"), kind: FeatureKind::Numeric { fill: None } };
    let schema = Schema {
        features: (0..columns).map(feature).collect(),
        target: Target { name: "y".into(), kind },
        missing: Missing::Refuse,
    };
    let rows: Vec<u32> = (0..rows as u32).collect();
    let split = Split { train: rows[..train].to_vec(), valid: rows[train..].to_vec(), test: vec![] };
    TrainingData::new(task, schema, Inputs::Real(inputs), targets, split, Standardize::Standard, vec![])
        .unwrap()
}

/// With so many validation rows that the verdict is far from its thresholds.
fn example(name: &str, target: &str) -> (TrainingData, Config) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name);
    let valid = Part::Fraction(0.3);
    let config = Config { target: Some(target.into()), valid, seed: 40, ..Config::default() };
    (TrainingData::read(&path, &config).unwrap(), config)
}

/// The best combination of a grid first, each with its finding.
fn board(
    data: &TrainingData,
    config: &Config,
    hidden: &[&[usize]],
    lambda: &[f64],
    seeds: usize,
) -> Leaderboard {
    let hidden = hidden.iter().map(|sizes| Sizes(sizes.to_vec())).collect();
    let grid = Grid { hidden, lambda: lambda.into(), lr: vec![], seeds };
    let configs = grid.configs(config).unwrap();
    let passes = passes(data, &configs, &Device::Cpu).unwrap();
    let done = block_on(sweep(data, &configs, &passes, &Device::Cpu, &mut ())).unwrap();
    Leaderboard::new(&done.trained, data)
}

/// What is found about one combination, with its command, which has these words.
fn diagnose(data: &TrainingData, config: &Config, seeds: usize, words: &[&str]) -> (Finding, Evidence) {
    let rows = board(data, config, &[&config.hidden.0], &[config.lambda], seeds).rows;
    let setup = Setup { data: "t.csv", device: "cpu", config: &rows[0].config, seeds };
    let evidence = rows[0].evidence.clone();
    let all = Diagnosis::new(&evidence, &setup);
    println!("{} ({:?}): {:#?}\n{}: {}", all.verdict, all.finding, all.evidence, all.next, all.command);
    for word in words {
        assert!(all.command.contains(word), "{word:?} is not in {}", all.command);
    }
    assert!(all.evidence.len() >= 3 || all.verdict == Verdict::Diverged);
    (all.finding, evidence)
}

fn config(hidden: &[usize]) -> Config {
    Config { hidden: Sizes(hidden.into()), epochs: 60, patience: 12, ..Config::default() }
}

fn exclusive_or(row: &[f64], _: &mut Random) -> f64 {
    f64::from(row[0] * row[1] > 0.0)
}

#[test]
fn a_linear_model_underfits_what_is_not_linear() {
    let data = made([400, 400, 2], Task::Binary, exclusive_or);
    let (linear, _) = diagnose(&data, &config(&[]), 3, &["--hidden none,16,32", "--seeds 5"]);
    assert_eq!(linear, Finding::High);
    let held = Config { lambda: 400.0, norm: Norm::None, ..config(&[16]) };
    let (held, _) = diagnose(&data, &held, 3, &["--hidden 16", "--lambda 0,40,400"]);
    assert_eq!(held, Finding::High);
    let (wide, evidence) = diagnose(&data, &config(&[16]), 3, &["--learning-curve", "--hidden=16"]);
    assert_eq!(wide, Finding::Close);
    assert!((evidence.trivial.train.loss - 2f64.ln()).abs() < 0.01);
}

#[test]
fn a_run_that_ends_too_early_underfits() {
    let data = made([400, 400, 2], Task::Binary, exclusive_or);
    let short = Config { epochs: 12, lr: Some(0.001), ..config(&[16]) };
    assert_eq!(diagnose(&data, &short, 1, &["minilote train", "--epochs=36"]).0, Finding::CutShort);
    let shorter = Config { epochs: 2, ..short };
    assert_eq!(diagnose(&data, &shorter, 2, &["--epochs=6"]).0, Finding::CutShort);
}

/// Two columns matter, and 60 rows do not show which.
fn few_rows(row: &[f64], random: &mut Random) -> f64 {
    f64::from(row[0] + row[1] + 0.3 * random.next() > 0.0)
}

#[test]
fn one_validation_row_does_not_show_how_much_is_its_own() {
    let (data, config) = (made([60, 1, 30], Task::Binary, few_rows), config(&[8]));
    let rows = board(&data, &config, &[&[8]], &[0.0], 1).rows;
    let all =
        Diagnosis::new(&rows[0].evidence, &Setup { data: "t.csv", device: "cpu", config: &config, seeds: 1 });
    let said = all.evidence.join("\n");
    assert!(said.contains("with one validation row, how much") && !said.contains("NaN"), "{said}");
}

/// What could not be saved, or would be of nothing.
#[test]
fn a_schema_that_does_not_fit_its_rows_is_refused() {
    let of = |change: fn(&mut Schema)| {
        let data = made([20, 4, 2], Task::Binary, exclusive_or);
        let mut schema = data.schema.clone();
        change(&mut schema);
        let made = TrainingData::new(
            data.task,
            schema,
            data.inputs,
            data.targets,
            data.split,
            Standardize::None,
            vec![],
        );
        made.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(of(|_| ()), Ok(()));
    assert!(
        of(|schema| schema.features[1].name = "x0".into()).unwrap_err().contains("two columns are named")
    );
    let fewer = of(|schema| drop(schema.features.pop())).unwrap_err();
    assert!(fewer.contains("the schema has 1 features, the inputs have 2"), "{fewer}");
}

#[test]
fn a_large_network_on_few_rows_overfits() {
    let data = made([60, 500, 30], Task::Binary, few_rows);
    let words = ["--hidden 8,16,32", "--lambda 0,0.1,1,10"];
    assert_eq!(diagnose(&data, &config(&[32]), 3, &words).0, Finding::Gap);
    assert_eq!(diagnose(&data, &config(&[32]), 1, &words).0, Finding::Gap);
}

/// So few rows to validate do not show that the gap is large, but the trend on the same rows does.
#[test]
fn a_network_that_goes_on_to_learn_noise_overfits() {
    let noisy = |row: &[f64], random: &mut Random| row[0] + row[1] + 1.4 * random.next();
    let data = made([150, 25, 8], Task::Regression, noisy);
    let long = Config { patience: 25, ..config(&[64, 32]) };
    let (finding, evidence) = diagnose(&data, &long, 3, &["--hidden 16x8,32x16,64x32"]);
    assert_eq!(finding, Finding::Growing);
    assert!(evidence.gap().unwrap().mean < evidence.bound());
}

#[test]
fn a_network_of_the_right_size_fits_well() {
    let data = made([800, 400, 4], Task::Binary, few_rows);
    let (finding, _) = diagnose(&data, &config(&[8]), 1, &["minilote train t.csv", "--learning-curve"]);
    assert_eq!(finding, Finding::Close);
}

/// Two thirds of the variance is noise. A linear model alone may lack units; beside larger ones it lacks none.
#[test]
fn a_sweep_tells_noise_from_a_network_too_small() {
    let noisy = |row: &[f64], random: &mut Random| row[0] + row[1] + 2.0 * random.next();
    let data = made([1500, 500, 3], Task::Regression, noisy);
    assert_eq!(diagnose(&data, &config(&[]), 3, &["--hidden none,16,32"]).0, Finding::High);
    let leaderboard = board(&data, &config(&[]), &[&[], &[4], &[8]], &[0.0], 3);
    let linear = leaderboard.rows.iter().find(|row| row.hidden == "none").unwrap();
    assert_eq!((linear.finding, linear.verdict), (Finding::Exhausted, Verdict::GoodFit));
    assert_eq!(linear.evidence.rivals.map(|rivals| rivals.count), Some(2));
    assert!(leaderboard.csv().contains(",good fit,"));
}

#[test]
fn a_seed_that_diverges_decides() {
    let data = made([100, 100, 2], Task::Binary, exclusive_or);
    let wild = Config { lr: Some(1e30), norm: Norm::None, ..config(&[8]) };
    assert_eq!(diagnose(&data, &wild, 1, &["minilote train", "--lr=0.003"]).0, Finding::Diverged);
    assert_eq!(diagnose(&data, &wild, 2, &["minilote sweep", "--lr 0.003"]).0, Finding::Diverged);
}

/// At this rate weights stay as they began.
#[test]
fn a_model_that_is_worse_than_none_wants_another_rate() {
    let data = made([200, 200, 2], Task::Binary, exclusive_or);
    let still = Config { lr: Some(1e-9), epochs: 5, ..config(&[8]) };
    let worse = |config: &Config, words: &[&str]| diagnose(&data, config, 1, words).0;
    assert_eq!(worse(&still, &["--lr 1e-10,1e-9,1e-8,0.003"]), Finding::Worse);
    assert_eq!(worse(&Config { lambda: 1.0, ..still.clone() }, &["--lambda 0,0.1,1"]), Finding::Worse);
    let raw = Config { standardize: Standardize::None, ..still };
    assert_eq!(worse(&raw, &["minilote train"]), Finding::Worse);
}

/// Rows differ much; the four happen to be easy ones.
#[test]
fn few_validation_rows_decide_nothing() {
    for [rows, columns] in [[36, 12], [8, 8], [4, 4]] {
        let data = made([300, rows, columns], Task::Binary, few_rows);
        let (finding, evidence) = diagnose(&data, &config(&[8]), 3, &["--valid=0.3", "--seeds 5"]);
        assert_eq!((finding, evidence.valid_rows), (Finding::FewRows, rows));
    }
}

#[test]
fn two_seeds_decide_little() {
    let data = made([50, 3000, 4], Task::Binary, few_rows);
    let rough = Config { epochs: 200, lr: Some(0.01), ..config(&[6]) };
    let (finding, evidence) = diagnose(&data, &rough, 2, &["--seeds 10"]);
    assert_eq!(finding, Finding::FewSeeds);
    let (seeds, rows) = evidence.bounds();
    assert!(seeds.unwrap() > rows);
}

#[test]
fn without_validation_rows_there_is_no_verdict() {
    let mut data = made([60, 1, 4], Task::Binary, few_rows);
    data.split.valid.clear();
    let outcome = block_on(async {
        let config = Config { epochs: 3, ..config(&[4]) };
        let mut trainer = minilote::train::Trainer::new(data.clone(), config.clone(), &Device::Cpu).await?;
        let outcome = minilote::train::train(&mut trainer, &mut ()).await;
        Trained::measure(&data, [(config, outcome)], &Device::Cpu).await
    });
    let evidence = Evidence::new(&data, &outcome.unwrap());
    assert_eq!(Finding::of(&evidence), Finding::Unmeasured);
}

fn curve(data: &TrainingData, config: &Config, seeds: usize) -> (Vec<Trained>, Curve) {
    let configs = "0.1,0.2,0.4,0.6,0.8,1".parse::<Fractions>().unwrap().configs(data, config, seeds).unwrap();
    let passes = passes(data, &configs, &Device::Cpu).unwrap();
    let done = block_on(sweep(data, &configs, &passes, &Device::Cpu, &mut ())).unwrap();
    let curve = Curve::new(data, &done.trained).unwrap();
    (done.trained, curve)
}

#[test]
fn more_data_help_where_the_curve_falls() {
    for (rows, columns, helps, words) in
        [(300, 30, Some(true), "more data would help"), (1500, 2, Some(false), "more data would hardly help")]
    {
        let data = made([rows, 500, columns], Task::Binary, few_rows);
        let (trained, curve) = curve(&data, &config(&[16]), 5);
        let mut evidence = board(&data, &config(&[16]), &[&[16]], &[0.0], 5).rows[0].evidence.clone();
        let last = curve.points.last().unwrap();
        let valid = [last.valid_loss, evidence.valid()].map(|mean| mean.unwrap().mean);
        assert!((valid[0] - valid[1]).abs() < 1e-12, "all rows are what a sweep trains on: {valid:?}");
        assert!(trained.iter().all(|model| model.outcome.as_ref().unwrap().model.updates > 0));
        evidence.curve = curve.doubling;
        println!("{curve:#?}");
        assert_eq!(evidence.helps(), helps);
        let base = config(&[16]);
        let setup = Setup { data: "t.csv", device: "cpu", config: &base, seeds: 5 };
        let all = Diagnosis::new(&evidence, &setup);
        assert!(all.evidence.iter().any(|line| line.contains(words)), "{:?}", all.evidence);
        assert!(helps != Some(true) || all.next.contains("more rows"), "{}", all.next);
        assert!(!all.command.contains("--learning-curve"));
        evidence.curve = evidence.curve.map(|curve| Doubling { bound: 1.0, ..curve });
        let asked = Diagnosis::new(&evidence, &setup).command;
        assert_eq!(asked.contains("--learning-curve --curve-seeds 10"), helps == Some(false), "{asked}");
    }
}

/// What other rows hold does not matter to a model of a fraction, on any device, and its training loss is of its own.
#[test]
fn a_model_of_a_fraction_sees_its_rows_alone() {
    let data = made([90, 30, 3], Task::Regression, |row, random| row[0] + random.next());
    let half = Config { fraction: 0.37, epochs: 4, lambda: 1.0, seed: 3, ..config(&[5]) };
    let own = data.training_rows(&half).unwrap().into_owned();
    assert_eq!(own.len(), 33);
    let mut other = data.clone();
    other
        .split
        .train
        .iter()
        .filter(|row| !own.contains(row))
        .for_each(|&row| other.targets[row as usize] = 9.0);
    for (name, device) in crate::devices() {
        let models = [&data, &other].map(|data| {
            let whole = Config { fraction: 1.0, ..half.clone() };
            let configs = vec![half.clone(), whole];
            let passes = passes(data, &configs, &device).unwrap();
            block_on(sweep(data, &configs, &passes, &device, &mut ())).unwrap().trained
        });
        let [first, second] = models.each_ref().map(|models| models[0].outcome.as_ref().unwrap());
        assert_eq!(first.model.parameters, second.model.parameters, "{name}");
        assert_eq!(models[0][0].train, models[1][0].train, "{name}");
        assert_ne!(models[0][1].train, models[1][1].train, "{name}: all rows matter to the other model");
        assert_eq!(first.model.updates, models[0][1].outcome.as_ref().unwrap().model.updates, "{name}");
    }
}

#[test]
fn real_data_have_the_verdicts_that_their_curves_show() {
    for (file, target, verdict) in [
        ("breast_cancer.csv", "diagnosis", Verdict::GoodFit),
        ("digits.csv", "digit", Verdict::GoodFit),
        ("diabetes.csv", "progression", Verdict::Overfit),
    ] {
        let (data, config) = example(file, target);
        let (finding, evidence) = diagnose(&data, &config, 3, &[]);
        assert_eq!(finding.verdict(), verdict, "{file}: {finding:?}");
        assert!(evidence.valid().unwrap().mean < evidence.trivial.valid.unwrap().loss, "{file}");
    }
}
