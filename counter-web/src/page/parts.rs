//! The parts of the page that depend on the counter: table rows, dots on the map, links, the
//! partition switch.

use std::fmt::Write;

use counter_net::{CounterView, RegionView};

use crate::app::App;
use crate::page::regions::{self, RegionPlace};
use crate::page::text::{escape, grouped, path_segment, without_bidi_controls};

/// The most regions drawn, those with the most clicks first. The total includes the others, and the
/// API lists them.
const ROWS_MAX: usize = 500;

/// The number of regions that the table shows before "Show all".
pub(crate) const LEADING: usize = 10;

/// The medals of the regions with the most clicks.
const MEDALS: [&str; 3] = ["🥇", "🥈", "🥉"];

/// The largest number that fits a narrow table beside the other columns.
const BIG: u128 = 999_999_999;

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
        .map(|(code, region)| format!("{} {}", regions::city(code), grouped(region.value)))
        .collect();
    let name = without_bidi_controls(&view.name);
    let (total, regions) = (grouped(view.total), counted(view.regions.len(), "region"));
    format!("{total} {name} in {regions}: {}", shares.join(", "))
}

/// A table row for each region. Optional end tags are left out, because with many regions the rows
/// are most of the page.
pub(crate) fn rows(view: &CounterView, rows: &Rows<'_>, here: &str) -> String {
    let sizes = rows.iter().map(|(_, region)| region.value.unsigned_abs()).sum::<u128>().max(1);
    let has_leaders = rows.iter().filter(|(_, region)| region.value > 0).count() > 1;
    let mut html = String::with_capacity(rows.len() * 240);
    for (rank, (code, region)) in rows.iter().enumerate() {
        let share = region.value.unsigned_abs().saturating_mul(100) / sizes;
        let medal = MEDALS.get(rank).filter(|_| has_leaders && region.value > 0).unwrap_or(&"");
        let class = region_class(code, region, here);
        let is_negative = if region.value < 0 { " class=\"minus\"" } else { "" };
        let (value, connected) = (grouped(region.value), grouped(region.connected));
        let (flag, city, code) = (regions::flag(code), escape(regions::city(code)), escape(code));
        // Writing to a String cannot fail.
        let _written = writeln!(
            html,
            "<tr data-region=\"{code}\"{class}><th scope=\"row\">{flag} {city} <i>{medal}</i>\
             <td data-f=\"value\">{value}<td>\
             <svg class=\"bar\" role=\"img\" aria-label=\"{share}%\">\
             <rect{is_negative} width=\"{share}%\"/></svg>\
             <td data-f=\"connected\">{connected}<td>–"
        );
    }
    debug_assert!(!view.regions.is_empty(), "a node shows at least its own region");
    html
}

/// True if a number needs more room than a narrow table has beside the other columns.
pub(crate) fn has_big(rows: &Rows<'_>) -> bool {
    rows.iter().any(|(_, region)| region.value.unsigned_abs() > BIG)
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

/// The demo's other pages, by region.
fn other_pages(app: &App) -> impl Iterator<Item = (&String, &String)> {
    app.pages.get().into_iter().flatten().filter(|(region, _)| **region != app.region)
}

/// Links to the same counter on the demo's other pages.
pub(crate) fn links(app: &App, name: &str) -> String {
    let page =
        if name == app.counter { String::new() } else { format!("c/{}", path_segment(name)) };
    let link = |(region, url): (&String, &String)| {
        let (flag, city, url) = (regions::flag(region), escape(regions::city(region)), escape(url));
        format!("<a href=\"{url}{page}\" target=\"_blank\" rel=\"noopener\">{flag} {city}</a>")
    };
    let links: Vec<String> = other_pages(app).take(PAGES_MAX).map(link).collect();
    if links.is_empty() {
        String::new()
    } else {
        format!("<p class=\"cities\">Open another city: {}</p>", links.join(" "))
    }
}

/// The region of the demo's farthest node, and the address of its page. The hero shows that city
/// beside this one.
pub(crate) fn other_city(app: &App) -> Option<(&str, &str)> {
    let here = regions::place(&app.region);
    let distance = |region: &str| match (here, regions::place(region)) {
        (Some(here), Some(there)) => here.angle_to(there),
        _ => 0.0,
    };
    other_pages(app)
        .map(|(region, url)| (region.as_str(), url.as_str()))
        .max_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)))
}

/// The second city of the hero. Only a script can connect to its node, so the HTML has no total.
pub(crate) fn other_card(region: &str, counter: &str) -> String {
    let (flag, city, counter) =
        (regions::flag(region), escape(regions::city(region)), escape(counter));
    format!(
        "<div class=\"city away\" id=\"there\">\n<h2>{flag} {city}</h2>\n\
         <p class=\"label\">Total <bdi>{counter}</bdi></p>\n\
         <p class=\"total\" id=\"there-total\">–</p>\n\
         <div class=\"clicks\">\
         <button type=\"button\" value=\"-1\" id=\"there-minus\" aria-label=\"−1 in {city}\">−\
         </button>\n\
         <button type=\"button\" value=\"1\" id=\"there-plus\" aria-label=\"+1 in {city}\">+1\
         </button></div>\n\
         <p class=\"own\" id=\"there-own\"></p>\n</div>"
    )
}

/// The cable between the two cities of the hero, whole and torn. On a phone it hangs below them.
const CABLE: &str = include_str!("../../assets/cable.svg");

/// The partition switch. It is a form, so it works without a script.
pub(crate) fn switch(city: &str, isolated: bool, root: &str, has_cable: bool) -> String {
    let city = escape(city);
    let (words, cut, verb) = if isolated {
        ("Both sides keep counting. Reconnect, and the totals match again.", 0, "Reconnect")
    } else {
        let words =
            "Both sides keep counting; reconnect and the totals match again, with no click lost.";
        (words, 1, "Disconnect")
    };
    let cable = if has_cable { CABLE } else { "" };
    format!(
        "<div class=\"switch\" id=\"switch\">\n{cable}\
         <form method=\"post\" action=\"{root}partition\">\
         <button name=\"cut\" value=\"{cut}\" aria-describedby=\"after\">{verb} {city}</button>\
         </form>\n<p id=\"after\">{words}</p>\n</div>"
    )
}

/// A number of things, such as `1 region` or `3 regions`.
fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_cities_are_farther() {
        let angle = |a, b| regions::place(a).unwrap().angle_to(regions::place(b).unwrap());
        assert!(angle("ord", "sin") > angle("ord", "fra"));
        assert!(angle("nrt", "lax") < angle("nrt", "gru"), "across the date line");
    }

    #[test]
    fn london_is_on_the_meridian() {
        let (x, y) = on_map(regions::place("lhr").unwrap());
        assert!((495.0..505.0).contains(&x) && (100.0..112.0).contains(&y), "{x} {y}");
    }
}
