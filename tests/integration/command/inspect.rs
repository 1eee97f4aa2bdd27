//! What files hold, and what there is to run on.

use super::*;

#[test]
fn what_files_hold_and_training_would_run_is_shown() {
    let at = directory("inspect");
    succeed(&at, &train("run", "--quiet"));
    let model = succeed(&at, "inspect run/model.safetensors --json");
    let model = json(&model);
    assert_eq!((&model["kind"], &model["updates"]), (&"model".into(), &36.into()));
    let program = &model["plan"]["programs"][0];
    assert_eq!(program["mode"], "predict");
    assert!(program["ops"][0]["flops"].is_number() && model["plan"]["memory"].is_number());
    let data = json(&succeed(&at, &format!("inspect {DATA}/breast_cancer.csv --target diagnosis --json")));
    assert_eq!(data["columns"][30]["values"]["malignant"], 212);
    let programs = data["training"]["plan"]["programs"].as_array().unwrap();
    assert!(programs.iter().any(|program| program["mode"] == "train" && program["rows"] == 32));
    let step = &data["training"]["step"];
    assert_eq!(step["rows"], 32);
    assert!(step["bytes_over_least"].as_f64() > Some(1.0), "{step}");
    for device in step["devices"].as_array().unwrap() {
        let [seconds, dispatching] = ["seconds", "dispatching"].map(|key| device[key].as_f64().unwrap());
        assert!(seconds > dispatching && dispatching > 0.0, "{device}");
    }
    let text = succeed(&at, &format!("inspect {DATA}/breast_cancer.csv --target diagnosis"));
    for words in ["NVIDIA H100", "not a measurement", "bytes over the least"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let both = succeed(&at, &format!("inspect {DATA}/diabetes.csv run/model.safetensors"));
    for words in ["progression", "442 rows", "linear 30 → 64, no bias", "BatchNorm", "memory of a session"]
    {
        assert!(both.contains(words), "{words:?} is not in {both}");
    }
}

#[test]
fn of_many_columns_the_first_are_shown_and_the_target() {
    let at = directory("inspect-many");
    // 64 pixels.
    let cut = succeed(&at, &format!("inspect {DATA}/digits.csv --target digit"));
    let columns = cut.lines().filter(|line| line.contains(" distinct")).count();
    assert!(columns == 41 && cut.contains("… and 24 more: see --json") && cut.contains("  digit "), "{cut}");
}

#[test]
fn devices_are_printed() {
    let at = directory("devices");
    let devices = json(&succeed(&at, "devices --json"));
    assert!(devices["cpu"]["threads"].as_u64() >= Some(1) && devices["auto"].is_string());
}
