//! Statistics of the training rows, and the affine map that they give each feature.

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::Inputs;

/// How features are brought to a common scale; a constant feature becomes 0 in every mode but `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Standardize {
    /// `x' = (x - mean) / sigma`: mean 0, variance 1.
    #[default]
    Standard,
    /// `x' = (x - mean) / sigma²`.
    Variance,
    /// `x' = 2 (x - min) / (max - min) - 1`: from -1 to 1.
    Range,
    /// `x' = x`.
    None,
}

/// The statistics of some rows, one number a column, and the mode in which they are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardizer {
    /// How the statistics are used.
    pub mode: Standardize,
    /// `mean = sum(x) / n`.
    pub mean: Vec<f64>,
    /// The biased variance, `sum((x - mean)²) / n`.
    pub variance: Vec<f64>,
    /// The least value.
    pub minimum: Vec<f64>,
    /// The greatest value.
    pub maximum: Vec<f64>,
}

impl Standardizer {
    /// The statistics of the given rows of `inputs`, `[rows, width]`; no rows give zeros.
    ///
    /// # Panics
    ///
    /// If a row number is not less than the number of rows.
    pub fn fit(mode: Standardize, inputs: &Inputs, rows: &[u32]) -> Standardizer {
        match inputs {
            Inputs::Real(values) => Self::fit_array(mode, values, rows),
            Inputs::Bytes(values) => Self::fit_array(mode, values, rows),
        }
    }

    /// The statistics of one column, such as the target of a regression.
    pub fn fit_values(mode: Standardize, values: impl Iterator<Item = f64>) -> Standardizer {
        let column: Array2<f64> = values.map(|value| [value]).collect::<Vec<_>>().into();
        let rows: Vec<u32> = (0..column.nrows() as u32).collect();
        Self::fit_array(mode, &column, &rows)
    }

    /// Two passes: the mean, then the squares of the deviations from it. The sum of the deviations
    /// themselves, 0 but for rounding, corrects both.
    fn fit_array<T: Copy + Into<f64>>(mode: Standardize, values: &Array2<T>, rows: &[u32]) -> Standardizer {
        let width = values.ncols();
        let count = rows.len().max(1) as f64;
        let empty = |value| vec![if rows.is_empty() { 0.0 } else { value }; width];
        let mut mean = vec![0.0; width];
        let (mut minimum, mut maximum) = (empty(f64::INFINITY), empty(f64::NEG_INFINITY));
        for row in rows {
            for (column, value) in values.row(*row as usize).iter().enumerate() {
                let value: f64 = (*value).into();
                mean[column] += value;
                minimum[column] = minimum[column].min(value);
                maximum[column] = maximum[column].max(value);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        let (mut drift, mut variance) = (vec![0.0; width], vec![0.0; width]);
        for row in rows {
            for (column, value) in values.row(*row as usize).iter().enumerate() {
                let deviation = (*value).into() - mean[column];
                drift[column] += deviation;
                variance[column] += deviation * deviation;
            }
        }
        for column in 0..width {
            let drift = drift[column] / count;
            mean[column] += drift;
            variance[column] = (variance[column] / count - drift * drift).max(0.0);
            if minimum[column] == maximum[column] {
                (mean[column], variance[column]) = (minimum[column], 0.0);
            }
        }
        Standardizer { mode, mean, variance, minimum, maximum }
    }

    /// `(center, scale)` of each column, for `x' = (x - center) * scale`; a constant column has scale 0
    /// in every mode but [`Standardize::None`].
    pub fn affine(&self) -> (Vec<f64>, Vec<f64>) {
        (0..self.mean.len()).map(|column| self.column(column)).unzip()
    }

    fn column(&self, column: usize) -> (f64, f64) {
        let (minimum, maximum) = (self.minimum[column], self.maximum[column]);
        let (center, divisor) = match self.mode {
            Standardize::Standard => (self.mean[column], self.variance[column].sqrt()),
            Standardize::Variance => (self.mean[column], self.variance[column]),
            Standardize::Range => (minimum / 2.0 + maximum / 2.0, maximum / 2.0 - minimum / 2.0),
            Standardize::None => return (0.0, 1.0),
        };
        // The reciprocal of a subnormal number may be infinite: that column counts as constant too.
        let scale = Some(1.0 / divisor).filter(|scale| scale.is_finite()).unwrap_or(0.0);
        (center, if minimum == maximum || self.variance[column] == 0.0 { 0.0 } else { scale })
    }

    /// All rows of `inputs` after the map, `[rows, width]`.
    ///
    /// # Panics
    ///
    /// If the inputs have more columns than the statistics.
    pub fn transform(&self, inputs: &Inputs) -> Array2<f64> {
        let mut values = match inputs {
            Inputs::Real(values) => values.clone(),
            Inputs::Bytes(values) => values.mapv(f64::from),
        };
        self.apply(&mut values);
        values
    }

    /// The same in place, where a copy would take too much memory.
    ///
    /// # Panics
    ///
    /// If there are more columns than the statistics have.
    pub fn apply(&self, values: &mut Array2<f64>) {
        let (center, scale) = self.affine();
        for mut row in values.axis_iter_mut(Axis(0)) {
            for (column, value) in row.iter_mut().enumerate() {
                *value = (*value - center[column]) * scale[column];
            }
        }
    }

    /// Maps one row in place.
    pub fn apply_row(&self, row: &mut [f64]) {
        for (value, (center, scale)) in row.iter_mut().zip((0..self.mean.len()).map(|i| self.column(i))) {
            *value = (*value - center) * scale;
        }
    }

    /// The value of a column before the map, `x = x' / scale + center`; a constant column's center.
    ///
    /// # Panics
    ///
    /// If the statistics lack the column.
    pub fn invert_value(&self, column: usize, value: f64) -> f64 {
        let (center, scale) = self.column(column);
        if scale == 0.0 { center } else { value / scale + center }
    }

    /// Whether statistics from an untrusted file suit `width` columns; otherwise what is wrong.
    pub fn check(&self, width: usize) -> Result<(), String> {
        let lists = [&self.mean, &self.variance, &self.minimum, &self.maximum];
        for (name, list) in ["mean", "variance", "minimum", "maximum"].into_iter().zip(lists) {
            if list.len() != width {
                return Err(format!("{name} has {} numbers, not {width}", list.len()));
            }
            if let Some(value) = list.iter().find(|value| !value.is_finite()) {
                return Err(format!("{name} holds {value}"));
            }
        }
        if let Some(value) = self.variance.iter().find(|value| **value < 0.0) {
            return Err(format!("a variance is {value}"));
        }
        if let Some((minimum, maximum)) = self.minimum.iter().zip(&self.maximum).find(|(a, b)| a > b) {
            return Err(format!("a minimum, {minimum}, is above its maximum, {maximum}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODES: [Standardize; 4] =
        [Standardize::Standard, Standardize::Variance, Standardize::Range, Standardize::None];

    fn column(values: &[f64]) -> Inputs {
        Inputs::Real(values.iter().map(|value| [*value]).collect::<Vec<_>>().into())
    }

    #[test]
    fn each_mode_is_its_formula() {
        // Mean 2, variance 8/3.
        let values = [0.0, 2.0, 4.0];
        let sigma = (8f64 / 3.0).sqrt();
        let expected = [
            [-2.0 / sigma, 0.0, 2.0 / sigma],
            [-2.0 * 3.0 / 8.0, 0.0, 2.0 * 3.0 / 8.0],
            [-1.0, 0.0, 1.0],
            values,
        ];
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let fitted = Standardizer::fit_values(mode, values.into_iter());
            let mapped = fitted.transform(&column(&values));
            for (row, (value, expected)) in values.into_iter().zip(expected).enumerate() {
                assert!((mapped[[row, 0]] - expected).abs() < 1e-15, "{mode:?}: {mapped}");
                assert!((fitted.invert_value(0, mapped[[row, 0]]) - value).abs() < 1e-15, "{mode:?}");
                let mut single = [value];
                fitted.apply_row(&mut single);
                assert_eq!(single[0], mapped[[row, 0]]);
            }
        }
    }

    #[test]
    fn a_constant_column_becomes_zero() {
        // The mean of many 0.1 is not exactly 0.1; the variance of the last underflows.
        for values in [vec![0.1; 1001], vec![1e9; 3], vec![0.0, 1e-310], vec![f64::MIN_POSITIVE, 0.0]] {
            for mode in &MODES[..2] {
                let fitted = Standardizer::fit_values(*mode, values.iter().copied());
                let mapped = fitted.transform(&column(&values));
                assert!(mapped.iter().all(|value| *value == 0.0), "{mode:?} {values:?} {mapped}");
                assert!(fitted.invert_value(0, 5.0).is_finite());
            }
        }
        let fitted = Standardizer::fit_values(Standardize::Range, [7.0; 3].into_iter());
        assert_eq!((fitted.affine(), fitted.invert_value(0, 0.3)), ((vec![7.0], vec![0.0]), 7.0));
    }

    #[test]
    fn only_the_given_rows_count() {
        let bytes = Inputs::Bytes(ndarray::array![[0, 9], [10, 9], [255, 0]]);
        let fitted = Standardizer::fit(Standardize::Standard, &bytes, &[0, 1]);
        assert_eq!((&fitted.mean[..], &fitted.variance[..]), (&[5.0, 9.0][..], &[25.0, 0.0][..]));
        assert_eq!(fitted.transform(&bytes), ndarray::array![[-1.0, 0.0], [1.0, 0.0], [50.0, 0.0]]);
        let none = Standardizer::fit(Standardize::Standard, &bytes, &[]);
        assert_eq!(none.check(2), Ok(()));
    }

    #[test]
    fn statistics_of_a_file_are_checked() {
        let good = Standardizer::fit_values(Standardize::Standard, [1.0, 2.0].into_iter());
        assert_eq!(good.check(1), Ok(()));
        let text = serde_json::to_string(&good).unwrap();
        assert!(text.contains("\"standard\""));
        assert_eq!(serde_json::from_str::<Standardizer>(&text).unwrap(), good);
        let spoiled: [fn(&mut Standardizer); 5] = [
            |s| s.mean.push(0.0),
            |s| s.mean[0] = f64::NAN,
            |s| s.variance[0] = -1.0,
            |s| s.minimum[0] = 9.0,
            |s| s.maximum.clear(),
        ];
        for (index, spoil) in spoiled.iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(bad.check(1).is_err(), "{index}");
        }
    }

    proptest! {
        #[test]
        fn standard_gives_mean_0_and_variance_1(
            noise in prop::collection::vec(-1.0..1.0f64, 2..500),
            center in prop::sample::select(vec![0.0, 1.0, -1e5, 1e9]),
        ) {
            let values: Vec<f64> = noise.iter().map(|noise| noise + center).collect();
            prop_assume!(values.iter().any(|value| (value - values[0]).abs() > 1e-2));
            let fitted = Standardizer::fit_values(Standardize::Standard, values.iter().copied());
            let mapped = fitted.transform(&column(&values));
            let count = values.len() as f64;
            let mean = mapped.sum() / count;
            let variance = mapped.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            prop_assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-9, "{mean} {variance}");
        }
    }
}
