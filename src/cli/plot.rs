//! The plot of growth, as SVG whose colors come from the page around it.

use std::fmt::Write;

use super::growth::{AXES, Axis, Point, TARGET};
use super::page::escape;

/// In units of the drawing; letters are 13 high, so that they can be read on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 46.0;

/// Both axes: logarithms of a growth between two others.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn share(&self, growth: f64) -> f64 {
        (growth / self.low).ln() / (self.high / self.low).ln()
    }

    fn x(&self, growth: f64) -> f64 {
        LEFT + self.share(growth) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, growth: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(growth) * (HEIGHT - TOP - BOTTOM)
    }

    /// 1, 2, 5, 10, 20, … as far as they are on the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let decades = (-3..6).flat_map(|decade| [1.0, 2.0, 5.0].map(|first| first * 10f64.powi(decade)));
        decades.filter(|tick| (self.low..=self.high).contains(tick))
    }
}

/// A figure of a device's points: growth measured over growth of the limit.
pub fn growth(points: &[&Point]) -> String {
    let all = || points.iter().flat_map(|point| [point.growth, point.limit_growth]);
    let low = all().fold(1.0, f64::min) / 1.15;
    let scale = Scale { low, high: all().fold(2.0, f64::max) * 1.3 };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Measured growth over the limit's growth\">\n"
    );
    frame(&mut svg, &scale);
    let height = 8 + 20 * AXES.len();
    let _ = writeln!(
        svg,
        "<rect class=\"ground\" x=\"{}\" y=\"{}\" width=\"78\" height=\"{height}\"/>",
        LEFT + 6.0,
        TOP + 4.0
    );
    for (place, (axis, _)) in AXES.iter().enumerate() {
        series(&mut svg, &scale, *axis, points);
        legend(&mut svg, place, *axis);
    }
    svg + "</svg>\n"
}

/// Grid, numbers, names of the axes, the diagonal and the band around it.
fn frame(svg: &mut String, scale: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in scale.ticks() {
        let (x, y) = (scale.x(tick), scale.y(tick));
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}M{LEFT} {y:.1}H{right}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            bottom + 17.0,
            LEFT - 6.0,
            y + 4.5,
        );
    }
    let Scale { low, high } = *scale;
    let (x0, x1) = (scale.x(low), scale.x(high));
    let corners = [(x0, low * TARGET), (x1, high * TARGET), (x1, high / TARGET), (x0, low / TARGET)];
    let corners = corners.map(|(x, growth)| format!("{x:.1},{:.1}", scale.y(growth))).join(" ");
    let (width, height) = (right - LEFT, bottom - TOP);
    // A drawing of its own cuts the band off at the frame.
    let _ = writeln!(
        svg,
        "<svg x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"{LEFT} {TOP} {width} {height}\"><polygon class=\"band\" points=\"{corners}\"/></svg>\
         <path class=\"diagonal\" d=\"M{x0:.1} {:.1}L{x1:.1} {:.1}\"/>\
         <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">growth of the limit (× base)</text>\
         <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">growth measured (× base)</text>",
        scale.y(low),
        scale.y(high),
        (LEFT + right) / 2.0,
        HEIGHT - 8.0,
        (TOP + bottom) / 2.0,
    );
}

/// From the base through the points of an axis.
fn series(svg: &mut String, scale: &Scale, axis: Axis, points: &[&Point]) {
    let of_axis = || points.iter().filter(|point| point.axis.is_none() || point.axis == Some(axis));
    let place = |point: &&&Point| format!("{:.1},{:.1}", scale.x(point.limit_growth), scale.y(point.growth));
    let line = of_axis().map(|point| place(&point)).collect::<Vec<_>>().join(" ");
    let class = name(axis);
    let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{line}\"/>");
    for point in of_axis().filter(|point| point.axis.is_some()) {
        let (x, y) = (scale.x(point.limit_growth), scale.y(point.growth));
        let title = format!(
            "{class} ×{}: measured ×{:.2}, limit ×{:.2}, ratio {:.2}",
            point.factor, point.growth, point.limit_growth, point.ratio
        );
        let _ = writeln!(svg, "{}<title>{}</title></path>", marker(axis, x, y), escape(&title));
    }
}

fn legend(svg: &mut String, place: usize, axis: Axis) {
    let (x, y) = (LEFT + 16.0, TOP + 18.0 + 20.0 * place as f64);
    let _ = writeln!(
        svg,
        "{}</path><text x=\"{}\" y=\"{}\">{}</text>",
        marker(axis, x, y),
        x + 13.0,
        y + 4.5,
        name(axis)
    );
}

fn name(axis: Axis) -> String {
    format!("{axis:?}").to_lowercase()
}

/// A shape of the axis's own, beside its color; left open.
fn marker(axis: Axis, x: f64, y: f64) -> String {
    let shape = match axis {
        Axis::Batch => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
        Axis::Width => "m-4.5 -4.5h9v9h-9z",
        Axis::Depth => "m0 -6l5.5 10h-11z",
        Axis::Models => "m0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5z",
    };
    format!("<path class=\"{} marker\" d=\"M{x:.1} {y:.1}{shape}\">", name(axis))
}
