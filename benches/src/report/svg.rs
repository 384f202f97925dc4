//! Plots drawn by hand as SVG: both axes by logarithm or not, lines that are named where they end.

use std::fmt::Write;

use crate::plot::Curve;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 178.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// What a plot shows.
pub(super) struct Plot<'a> {
    /// Beneath the x axis.
    pub(super) x: &'a str,
    /// Whether x goes by powers of ten.
    pub(super) x_log: bool,
    /// A value of y in words.
    pub(super) label: fn(f64) -> String,
    /// The lines.
    pub(super) curves: &'a [&'a Curve],
}

struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return (0..=4).map(|at| self.low + (self.high - self.low) * f64::from(at) / 4.0).collect();
        }
        let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        let step = ((last - first) / 6 + 1).max(1) as usize;
        (first..=last).step_by(step).map(|power| 10_f64.powi(power)).collect()
    }
}

fn scale(values: impl Iterator<Item = f64> + Clone, log: bool, from: f64, to: f64) -> Scale {
    let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
    Scale { low, high: if high > low { high } else { low + 1.0 }, log, from, to }
}

/// A short number for the x axis.
fn number(value: f64) -> String {
    if value >= 1000.0 { format!("{}k", value / 1000.0) } else { format!("{value:.0}") }
}

/// The plot as an SVG element, coloured by the classes of the page.
pub(super) fn draw(plot: &Plot<'_>, class: impl Fn(&str) -> &'static str) -> String {
    let points = || plot.curves.iter().flat_map(|curve| curve.points.iter());
    let x = scale(points().map(|point| point.0), plot.x_log, LEFT, WIDTH - RIGHT);
    // Whole powers of ten, so that the plots' lines are drawn at round figures.
    let powers = points().flat_map(|point| [10_f64.powf(point.1.log10().floor()), 10_f64.powf(point.1.log10().ceil())]);
    let y = scale(powers, true, HEIGHT - BOTTOM, TOP);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    axes(&mut out, plot, &x, &y);
    let mut ends: Vec<(f64, &Curve)> = Vec::new();
    for curve in plot.curves {
        let path: Vec<String> = curve.points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1))).collect();
        let class = class(&curve.name);
        let _written = write!(out, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
        if curve.points.len() <= 12 {
            for point in &curve.points {
                let (at_x, at_y, text) = (x.at(point.0), y.at(point.1), (plot.label)(point.1));
                let name = &curve.name;
                let title = format!("{name}, {}: {text}", number(point.0));
                let _written =
                    write!(out, "<circle class=\"dot {class}\" cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"4\"><title>{title}</title></circle>");
            }
        }
        ends.extend(curve.points.last().map(|last| (y.at(last.1), *curve)));
    }
    names(&mut out, ends, class, plot.x_log);
    out.push_str("</svg>");
    out
}

fn axes(out: &mut String, plot: &Plot<'_>, x: &Scale, y: &Scale) {
    for tick in y.ticks() {
        let (at, text) = (y.at(tick), (plot.label)(tick));
        let _written = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for tick in x.ticks() {
        let (at, text) = (x.at(tick), number(tick));
        let _written =
            write!(out, "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", HEIGHT - BOTTOM + 18.0);
    }
    let (middle, bottom, base) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0, HEIGHT - BOTTOM);
    let _written = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/><text class=\"tick\" x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        plot.x
    );
}

/// The names at the lines' ends, moved apart where they would lie on each other, with the slope where the plot has one.
fn names(out: &mut String, mut ends: Vec<(f64, &Curve)>, class: impl Fn(&str) -> &'static str, slopes: bool) {
    const APART: f64 = 16.0;
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut floor = TOP;
    let lowest = HEIGHT - BOTTOM;
    let count = ends.len();
    for (place, (at, curve)) in ends.into_iter().enumerate() {
        let room_below = (count - 1 - place) as f64 * APART;
        let at = at.max(floor).min(lowest - room_below).max(floor);
        floor = at + APART;
        let slope = curve.slope().filter(|_| slopes).map_or(String::new(), |slope| format!(" x^{slope:.2}"));
        let name = curve.name.trim_start_matches("bound: ").trim_start_matches("floor: ");
        let (left, text_left) = (WIDTH - RIGHT + 8.0, WIDTH - RIGHT + 24.0);
        let class = class(&curve.name);
        let _written = write!(
            out,
            "<line class=\"line {class}\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"name\" x=\"{text_left}\" y=\"{:.1}\">{name}<tspan class=\"slope\">{slope}</tspan></text>",
            left + 12.0,
            at + 4.0
        );
    }
}
