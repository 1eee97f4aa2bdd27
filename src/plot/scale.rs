//! Where values lie along an axis, and which of them are written there.

use super::{Axis, Spacing, significant};

/// Values beyond these have exponents on the axes.
const PLAIN: std::ops::Range<f64> = 1e-3..1e5;
/// What differs less than this share of its size is the same.
const FLAT: f64 = 1e-9;
/// From this ratio of the largest value to the least on, [`Spacing::Either`] is logarithmic.
const WIDE: f64 = 50.0;

/// An axis with its range, and where that lies in the drawing.
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub begin: f64,
    pub end: f64,
    pub log: bool,
    /// Only whole numbers are shown.
    whole: bool,
}

impl Scale {
    /// The range of finite values and a margin; none without any.
    pub fn of(
        axis: &Axis,
        values: impl Iterator<Item = f64> + Clone,
        (begin, end): (f64, f64),
    ) -> Option<Scale> {
        let finite = values.filter(|value| value.is_finite());
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.clone().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return None;
        }
        let whole = finite.clone().all(|value| value.fract() == 0.0);
        let is_log = match axis.spacing {
            Spacing::Linear | Spacing::Equal => false,
            Spacing::Log => low > 0.0,
            Spacing::Either => low > 0.0 && high / low >= WIDE,
        };
        if is_log {
            return Some(Scale { low: low / 1.15, high: high * 1.15, begin, end, log: true, whole });
        }
        let (size, largest) = (high - low, high.abs().max(low.abs()));
        let margin = if size > FLAT * largest {
            0.04 * size
        } else if largest > 0.0 {
            0.5 * largest
        } else {
            1.0
        };
        // An axis that begins near 0 begins there.
        let low = if low >= 0.0 && low <= 0.4 * high.max(margin) { 0.0 } else { low - margin };
        Some(Scale { low, high: high + margin, begin, end, log: false, whole })
    }

    /// What a unit of the drawing is on a linear axis.
    pub fn unit(&self) -> f64 {
        (self.high - self.low) / (self.end - self.begin).abs()
    }

    /// Makes a unit of the drawing so much, about the middle of the range.
    pub fn widen(&mut self, unit: f64) {
        let more = (unit - self.unit()) * (self.end - self.begin).abs() / 2.0;
        (self.low, self.high) = (self.low - more, self.high + more);
    }

    /// From 0 to 1 along the axis.
    pub fn share(&self, value: f64) -> f64 {
        if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    pub fn place(&self, value: f64) -> f64 {
        self.begin + self.share(value) * (self.end - self.begin)
    }

    /// 1, 2 and 5 times powers of ten; on a long logarithmic axis those powers alone.
    pub fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            let long = self.high / self.low > 1e3;
            let stride = ((last - first) / 6).max(1) as usize;
            let factors: &[f64] = if long { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decade = |power: i32| factors.iter().map(move |factor| factor * 10f64.powi(power));
            let ticks = (first..=last).step_by(stride).flat_map(decade);
            return ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = (self.high - self.low) / 5.5;
        let power = 10f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
        let step = if self.whole { (factor * power).max(1.0) } else { factor * power };
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        // Ranges at the ends of f64 have no such step.
        (first..=last).map(|i| i as f64 * step).filter(|tick| tick.is_finite()).take(12).collect()
    }
}

/// A value on an axis.
pub fn label(value: f64) -> String {
    if value == 0.0 || PLAIN.contains(&value.abs()) {
        significant(value, 5)
    } else {
        format!("{:e}", significant(value, 3).parse().unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(values: &[f64], spacing: Spacing) -> Vec<String> {
        let scale = Scale::of(&Axis::new("", spacing), values.iter().copied(), (0.0, 1.0)).unwrap();
        let inside = |tick: &f64| (-1e-9..=1.0 + 1e-9).contains(&scale.share(*tick));
        assert!(scale.ticks().iter().all(inside), "{values:?}");
        scale.ticks().into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_of_any_range() {
        assert_eq!(ticks(&[1.0, 2.0, 37.0], Spacing::Linear), ["0", "10", "20", "30"]);
        assert_eq!(ticks(&[1.0, 3.0], Spacing::Linear), ["0", "1", "2", "3"]);
        assert_eq!(ticks(&[0.9, 0.98], Spacing::Linear), ["0.9", "0.92", "0.94", "0.96", "0.98"]);
        assert_eq!(ticks(&[-2e6, 2e6], Spacing::Linear), ["-2e6", "-1e6", "0", "1e6", "2e6"]);
        assert_eq!(ticks(&[0.003], Spacing::Linear), ["0.002", "0.003", "0.004"]);
        assert_eq!(ticks(&[0.1, 6.0], Spacing::Either), ["0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(ticks(&[1e-3, f64::NAN, 20.0], Spacing::Either), ["0.001", "0.01", "0.1", "1", "10"]);
        for extreme in [[0.0, 0.0], [0.0, 5e-324], [1.0, 1.0 + f64::EPSILON], [-1e308, 1e308]] {
            assert!(ticks(&extreme, Spacing::Either).len() <= 12, "{extreme:?}");
        }
    }
}
