//! `minilote bench`: what it writes and reads. How fast anything is, is no test's business.

use std::fs;

use minilote::peak::Peak;

use super::{directory, json, read, run, succeed};

#[test]
fn bench_measures_saves_and_compares() {
    let at = directory("bench");
    let bench = "bench --device cpu --net tiny --seconds 0.05";
    let report = json(&succeed(&at, &format!("{bench} --json --out old.json")));
    assert_eq!(report, json(&read(at.join("old.json"))));
    assert!(report["machine"]["threads"].as_u64() >= Some(1));
    assert!(report["devices"][0]["limits"]["flops"].as_f64() > Some(0.0));
    let rows = report["rows"].as_array().unwrap();
    let norms: Vec<_> = rows.iter().map(|row| &row["norm"]).collect();
    assert_eq!(norms, ["before", "none"]);
    for row in rows {
        for key in ["steps_per_second", "examples_per_second", "gflops", "percent_of_limit", "first_step_ms"]
        {
            assert!(row[key].as_f64() > Some(0.0), "{key} in {row}");
        }
        assert!(row["rounds"].as_array().unwrap().len() >= 5 && row["host_us_per_dispatch"].is_null());
        assert!(row["host_us_per_submission"].is_null());
    }
    assert_eq!((&rows[0]["dispatches"], &rows[1]["dispatches"]), (&16.into(), &14.into()));

    let text = succeed(&at, &format!("{bench} --against old.json"));
    for words in ["limits of CPU backend", "new/old", "step time with / without batch norm"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let saved = read(at.join("old.json"));
    fs::write(at.join("future.json"), saved.replace("minilote bench 1", "minilote bench 9")).unwrap();
    fs::write(at.join("other.json"), r#"{"rows": []}"#).unwrap();
    for name in ["future.json", "other.json"] {
        let ran = run(&at, &format!("{bench} --against {name}"));
        assert!(ran.code == Some(6) && ran.err.contains(name), "{:?}: {}", ran.code, ran.err);
    }
}

#[test]
fn growth_is_measured_beside_the_limits_and_reported() {
    let at = directory("growth");
    let bench = "bench --device cpu --net tiny --seconds 0.05";
    let report = json(&succeed(&at, &format!("{bench} --growth --json --report report.html")));
    let points = report["growth"].as_array().unwrap();
    assert_eq!(points.len(), 1 + 2 + 2 + 2 + 3);
    for point in points {
        let [seconds, growth, limit_growth, ratio] =
            ["seconds", "growth", "limit_growth", "ratio"].map(|key| point[key].as_f64().unwrap());
        assert!(seconds > 0.0 && growth > 0.0 && (ratio - growth / limit_growth).abs() < 1e-12, "{point}");
        let (axis, factor) = (point["axis"].as_str(), point["factor"].as_f64().unwrap());
        match axis {
            None => assert_eq!((growth, limit_growth), (1.0, 1.0)),
            // Dispatches cost nothing on the CPU, so that models cost the same each.
            Some("models") => assert!((limit_growth / factor - 1.0).abs() < 1e-12, "{point}"),
            // The first layer grows with the width, the others with its square; data grow with neither.
            Some("width") => assert!((factor..factor * factor).contains(&limit_growth), "{point}"),
            // Parameters do not grow with the rows; and a first layer, which does not become more, has no gradient of its
            // input.
            Some(_) => assert!(1.0 < limit_growth && limit_growth <= 1.5 * factor, "{point}"),
        }
    }
    let html = read(at.join("report.html"));
    for words in ["prefers-color-scheme", "<svg", "models ×64", "tiny", "CPU backend", "limits of"] {
        assert!(html.contains(words), "{words:?} is not in {html}");
    }
    for from_elsewhere in ["<script", "http:", "https:", "url("] {
        assert!(!html.contains(from_elsewhere), "{from_elsewhere:?} is in {html}");
    }
    let ran = run(&at, &format!("{bench} --report missing/report.html"));
    assert!(ran.code == Some(6) && ran.err.contains("missing/report.html"), "{:?}: {}", ran.code, ran.err);
}

#[test]
fn limits_are_measured_on_every_device() {
    for (name, device) in crate::devices() {
        let Peak { flops, bandwidth, dispatch } = Peak::of(&device).unwrap();
        assert!(flops.is_normal() && bandwidth.is_normal(), "{name}: {flops}, {bandwidth}");
        assert_eq!(dispatch > 0.0, name != "CPU backend", "{name}: {dispatch}");
    }
}
