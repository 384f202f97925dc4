//! The parts of the page that depend on the counter: table rows, dots on the map, links, the
//! partition switch.

use std::fmt::Write;

use counter_net::{CounterView, RegionView};

use crate::app::App;
use crate::page::regions::{self, RegionPlace};
use crate::page::text::{escape, grouped, path_segment, without_bidi_controls};

/// The most regions drawn, those with the most clicks first. The total counts the others, and the
/// API shows them.
const ROWS_MAX: usize = 500;

/// The most pages of other regions that a demo's page links to.
const PAGES_MAX: usize = 6;

/// The regions of the page with their codes.
pub(crate) type Rows<'a> = Vec<(&'a str, &'a RegionView)>;

/// The regions, those with the most clicks first.
pub(crate) fn by_clicks(view: &CounterView) -> Rows<'_> {
    let mut rows: Rows<'_> =
        view.regions.iter().map(|(code, region)| (code.as_str(), region)).collect();
    rows.sort_by_key(|(code, region)| (std::cmp::Reverse(region.value), *code));
    rows.truncate(ROWS_MAX);
    rows
}

/// The page's description for search engines and link previews.
pub(crate) fn description(view: &CounterView, rows: &Rows<'_>) -> String {
    let shares: Vec<String> = rows
        .iter()
        .take(8)
        .map(|(code, region)| format!("{} {}", regions::city(code), region.value))
        .collect();
    let name = without_bidi_controls(&view.name);
    format!("{} {name} in {} regions: {}", view.total, view.regions.len(), shares.join(", "))
}

/// A table row for each region. Optional end tags are left out, because with many regions the rows
/// are most of the page.
pub(crate) fn rows(view: &CounterView, rows: &Rows<'_>, here: &str) -> String {
    let positive = rows.iter().map(|(_, region)| region.value.max(0)).sum::<i128>().max(1);
    let mut html = String::with_capacity(rows.len() * 240);
    for (code, region) in rows {
        let share = region.value.max(0) * 100 / positive;
        let class = region_class(code, region, here);
        let (value, connected, nodes) =
            (grouped(region.value), grouped(region.connected), region.nodes);
        // An unknown region already shows its code as its name.
        let aside = if regions::place(code).is_some() { *code } else { "" };
        let (flag, city, code) = (regions::flag(code), escape(regions::city(code)), escape(code));
        // Writing to a String cannot fail.
        let _written = writeln!(
            html,
            "<tr data-region=\"{code}\"{class}><th scope=\"row\">{flag} {city} <code>{aside}</code>\
             <td data-f=\"value\">{value}<td><svg class=\"bar\"><rect width=\"{share}%\"/></svg>\
             <td data-f=\"connected\">{connected}<td>{nodes}<td>0<td>–"
        );
    }
    debug_assert!(!view.regions.is_empty(), "a node shows at least its own region");
    html
}

/// The class that marks this node's own region, and regions without a live node.
fn region_class(code: &str, region: &RegionView, here: &str) -> &'static str {
    match (code == here, region.nodes == 0) {
        (true, true) => " class=\"here stale\"",
        (true, false) => " class=\"here\"",
        (false, true) => " class=\"stale\"",
        (false, false) => "",
    }
}

/// A dot for each region with a known place. The script labels them.
pub(crate) fn dots(rows: &Rows<'_>, here: &str) -> String {
    let greatest = rows.iter().map(|(_, region)| region.value).max().unwrap_or(1).max(1);
    let mut svg = String::new();
    for (code, region, place) in rows
        .iter()
        .filter_map(|(code, region)| regions::place(code).map(|place| (code, region, place)))
    {
        let (x, y) = on_map(place);
        let (radius, class, code) =
            (radius(region.value, greatest), region_class(code, region, here), escape(code));
        // Writing to a String cannot fail.
        let _written = write!(
            svg,
            "<circle data-region=\"{code}\"{class} cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"{radius:.1}\"/>"
        );
    }
    svg
}

/// The position of a place on the map of 1000 by 420 (plate carrée, cut below 61 degrees south).
fn on_map(place: &RegionPlace) -> (f64, f64) {
    ((place.longitude + 180.0) / 360.0 * 1000.0, (90.0 - place.latitude) / 180.0 * 500.0)
}

/// The radius of a dot. Its area grows with the clicks.
fn radius(value: i128, greatest: i128) -> f64 {
    4.0 + 10.0 * (value.max(0) as f64 / greatest as f64).sqrt()
}

/// Links to the same counter on the demo's other pages.
pub(crate) fn links(app: &App, name: &str) -> String {
    let page =
        if name == app.counter { String::new() } else { format!("c/{}", path_segment(name)) };
    let others = app
        .pages
        .get()
        .into_iter()
        .flatten()
        .filter(|(region, _)| **region != app.region)
        .take(PAGES_MAX);
    let link = |(region, url): (&String, &String)| {
        let (flag, city, url) = (regions::flag(region), escape(regions::city(region)), escape(url));
        format!("<a href=\"{url}{page}\" target=\"_blank\" rel=\"noopener\">{flag} {city}</a>")
    };
    let links: Vec<String> = others.map(link).collect();
    if links.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"there\">Open beside it: {}</span>", links.join(" "))
    }
}

/// The partition switch. It is a form, so it works without a script.
pub(crate) fn switch(city: &str, isolated: bool, root: &str) -> String {
    let city = escape(city);
    let (words, cut, label) = if isolated {
        (
            format!("{city} is cut off and counts alone. Heal, and the sums meet."),
            0,
            "Heal".to_owned(),
        )
    } else {
        let words = format!(
            "One press cuts {city} off from all other nodes. Both sides count on, apart; heal, and the sums meet."
        );
        (words, 1, format!("Cut {city} off"))
    };
    format!(
        "<section class=\"switch\" id=\"switch\" aria-labelledby=\"switch-title\"><h2 id=\"switch-title\">What if the network breaks?</h2>\n\
         <p>{words}</p>\n<form method=\"post\" action=\"{root}partition\"><button name=\"cut\" value=\"{cut}\">{label}</button></form></section>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn london_is_on_the_meridian() {
        let (x, y) = on_map(regions::place("lhr").unwrap());
        assert!((495.0..505.0).contains(&x) && (100.0..112.0).contains(&y), "{x} {y}");
    }
}
