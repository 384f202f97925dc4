//! Plots as SVG, small enough for a phone. Each contender has a line with marks of its own shape.
//! The legend is HTML beneath the plot.

use std::fmt::Write;

use super::looks::{Look, MarkerShape, look};
use super::scale::Scale;
use crate::figures::plot::Curve;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 262.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 42.0;
/// The most points of a line with marks. On a longer line the marks would touch each other.
const MARKED_POINTS_MAX: usize = 12;
/// With more values of x than this, only round ones are written.
const TICKS_MAX: usize = 6;

/// The content of a plot.
pub(super) struct Plot<'a> {
    /// A description for screen readers.
    pub(super) heading: &'a str,
    /// The text beneath the x axis.
    pub(super) x: &'a str,
    /// The text above the y axis.
    pub(super) y: &'a str,
    /// True if the x axis is logarithmic. The y axis always is.
    pub(super) x_log: bool,
    /// Formats a value of y.
    pub(super) label: fn(f64) -> String,
    /// The lines.
    pub(super) curves: &'a [&'a Curve],
}

/// A short number for the x axis.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

/// The plot as an SVG element, coloured by the classes of the page.
pub(super) fn draw(plot: &Plot<'_>) -> String {
    let points = || plot.curves.iter().flat_map(|curve| curve.points.iter());
    let x = Scale::tight(points().map(|point| point.0), plot.x_log, LEFT + 8.0, WIDTH - RIGHT);
    let y = Scale::round(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        super::rows::escape(plot.heading)
    );
    axes(&mut out, plot, &x, &y);
    // Ours comes last, so that it lies on top.
    for curve in plot.curves.iter().rev() {
        line(&mut out, plot, curve, &x, &y);
    }
    out + "</svg>"
}

fn line(out: &mut String, plot: &Plot<'_>, curve: &Curve, x: &Scale, y: &Scale) {
    let Look { class, shape } = look(&curve.name);
    let path: Vec<String> = curve
        .points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)))
        .collect();
    // Writing into a string cannot fail.
    let _written = write!(out, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
    if curve.points.len() > MARKED_POINTS_MAX {
        return;
    }
    for point in &curve.points {
        let title =
            format!("{}, {} {}: {}", curve.name, number(point.0), plot.x, (plot.label)(point.1));
        mark(out, class, shape, (x.at(point.0), y.at(point.1)), &title);
    }
}

/// One mark, about nine units wide.
pub(super) fn mark(
    out: &mut String,
    class: &str,
    shape: MarkerShape,
    (x, y): (f64, f64),
    title: &str,
) {
    let title = super::rows::escape(title);
    let title = if title.is_empty() { title } else { format!("<title>{title}</title>") };
    let path = match shape {
        MarkerShape::Circle => {
            let _written = write!(
                out,
                "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\">{title}</circle>"
            );
            return;
        }
        MarkerShape::Square => "-4 -4h8v8h-8z",
        MarkerShape::Diamond => "0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        MarkerShape::Up => "0 -5.5l5.2 9h-10.4z",
        MarkerShape::Down => "0 5.5l5.2 -9h-10.4z",
        MarkerShape::Plus => "-1.8 -5h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
        MarkerShape::Bar => "-5 -1.6h10v3.2h-10z",
    };
    let _written =
        write!(out, "<path class=\"dot {class}\" d=\"M{x:.1} {y:.1}m{path}\">{title}</path>");
}

fn axes(out: &mut String, plot: &Plot<'_>, x: &Scale, y: &Scale) {
    let (right, base) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in y.ticks() {
        let (at, text) = (y.at(tick), (plot.label)(tick));
        let _written = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{text}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for tick in x_ticks(plot, x) {
        let (at, text) = (x.at(tick), number(tick));
        let _written = write!(
            out,
            "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{base}\" y2=\"{}\"/><text class=\"tick mid\" x=\"{at:.1}\" y=\"{}\">{text}</text>",
            base + 4.0,
            base + 17.0
        );
    }
    let log = |log: bool| if log { ", logarithmic" } else { "" };
    let _written = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{base}\" y2=\"{base}\"/><text class=\"title\" x=\"4\" y=\"13\">{}{}</text>\
         <text class=\"title mid\" x=\"{}\" y=\"{}\">{}{}</text>",
        plot.y,
        log(true),
        (LEFT + right) / 2.0,
        HEIGHT - 7.0,
        plot.x,
        log(plot.x_log)
    );
}

/// The values that were measured, if they are few. Otherwise round values.
fn x_ticks(plot: &Plot<'_>, x: &Scale) -> Vec<f64> {
    let mut measured: Vec<f64> =
        plot.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0)).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();
    if measured.len() <= TICKS_MAX { measured } else { x.ticks() }
}
