//! Runs that stop being finite.

use std::fs;

use super::{directory, run, succeed};

#[test]
fn the_layer_where_numbers_become_too_large_is_named() {
    let at = directory("too_large");
    // An f32 whose square is none; standardized it is no matter.
    let value = |row: usize| if row == 20 { "1e38".to_string() } else { (row % 7).to_string() };
    let rows: String =
        (1..=60).map(|row| format!("{row},{},{}\n", value(row), ["a", "b"][row % 2])).collect();
    fs::write(at.join("data.csv"), format!("x,y,c\n{rows}")).unwrap();
    let train = "train data.csv --target c --device cpu --epochs 2 --valid 0 --test 0";
    for (flags, what) in [
        ("--norm before", "a statistic of layer 1"),
        ("--norm after", "a statistic of layer 2"),
        ("--norm none", "the weight of layer 4"),
    ] {
        let ran = run(&at, &format!("{train} --standardize none {flags}"));
        assert_eq!(ran.code, Some(5), "{flags}: {}", ran.err);
        assert!(ran.err.contains("diverged in epoch 1, step "), "{flags}: {}", ran.err);
        assert!(ran.err.contains(&format!(": {what} is not finite; try")), "{flags}: {}", ran.err);
    }
    succeed(&at, train);
}
