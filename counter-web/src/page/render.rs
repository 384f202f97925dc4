//! The page: its template, filled with all the numbers of this node. The first HTML is complete.

use std::borrow::Cow;
use std::collections::HashMap;

use counter_net::CounterView;

use crate::api::json::Integer;
use crate::app::App;
use crate::page::assets;
use crate::page::parts::{
    LEADING, by_clicks, description, dots, has_big, links, other_card, other_city, rows, switch,
};
use crate::page::regions;
use crate::page::text::{escape, grouped, without_bidi_controls};

const TEMPLATE: &str = include_str!("../../assets/index.html");

/// The number of digits of the state hash that the page shows.
const HASH_SHOWN: usize = 8;

/// Returns the page of the counter `name`. `root` leads from the page's address to the root of this
/// deployment: empty for the root itself, `../` for a page one level below. All addresses in the
/// page begin with it, so the page works below any path of a proxy.
pub(crate) fn render(app: &App, name: &str, root: &str) -> String {
    fill(TEMPLATE, &values(app, name, root))
}

/// Returns a page with the reason for a refusal and a link to the root. It has no scripts.
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

/// The values of the template's names, escaped.
type PageValues = HashMap<&'static str, Cow<'static, str>>;

/// Replaces the names in the template with their values, in one pass. A value that looks like such
/// a name stays text.
fn fill(template: &str, values: &PageValues) -> String {
    let bytes: usize = values.values().map(|value| value.len()).sum();
    let mut html = String::with_capacity(template.len() + bytes);
    for (at, piece) in template.split("{{").enumerate() {
        match piece.split_once("}}").filter(|_| at > 0) {
            Some((name, rest)) => {
                html.push_str(values.get(name).map_or("", |value| value));
                html.push_str(rest);
            }
            None => html.push_str(piece),
        }
    }
    html
}

fn values(app: &App, name: &str, root: &str) -> PageValues {
    let (view, info) = (app.node.view(name), app.node.info());
    let by_clicks = by_clicks(&view);
    let is_isolated = app.node.is_isolated();
    let (city, other) = (regions::city(&app.region), other_city(app));
    let (status, status_state) = match (view.synced, info.in_touch) {
        _ if is_isolated => ("disconnected", "offline"),
        (true, true) => ("up to date", "live"),
        (true, false) => ("not in touch with other regions", "offline"),
        (false, true) => ("still catching up", "waiting"),
        (false, false) => ("still catching up: not in touch with other regions", "offline"),
    };
    let agreement = if is_isolated {
        format!("{} is disconnected", escape(city))
    } else {
        "Asking other regions".to_owned()
    };
    let switch = if app.partition_switch {
        switch(city, is_isolated, root, other.is_some())
    } else {
        String::new()
    };
    let has_more = by_clicks.len() > LEADING;
    let table_class = match (has_more, has_big(&by_clicks)) {
        (true, true) => " class=\"few big\"",
        (true, false) => " class=\"few\"",
        (false, true) => " class=\"big\"",
        (false, false) => "",
    };
    let show_all =
        if has_more { format!("Show all {} cities", by_clicks.len()) } else { String::new() };
    let hash: String = view.state_hash.to_string().chars().take(HASH_SHOWN).collect();
    HashMap::from([
        ("agreement", agreement.into()),
        ("assets", assets::base(root).into()),
        ("at_city", other.map(|_| format!(" in {}", escape(city))).unwrap_or_default().into()),
        ("cities", if other.is_some() { "two" } else { "one" }.into()),
        ("city", escape(city).into()),
        ("counter", escape(&view.name).into()),
        ("description", escape(&description(&view, &by_clicks)).into()),
        ("dots", dots(&by_clicks, &app.region).into()),
        ("fit", fit(&grouped(view.total)).into()),
        ("flag", regions::flag(&app.region).into()),
        ("hash", hash.into()),
        ("links", links(app, name).into()),
        (
            "other",
            other.map(|(region, _)| other_card(region, &view.name)).unwrap_or_default().into(),
        ),
        ("region", escape(&app.region).into()),
        ("replica", info.replica.to_string().into()),
        ("root", escape(root).into()),
        ("rows", rows(&view, &by_clicks, &app.region).into()),
        ("scripts", assets::script_elements(root).into()),
        ("show_all", show_all.into()),
        ("state", state(&view, app, &info.replica.to_string(), root).into()),
        ("status", status.into()),
        ("status_state", status_state.into()),
        ("switch", switch.into()),
        ("table_class", table_class.into()),
        ("title", escape(&without_bidi_controls(&view.name)).into()),
        ("total", grouped(view.total).into()),
    ])
}

/// The class with a font small enough for a total of this length.
fn fit(total: &str) -> &'static str {
    match total.chars().count() {
        ..5 => "",
        5..8 => " l",
        8..12 => " m",
        12..17 => " s",
        17..22 => " xs",
        22..27 => " xxs",
        _ => " long",
    }
}

/// The initial state for the script, as JSON that is safe inside a script element.
fn state(view: &CounterView, app: &App, replica: &str, root: &str) -> String {
    let (total, state_hash) = (Integer(view.total), view.state_hash.to_string());
    let other =
        other_city(app).map(|(region, url)| serde_json::json!({ "region": region, "url": url }));
    let state = serde_json::json!({
        "counter": view.name, "total": total, "region": app.region, "replica": replica,
        "state_hash": state_hash, "isolated": app.node.is_isolated(), "synced": view.synced,
        "root": root, "other": other,
    });
    state.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    use counter_net::Node;
    use futures::StreamExt;

    /// Names with markup, template names, or the end of the script element.
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
    async fn hostile_names_stay_text() {
        let app = alone().await;
        let elements = |html: &str| html.matches('<').count();
        let plain = elements(&render(&app, "plain", "../"));
        for name in HOSTILE {
            let html = render(&app, name, "../");
            assert_eq!(elements(&html), plain, "{name} adds no element: {html}");
            let heading = format!("id=\"name\">Total <bdi>{}</bdi></p>", escape(name));
            assert!(html.contains(&heading), "{html}");
            let title = html.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
            let title = title.unwrap();
            assert_eq!(title, format!("0 {} · Chicago", escape(&without_bidi_controls(name))));
            let description = html.lines().find(|line| line.contains("\"description\"")).unwrap();
            assert_eq!(description.matches('"').count(), 4, "{description}");
            assert!(!description.contains('\u{202e}'), "{description}");
            let preview = html.lines().find(|line| line.contains("\"og:title\"")).unwrap();
            assert!(preview.contains("content=\"0 ") && preview.matches('"').count() == 4);
            assert!(!preview.contains('\u{202e}'), "{preview}");
            let state =
                html.split("id=\"state\">").nth(1).and_then(|rest| rest.split("</script>").next());
            let state: serde_json::Value = serde_json::from_str(state.unwrap()).unwrap();
            assert_eq!((&state["counter"], &state["root"]), (&name.into(), &"../".into()));
        }
    }

    #[tokio::test]
    async fn addresses_begin_with_the_root() {
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
    fn refusals_link_to_the_root() {
        for (root, home) in [("", "./"), ("../", "../")] {
            let html = refusal("there is no counter \"<b>\"", root);
            assert!(html.contains("<p>there is no counter &quot;&lt;b&gt;&quot;</p>"), "{html}");
            assert!(html.contains(&format!("<a href=\"{home}\">")), "{html}");
            assert!(html.contains(&format!("href=\"{root}assets/")) && !html.contains("<script"));
        }
    }

    #[tokio::test]
    async fn template_and_values_have_the_same_names() {
        let values = values(&alone().await, "clicks", "");
        let pieces = TEMPLATE.split("{{").skip(1).filter_map(|piece| piece.split_once("}}"));
        let names: BTreeSet<&str> = pieces.map(|(name, _)| name).collect();
        assert_eq!(names, values.keys().copied().collect());
        assert!(!fill(TEMPLATE, &values).contains("{{"));
    }

    /// A node with clicks of every known region, as after years: each came once, added, and left.
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
    async fn page_of_36_regions_is_small() {
        let app = crowded().await;
        let html = render(&app, "clicks", "");
        let rows = html.matches("<tr data-region=").count();
        assert_eq!(rows, regions::codes().count(), "a row each");
        assert!(rows >= 36 && html.len() < 20_000, "{rows} regions in {} bytes", html.len());
        println!("{rows} regions in {} bytes of HTML", html.len());
    }
}
