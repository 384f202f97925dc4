//! Strict parsers of the two text formats of metrics. They accept what a node may write and no
//! more: every family has one HELP and one TYPE line, its samples follow at once, and no family or
//! series comes twice.

use std::collections::BTreeMap;

/// Families by name.
pub(crate) type Families = BTreeMap<String, Family>;

/// One family of samples.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    /// Values by series: a name with its labels.
    pub(crate) samples: BTreeMap<String, f64>,
}

/// Parses Prometheus text 0.0.4, in which a counter's family is named as its samples.
pub(crate) fn prometheus(text: &str) -> Result<Families, String> {
    parse(text, |family, kind| match kind {
        "counter" if family.ends_with("_total") => Some(family.to_owned()),
        "gauge" if !family.ends_with("_total") => Some(family.to_owned()),
        _ => None,
    })
}

/// Parses OpenMetrics 1.0: samples of counters and infos have a suffix that their family lacks, and
/// `# EOF` ends the text.
pub(crate) fn open_metrics(text: &str) -> Result<Families, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no `# EOF` at the end")?;
    parse(body, |family, kind| match kind {
        _ if family.ends_with("_total") || family.ends_with("_info") => None,
        "counter" => Some(format!("{family}_total")),
        "info" => Some(format!("{family}_info")),
        "gauge" => Some(family.to_owned()),
        _ => None,
    })
}

/// `sample_name` gives the name of a family's samples, or `None` for a family that may not be.
fn parse(
    text: &str,
    sample_name: impl Fn(&str, &str) -> Option<String>,
) -> Result<Families, String> {
    let mut families = Families::new();
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let fault = |what: &str| format!("{what}: {line:?}");
        let (name, help) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| fault("a family begins with HELP"))?;
        if !is_name(name) || help.trim().is_empty() || help.contains(['\\', '"']) {
            return Err(fault("not a HELP line"));
        }
        let kind = lines
            .next()
            .and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '))
            .and_then(|rest| rest.strip_suffix('\n'))
            .ok_or_else(|| fault("no TYPE line after this"))?;
        let of_samples = sample_name(name, kind).ok_or_else(|| fault("not this type's name"))?;
        let mut family = Family { kind: kind.to_owned(), ..Family::default() };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample(line, &of_samples)?;
            if value < 0.0 && kind == "counter" || value != 1.0 && kind == "info" {
                return Err(format!("not a value of a {kind}: {line:?}"));
            }
            if family.samples.insert(series.to_owned(), value).is_some() {
                return Err(format!("a series comes twice: {line:?}"));
            }
        }
        if family.samples.is_empty() || families.insert(name.to_owned(), family).is_some() {
            return Err(fault("a family is empty or comes twice"));
        }
    }
    Ok(families)
}

fn sample<'a>(line: &'a str, name: &str) -> Result<(&'a str, f64), String> {
    let fault = || format!("not a sample of {name}: {line:?}");
    let whole = line.strip_suffix('\n').ok_or_else(fault)?;
    let (series, value) = whole.rsplit_once(' ').ok_or_else(fault)?;
    let labels = series.strip_prefix(name).ok_or_else(fault)?;
    if !labels.is_empty() {
        let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
        are_labels(inner.ok_or_else(fault)?).then_some(()).ok_or_else(fault)?;
    }
    Ok((series, value.parse().map_err(|_| fault())?))
}

/// `name="value"`, separated by commas. Quotes, backslashes and newlines are escaped.
fn are_labels(mut labels: &str) -> bool {
    let mut names = Vec::new();
    loop {
        let Some((name, rest)) = labels.split_once("=\"") else { return false };
        if !is_name(name) || names.contains(&name) {
            return false;
        }
        names.push(name);
        let mut is_escaped = false;
        let end = rest.find(|character| match character {
            'n' | '\\' | '"' if is_escaped => {
                is_escaped = false;
                false
            }
            _ if is_escaped => true,
            '\\' => {
                is_escaped = true;
                false
            }
            '"' => true,
            _ => false,
        });
        let Some(rest) = end.and_then(|end| rest[end..].strip_prefix('"')) else { return false };
        if rest.is_empty() {
            return true;
        }
        let Some(next) = rest.strip_prefix(',') else { return false };
        labels = next;
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
