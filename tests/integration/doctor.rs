//! An examination finds what is broken and names it, and finds nothing else.

use std::collections::BTreeSet;

use minilote::doctor::{Check, Verdict, examine};
use minilote::gpu::shaders::source;
use pollster::block_on;

#[test]
fn broken_kernels_are_found_and_named() {
    let Some(gpu) = crate::gpu() else { return };
    let breaks = [
        // A wrong value.
        ("dropout", "p.scale", "1.01"),
        // Padding that is not zero, of sigmoids.
        ("activation", "pad(value(a[nth(a_rows, r) + c]), c, cols)", "value(a[nth(a_rows, r) + c])"),
        // Steps that are too long, which a run alone shows.
        ("update_gather", "update_by(h, lr_factor,", "update_by(h, 2.0 * lr_factor,"),
        // A source that the device refuses.
        ("column_sum", "fn main", "fn other"),
    ];
    let subgroup = 1 + u32::from(gpu.has_subgroups());
    let broken = breaks.into_iter().fold(gpu, |gpu, (stem, from, to)| {
        let right = source(stem, subgroup);
        assert!(right.contains(from), "{stem} has no {from:?}");
        gpu.with_source(stem, &right.replace(from, to))
    });
    let checks = block_on(examine(&broken, true, &mut |_| {}));
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Failed).collect();
    let names: BTreeSet<_> = failed.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["Activation", "Dropout", "column_sum", "largest binding", "training"]));
    let said = |check: &Check| !check.found.is_empty() || check.worst > check.tolerance;
    assert!(failed.iter().all(|check| said(check)), "{failed:?}");
    assert!(failed.iter().any(|check| check.found[0].contains("padding")), "{failed:?}");
    assert!(checks.iter().any(|check| check.name == "MatMul" && check.verdict == Verdict::Passed));
}
