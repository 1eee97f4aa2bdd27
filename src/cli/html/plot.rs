//! A figure: lines or dots over two axes, as inline SVG whose colors come from the page around it.

use std::fmt::Write;

use super::page::escape;
use crate::cli::report::significant;

/// In units of the drawing; letters are 13 high, so that they can be read on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 290.0;
/// Of a figure whose axes are the same.
const SQUARE: f64 = 390.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 44.0;

/// Values beyond these have exponents on the axes.
const PLAIN: std::ops::Range<f64> = 1e-3..1e5;
/// Points of a line that show their values, at the most.
const HITS: usize = 200;
/// Shorter lines have visible points.
const FEW: usize = 25;
/// What differs less than this share of its size is the same.
const FLAT: f64 = 1e-9;
/// From this ratio of the largest value to the least on, [`Spacing::Either`] is logarithmic.
const WIDE: f64 = 50.0;

#[derive(Clone, Copy, PartialEq)]
pub enum Spacing {
    Linear,
    /// Logarithmic where all values are above 0.
    Log,
    /// Logarithmic where values lie far apart, too.
    Either,
}

/// The name says the unit.
#[derive(Clone)]
pub struct Axis {
    pub name: String,
    pub spacing: Spacing,
}

impl Axis {
    pub fn new(name: &str, spacing: Spacing) -> Axis {
        Axis { name: name.into(), spacing }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Line,
    /// A line that stays behind others.
    Thin,
    Dots,
}

pub struct Series {
    pub name: String,
    /// Which of the page's colors and dashes.
    pub style: usize,
    pub shape: Shape,
    /// Those that are not finite are left out, and break the line.
    pub points: Vec<(f64, f64)>,
}

pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// A vertical line, and what it says.
    pub mark: Option<(f64, String)>,
    /// The line y = x with a band of such a factor around it; both axes then have the same range.
    pub diagonal: Option<f64>,
}

/// An axis with its range, and where that lies in the drawing.
struct Scale {
    low: f64,
    high: f64,
    begin: f64,
    end: f64,
    log: bool,
    /// Only whole numbers are shown.
    whole: bool,
}

impl Scale {
    /// The range of finite values and a margin; none without any.
    fn of(axis: &Axis, values: impl Iterator<Item = f64> + Clone, (begin, end): (f64, f64)) -> Option<Scale> {
        let finite = values.filter(|value| value.is_finite());
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.clone().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return None;
        }
        let whole = finite.clone().all(|value| value.fract() == 0.0);
        let is_log = match axis.spacing {
            Spacing::Linear => false,
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

    /// From 0 to 1 along the axis.
    fn share(&self, value: f64) -> f64 {
        if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn place(&self, value: f64) -> f64 {
        self.begin + self.share(value) * (self.end - self.begin)
    }

    /// 1, 2 and 5 times powers of ten; on a long logarithmic axis those powers alone.
    fn ticks(&self) -> Vec<f64> {
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
fn label(value: f64) -> String {
    if value == 0.0 || PLAIN.contains(&value.abs()) {
        significant(value, 5)
    } else {
        format!("{:e}", significant(value, 3).parse().unwrap_or(value))
    }
}

impl Plot {
    /// The figure with its legend.
    pub fn figure(&self) -> String {
        let caption = escape(&self.title);
        let key = |series: &Series| {
            let (class, name) = (class(series), escape(&series.name));
            let shape = if series.shape == Shape::Dots {
                format!("<circle class=\"dot {class}\" cx=\"14\" cy=\"5\" r=\"3\"/>")
            } else {
                format!("<path class=\"line {class}\" d=\"M0 5H28\"/>")
            };
            format!("<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">{shape}</svg>{name}</li>\n")
        };
        let keys: String = self.series.iter().map(key).collect();
        let legend = if self.series.len() > 1 {
            format!("<ul class=\"legend\">\n{keys}</ul>\n")
        } else {
            String::new()
        };
        format!("<figure>\n<figcaption>{caption}</figcaption>\n{legend}{}</figure>\n", self.svg())
    }

    fn svg(&self) -> String {
        let points = self.series.iter().flat_map(|series| &series.points);
        let (xs, ys) = (points.clone().map(|point| point.0), points.map(|point| point.1));
        let height = if self.diagonal.is_some() { SQUARE } else { HEIGHT };
        let (across, up) = ((LEFT, WIDTH - RIGHT), (height - BOTTOM, TOP));
        let scales = if self.diagonal.is_some() {
            let both = xs.chain(ys);
            (Scale::of(&self.x, both.clone(), across), Scale::of(&self.y, both, up))
        } else {
            (Scale::of(&self.x, xs, across), Scale::of(&self.y, ys, up))
        };
        let (Some(x), Some(y)) = scales else {
            return "<p>no finite values</p>\n".into();
        };
        let title = escape(&self.title);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n");
        self.frame(&mut svg, &x, &y);
        if let Some(factor) = self.diagonal {
            diagonal(&mut svg, &x, &y, factor);
        }
        if let Some((value, text)) = &self.mark {
            mark(&mut svg, x.place(*value), y.begin, text);
        }
        for series in &self.series {
            draw(&mut svg, &x, &y, series, (&self.x.name, &self.y.name));
        }
        svg + "</svg>\n"
    }

    /// Grid, numbers, names of the axes.
    fn frame(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (x.end, y.begin);
        for tick in x.ticks() {
            let (at, text) = (x.place(tick), label(tick));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                bottom + 17.0
            );
        }
        for tick in y.ticks() {
            let (at, text) = (y.place(tick), label(tick));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                at + 4.5
            );
        }
        let name = |axis: &Axis, log| escape(&axis.name) + if log { ", log scale" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            bottom + BOTTOM - 8.0,
            name(&self.x, x.log),
            (TOP + bottom) / 2.0,
            name(&self.y, y.log)
        );
    }
}

/// The line y = x, and a band around it, which a drawing of its own cuts off at the frame.
fn diagonal(svg: &mut String, x: &Scale, y: &Scale, factor: f64) {
    let Scale { low, high, .. } = *x;
    let corners = [(low, low * factor), (high, high * factor), (high, high / factor), (low, low / factor)];
    let corners = corners.map(|(a, b)| format!("{:.1},{:.1}", x.place(a), y.place(b))).join(" ");
    let (width, height) = (x.end - x.begin, y.begin - y.end);
    let _ = writeln!(
        svg,
        "<svg x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"{LEFT} {TOP} {width} {height}\"><polygon class=\"band\" points=\"{corners}\"/></svg>\
         <path class=\"guide\" d=\"M{} {}L{} {}\"/>",
        x.begin, y.begin, x.end, y.end
    );
}

/// A vertical line, and what it says above the frame.
fn mark(svg: &mut String, at: f64, bottom: f64, text: &str) {
    let anchor = if at < WIDTH / 3.0 {
        "start"
    } else if at > WIDTH / 1.5 {
        "end"
    } else {
        "middle"
    };
    let _ = writeln!(
        svg,
        "<path class=\"guide\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
         <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
        TOP - 6.0,
        escape(text)
    );
}

fn class(Series { style, shape, .. }: &Series) -> String {
    let thin = if *shape == Shape::Thin { " thin" } else { "" };
    format!("s{} d{}{thin}", style % 6, style % 5)
}

fn draw(svg: &mut String, x: &Scale, y: &Scale, series: &Series, (x_name, y_name): (&str, &str)) {
    let class = class(series);
    let count = series.points.len();
    if series.shape != Shape::Dots {
        let mut path = String::new();
        let mut pen = 'M';
        for (a, b) in &series.points {
            let finite = a.is_finite() && b.is_finite();
            if finite {
                let _ = write!(path, "{pen}{:.1} {:.1}", x.place(*a), y.place(*b));
            }
            pen = if finite { 'L' } else { 'M' };
        }
        let _ = writeln!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }
    let dots = series.shape == Shape::Dots;
    let (kind, radius) = match (dots, count <= FEW) {
        (true, _) => ("dot", 2.5),
        (false, true) => ("dot", 3.0),
        (false, false) => ("hit", 6.0),
    };
    let stride = if dots { 1 } else { count.div_ceil(HITS).max(1) };
    for (a, b) in series.points.iter().step_by(stride).filter(|(a, b)| a.is_finite() && b.is_finite()) {
        let title =
            format!("{}: {x_name} {}, {y_name} {}", series.name, significant(*a, 5), significant(*b, 5));
        let _ = writeln!(
            svg,
            "<circle class=\"{kind} {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}</title></circle>",
            x.place(*a),
            y.place(*b),
            escape(&title)
        );
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

    #[test]
    fn a_value_that_is_not_finite_breaks_the_line() {
        let points = vec![(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 1.0), (5.0, 2.0)];
        let axis = || Axis::new("x", Spacing::Linear);
        let series = vec![Series { name: "a".into(), style: 0, shape: Shape::Line, points }];
        let plot = Plot { title: "t".into(), x: axis(), y: axis(), series, mark: None, diagonal: None };
        let html = plot.figure();
        let (_, path) = html.split_once("class=\"line s0 d0\" d=\"").unwrap();
        assert_eq!(path.split('"').next().unwrap().matches('M').count(), 2, "{path}");
        assert_eq!(html.matches("<title>").count(), 4);
    }
}
