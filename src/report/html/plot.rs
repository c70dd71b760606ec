//! A chart as SVG: a frame with axes and marks. Colours are classes, so that the page decides
//! between light and dark.

use std::fmt::Write;

use super::scale::{AxisScale, Tick};
use crate::report::markup::escape;

/// A chart under construction.
pub(super) struct Plot {
    width: f64,
    height: f64,
    x: AxisScale,
    y: AxisScale,
    body: String,
}

/// The margins for labels.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 42.0;

impl Plot {
    pub(super) fn new(width: f64, height: f64, x: AxisScale, y: AxisScale) -> Self {
        Self { width, height, x, y, body: String::new() }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.width - LEFT - RIGHT)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.height - BOTTOM - self.y.place(value) * (self.height - TOP - BOTTOM)
    }

    /// Draws the grid, the labels and the names of the axes.
    pub(super) fn axes(&mut self, x: &[Tick], y: &[Tick], x_name: &str, y_name: &str) {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        for tick in y {
            let at = self.y(tick.value);
            self.add(format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            self.add(format_args!(
                "<text x=\"{}\" y=\"{:.1}\" class=\"y\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                escape(&tick.label)
            ));
        }
        let mut free = f64::NEG_INFINITY;
        for tick in x {
            let at = self.x(tick.value);
            self.add(format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            // About 6.6 px a character at 12 px; labels that would touch are left out.
            let half = tick.label.chars().count() as f64 * 3.3;
            if at - half > free {
                self.add(format_args!(
                    "<text x=\"{at:.1}\" y=\"{:.1}\" class=\"x\">{}</text>",
                    bottom + 17.0,
                    escape(&tick.label)
                ));
                free = at + half + 8.0;
            }
        }
        self.add(format_args!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
        self.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"name x\">{}</text>",
            (LEFT + right) / 2.0,
            self.height - 7.0,
            escape(x_name)
        ));
        self.add(format_args!("<text x=\"2\" y=\"12\" class=\"name\">{}</text>", escape(y_name)));
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        let mut last = (f64::NAN, f64::NAN);
        for (x, y) in points {
            let at = (self.x(x), self.y(y));
            // Points closer than a pixel are drawn once.
            if (at.0 - last.0).abs() < 0.3 && (at.1 - last.1).abs() < 0.3 {
                continue;
            }
            let _ = write!(path, "{}{:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, at.0, at.1);
            last = at;
        }
        self.add(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// Spans from one x to another, each at its height; a gap between them is a gap in the line.
    pub(super) fn steps(&mut self, spans: &[(f64, f64, f64)], class: &str) {
        let mut path = String::new();
        let mut end = f64::NAN;
        for &(from, to, value) in spans {
            let (left, right, y) = (self.x(from), self.x(to), self.y(value));
            let verb = if (left - end).abs() < 1.0 { 'L' } else { 'M' };
            let _ = write!(path, "{verb}{left:.1} {y:.1}H{right:.1}");
            end = right;
        }
        self.add(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// The area below spans.
    pub(super) fn area(&mut self, spans: &[(f64, f64, f64)], class: &str) {
        let bottom = self.height - BOTTOM;
        let mut path = String::new();
        for &(from, to, value) in spans {
            let (left, right, y) = (self.x(from), self.x(to), self.y(value));
            let _ = write!(path, "M{left:.1} {bottom:.1}V{y:.1}H{right:.1}V{bottom:.1}Z");
        }
        self.add(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    /// Rectangles of one kind: left, right, low and high values.
    pub(super) fn cells(&mut self, cells: &[(f64, f64, f64, f64)], class: &str) {
        let mut path = String::new();
        for &(left, right, low, high) in cells {
            let (left, right, low, high) = (self.x(left), self.x(right), self.y(low), self.y(high));
            // Without an overlap the background shows through the seams.
            let _ = write!(path, "M{left:.1} {high:.1}H{:.1}V{low:.1}H{left:.1}Z", right + 0.2);
        }
        if !path.is_empty() {
            self.add(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    /// A dot with a tooltip.
    pub(super) fn dot(&mut self, x: f64, y: f64, class: &str, what: &str) {
        let (x, y) = (self.x(x), self.y(y));
        self.add(format_args!(
            "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{}</title></circle>",
            escape(what)
        ));
    }

    fn add(&mut self, part: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(part);
        self.body.push('\n');
    }

    /// The SVG; `what` describes it for screen readers.
    pub(super) fn finish(self, what: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.width,
            self.height,
            escape(what),
            self.body
        )
    }
}
