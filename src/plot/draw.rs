//! What stands within a figure's frame.

use std::fmt::Write;

use super::scale::Scale;
use super::{LEFT, Series, Shape, TOP, WIDTH, escape, significant};

/// Points of a line that show their values, at the most.
const HITS: usize = 200;
/// Shorter lines have visible points.
const FEW: usize = 25;

/// The line y = x, and a band around it, which a drawing of its own cuts off at the frame.
pub fn diagonal(svg: &mut String, x: &Scale, y: &Scale, factor: f64) {
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
pub fn mark(svg: &mut String, at: f64, bottom: f64, text: &str) {
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

/// What stands for a series in a legend, 28 wide and 10 high.
pub fn sample(series: &Series) -> String {
    let class = class(series);
    if series.shape == Shape::Dots {
        format!("<circle class=\"dot {class}\" cx=\"14\" cy=\"5\" r=\"3\"/>")
    } else {
        format!("<path class=\"line {class}\" d=\"M0 5H28\"/>")
    }
}

fn class(Series { style, shape, .. }: &Series) -> String {
    let thin = if *shape == Shape::Thin { " thin" } else { "" };
    format!("s{} d{}{thin}", style % 6, style % 5)
}

pub fn draw(svg: &mut String, x: &Scale, y: &Scale, series: &Series, (x_name, y_name): (&str, &str)) {
    let class = class(series);
    let count = series.points.len();
    if series.shape == Shape::Bars {
        let bar = |ends: &[(f64, f64)]| {
            let [at, low, high] = [x.place(ends[0].0), y.place(ends[0].1), y.place(ends[1].1)];
            format!("M{:.1} {low:.1}h6m-3 0V{high:.1}m-3 0h6", at - 3.0)
        };
        let finite = |ends: &&[(f64, f64)]| ends.iter().all(|(a, b)| a.is_finite() && b.is_finite());
        let path: String = series.points.chunks_exact(2).filter(finite).map(bar).collect();
        let _ = writeln!(svg, "<path class=\"bar s{}\" d=\"{path}\"/>", series.style % 6);
        return;
    }
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
    if series.name.is_empty() {
        return;
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
