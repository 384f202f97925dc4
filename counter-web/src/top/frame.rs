//! Draws a picture into a terminal's frame: a headline, the nodes that answered, and the members
//! they know. Made for 80 columns.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::sample::{MemberLine, NodeLine, Picture, StateComparison};

/// The lines of a frame besides one for each node and member: headline, state, titles, gaps, foot.
const LINES_BESIDE: usize = 8;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const WARNING: Style = Style::new().fg(Color::Yellow);

/// The lines that a frame needs to show everything.
pub(super) fn lines(picture: &Picture) -> u16 {
    u16::try_from(picture.nodes.len() + picture.members.len() + LINES_BESIDE).unwrap_or(u16::MAX)
}

/// Draws the picture. Cuts it below if it does not fit, the nodes last.
pub(super) fn draw(picture: &Picture, target: &mut Frame<'_>) {
    let nodes = u16::try_from(picture.nodes.len() + 1).unwrap_or(u16::MAX);
    let parts = [
        Constraint::Length(3),
        Constraint::Length(nodes),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(1),
    ];
    let [head, middle, _, below, foot] = Layout::vertical(parts).areas(target.area());
    target.render_widget(Paragraph::new(vec![headline(picture), state(picture)]), head);
    target.render_widget(nodes_table(&picture.nodes), middle);
    target.render_widget(members_table(&picture.members), below);
    target.render_widget(Paragraph::new(footline(picture)), foot);
}

fn headline(picture: &Picture) -> Line<'static> {
    let live = picture.members.iter().filter(|member| member.live).count();
    let viewers: u64 =
        picture.members.iter().filter(|member| member.live).map(|member| member.viewers).sum();
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let here = picture.nodes.len() as u64;
    let rest = format!(
        "   {here} node{} here, {live} of {} members live, {viewers} viewer{}",
        plural(here),
        picture.members.len(),
        plural(viewers)
    );
    Line::from(vec![Span::styled(format!("cluster {}", picture.cluster), BOLD), Span::raw(rest)])
}

fn state(picture: &Picture) -> Line<'static> {
    let hash = picture.nodes.first().map_or("", |node| first_eight(&node.state_hash)).to_owned();
    match picture.states {
        StateComparison::Alone => Line::styled(
            format!("state {hash}; one node answers, so there is none to compare it with"),
            DIM,
        ),
        StateComparison::Equal => Line::styled(format!("all states equal: {hash}"), GOOD),
        StateComparison::Differs => {
            Line::styled("states differ: changes are under way, or a node is cut off", WARNING)
        }
        StateComparison::Diverged => Line::styled(
            "DIVERGED: equal versions, unequal states; see counter_divergences_total and the log",
            BAD,
        ),
    }
}

fn nodes_table(nodes: &[NodeLine]) -> Table<'static> {
    let widths = [9, 9, 8, 6, 7, 9, 8, 8, 7, 9];
    let titles = [
        "NODE", "REPLICA", "STANDING", "PEERS", "ADDS/S", "JOINED/S", "IN B/S", "OUT B/S",
        "FAULTS", " STATE",
    ];
    let titles = titles.iter().zip(widths).enumerate().map(|(at, (title, width))| {
        let numbers = (3..9).contains(&at);
        if numbers { format!("{title:>0$}", usize::from(width)) } else { (*title).to_owned() }
    });
    let rows = nodes.iter().map(|node| {
        let style = if node.faults > 0.0 {
            BAD
        } else if node.standing == "ok" {
            Style::new()
        } else {
            WARNING
        };
        Row::new([
            node.region.clone(),
            first_eight(&node.replica).to_owned(),
            node.standing.to_owned(),
            number(node.peers as f64, 6),
            number(node.adds, 7),
            number(node.joined, 9),
            number(node.bytes_in, 8),
            number(node.bytes_out, 8),
            number(node.faults, 7),
            format!(" {}", first_eight(&node.state_hash)),
        ])
        .style(style)
    });
    Table::new(rows, widths.map(Constraint::Length))
        .header(Row::new(titles).style(DIM))
        .column_spacing(0)
}

fn members_table(members: &[MemberLine]) -> Table<'static> {
    let widths = [9, 34, 5, 8, 8, 7, 9].map(Constraint::Length);
    let rows = members.iter().map(|member| {
        let style = match (member.live, member.lag) {
            (false, _) => DIM,
            (true, Some(0)) => Style::new(),
            (true, _) => WARNING,
        };
        Row::new([
            member.region.clone(),
            member.replica.clone(),
            if member.live { "live" } else { "gone" }.to_owned(),
            number(member.viewers as f64, 8),
            format!("{:>8}", age_text(member.heard_ms)),
            member.lag.map_or_else(|| format!("{:>7}", "?"), |lag| number(lag as f64, 7)),
            format!(
                "{:>9}",
                member.behind_ms.map_or_else(
                    || "?".to_owned(),
                    |ms| if ms == 0 { "0 ms".to_owned() } else { age_text(ms) }
                )
            ),
        ])
        .style(style)
    });
    let titles = ["MEMBER", "REPLICA", "", " VIEWERS", "   HEARD", "    LAG", "   BEHIND"];
    Table::new(rows, widths).header(Row::new(titles).style(DIM)).column_spacing(0)
}

fn footline(picture: &Picture) -> Line<'static> {
    match (&picture.stale, picture.troubles.first(), &picture.retirement) {
        (Some(why), ..) => Line::styled(format!("out of date: {why}"), BAD),
        (None, Some(trouble), _) => Line::styled(trouble.clone(), BAD),
        (None, None, Some(waits)) => Line::styled(waits.clone(), WARNING),
        (None, None, None) => Line::styled(
            "LAG: versions not shared, BEHIND: for how long, as last heard. q quits",
            DIM,
        ),
    }
}

/// The first eight characters of an id or a hash.
fn first_eight(text: &str) -> &str {
    text.get(..8).unwrap_or(text)
}

/// A number with k, M or G, aligned to the right.
fn number(value: f64, width: usize) -> String {
    let text = match value {
        v if v < 0.05 => "0".to_owned(),
        v if v < 10.0 && v.fract() > 0.05 => format!("{v:.1}"),
        v if v < 10_000.0 => format!("{v:.0}"),
        v if v < 1e6 => format!("{:.0}k", v / 1e3),
        v if v < 1e9 => format!("{:.1}M", v / 1e6),
        v => format!("{:.1}G", v / 1e9),
    };
    format!("{text:>width$}")
}

/// The time since a member was last heard from. 0 is this node itself.
fn age_text(ms: u64) -> String {
    match ms {
        0 => "itself".to_owned(),
        1..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_column() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (3.0, "3"),
            (9_999.0, "9999"),
            (12_345.0, "12k"),
            (2_500_000.0, "2.5M"),
            (7e9, "7.0G"),
        ] {
            assert_eq!(number(value, 7), format!("{text:>7}"));
        }
    }
}
