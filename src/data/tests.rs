//! Tests of schemas from the bytes of a file on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{Error, Result};

/// Content of a file, the exit code of the expected error, and parts of its message.
pub type Case = (Vec<u8>, u8, Vec<&'static str>);

/// A file of this content, removed when dropped.
pub struct Scratch(PathBuf);

impl std::ops::Deref for Scratch {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn scratch(content: &[u8]) -> Scratch {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("minilote-data-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content).unwrap();
    Scratch(path)
}

/// Fails with the list of all cases whose error is not the expected one.
pub fn failures(cases: Vec<Case>, read: impl Fn(&Path) -> Result<()>) {
    let wrong = wrong_cases(cases, read);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn wrong_cases(cases: Vec<Case>, read: impl Fn(&Path) -> Result<()>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (content, code, parts) in cases {
        let shown = String::from_utf8_lossy(&content).chars().take(80).collect::<String>();
        match read(&scratch(&content)) {
            Ok(()) => wrong.push(format!("{shown:?} was accepted; expected {parts:?}")),
            Err(error) => {
                let message = error.to_string();
                if error.exit_code() != code || !parts.iter().all(|part| message.contains(part)) {
                    wrong.push(format!("{shown:?} gave {message}; expected code {code}, {parts:?}"));
                }
            }
        }
    }
    wrong
}

pub fn table(content: &str) -> Table {
    Table::read(&scratch(content.as_bytes())).unwrap()
}

fn real(dataset: &Dataset) -> &ndarray::Array2<f64> {
    match &dataset.inputs {
        Inputs::Real(values) => values,
        Inputs::Bytes(_) => panic!("not real"),
    }
}

#[test]
fn columns_are_ignored_where_asked() {
    let table = table("id,x,y\na,1,p\nb,2,q\nc,3,p\nd,4,q\n");
    let of = |ignore: &[&str]| {
        let ignore: Vec<String> = ignore.iter().map(|name| name.to_string()).collect();
        Schema::of_table(&table, "y", &ignore, None, Missing::Refuse).map(|(schema, _)| schema)
    };
    let names = |schema: Schema| schema.features.into_iter().map(|feature| feature.name).collect::<Vec<_>>();
    assert_eq!(names(of(&["id"]).unwrap()), ["x"]);
    assert_eq!(of(&["id"]).unwrap().encode(&table, true, Unknown::Refuse).unwrap().width(), 1);
    for (ignore, words) in
        [(&["iid"][..], "did you mean \"id\"?"), (&["y"], "can't be ignored"), (&["id", "x"], "no")]
    {
        let error = of(ignore).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A column `x`, and a target `y` of two classes.
fn column(cells: &[&str]) -> Vec<u8> {
    let rows = cells.iter().enumerate().map(|(row, cell)| format!("{cell},{}\n", ["no", "yes"][row % 2]));
    format!("x,y\n{}", rows.collect::<String>()).into()
}

#[test]
fn bad_training_files_are_refused() {
    let target = |cells: &str| -> Vec<u8> {
        let rows = cells.split(',').enumerate().map(|(row, cell)| format!("{row},{cell}\n"));
        format!("x,y\n{}", rows.collect::<String>()).into()
    };
    let mut typo: Vec<&str> = vec!["1"; 20];
    typo[7] = "1.O";
    let texts: Vec<String> = (0..1002).map(|row| format!("id{}", row / 2 * 2)).collect();
    let unique: Vec<String> = (0..21).map(|row| format!("id{row}")).collect();
    let many: Vec<String> = (0..2004).map(|row| format!("id{}", row / 2)).collect();
    let borrowed = |texts: &[String]| column(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let refuse = Missing::Refuse;
    let file = |content: Vec<u8>, parts: Vec<&'static str>| -> Vec<Case> { vec![(content, 3, parts)] };
    let cases = [
        (None, refuse, file(b"x,Y\n1,2\n".into(), vec!["no column \"y\"", "did you mean \"Y\""])),
        (None, refuse, file(b"x,other\n1,2\n".into(), vec!["no column \"y\"", "\"x\", \"other\""])),
        (None, refuse, file(b"y\n1\n1\n2\n2\n".into(), vec!["there are no features"])),
        (
            None,
            refuse,
            file(column(&["1", "NA", "", "2"]), vec!["line 3, column \"x\"", "--missing mean", "drop"]),
        ),
        (None, refuse, file(column(&["1", "2", "nan", "2"]), vec!["line 4, column \"x\"", "--missing"])),
        (None, refuse, file(target("a,?,b"), vec!["line 3, column \"y\"", "--missing drop"])),
        (None, Missing::Mean, file(target("a,null,b"), vec!["line 3, column \"y\"", "--missing drop"])),
        (None, Missing::Mean, file(column(&["", "", "", ""]), vec!["column \"x\"", "every cell is missing"])),
        (None, Missing::Drop, file(column(&["", "", "", ""]), vec!["every row"])),
        (
            None,
            refuse,
            file(column(&["1", "2", "inf", "2"]), vec!["line 4, column \"x\"", "\"inf\"", "finite"]),
        ),
        (None, refuse, file(column(&["1", "2", "-inf", "2"]), vec!["line 4, column \"x\"", "\"-inf\""])),
        (None, refuse, file(column(&["1", "2", "2", "1e400"]), vec!["line 5, column \"x\"", "\"1e400\""])),
        (None, refuse, file(column(&["1", "-nan", "2", "2"]), vec!["line 3, column \"x\"", "\"-nan\""])),
        (None, refuse, file(column(&["1", "2", "2", "1e39"]), vec!["line 5, column \"x\"", "\"1e39\""])),
        (None, refuse, file(column(&typo), vec!["line 9, column \"x\"", "\"1.O\"", "19 of the column's 20"])),
        (None, refuse, file(borrowed(&many), vec!["column \"x\"", "over 1000 different", "identifier"])),
        (None, refuse, file(borrowed(&unique), vec!["column \"x\"", "21 different", "identifier"])),
        (None, refuse, file(target("a,a,a"), vec!["column \"y\"", "only one class, \"a\""])),
        (None, refuse, file(target("3,3,3"), vec!["column \"y\"", "only one class, \"3\""])),
        (None, refuse, file(target("a,b,a,a"), vec!["line 3, column \"y\"", "class \"b\""])),
        (
            None,
            refuse,
            file(target("1,1,2"), vec!["line 4, column \"y\"", "class \"2\"", "--task regression"]),
        ),
        (None, refuse, file(target("1,1,inf"), vec!["line 4, column \"y\"", "\"inf\""])),
        (None, refuse, file(target("1.5,1.5"), vec!["column \"y\"", "same in all rows"])),
        (Some(Task::Regression), refuse, file(target("a,1,2"), vec!["line 2, column \"y\"", "\"a\""])),
        (Some(Task::Regression), refuse, file(target("1,1"), vec!["column \"y\"", "same in all rows"])),
        (
            Some(Task::Binary),
            refuse,
            file(target("a,a,b,b,c,c"), vec!["column \"y\"", "\"a\", \"b\", \"c\""]),
        ),
        (
            Some(Task::Classification),
            refuse,
            file(target(&many.join(",").replace("id", "")), vec!["column \"y\"", "over 1000 classes"]),
        ),
    ];
    let fit = |task, missing| {
        move |path: &Path| Schema::of_table(&Table::read(path)?, "y", &[], task, missing).map(|_| ())
    };
    let wrong: Vec<String> =
        cases.into_iter().flat_map(|(task, missing, case)| wrong_cases(case, fit(task, missing))).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(
        Schema::of_table(&Table::read(&scratch(&borrowed(&texts))).unwrap(), "y", &[], None, refuse).is_ok()
    );
}

#[test]
fn kinds_and_tasks_are_found() {
    let cases = [
        ("a,b,a,b", None, Task::Binary, "a b"),
        ("a,b,a,b", Some(Task::Classification), Task::Classification, "a b"),
        ("c,b,a,c,b,a", None, Task::Classification, "a b c"),
        ("10,9.0,10.0,9", None, Task::Binary, "9 10"),
        ("-0,1,0,1", None, Task::Binary, "0 1"),
        (
            "9007199254740992,9007199254740993,9007199254740992,9007199254740993",
            None,
            Task::Binary,
            "9007199254740992 9007199254740993",
        ),
        ("0.5,1,0.5,1", None, Task::Regression, ""),
        ("0.5,1,0.5,1", Some(Task::Binary), Task::Binary, "0.5 1"),
        ("1,2,1,2", Some(Task::Regression), Task::Regression, ""),
        ("0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", None, Task::Regression, ""),
    ];
    for (target, task, expected, names) in cases {
        let content: String = target.split(',').map(|cell| format!("1,{cell}\n")).collect();
        let (schema, found) =
            Schema::of_table(&table(&format!("x,y\n{content}")), "y", &[], task, Missing::Refuse).unwrap();
        let classes = match schema.target.kind {
            TargetKind::Classes(names) => names.join(" "),
            TargetKind::Value => String::new(),
        };
        assert_eq!((found, classes.as_str()), (expected, names), "{target}");
    }
}

const MIXED: &str = "size,color,kind\n1,red,a\n,blue,b\n3,,a\n5,blue,b\n";

#[test]
fn missing_cells_are_filled_or_dropped() {
    let mixed = table(MIXED);
    let (mean, _) = Schema::of_table(&mixed, "kind", &[], None, Missing::Mean).unwrap();
    assert_eq!(mean.feature_names(), ["size", "color=blue", "color=red"]);
    let filled = mean.encode(&mixed, true, Unknown::Refuse).unwrap();
    assert_eq!(
        real(&filled),
        ndarray::array![[1.0, 0.0, 1.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [5.0, 1.0, 0.0]]
    );
    assert_eq!(filled.targets, Some(ndarray::array![0.0, 1.0, 0.0, 1.0]));
    assert_eq!((&filled.lines[..], filled.dropped), (&[2, 3, 4, 5][..], 0));

    let more = table(&format!("{MIXED}9,red,a\n9,blue,b\n"));
    let (drop, _) = Schema::of_table(&more, "kind", &[], None, Missing::Drop).unwrap();
    let dropped = drop.encode(&mixed, true, Unknown::Refuse).unwrap();
    assert_eq!(real(&dropped), ndarray::array![[1.0, 0.0, 1.0], [5.0, 1.0, 0.0]]);
    assert_eq!((&dropped.lines[..], dropped.dropped), (&[2, 5][..], 2));

    // What is done with missing cells may be chosen anew.
    let chosen = |missing| Schema { missing, ..drop.clone() }.encode(&mixed, true, Unknown::Refuse);
    assert_eq!(
        real(&chosen(Missing::Mean).unwrap()),
        ndarray::array![[1.0, 0.0, 1.0], [6.0, 1.0, 0.0], [3.0, 1.0, 0.0], [5.0, 1.0, 0.0]]
    );
    let refused = chosen(Missing::Refuse).unwrap_err().to_string();
    assert!(refused.contains("line 3, column \"size\": the cell is missing"), "{refused}");

    let text = serde_json::to_string(&mean).unwrap();
    assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), mean);
    assert!(text.contains("\"missing\":\"mean\""), "{text}");
}

#[test]
fn later_files_are_checked_against_the_schema() {
    let training = table("size,color,kind\n1,red,0\n2,blue,1\n3,red,0\n4,blue,1\n");
    let (schema, _) = Schema::of_table(&training, "kind", &[], None, Missing::Refuse).unwrap();

    let other = table("extra,kind,color,size\n,1.0,red,7\n");
    let encoded = schema.encode(&other, true, Unknown::Refuse).unwrap();
    assert_eq!(real(&encoded), ndarray::array![[7.0, 0.0, 1.0]]);
    assert_eq!(encoded.targets, Some(ndarray::array![1.0]));
    let unlabeled = schema.encode(&table("color,size\nred,7\n"), false, Unknown::Refuse).unwrap();
    assert_eq!((real(&unlabeled), &unlabeled.targets), (real(&encoded), &None));

    let cases: Vec<Case> = vec![
        (b"Size,color,kind\n1,red,0\n".into(), 3, vec!["no column \"size\"", "\"Size\""]),
        (b"size,color\n1,red\n".into(), 3, vec!["no column \"kind\""]),
        (
            b"size,color,kind\n1,red,0\n1,green,0\n".into(),
            3,
            vec!["line 3, column \"color\"", "category \"green\"", "\"blue\", \"red\""],
        ),
        (
            b"size,color,kind\n1,red,2\n".into(),
            3,
            vec!["line 2, column \"kind\"", "class \"2\"", "\"0\", \"1\""],
        ),
        (
            b"size,color,kind\nbig,red,0\n".into(),
            3,
            vec!["line 2, column \"size\"", "\"big\" is not a number"],
        ),
        (b"size,color,kind\ninf,red,0\n".into(), 3, vec!["line 2, column \"size\"", "finite"]),
        (b"size,color,kind\n1,red,0\n1,NA,0\n".into(), 3, vec!["line 3, column \"color\"", "--missing"]),
        (b"size,color,kind\n1,red,\n".into(), 3, vec!["line 2, column \"kind\"", "--missing drop"]),
    ];
    failures(cases, |path| schema.encode(&Table::read(path)?, true, Unknown::Refuse).map(|_| ()));

    let pixels = ndarray::array![[1, 2], [3, 4]];
    let images = Images { file: "i".into(), pixels, labels: Some(vec![3, 3]) };
    assert!(matches!(schema.encode_images(&images, false), Err(Error::Data { .. })));
}

#[test]
fn images_have_a_schema() {
    let images = |count: usize, width: usize, labels: Option<Vec<u8>>| Images {
        file: "images".into(),
        pixels: ndarray::Array2::from_elem((count, width), 7),
        labels,
    };
    let training = images(6, 3, Some(vec![9, 2, 5, 9, 2, 5]));
    let (schema, task) = Schema::of_images(&training, None).unwrap();
    assert_eq!((schema.width(), task), (3, Task::Classification));
    assert_eq!(schema.target.kind, TargetKind::Classes(vec!["2".into(), "5".into(), "9".into()]));
    assert_eq!(schema.feature_names()[2], "pixel_2");
    let encoded = schema.encode_images(&training, true).unwrap();
    assert_eq!(encoded.targets, Some(ndarray::array![2.0, 0.0, 1.0, 2.0, 0.0, 1.0]));
    assert_eq!((encoded.rows(), encoded.width(), &encoded.lines[..2]), (6, 3, &[1, 2][..]));

    assert!(schema.encode_images(&images(1, 3, None), false).is_ok());
    let fails = [
        (schema.encode_images(&images(1, 3, None), true).map(|_| ()), "labels"),
        (schema.encode_images(&images(1, 4, None), false).map(|_| ()), "4 pixels"),
        (schema.encode_images(&images(2, 3, Some(vec![2, 3])), true).map(|_| ()), "label 3 of image 2"),
        (schema.encode(&table(MIXED), false, Unknown::Refuse).map(|_| ()), "trained on images"),
        (Schema::of_images(&images(1, 3, None), None).map(|_| ()), "labels"),
        (Schema::of_images(&images(2, 3, Some(vec![4, 4])), None).map(|_| ()), "only one class, \"4\""),
        (Schema::of_images(&images(3, 3, Some(vec![4, 4, 5])), None).map(|_| ()), "image 3: class \"5\""),
        (Schema::of_images(&training, Some(Task::Binary)).map(|_| ()), "two classes"),
    ];
    for (result, part) in fails {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_schema_of_a_file_is_checked() {
    let (good, _) = Schema::of_table(&table(MIXED), "kind", &[], None, Missing::Mean).unwrap();
    assert_eq!(good.check(), Ok(()));
    let set = |kind: FeatureKind| move |schema: &mut Schema| schema.features[0].kind = kind.clone();
    let levels = |levels: &[&str], fill| FeatureKind::Categorical {
        levels: levels.iter().map(|level| level.to_string()).collect(),
        fill,
    };
    let classes = |names: &[&str]| {
        let kind = TargetKind::Classes(names.iter().map(|name| name.to_string()).collect());
        move |schema: &mut Schema| schema.target.kind = kind.clone()
    };
    type Spoil = Box<dyn Fn(&mut Schema)>;
    let spoiled: [Spoil; 15] = [
        Box::new(|schema| schema.features.clear()),
        Box::new(|schema| schema.features[1].name = "size".into()),
        Box::new(|schema| schema.target.name = "size".into()),
        Box::new(set(FeatureKind::Numeric { fill: Some(f64::NAN) })),
        Box::new(set(FeatureKind::Numeric { fill: None })),
        Box::new(set(levels(&[], Some(0)))),
        Box::new(set(levels(&["a", "a"], Some(0)))),
        Box::new(set(levels(&["a", ""], Some(0)))),
        Box::new(set(levels(&["a", "b"], Some(2)))),
        Box::new(set(levels(&["a", "b"], None))),
        Box::new(set(FeatureKind::Pixels { count: 4 })),
        Box::new(set(FeatureKind::Pixels { count: usize::MAX })),
        Box::new(classes(&["a"])),
        Box::new(classes(&["a", "a"])),
        Box::new(|schema| {
            schema.features.truncate(1);
            schema.features[0].kind = FeatureKind::Pixels { count: 0 };
        }),
    ];
    for (index, spoil) in spoiled.iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(bad.check().is_err(), "{index}");
    }
}

#[test]
fn known_files_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let cases = [
        ("breast_cancer.csv", "diagnosis", (569, 30), Task::Binary, 2),
        ("digits.csv", "digit", (1797, 64), Task::Classification, 10),
        ("diabetes.csv", "progression", (442, 10), Task::Regression, 0),
    ];
    for (file, target, shape, expected, classes) in cases {
        let table = Table::read(&folder.join(file)).unwrap();
        let (schema, task) = Schema::of_table(&table, target, &[], None, Missing::Refuse).unwrap();
        let dataset = schema.encode(&table, true, Unknown::Refuse).unwrap();
        assert_eq!((dataset.rows(), dataset.width()), shape, "{file}");
        assert_eq!(task, expected, "{file}");
        match &schema.target.kind {
            TargetKind::Classes(names) => assert_eq!(names.len(), classes, "{file}"),
            TargetKind::Value => assert_eq!(task, Task::Regression, "{file}"),
        }
        let parts = split(&dataset.targets.unwrap(), task, 0.15, 0.15, 1).unwrap();
        let fitted = Standardizer::fit(Standardize::Standard, &dataset.inputs, &parts.train);
        assert!(fitted.transform(&dataset.inputs).iter().all(|value| value.is_finite()), "{file}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_encoded_or_refused(
        noise in prop::collection::vec(any::<u8>(), 0..100),
        text in "(x|y|1|2.5|nan|,|\n|\r|\"| |a|inf|\u{e9}|){0,60}",
        missing in prop::sample::select(vec![Missing::Refuse, Missing::Mean, Missing::Drop]),
        task in prop::sample::select(vec![None, Some(Task::Binary), Some(Task::Regression)]),
    ) {
        let (known, _) = Schema::of_table(&table(MIXED), "kind", &[], None, Missing::Mean).unwrap();
        for content in [noise.clone(), text.clone().into_bytes(), [b"x,y\n", text.as_bytes(), &noise].concat()] {
            let Ok(table) = Table::read(&scratch(&content)) else { continue };
            let _ = known.encode(&table, false, Unknown::Zero);
            for target in table.names.clone() {
                if let Ok((schema, _)) = Schema::of_table(&table, &target, &[], task, missing) {
                    prop_assert_eq!(schema.check(), Ok(()));
                    let dataset = schema.encode(&table, true, Unknown::Refuse);
                    prop_assert!(dataset.is_ok(), "{:?}", dataset);
                }
            }
        }
    }
}
