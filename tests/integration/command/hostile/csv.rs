//! Tables, to train on and for a model that is there.

use super::super::gzip;
use super::{Case, case, refuse, table, trained};

const TRAIN: &str = "train @ --target c --device cpu --out none";

/// The good table with a line of it replaced; line 1 is the header.
fn with_line(number: usize, line: &str) -> Vec<u8> {
    let table = table();
    let lines = table.lines().enumerate().map(|(i, old)| if i + 1 == number { line } else { old });
    lines.map(|line| format!("{line}\n")).collect::<String>().into()
}

/// The good table and a row more, on line 62.
fn with_last(line: &str) -> Vec<u8> {
    (table() + line + "\n").into()
}

/// Text of a numeric column's cell, and what the message says of it.
const NUMBERS: &[(&str, &str, &str)] = &[
    ("letter", "1o", "\"1o\" is not a number"),
    ("hex", "0x10", "\"0x10\" is not a number"),
    ("thousands", "1 000", "\"1 000\" is not a number"),
    ("underscore", "1_000", "\"1_000\" is not a number"),
    ("two-signs", "--1", "\"--1\" is not a number"),
    ("two-points", "1.2.3", "\"1.2.3\" is not a number"),
    ("exponent", "1e", "\"1e\" is not a number"),
    ("point", ".", "\".\" is not a number"),
    ("percent", "5%", "\"5%\" is not a number"),
    ("currency", "$5", "\"$5\" is not a number"),
    ("decimal-comma", "\"1,5\"", "\"1,5\" is not a number"),
    ("arabic", "\u{661}", "is not a number"),
    ("full-width", "\u{ff11}", "is not a number"),
    ("minus-sign", "\u{2212}1", "is not a number"),
    ("zero-byte", "\0", "\"\\0\" is not a number"),
    ("zero-after", "1\0", "\"1\\0\" is not a number"),
    ("escape", "\x1b[31m1", "\\u{1b}[31m1"),
    ("right-to-left", "\u{202e}1", "is not a number"),
    ("hidden-space", "1\u{200b}1", "is not a number"),
    ("formula", "=1+1", "\"=1+1\" is not a number"),
    ("date", "2024-01-01", "\"2024-01-01\" is not a number"),
    ("newline", "\"1\n2\"", "\"1\\n2\" is not a number"),
    ("quotes", "\"\"\"1\"\"\"", "is not a number"),
    ("huge", "1e400", "not a finite number"),
    ("huge-negative", "-1e400", "not a finite number"),
    ("past-f32", "1e39", "not a finite number"),
    ("past-f32-negative", "-3.5e38", "not a finite number"),
    ("inf", "inf", "not a finite number"),
    ("minus-inf", "-inf", "not a finite number"),
    ("infinity", "Infinity", "not a finite number"),
    ("minus-nan", "-nan", "not a finite number"),
    ("nan", "nan", "is missing"),
    ("na", "NA", "is missing"),
    ("n-a", "N/A", "is missing"),
    ("question", "?", "is missing"),
    ("null", "NULL", "is missing"),
    ("nothing", "", "is missing"),
    ("spaces", "   ", "is missing"),
    ("quoted-nothing", "\"\"", "is missing"),
];

/// The beginnings of files of other kinds that are text by accident or not at all.
const KINDS: &[(&str, &[u8], &[&str])] = &[
    ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &["line 1", "UTF-8"]),
    ("jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF", &["line 1", "UTF-8"]),
    ("zip", b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xb5U0#", &["line 1", "UTF-8"]),
    ("parquet", b"PAR1\x15\x04\x15\xc8\x01\x15\xbc", &["line 1", "UTF-8"]),
    ("elf", b"\x7fELF\x02\x01\x01\0\0\0", &["no rows"]),
    ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", &["line 2", "UTF-8"]),
    ("bzip2", b"BZh91AY&SY\x91\xd3", &["line 1", "UTF-8"]),
    ("xz", b"\xfd7zXZ\0\0\x04\xe6", &["line 1", "UTF-8"]),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\0", &["line 1", "UTF-8"]),
    ("npy", b"\x93NUMPY\x01\0v\0{'descr'", &["line 1", "UTF-8"]),
    ("pickle", b"\x80\x04\x95\x0c\0\0\0", &["line 1", "UTF-8"]),
    ("json", b"{\"a\": [1,\n2]}\n", &["line 1", "field 2", "no name"]),
    ("html", b"<html>\n<body>\n", &["no column \"c\""]),
    ("utf16-little", b"\xff\xfex\0,\0y\0\n\0", &["line 1", "field 1", "UTF-8"]),
    ("utf16-big", b"\xfe\xff\0x\0,\0y\0\n", &["line 1", "field 1", "UTF-8"]),
    ("tabs", b"x\ty\tc\n1\t2\n", &["line 2", "expected 3 fields, found 2"]),
    ("semicolons", b"x;y;c\n1,2;a\n", &["line 2", "expected 3 fields, found 2"]),
    ("empty", b"", &["the file is empty"]),
    ("newlines", b"\n\r\n\n", &["the file is empty"]),
    ("mark", b"\xef\xbb\xbf", &["the file is empty"]),
    ("header", b"x,y,c\n", &["no rows"]),
    ("header-unended", b"x,y,c", &["no rows"]),
    ("header-blanks", b"x,y,c\n\n\n", &["no rows"]),
    ("space", b" \n", &["line 1", "field 1", "no name"]),
    ("commas", b",,\n1,2,3\n", &["line 1", "field 1", "no name"]),
];

/// A header or a row that is not as it should be: the line's number, the line, and what the message says.
const LINES: &[(&str, usize, &str, &[&str])] = &[
    ("name-first", 1, ",y,c", &["line 1", "field 1", "no name"]),
    ("name-middle", 1, "x,,c", &["line 1", "field 2", "no name"]),
    ("name-last", 1, "x,y,", &["line 1", "field 3", "no name"]),
    ("name-spaces", 1, "x,  ,c", &["line 1", "field 2", "no name"]),
    ("name-quoted", 1, "x,\"\",c", &["line 1", "field 2", "no name"]),
    ("name-wide-space", 1, "x,\u{3000},c", &["line 1", "field 2", "no name"]),
    ("twice", 1, "x,x,c", &["line 1, column \"x\"", "two columns"]),
    ("twice-trimmed", 1, "x, x,c", &["line 1, column \"x\"", "two columns"]),
    ("twice-quoted", 1, "x,\"x\",c", &["line 1, column \"x\"", "two columns"]),
    ("twice-target", 1, "x,c,c", &["line 1, column \"c\"", "two columns"]),
    ("header-open", 1, "x,\"y,c", &["line 1", "field 2", "no other closes it"]),
    ("header-short", 1, "x,c", &["line 2", "expected 2 fields, found 3"]),
    ("header-long", 1, "x,y,z,c", &["line 2", "expected 4 fields, found 3"]),
    ("header-case", 1, "x,y,C", &["no column \"c\"", "did you mean \"C\""]),
    ("header-escape", 1, "x,y,\x1b[31mc", &["no column \"c\"", "\\u{1b}[31mc"]),
    ("header-path", 1, "x,y,../../c", &["no column \"c\"", "\"../../c\""]),
    ("short-first", 2, "1,2", &["line 2", "expected 3 fields, found 2"]),
    ("short-middle", 30, "1,2", &["line 30", "expected 3 fields, found 2"]),
    ("short-one", 61, "1", &["line 61", "expected 3 fields, found 1"]),
    ("short-quoted", 40, "\"1,2,a\"", &["line 40", "expected 3 fields, found 1"]),
    ("long-first", 2, "1,2,a,", &["line 2", "expected 3 fields, found 4"]),
    ("long-middle", 30, "1,2,a,b,c", &["line 30", "expected 3 fields, found 5"]),
    ("long-last", 61, "1,,2,a", &["line 61", "expected 3 fields, found 4"]),
    ("long-after-blanks", 30, "\n\n\n1,2,a,b", &["line 33", "expected 3 fields, found 4"]),
    ("long-after-lines", 30, "1,2,\"a\nb\nc\"\n1,2,a,b", &["line 33", "expected 3 fields, found 4"]),
    ("carriage-return", 30, "1,2\r,a", &["line 30", "expected 3 fields, found 2"]),
    ("open-first", 2, "\"1,2,a", &["line 2, column \"x\"", "no other closes it"]),
    ("open-middle", 30, "1,\"2,a", &["line 30, column \"y\"", "no other closes it"]),
    ("open-last", 61, "1,2,\"a", &["line 61, column \"c\"", "no other closes it"]),
    ("open-alone", 61, "1,2,\"", &["line 61, column \"c\"", "no other closes it"]),
    ("open-doubled", 61, "1,2,\"a\"\"", &["line 61, column \"c\"", "no other closes it"]),
    ("missing-second", 30, "1,,a", &["line 30, column \"y\"", "is missing"]),
    ("missing-target", 30, "1,2,", &["line 30, column \"c\"", "--missing drop"]),
    ("missing-target-na", 30, "1,2,NA", &["line 30, column \"c\"", "--missing drop"]),
    ("text-second", 30, "1,two,a", &["line 30, column \"y\"", "\"two\" is not a number"]),
    ("class-once", 30, "1,2,z", &["line 30, column \"c\"", "class \"z\" occurs in this row only"]),
    ("class-path", 30, "1,2,../../z", &["line 30, column \"c\"", "class \"../../z\""]),
    ("class-escape", 30, "1,2,\x1b]0;z\x07", &["line 30, column \"c\"", "\\u{1b}]0;z"]),
    ("class-space", 30, "1,2,a b", &["line 30, column \"c\"", "class \"a b\""]),
    ("class-case", 30, "1,2,A", &["line 30, column \"c\"", "class \"A\""]),
];

pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for &(name, cell, said) in NUMBERS {
        let line = with_last(&format!("{cell},2,a"));
        all.push(case(&format!("number-{name}.csv"), line, TRAIN, 3, &["line 62, column \"x\"", said]));
    }
    for &(name, bytes, said) in KINDS {
        all.push(case(&format!("kind-{name}.csv"), bytes, TRAIN, 3, said));
    }
    for &(name, number, line, said) in LINES {
        all.push(case(&format!("line-{name}.csv"), with_line(number, line), TRAIN, 3, said));
    }
    for (name, byte, said) in [
        ("latin", &b"\xe9"[..], "UTF-8"),
        ("overlong", b"\xc0\x80", "UTF-8"),
        ("surrogate", b"\xed\xa0\x80", "UTF-8"),
        ("past-unicode", b"\xf4\x90\x80\x80", "UTF-8"),
        ("cut", b"\xe2\x82", "UTF-8"),
        ("separator", b"\xff", "UTF-8"),
    ] {
        let bytes = [table().as_bytes(), b"1,2,", byte].concat();
        all.push(case(&format!("bytes-{name}.csv"), bytes, TRAIN, 3, &["line 62, column \"c\"", said]));
    }
    all.extend(large());
    all.extend(compressed());
    all.extend(targets());
    all
}

fn large() -> Vec<Case> {
    let names: Vec<String> = (0..100_001).map(|i| i.to_string()).collect();
    let long = "a".repeat(1 << 20);
    let ids: String = (0..60).map(|i| format!("id{i},{}\n", i % 2)).collect();
    let texts: String = (0..2400).map(|i| format!("t{},{}\n", i / 2, i % 2)).collect();
    let classes: String = (0..9000).map(|i| format!("1,c{}\n", i / 3)).collect();
    // A model file has no room for so long names. It is said of the columns, before training.
    let names_of_600 = format!("{},c", (0..9000).map(|i| format!("{i:0600}")).collect::<Vec<_>>().join(","));
    let rows = (0..8).map(|i| format!("{}{}\n", "1,".repeat(9000), i % 2)).collect::<String>();
    let mut long_names = case(
        "long-names.csv",
        format!("{names_of_600}\n{rows}"),
        &format!("{TRAIN} --valid 0 --test 0"),
        2,
        &["of 9000 features", "over the limit of 4500000", "leave columns out"],
    );
    long_names.words.pop();
    let train = |bytes: Vec<u8>, name: &str, said: &[&str]| case(name, bytes, TRAIN, 3, said);
    vec![
        long_names,
        train(names.join(",").into(), "columns.csv", &["line 1", "over 100000 columns"]),
        train(",".repeat(300_000).into(), "columns-unnamed.csv", &["line 1", "field 1"]),
        train(with_last(&format!("1,2,{long}")), "field.csv", &["line 62, column \"c\"", "over 1 MB"]),
        train(with_last(&format!("1,\"{long}")), "field-open.csv", &["line 62, column \"y\"", "over 1 MB"]),
        train(format!("x,{long},c\n1,2,a\n").into(), "field-header.csv", &["line 1", "field 2", "over 1 MB"]),
        train(with_last(&",".repeat(1 << 21)), "fields.csv", &["line 62", "found 2097153"]),
        train(format!("x,c\n{ids}").into(), "identifier.csv", &["column \"x\"", "60 different texts"]),
        train(format!("x,c\n{texts}").into(), "texts.csv", &["column \"x\"", "over 1000 different texts"]),
        train(format!("x,c\n{classes}").into(), "classes.csv", &["column \"c\"", "over 1000 classes"]),
    ]
}

fn compressed() -> Vec<Case> {
    let good = gzip(table().as_bytes());
    let spoiled = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let end = good.len();
    let train = |name: &str, bytes: Vec<u8>, code, said: &[&str]| case(name, bytes, TRAIN, code, said);
    vec![
        train("magic.csv.gz", vec![0x1f, 0x8b], 6, &[]),
        train("method.csv.gz", spoiled(2), 6, &[]),
        train("flags.csv.gz", good[..10].iter().copied().chain([0xff; 20]).collect(), 6, &[]),
        train("cut-body.csv.gz", good[..end / 2].into(), 6, &[]),
        train("cut-trailer.csv.gz", good[..end - 3].into(), 6, &[]),
        train("checksum.csv.gz", spoiled(end - 6), 6, &[]),
        train("size.csv.gz", spoiled(end - 1), 6, &[]),
        train("body.csv.gz", spoiled(end / 2), 6, &[]),
        train("after.csv.gz", [&good[..], b"garbage after the end"].concat(), 6, &[]),
        train("twice.csv.gz", gzip(&good), 3, &["line 1", "UTF-8"]),
        train("nothing.csv.gz", gzip(b""), 3, &["the file is empty"]),
        train(
            "bomb.csv.gz",
            gzip(&[b"x,y,c\n", vec![b'0'; 32 << 20].as_slice()].concat()),
            6,
            &["gzip expands"],
        ),
        train("bomb-lines.csv.gz", gzip("1,2,a\n".repeat(6 << 20).as_bytes()), 6, &["gzip expands"]),
        train("bomb-parts.csv.gz", gzip(&vec![b'\n'; 1 << 20]).repeat(20), 6, &["gzip expands"]),
    ]
}

fn targets() -> Vec<Case> {
    let numbers = |value: fn(usize) -> String| -> String {
        format!("x,c\n{}", (0..60).map(|i| format!("{},{}\n", i, value(i))).collect::<String>())
    };
    let task = |name: &str, text: String, task: &str, said: &[&str]| {
        case(name, text, &format!("{TRAIN} --task {task}"), 3, said)
    };
    let missing = |name: &str, text: String, missing: &str, said: &[&str]| {
        case(name, text, &format!("{TRAIN} --missing {missing}"), 3, said)
    };
    vec![
        case("same-class.csv", numbers(|_| "a".into()), TRAIN, 3, &["column \"c\"", "only one class, \"a\""]),
        case("same-number.csv", numbers(|_| "2.5".into()), TRAIN, 3, &["column \"c\"", "same in all rows"]),
        case("infinite.csv", numbers(|i| ["1.5", "inf"][i % 2].into()), TRAIN, 3, &["line 3, column \"c\""]),
        case("only-target.csv", "c\na\nb\na\nb\n", TRAIN, 3, &["no features"]),
        case("two-rows.csv", "x,c\n1,a\n2,b\n", TRAIN, 3, &["line 2, column \"c\"", "this row only"]),
        task("text-value.csv", numbers(|i| ["1", "b"][i % 2].into()), "regression", &["line 3", "\"b\""]),
        task("three-binary.csv", numbers(|i| (i % 3).to_string()), "binary", &["two classes", "\"2\""]),
        task(
            "values-classes.csv",
            numbers(|i| format!("{i}.5")),
            "classification",
            &["line 2", "this row only"],
        ),
        missing("all-missing.csv", numbers(|_| "?".into()), "drop", &["every row"]),
        missing(
            "column-missing.csv",
            "x,c\n,a\nNA,b\n?,a\n,b\n".into(),
            "mean",
            &["\"x\"", "every cell is missing"],
        ),
        missing("target-mean.csv", numbers(|i| ["a", ""][i % 2].into()), "mean", &["line 3, column \"c\""]),
    ]
}

/// For the model that `good.csv` trained.
pub fn applied() -> Vec<Case> {
    const EVALUATE: &str = "evaluate run/model.safetensors @ --device cpu";
    const PREDICT: &str = "predict run/model.safetensors @ --device cpu";
    vec![
        case("lacks-x.csv", "y,c\n1,a\n", EVALUATE, 3, &["no column \"x\""]),
        case("lacks-target.csv", "x,y\n1,2\n", EVALUATE, 3, &["no column \"c\""]),
        case("near.csv", "x,Y,c\n1,2,a\n", EVALUATE, 3, &["no column \"y\"", "\"Y\""]),
        case(
            "unknown-class.csv",
            "x,y,c\n1,2,a\n1,2,../z\n",
            EVALUATE,
            3,
            &["line 3, column \"c\"", "\"../z\""],
        ),
        case("text.csv", "x,y,c\n1,two,a\n", EVALUATE, 3, &["line 2, column \"y\"", "\"two\""]),
        case("missing.csv", "x,y,c\n1,,a\n", PREDICT, 3, &["line 2, column \"y\"", "missing"]),
        case("images.csv", [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7], PREDICT, 3, &["images (IDX)"]),
        case("ragged.csv", "x,y\n1,2\n\n1\n", PREDICT, 3, &["line 4", "expected 2 fields"]),
        case("twice.csv", "x,y,x\n1,2,3\n", PREDICT, 3, &["line 1, column \"x\"", "two columns"]),
        case("inspected.csv", "x,x\n1,2\n", "inspect @", 3, &["line 1, column \"x\""]),
        case("inspected-bomb.gz", gzip(&vec![b'0'; 32 << 20]), "inspect @", 6, &["gzip expands"]),
        case(
            "validates.csv",
            "x,y\n1,2\n",
            "train good.csv --target c --valid @ --device cpu",
            3,
            &["\"c\""],
        ),
        case("tests.csv", "x,y,c\n1,2,q\n", "train good.csv --target c --test @ --device cpu", 3, &["\"q\""]),
    ]
}

#[test]
fn tables_are_refused() {
    let at = trained("hostile-csv");
    refuse(&at, cases());
    refuse(&at, applied());
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused() {
    let at = trained("hostile-kinds");
    std::fs::create_dir(at.join("folder")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at.join("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", at.join("endless")).unwrap();
    std::os::unix::fs::symlink("nowhere", at.join("dangling")).unwrap();
    std::os::unix::fs::symlink("round", at.join("round")).unwrap();
    for arguments in [
        "train @ --target c --device cpu --out none",
        "train good.csv --target c --valid @ --device cpu --out none",
        "train good.csv --target c --config @ --device cpu --out none",
        "train good.csv --target c --init-weights @ --device cpu --out none",
        "evaluate @ good.csv --device cpu",
        "inspect @",
    ] {
        let kinds = [
            ("folder", "no regular file"),
            ("pipe", "no regular file"),
            ("endless", "no regular file"),
            ("dangling", "o such file"),
            ("round", "levels of symbolic links"),
        ];
        refuse(&at, kinds.map(|(name, said)| case(name, "", arguments, 6, &[said])).into());
    }
}
