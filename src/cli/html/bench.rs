//! The bench's report: one HTML file with all that it shows.

use minilote::plot::{Axis, Plot, Series, Shape, Spacing};

use super::page::{Cell, heading, page, paragraph, table};
use crate::cli::growth::{self, AXES, Point};

/// What a report shows; the tables begin with their heads.
pub struct Page<'a> {
    pub machine: String,
    /// Sentences on the devices.
    pub limits: Vec<String>,
    pub steps: Vec<Vec<String>>,
    /// Columns of text at the beginning of `steps`.
    pub texts: usize,
    /// Sentences on the steps.
    pub notes: Vec<String>,
    pub growth: &'a [Point],
}

impl Page<'_> {
    pub fn html(&self) -> String {
        let paragraphs = |lines: &[String]| lines.iter().map(|line| paragraph(line)).collect::<String>();
        let mut body = paragraph(&self.machine) + &paragraphs(&self.limits);
        if self.steps.len() > 1 {
            body += &(heading("Training steps") + &cells(&self.steps, self.texts) + &paragraphs(&self.notes));
        }
        if !self.growth.is_empty() {
            body += &self.growth();
        }
        page("minilote bench", &body)
    }

    fn growth(&self) -> String {
        let mut devices: Vec<&str> = self.growth.iter().map(|point| point.device.as_str()).collect();
        devices.dedup();
        let plots: Vec<Plot> = devices.iter().map(|device| self.plot(device)).collect();
        let text = format!(
            "The time of a training step as one size of the network grows, over the base's: measured, beside the \
             limit that follows from the step's FLOPs, bytes and dispatches and from what the device does at the \
             most. On the dashed line a step keeps its share of the limit; the band is a factor of {}. {}.",
            growth::TARGET,
            growth::summary(self.growth),
        );
        let table = cells(&growth::cells(self.growth), growth::TEXTS);
        heading("Growth") + &paragraph(&text) + &super::grid(&plots) + &table
    }

    /// Growth measured on a device over growth of its limit: from the base through the points of each axis.
    fn plot(&self, device: &str) -> Plot {
        let axis = |(style, (axis, _)): (usize, &(growth::Axis, &[usize]))| {
            let of_axis = |point: &&Point| point.axis.is_none_or(|of| of == *axis) && point.device == device;
            let points = self.growth.iter().filter(of_axis).map(|point| (point.limit_growth, point.growth));
            let name = format!("{axis:?}").to_lowercase();
            Series { name, style, shape: Shape::Line, points: points.collect() }
        };
        Plot {
            title: device.into(),
            x: Axis::new("growth of the limit (× base)", Spacing::Log),
            y: Axis::new("growth measured (× base)", Spacing::Log),
            series: AXES.iter().enumerate().map(axis).collect(),
            mark: None,
            diagonal: Some(growth::TARGET),
        }
    }
}

/// A table of texts: so many columns of words, then numbers.
fn cells(lines: &[Vec<String>], texts: usize) -> String {
    let cell =
        |(column, text): (usize, &String)| if column < texts { Cell::text(text) } else { Cell::new(text) };
    let row = |line: &Vec<String>| line.iter().enumerate().map(cell).collect::<Vec<_>>();
    table(&row(&lines[0]), &lines[1..].iter().map(row).collect::<Vec<_>>())
}
