//! Figures: lines or dots over two axes, as inline SVG of an HTML page whose style holds [`STYLE`], or as SVG files.
//!
//! ```
//! use minilote::plot::{Axis, Plot, Series, Shape, Spacing};
//!
//! let points = (1..=10).map(|epoch| (f64::from(epoch), 1.0 / f64::from(epoch))).collect();
//! let series = vec![Series::new("training", 0, Shape::Line, points)];
//! let (x, y) = (Axis::new("epoch", Spacing::Linear), Axis::new("cross-entropy (nats)", Spacing::Log));
//! let plot = Plot::new("Loss", x, y, series);
//! assert!(plot.figure().contains("<figcaption>Loss</figcaption>"));
//! minilote::plot::save(&std::env::temp_dir().join("loss.svg"), &[plot], 1)?;
//! # Ok::<(), minilote::Error>(())
//! ```

mod draw;
mod scale;
mod sheet;

use std::fmt::Write;

use draw::{diagonal, draw, mark, sample};
use scale::{Scale, label};
pub use sheet::{save, sheet};

/// What figures look like, as CSS: in a light and a dark theme and on paper.
pub const STYLE: &str = include_str!("style.css");

/// In units of the drawing; letters are 13 high, so that they can be read on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 290.0;
/// Of a figure whose axes are the same.
const SQUARE: f64 = 390.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 44.0;
/// Of a letter's width, at the most on average: a drawing can't ask how wide its text is.
const LETTER: f64 = 7.5;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spacing {
    /// Evenly.
    Linear,
    /// By their logarithms where all are above 0, else evenly.
    Log,
    /// By their logarithms where all are above 0 and they lie far apart, else evenly.
    Either,
    /// Evenly, a unit as long as on the other axis.
    Equal,
}

/// An axis, whose range is that of the values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// With the unit.
    pub name: String,
    /// How values lie along it.
    pub spacing: Spacing,
}

impl Axis {
    /// Of such a name.
    pub fn new(name: &str, spacing: Spacing) -> Axis {
        Axis { name: name.into(), spacing }
    }
}

/// What points are drawn as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A line.
    Line,
    /// A line that stays behind others.
    Thin,
    /// Dots.
    Dots,
    /// Error bars: points come in pairs, the lower and the upper end of each.
    Bars,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend, and where the pointer rests on a point; without one, as for contours, neither.
    pub name: String,
    /// Which color of six and dashes of five: any number, from 0.
    pub style: usize,
    /// What the points are drawn as.
    pub shape: Shape,
    /// x and y. Those that are not finite are left out, and break the line.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// See the fields.
    pub fn new(name: &str, style: usize, shape: Shape, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), style, shape, points }
    }
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// Later ones lie over earlier ones.
    pub series: Vec<Series>,
    /// A vertical line, and what it says.
    pub mark: Option<(f64, String)>,
    /// The line y = x with a band of such a factor around it; both axes then have the same range.
    pub diagonal: Option<f64>,
}

impl Plot {
    /// Without mark and diagonal.
    pub fn new(title: &str, x: Axis, y: Axis, series: Vec<Series>) -> Plot {
        Plot { title: title.into(), x, y, series, mark: None, diagonal: None }
    }

    /// The figure with its title and legend, as HTML.
    pub fn figure(&self) -> String {
        let caption = escape(&self.title);
        let key = |series: &Series| {
            let (sample, name) = (sample(series), escape(&series.name));
            format!("<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">{sample}</svg>{name}</li>\n")
        };
        let named = named(&self.series);
        let legend = match named.as_slice() {
            [] => String::new(),
            named => format!(
                "<ul class=\"legend\">\n{}</ul>\n",
                named.iter().copied().map(key).collect::<String>()
            ),
        };
        let svg = self.svg("");
        format!("<figure>\n<figcaption>{caption}</figcaption>\n{legend}{svg}</figure>\n")
    }

    fn is_square(&self) -> bool {
        self.diagonal.is_some() || [&self.x, &self.y].iter().any(|axis| axis.spacing == Spacing::Equal)
    }

    fn height(&self) -> f64 {
        if self.is_square() { SQUARE } else { HEIGHT }
    }

    /// The drawing, with attributes that place it.
    fn svg(&self, place: &str) -> String {
        let (title, height) = (escape(&self.title), self.height());
        let mut svg =
            format!("<svg{place} viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n");
        let Some((x, y)) = self.scales() else {
            return svg + "<text x=\"14\" y=\"22\">no finite values</text>\n</svg>\n";
        };
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

    /// None without a finite value.
    fn scales(&self) -> Option<(Scale, Scale)> {
        let points = self.series.iter().flat_map(|series| &series.points);
        let (xs, ys) = (points.clone().map(|point| point.0), points.map(|point| point.1));
        let (across, up) = ((LEFT, WIDTH - RIGHT), (self.height() - BOTTOM, TOP));
        if self.diagonal.is_some() {
            let both = xs.chain(ys);
            return Some((Scale::of(&self.x, both.clone(), across)?, Scale::of(&self.y, both, up)?));
        }
        let (mut x, mut y) = (Scale::of(&self.x, xs, across)?, Scale::of(&self.y, ys, up)?);
        if self.is_square() {
            let unit = x.unit().max(y.unit());
            x.widen(unit);
            y.widen(unit);
        }
        Some((x, y))
    }

    /// Grid, numbers, names of the axes.
    fn frame(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (x.end, y.begin);
        for tick in x.ticks() {
            let (at, text) = (x.place(tick), label(tick));
            // A long number at the right edge stands to the left of its place.
            let middle = at.min(WIDTH - LETTER / 2.0 * text.chars().count() as f64);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
                 <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
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

/// Those that a legend names, where there is more than one; error bars are of another series.
fn named(series: &[Series]) -> Vec<&Series> {
    let drawn: Vec<&Series> = series.iter().filter(|series| series.shape != Shape::Bars).collect();
    let several = drawn.len() > 1;
    drawn.into_iter().filter(|series| several && !series.name.is_empty()).collect()
}

/// The points p with `(p − center)ᵀ A (p − center) = level`, all around: a contour of a loss with the Hessian 2 A, such
/// as that of a linear model's squared error. A is `[[a, b], [b, c]]`, positive definite.
pub fn ellipse(center: (f64, f64), [[a, b], [_, c]]: [[f64; 2]; 2], level: f64) -> Vec<(f64, f64)> {
    // A = L Lᵀ by Cholesky; p = center + √level L⁻ᵀ u over the unit circle's u.
    let first = a.sqrt();
    let below = b / first;
    let last = (c - below * below).sqrt();
    let point = |i: u32| {
        let (sin, cos) = (f64::from(i) * std::f64::consts::TAU / 120.0).sin_cos();
        let y = level.sqrt() * sin / last;
        (center.0 + (level.sqrt() * cos - below * y) / first, center.1 + y)
    };
    (0..=120).map(point).collect()
}

/// Text as HTML and XML, in attributes too.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number rounded to so many significant digits, as short as it goes.
pub fn significant(value: f64, digits: usize) -> String {
    let rounded: f64 = format!("{value:.0$e}", digits - 1).parse().unwrap_or(value);
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").unwrap_or(&text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(spacing: Spacing, points: Vec<(f64, f64)>) -> Plot {
        let [x, y] = ["x", "y"].map(|name| Axis::new(name, spacing));
        Plot::new("t", x, y, vec![Series::new("a", 0, Shape::Line, points)])
    }

    #[test]
    fn a_value_that_is_not_finite_breaks_the_line() {
        let points = vec![(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 1.0), (5.0, 2.0)];
        let html = plot(Spacing::Linear, points).figure();
        let (_, path) = html.split_once("class=\"line s0 d0\" d=\"").unwrap();
        assert_eq!(path.split('"').next().unwrap().matches('M').count(), 2, "{path}");
        assert_eq!(html.matches("<title>").count(), 4);
    }

    #[test]
    fn a_series_without_a_name_is_drawn_alone() {
        let named = plot(Spacing::Linear, vec![(0.0, 0.0), (1.0, 2.0)]);
        let contour = Series { name: String::new(), ..named.series[0].clone() };
        let html = Plot { series: vec![contour, named.series[0].clone()], ..named }.figure();
        assert_eq!(
            ["<path class=\"line s0", "<li>", "<title>"].map(|of| html.matches(of).count()),
            [3, 1, 2]
        );
    }

    #[test]
    fn equal_axes_have_units_of_one_length() {
        for points in [vec![(0.0, 5.0), (10.0, 6.0)], vec![(0.0, -5.0), (1.0, 90.0)]] {
            let (x, y) = plot(Spacing::Equal, points.clone()).scales().unwrap();
            let lengths = [x.place(1.0) - x.place(0.0), y.place(0.0) - y.place(1.0)];
            assert!((lengths[0] / lengths[1] - 1.0).abs() < 1e-12, "{lengths:?}");
            let inside = |(a, b)| (0.0..=1.0).contains(&x.share(a)) && (0.0..=1.0).contains(&y.share(b));
            assert!(points.into_iter().all(inside));
        }
    }

    #[test]
    fn an_ellipse_is_a_level_of_its_form() {
        for (x, y) in ellipse((3.0, -1.0), [[5.0, 2.0], [2.0, 1.0]], 0.7) {
            let (x, y) = (x - 3.0, y + 1.0);
            assert!((5.0 * x * x + 4.0 * x * y + y * y - 0.7).abs() < 1e-12);
        }
    }

    #[test]
    fn a_sheet_holds_its_figures_side_by_side() {
        let one = || plot(Spacing::Linear, vec![(0.0, 0.0), (1.0, 1.0)]);
        let none = plot(Spacing::Linear, vec![]);
        let two = Plot { series: [one().series, one().series].concat(), ..one() };
        let svg = sheet(&[one(), none, two], 2);
        assert_eq!(svg.matches("<svg").count(), 4);
        assert_eq!(svg.matches("</svg>").count(), 4);
        assert_eq!(svg.matches("no finite values").count(), 1);
        // The lower one has a legend.
        assert!(svg.contains("translate(16 16)") && svg.contains("translate(452 16)"), "{svg}");
        assert!(svg.contains("translate(16 344)"), "{svg}");
        assert_eq!(svg.matches(">a</text>").count(), 2);
        assert!(
            svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"888\" height=\"690\""),
            "{}",
            &svg[..200]
        );
    }
}
