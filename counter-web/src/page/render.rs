//! The page: the template filled with everything that this node knows, so that the first HTML is
//! complete.

use std::fmt::Write;

use counter_net::{CounterView, RegionView};

use crate::api::json::Integer;
use crate::app::App;
use crate::page::assets;
use crate::page::regions::{self, RegionPlace};

const TEMPLATE: &str = include_str!("../../assets/index.html");

/// Regions that are drawn; those after them, by clicks, are counted in the total and shown by the
/// API.
const ROWS_MAX: usize = 500;

/// Pages of other regions that a demo's page leads to.
const PAGES_MAX: usize = 6;

/// The page of the counter `name`. `root` leads from the page's address to the root of this
/// deployment: empty for the root itself, `../` for a page one level below. All addresses in the
/// page begin with it, so that it works below any path of a proxy.
pub(crate) fn render(app: &App, name: &str, root: &str) -> String {
    fill(TEMPLATE, &Page::of(app, name, root))
}

/// A page that shows why a request was refused, and leads back to the root. Works without scripts.
pub(crate) fn refusal(message: &str, root: &str) -> String {
    let (assets, message) = (assets::base(root), escape(message));
    let home = if root.is_empty() { "./" } else { root };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>That did not work</title>\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"{assets}/icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"{assets}/style.css\">\n</head>\n<body>\n<main>\n\
         <section class=\"refused\">\n<h1>That did not work</h1>\n<p>{message}</p>\n\
         <a href=\"{home}\">Back to the page</a>\n</section>\n</main>\n</body>\n</html>\n"
    )
}

/// Puts the page's values where the template names them. One pass: a value that looks like a name
/// of the template stays as it is.
fn fill(template: &str, page: &Page) -> String {
    let mut html =
        String::with_capacity(template.len() + page.rows.len() + page.state.len() + 1024);
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
    root: String,
    assets: String,
    scripts: String,
    total: String,
    fit: &'static str,
    counter: String,
    title: String,
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
    switch: String,
    there: String,
    state: String,
}

impl Page {
    fn of(app: &App, name: &str, root: &str) -> Self {
        let (view, info) = (app.node.view(name), app.node.info());
        let by_clicks = by_clicks(&view);
        let isolated = app.node.is_isolated();
        let (status, status_state) = match (view.synced, info.in_touch) {
            _ if isolated => ("cut off from the other nodes", "offline"),
            (true, true) => ("up to date as of this page", "live"),
            (true, false) => ("not in touch with the other nodes", "offline"),
            (false, true) => ("still catching up with the other nodes", "waiting"),
            (false, false) => ("still catching up: not in touch with the other nodes", "offline"),
        };
        Self {
            root: escape(root),
            assets: assets::base(root),
            scripts: assets::script_elements(root),
            fit: fit(&grouped(view.total)),
            total: grouped(view.total),
            counter: escape(&view.name),
            title: escape(&without_bidi_controls(&view.name)),
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
            switch: if app.partition_switch {
                switch(regions::city(&app.region), isolated, root)
            } else {
                String::new()
            },
            there: there(app, name),
            state: state(&view, &app.region, &info.replica.to_string(), isolated, root),
        }
    }

    fn value(&self, name: &str) -> &str {
        match name {
            "total" => &self.total,
            "fit" => self.fit,
            "counter" => &self.counter,
            "title" => &self.title,
            "root" => &self.root,
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
            "switch" => &self.switch,
            "there" => &self.there,
            "assets" => &self.assets,
            "scripts" => &self.scripts,
            "state" => &self.state,
            _ => "",
        }
    }
}

type Rows<'a> = Vec<(&'a str, &'a RegionView)>;

/// Regions, those with the most clicks first.
fn by_clicks(view: &CounterView) -> Rows<'_> {
    let mut rows: Rows<'_> =
        view.regions.iter().map(|(code, region)| (code.as_str(), region)).collect();
    rows.sort_by_key(|(code, region)| (std::cmp::Reverse(region.value), *code));
    rows.truncate(ROWS_MAX);
    rows
}

fn description(view: &CounterView, rows: &Rows<'_>) -> String {
    let shares: Vec<String> = rows
        .iter()
        .take(8)
        .map(|(code, region)| format!("{} {}", regions::city(code), region.value))
        .collect();
    let name = without_bidi_controls(&view.name);
    format!("{} {name} in {} regions: {}", view.total, view.regions.len(), shares.join(", "))
}

/// A row a region. End tags that HTML lets out are left out: with many regions the rows are most of
/// the page.
fn rows(view: &CounterView, rows: &Rows<'_>, here: &str) -> String {
    let positive = rows.iter().map(|(_, region)| region.value.max(0)).sum::<i128>().max(1);
    let mut html = String::with_capacity(rows.len() * 240);
    for (code, region) in rows {
        let share = region.value.max(0) * 100 / positive;
        let class = class(code, region, here);
        let (value, connected, nodes) =
            (grouped(region.value), grouped(region.connected), region.nodes);
        // The code of a region without a name is its name already.
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

/// Digits in threes, from five digits on: beyond that nobody reads a number at a glance.
pub(crate) fn grouped(number: impl ToString) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    if digits.len() < 5 {
        return text;
    }
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The class that makes a total of so many characters fit its place on one line.
fn fit(total: &str) -> &'static str {
    match total.len() {
        ..8 => "",
        8..12 => " m",
        12..17 => " s",
        _ => " xs",
    }
}

/// This node's own region is marked, and so are those without a live node.
fn class(code: &str, region: &RegionView, here: &str) -> &'static str {
    match (code == here, region.nodes == 0) {
        (true, true) => " class=\"here stale\"",
        (true, false) => " class=\"here\"",
        (false, true) => " class=\"stale\"",
        (false, false) => "",
    }
}

/// A dot a region whose place is known. The script names them; without it the table does.
fn dots(rows: &Rows<'_>, here: &str) -> String {
    let greatest = rows.iter().map(|(_, region)| region.value).max().unwrap_or(1).max(1);
    let mut svg = String::new();
    for (code, region, place) in rows
        .iter()
        .filter_map(|(code, region)| regions::place(code).map(|place| (code, region, place)))
    {
        let (x, y) = on_map(place);
        let (radius, class, code) =
            (radius(region.value, greatest), class(code, region, here), escape(code));
        // Writing to a String cannot fail.
        let _written = write!(
            svg,
            "<circle data-region=\"{code}\"{class} cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"{radius:.1}\"/>"
        );
    }
    svg
}

/// Where a place is on the map of 1000 by 420 (plate carrée, cut below 61 degrees south).
fn on_map(place: &RegionPlace) -> (f64, f64) {
    ((place.longitude + 180.0) / 360.0 * 1000.0, (90.0 - place.latitude) / 180.0 * 500.0)
}

/// A dot's area grows with its clicks.
fn radius(value: i128, greatest: i128) -> f64 {
    4.0 + 10.0 * (value.max(0) as f64 / greatest as f64).sqrt()
}

/// What the script begins with and cannot read from the page's text, safe inside a script element.
fn state(view: &CounterView, region: &str, replica: &str, isolated: bool, root: &str) -> String {
    let (total, state_hash) = (Integer(view.total), view.state_hash.to_string());
    let state = serde_json::json!({
        "counter": view.name, "total": total, "region": region, "replica": replica, "state_hash": state_hash, "isolated": isolated,
        "synced": view.synced, "root": root,
    });
    state.to_string().replace('<', "\\u003c")
}

/// Where else to look: the same counter on the pages of the demo's other regions.
fn there(app: &App, name: &str) -> String {
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

/// The partition switch: a form, so that it works without a script too.
fn switch(city: &str, isolated: bool, root: &str) -> String {
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

/// A name as one segment of a path: all bytes are percent-encoded but the unreserved ones
/// (RFC 3986, 2.3).
fn path_segment(name: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encoded).collect()
}

/// Text without the characters that set a direction: where no element can isolate a name, they
/// would reorder the words after it.
pub(crate) fn without_bidi_controls(text: &str) -> String {
    let sets_direction = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(sets_direction, "")
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use counter_net::Node;
    use futures::StreamExt;

    #[test]
    fn names_are_text_and_nothing_else() {
        assert_eq!(escape("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }

    /// Names that are markup, template, or the end of the script element that holds the state.
    const HOSTILE: [&str; 6] = [
        "\"><svg onload=alert(1)>",
        "'><img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "{{state}}",
        "&lt;\u{202e}\u{2069}&amp;",
    ];

    async fn alone() -> App {
        let cluster = format!("page-{}", std::process::id());
        let node =
            Node::builder().cluster(&cluster).region("ord").discover(counter_net::Discovery::None);
        App::for_tests(node.start().await.unwrap())
    }

    #[tokio::test]
    async fn hostile_names_stay_text_in_markup_attributes_and_state() {
        let app = alone().await;
        let elements = |html: &str| html.matches('<').count();
        let plain = elements(&render(&app, "plain", "../"));
        for name in HOSTILE {
            let html = render(&app, name, "../");
            assert_eq!(elements(&html), plain, "{name} adds no element: {html}");
            let heading = format!("<h1 id=\"name\"><bdi>{}</bdi></h1>", escape(name));
            assert!(html.contains(&heading), "{html}");
            let title = html.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
            let title = title.unwrap();
            assert_eq!(title, format!("0 {} · Chicago", escape(&without_bidi_controls(name))));
            let description = html.lines().find(|line| line.contains("\"description\"")).unwrap();
            assert_eq!(description.matches('"').count(), 4, "{description}");
            assert!(!description.contains('\u{202e}'), "{description}");
            let state =
                html.split("id=\"state\">").nth(1).and_then(|rest| rest.split("</script>").next());
            let state: serde_json::Value = serde_json::from_str(state.unwrap()).unwrap();
            assert_eq!((&state["counter"], &state["root"]), (&name.into(), &"../".into()));
        }
    }

    #[tokio::test]
    async fn all_addresses_begin_with_the_root() {
        let app = alone().await;
        let _set = app.pages.set([("fra".to_owned(), "http://127.0.0.1:4001/".to_owned())].into());
        for (name, root, there) in [("clicks", "", ""), ("a/b?ü", "../", "c/a%2Fb%3F%C3%BC")] {
            let html = render(&app, name, root);
            assert!(!html.contains("=\"/"), "{html}");
            for address in ["assets/", "api/openapi.json\"", "partition\""] {
                assert!(html.contains(&format!("=\"{root}{address}")), "{address}: {html}");
            }
            assert!(html.contains(&format!("\"http://127.0.0.1:4001/{there}\"")), "{html}");
            // Without an action, a form posts to the address of its page.
            assert!(html.contains("<form method=\"post\" class=\"clicks\""), "{html}");
        }
    }

    #[test]
    fn refusals_are_text_and_lead_back_to_the_root() {
        for (root, home) in [("", "./"), ("../", "../")] {
            let html = refusal("there is no counter \"<b>\"", root);
            assert!(html.contains("<p>there is no counter &quot;&lt;b&gt;&quot;</p>"), "{html}");
            assert!(html.contains(&format!("<a href=\"{home}\">")), "{html}");
            assert!(html.contains(&format!("href=\"{root}assets/")) && !html.contains("<script"));
        }
    }

    #[test]
    fn every_name_of_the_template_has_a_value() {
        let names = TEMPLATE
            .split("{{")
            .skip(1)
            .filter_map(|piece| piece.split_once("}}"))
            .map(|(name, _)| name);
        let page = Page {
            total: "x".into(),
            fit: "x",
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
            switch: "x".into(),
            there: "x".into(),
            root: "x".into(),
            title: "x".into(),
            assets: "x".into(),
            scripts: "x".into(),
            state: "x".into(),
        };
        for name in names {
            assert_eq!(page.value(name), "x", "{name}");
        }
        assert!(!fill(TEMPLATE, &page).contains("{{"));
    }

    #[test]
    fn long_numbers_are_written_in_threes() {
        let cases = [
            (0, "0"),
            (-999, "-999"),
            (9_999, "9999"),
            (10_000, "10,000"),
            (-123_456, "-123,456"),
            (1_234_567, "1,234,567"),
        ];
        for (number, written) in cases {
            assert_eq!(grouped(number), written);
        }
        assert_eq!(grouped(i128::MAX), "170,141,183,460,469,231,731,687,303,715,884,105,727");
    }

    #[test]
    fn cities_lie_where_they_are() {
        let (x, y) = on_map(regions::place("lhr").unwrap());
        assert!((495.0..505.0).contains(&x) && (100.0..112.0).contains(&y), "{x} {y}");
    }

    /// A node that holds clicks of every region that can be drawn, as it would after years: each
    /// came once, added, and left.
    async fn crowded() -> App {
        let cluster = format!("page-size-{}", std::process::id());
        let node = |region: &str| {
            Node::builder().cluster(&cluster).region(region).discover(counter_net::Discovery::None)
        };
        let home = node("ord").start().await.unwrap();
        for (at, code) in regions::codes().enumerate() {
            let visitor = node(code).peer(home.info().addresses[0].clone()).start().await.unwrap();
            visitor.counter("clicks").unwrap().add(1_000_000 + at as u64).unwrap();
            let mut changes = home.subscribe(counter_net::Interest::All);
            while home.view("clicks").regions.get(code).is_none_or(|region| region.value == 0) {
                tokio::time::timeout(Duration::from_secs(30), changes.next())
                    .await
                    .expect("the visitor is heard of");
            }
            visitor.shutdown().await;
        }
        App::for_tests(home)
    }

    #[tokio::test]
    async fn the_page_of_36_regions_stays_small() {
        let app = crowded().await;
        let html = render(&app, "clicks", "");
        let rows = html.matches("<tr data-region=").count();
        assert_eq!(rows, regions::codes().count(), "a row each");
        assert!(rows >= 36 && html.len() < 16_000, "{rows} regions in {} bytes", html.len());
        println!("{rows} regions in {} bytes of HTML", html.len());
    }
}
