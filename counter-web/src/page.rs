//! The page: the template filled with everything that this node knows, so that the first HTML is complete.

use std::fmt::Write;

use counter_net::{CounterView, RegionView};

use crate::app::App;
use crate::model::{Integer, ServerMessage, regions_json};
use crate::regions::{self, Place};

const TEMPLATE: &str = include_str!("../assets/index.html");

/// Regions that are drawn; those after them, by clicks, are counted in the total and shown by the API.
const ROWS_MAX: usize = 500;

/// The whole page.
pub(crate) fn render(app: &App) -> String {
    fill(TEMPLATE, &Page::of(app))
}

/// Puts the page's values where the template names them, in one pass: a value that looks like a name is not looked at again.
fn fill(template: &str, page: &Page) -> String {
    let mut html = String::with_capacity(template.len() + page.rows.len() + page.state.len() + 1024);
    for (at, piece) in template.split("{{").enumerate() {
        match piece.split_once("}}").filter(|_| at > 0) {
            Some((name, rest)) => {
                html.push_str(page.value(name));
                html.push_str(rest);
            }
            None => html.push_str(piece),
        }
    }
    html
}

/// What the template names, already escaped.
struct Page {
    total: String,
    counter: String,
    city: String,
    flag: String,
    region: String,
    description: String,
    status: &'static str,
    status_state: &'static str,
    hash: String,
    replica: String,
    dots: String,
    rows: String,
    state: String,
}

impl Page {
    fn of(app: &App) -> Self {
        let (view, info) = (app.node.view(&app.counter), app.node.info());
        let by_clicks = by_clicks(&view);
        let (status, status_state) = match (view.synced, info.in_touch) {
            (true, _) => ("up to date as of this page", "live"),
            (false, true) => ("catching up with the other nodes", "waiting"),
            (false, false) => ("not in touch with the other nodes", "offline"),
        };
        Self {
            total: view.total.to_string(),
            counter: escape(&view.name),
            city: escape(regions::city(&app.region)),
            flag: regions::flag(&app.region),
            region: escape(&app.region),
            description: escape(&description(&view, &by_clicks)),
            status,
            status_state,
            hash: view.state_hash.to_string(),
            replica: info.replica.to_string(),
            dots: dots(&by_clicks, &app.region),
            rows: rows(&view, &by_clicks, &app.region),
            state: state(&view, &app.region, &info.replica.to_string()),
        }
    }

    fn value(&self, name: &str) -> &str {
        match name {
            "total" => &self.total,
            "counter" => &self.counter,
            "city" => &self.city,
            "flag" => &self.flag,
            "region" => &self.region,
            "description" => &self.description,
            "status" => self.status,
            "status_state" => self.status_state,
            "hash" => &self.hash,
            "replica" => &self.replica,
            "dots" => &self.dots,
            "rows" => &self.rows,
            "state" => &self.state,
            _ => "",
        }
    }
}

type Rows<'a> = Vec<(&'a str, &'a RegionView)>;

/// Regions, those with the most clicks first.
fn by_clicks(view: &CounterView) -> Rows<'_> {
    let mut rows: Rows<'_> = view.regions.iter().map(|(code, region)| (code.as_str(), region)).collect();
    rows.sort_by_key(|(code, region)| (std::cmp::Reverse(region.value), *code));
    rows.truncate(ROWS_MAX);
    rows
}

fn description(view: &CounterView, rows: &Rows<'_>) -> String {
    let shares: Vec<String> = rows.iter().take(8).map(|(code, region)| format!("{} {}", regions::city(code), region.value)).collect();
    format!("{} {} in {} regions: {}", view.total, view.name, view.regions.len(), shares.join(", "))
}

fn rows(view: &CounterView, rows: &Rows<'_>, here: &str) -> String {
    let greatest = rows.iter().map(|(_, region)| region.value.max(0)).sum::<i128>().max(1);
    let mut html = String::with_capacity(rows.len() * 420);
    for (code, region) in rows {
        let share = region.value.max(0) * 120 / greatest;
        let class = if *code == here { " class=\"here\"" } else { "" };
        let RegionView { value, connected, nodes, .. } = region;
        let (flag, city, code) = (regions::flag(code), escape(regions::city(code)), escape(code));
        // Writing to a String cannot fail.
        let _written = writeln!(
            html,
            "<tr data-region=\"{code}\"{class}><th scope=\"row\"><span aria-hidden=\"true\">{flag}</span> {city} <code>{code}</code></th>\
             <td data-f=\"value\">{value}</td>\
             <td><svg class=\"bar\"><rect/><rect width=\"{share}\"/></svg></td>\
             <td data-f=\"connected\">{connected}</td><td data-f=\"nodes\">{nodes}</td>\
             <td data-f=\"rate\">0</td><td data-f=\"heard\">–</td></tr>"
        );
    }
    debug_assert!(!view.regions.is_empty(), "a node shows at least its own region");
    html
}

fn dots(rows: &Rows<'_>, here: &str) -> String {
    let greatest = rows.iter().map(|(_, region)| region.value).max().unwrap_or(1).max(1);
    let mut svg = String::new();
    for (code, region, place) in rows.iter().filter_map(|(code, region)| regions::place(code).map(|place| (code, region, place))) {
        let (x, y) = on_map(place);
        let radius = radius(region.value, greatest);
        let class = if *code == here { " class=\"here\"" } else { "" };
        let (code, city) = (escape(code), escape(place.city));
        // Writing to a String cannot fail.
        let _written = write!(
            svg,
            "<circle data-region=\"{code}\"{class} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{city}: {}</title></circle>",
            region.value
        );
    }
    svg
}

/// Where a place is on the map of 1000 by 420 (plate carrée, cut below 61 degrees south).
fn on_map(place: &Place) -> (f64, f64) {
    ((place.longitude + 180.0) / 360.0 * 1000.0, (90.0 - place.latitude) / 180.0 * 500.0)
}

/// A dot's area grows with its clicks.
fn radius(value: i128, greatest: i128) -> f64 {
    4.0 + 10.0 * (value.max(0) as f64 / greatest as f64).sqrt()
}

/// The state message, as a socket would send it first, safe inside a script element.
fn state(view: &CounterView, region: &str, replica: &str) -> String {
    let message = ServerMessage::State {
        counter: &view.name,
        total: Integer(view.total),
        regions: regions_json(view),
        region,
        replica,
        state_hash: view.state_hash.to_string(),
        synced: view.synced,
    };
    let message = serde_json::json!({ "state": message });
    message.to_string().replace('<', "\\u003c")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_nothing_else() {
        assert_eq!(escape("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }

    #[test]
    fn every_name_of_the_template_has_a_value() {
        let names = TEMPLATE.split("{{").skip(1).filter_map(|piece| piece.split_once("}}")).map(|(name, _)| name);
        let page = Page {
            total: "x".into(),
            counter: "x".into(),
            city: "x".into(),
            flag: "x".into(),
            region: "x".into(),
            description: "x".into(),
            status: "x",
            status_state: "x",
            hash: "x".into(),
            replica: "x".into(),
            dots: "x".into(),
            rows: "x".into(),
            state: "x".into(),
        };
        for name in names {
            assert_eq!(page.value(name), "x", "{name}");
        }
        assert!(!fill(TEMPLATE, &page).contains("{{"));
    }

    #[test]
    fn cities_lie_where_they_are() {
        let (x, y) = on_map(regions::place("lhr").unwrap());
        assert!((495.0..505.0).contains(&x) && (100.0..112.0).contains(&y), "{x} {y}");
    }
}
