//! Tests of tables from the bytes of a file on.

use std::path::Path;

use proptest::prelude::*;

use super::tests::{Case, failures, scratch, table};
use super::*;
use crate::{Error, Result};

/// Spreadsheets write so where the comma is decimal.
#[test]
fn with_semicolons_commas_are_decimal() {
    let table = |text: &str| Table::from_bytes(Path::new("t.csv"), text.as_bytes()).unwrap();
    let numbers = |text: &str| {
        let table = table(text);
        (0..table.rows()).map(|row| table.parsed(row, 0)).collect::<Vec<_>>()
    };
    let text = "x;y\n1,5;a\n-0,25e1;b\n2.5;c\n7;d\n1,2,3;e\n1.234,5;f\n";
    assert_eq!(numbers(text), [Some(1.5), Some(-2.5), Some(2.5), Some(7.0), None, None]);
    assert_eq!(numbers("x\ty\n1,5\ta\n"), [None]);
    assert_eq!(numbers("x,y\n\"1,5\",a\n"), [None]);
}

#[test]
fn cells_names_and_lines_are_read() {
    let plain = table("\u{feff}a, b\r\n\r\n1, x\r\n\"2\n3\",\"y\"\"\"\r\n\r\n\r\n4,\r\n");
    assert_eq!(plain.names, ["a", "b"]);
    assert_eq!(plain.lines, [3, 4, 8]);
    let cells: Vec<_> = (0..3).map(|row| (plain.cell(row, 0), plain.cell(row, 1))).collect();
    assert_eq!(cells, [("1", "x"), ("2\n3", "y\""), ("4", "")]);
    assert_eq!((plain.cell(3, 0), plain.cell(0, 2), plain.rows()), ("", "", 3));
    assert_eq!(table("\n\na,b\n1,2\n\n3,4").lines, [4, 6]);
    assert_eq!(table("\u{feff}a,b\n1,2\n3,4\n").lines, [2, 3]);
    for text in ["\u{feff}\na;b\r1,5;\"x;y\"", "a\tb\n1,5\tx;y\n", "\"a\";b\n\"1,5\";\"x;y\"\n"] {
        let other = table(text);
        assert_eq!(
            (&other.names[..], other.cell(0, 0), other.cell(0, 1)),
            (&["a", "b"].map(String::from)[..], "1,5", "x;y")
        );
    }
    assert_eq!(table("a,b;c\td\n1,2\n").names, ["a", "b;c\td"]);

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, b"a,b\n1,2\n").unwrap();
    let zipped = Table::read(&scratch(&encoder.finish().unwrap())).unwrap();
    assert_eq!((zipped.cell(0, 1), &zipped.lines[..]), ("2", &[2][..]));
}

#[test]
fn bad_tables_are_refused() {
    let cases: Vec<Case> = vec![
        (b"".into(), 3, vec!["empty"]),
        (b"\n\n".into(), 3, vec!["empty"]),
        (b"a,b\n".into(), 3, vec!["no rows"]),
        (b"a,b\n1,2\n\n1,2,3\n".into(), 3, vec!["line 4: expected 2 fields, found 3"]),
        (b"a,b\r\n1,2\r\n1\r\n".into(), 3, vec!["line 3: expected 2 fields, found 1"]),
        (b"a,b,a\n1,2,3\n".into(), 3, vec!["line 1, column \"a\"", "two columns"]),
        (b"a,,b\n1,2,3\n".into(), 3, vec!["line 1: field 2", "no name"]),
        (b"a,b\n1,2\n1,\xff\n".into(), 3, vec!["line 3, column \"b\"", "UTF-8"]),
        (b"a,\xff\n1,2\n".into(), 3, vec!["line 1: field 2", "UTF-8"]),
        (b"a;b\n1,2\n".into(), 3, vec!["line 2: expected 2 fields, found 1"]),
        ("a,".repeat(100_000).into_bytes(), 3, vec!["over 100000 columns"]),
        (format!("a,b\n1,{}\n", "x".repeat(1_000_001)).into(), 3, vec!["line 2, column \"b\"", "1 MB"]),
        (b"a,b\n1,\"2\n3,4\n".into(), 3, vec!["line 2, column \"b\"", "no other closes it"]),
        (vec![0x1f, 0x8b, 8, 0, 1], 6, vec![]),
    ];
    failures(cases, |path| Table::read(path).map(|_| ()));
    for path in ["/absent", "/"] {
        assert!(matches!(Table::read(Path::new(path)), Err(Error::File { .. })), "{path}");
    }
}

#[test]
fn the_nearest_name_is_suggested() {
    let names = ["mean_radius", "mean_area", "a"];
    for (word, expected) in [
        ("mean_raduis", Some("mean_radius")),
        ("MEAN_AREA", Some("mean_area")),
        ("b", None),
        ("unrelated", None),
        ("", None),
    ] {
        assert_eq!(nearest(word, names), expected, "{word}");
    }
}

proptest! {
    #[test]
    fn cells_are_those_of_the_csv_crate(text in "(a|b|,|,|\n|\r\n|\"|\"\"| |\u{e9}){0,40}") {
        let content = format!("x,y\n{text}");
        let Ok(table) = Table::from_bytes(Path::new("t"), content.as_bytes()) else { return Ok(()) };
        let mut reader = csv::Reader::from_reader(content.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(table.rows(), rows.len());
        for (row, record) in rows.iter().enumerate() {
            for (column, cell) in record.iter().enumerate() {
                prop_assert_eq!(table.cell(row, column), cell.trim());
            }
        }
    }
}
