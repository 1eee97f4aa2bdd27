//! `minilote doctor`: what it prints of an adapter that is as it should be.

use std::collections::BTreeSet;

use super::{directory, json, run, succeed};

#[test]
fn doctor_passes_every_operation() {
    let at = directory("doctor");
    let ran = run(&at, "doctor --device cpu");
    assert!(ran.code == Some(2) && ran.err.contains("minilote devices"), "{:?}: {}", ran.code, ran.err);
    if crate::gpu().is_none() {
        return;
    }
    let report = json(&succeed(&at, "doctor --json"));
    assert!(report["adapter"]["name"].is_string() && report["machine"]["minilote"].is_string());
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        let passed = check["verdict"] == "passed" && check["found"].as_array().unwrap().is_empty();
        assert!(passed || check["verdict"] == "measured", "{check}");
        assert!(check["worst"].as_f64() <= check["tolerance"].as_f64(), "{check}");
    }
    let names: BTreeSet<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["Gather", "Optimizer", "BatchNormGradient", "LossTotal", "largest binding", "determinism"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
}
