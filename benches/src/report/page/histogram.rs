//! Histograms as SVG: the number of times in each bucket, on a logarithmic axis, with the median
//! and the 99th percentile marked.

use std::fmt::Write;

use super::rows::{escape, time};
use crate::figures::plot::Curve;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 12.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 42.0;
/// The greatest width of a mark's text.
const TEXT: f64 = 84.0;

/// The histogram of a curve whose points are (upper end of the bucket, count). `marks` are names
/// with their positions.
pub(super) fn draw(heading: &str, curve: &Curve, marks: &[(&str, f64)]) -> String {
    let step = match curve.points.as_slice() {
        [first, second, ..] => second.0 / first.0,
        _ => 2.0,
    };
    let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else {
        return String::new();
    };
    let (low, high) = ((first.0 / step).ln(), last.0.ln());
    let x = |value: f64| LEFT + (value.ln() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let most = curve.points.iter().map(|point| point.1).fold(1.0, f64::max);
    let base = HEIGHT - BOTTOM;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(heading)
    );
    for &(upper, count) in curve.points.iter().filter(|point| point.1 > 0.0) {
        let (from, to, height) =
            (x(upper / step), x(upper), (count / most * (base - TOP)).max(1.5));
        let title = format!("{} to {}: {count:.0}", time(upper / step), time(upper));
        let (width, top) = ((to - from - 1.0).max(1.0), base - height);
        // Writing into a string cannot fail.
        let _written = write!(
            out,
            "<rect class=\"column c-ours\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{title}</title></rect>"
        );
    }
    marked(
        &mut out,
        marks.iter().map(|(name, value)| (x(*value), format!("{name} {}", time(*value)))),
    );
    let _written = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/><text class=\"title mid\" x=\"{}\" y=\"{}\">time, logarithmic; height: how many</text>",
        WIDTH - RIGHT,
        WIDTH / 2.0,
        HEIGHT - 7.0
    );
    for (tick, at) in spaced(ticks(low.exp(), high.exp()), x) {
        let (y, text) = (base + 17.0, time(tick));
        let _written =
            write!(out, "<text class=\"tick mid\" x=\"{at:.1}\" y=\"{y}\">{text}</text>");
    }
    out + "</svg>"
}

/// The lines of the marks with their texts. Texts that would overlap are put in rows.
fn marked(out: &mut String, marks: impl Iterator<Item = (f64, String)>) {
    let mut last = f64::MIN;
    for (at, text) in marks {
        let top = if at - last < TEXT { TOP - 24.0 } else { TOP - 8.0 };
        last = at;
        let (text_at, base) = (at.clamp(TEXT / 2.0, WIDTH - TEXT / 2.0), HEIGHT - BOTTOM);
        let _written = write!(
            out,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{base}\"/><text class=\"name mid\" x=\"{text_at:.1}\" y=\"{top}\">{text}</text>",
            top + 4.0
        );
    }
}

/// The ticks that do not overlap the one before, with their positions.
fn spaced(ticks: Vec<f64>, x: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for tick in ticks {
        let at = x(tick);
        if kept.last().is_none_or(|last| at - last.1 > 44.0) {
            kept.push((tick, at));
        }
    }
    kept
}

/// 1, 2 and 5 times each power of ten in the range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let powers =
        (low.log10().floor() as i32..=high.log10().ceil() as i32).map(|power| 10_f64.powi(power));
    powers
        .flat_map(|power| [power, 2.0 * power, 5.0 * power])
        .filter(|tick| (low..=high).contains(tick))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_buckets_have_columns_and_marks_have_names() {
        let curve = Curve::new("h", "ours", vec![(1e6, 3.0), (2e6, 0.0), (4e6, 1.0)]);
        let drawn = draw("a click", &curve, &[("p50", 0.9e6)]);
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(drawn.contains("p50 900 µs") && drawn.contains("2 ms to 4 ms: 1"), "{drawn}");
        assert_eq!(draw("a click", &Curve::new("h", "ours", Vec::new()), &[]), "");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.9e6, 6e6), [1e6, 2e6, 5e6]);
    }
}
