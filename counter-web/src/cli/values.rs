//! Parsers for the values of flags. Each error says what to write instead.

use std::net::SocketAddr;
use std::time::Duration;

use counter_net::Discovery;
use warp::http::HeaderName;

use crate::access::origin::AllowedOrigins;
use crate::api::fields::check_name;
use crate::page::regions::is_code;

/// The items of a comma-separated value. Spaces around items are ignored, and so are empty items.
#[derive(Clone, Debug)]
pub(super) struct Listed<T>(pub(super) Vec<T>);

/// Parses a comma-separated value. `parse` is the parser of one item.
pub(super) fn list<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Listed<T>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(&parse).collect::<Result<Vec<T>, String>>()?;
    // An empty list is an error. The item's own parser says what to write.
    if items.is_empty() { parse("").map(|item| Listed(vec![item])) } else { Ok(Listed(items)) }
}

pub(super) fn parse_region(code: &str) -> Result<String, String> {
    if is_code(code) {
        return Ok(code.to_owned());
    }
    Err("a region is 1 to 32 characters of a-z, 0-9 and '-': write for example ord or eu-west-1"
        .to_owned())
}

pub(super) fn parse_http(address: &str) -> Result<SocketAddr, String> {
    let named = address.replacen("localhost:", "127.0.0.1:", 1);
    named.parse().map_err(|_| {
        "expected an IP address and a port: write for example 127.0.0.1:4000, 0.0.0.0:8080 or \
             [::1]:4000"
            .to_owned()
    })
}

/// Checks the shape only. The node checks the rest, also with exit status 2.
pub(super) fn parse_multiaddr(address: &str) -> Result<String, String> {
    let address = address.trim();
    if address.starts_with('/') && address.contains("/tcp/") {
        return Ok(address.to_owned());
    }
    Err("expected a multiaddress over TCP: write for example /ip4/127.0.0.1/tcp/7117 or \
         /dns4/host/tcp/7117"
        .to_owned())
}

pub(super) fn parse_discovery(how: &str) -> Result<Discovery, String> {
    how.parse().map_err(|error: counter_net::DiscoveryError| error.to_string())
}

pub(super) fn parse_header(name: &str) -> Result<HeaderName, String> {
    name.trim()
        .parse()
        .map_err(|_| "expected the name of a header: write for example Fly-Client-IP".to_owned())
}

pub(super) fn parse_origin(origin: &str) -> Result<String, String> {
    AllowedOrigins::read([origin.to_owned()].iter()).map(|_| origin.to_owned())
}

pub(super) fn parse_counter(name: &str) -> Result<String, String> {
    check_name(name)
        .map(|()| name.to_owned())
        .map_err(|error| format!("{}: write for example clicks", error.message))
}

pub(super) fn parse_rate(rate: &str) -> Result<f64, String> {
    match rate.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("a rate is a number of adds a second above 0: write for example 100".to_owned()),
    }
}

pub(super) fn parse_connections(count: &str) -> Result<u32, String> {
    parse_positive(count)
        .ok_or_else(|| "expected a number of connections above 0: write for example 256".to_owned())
}

pub(super) fn parse_counters(count: &str) -> Result<u32, String> {
    parse_positive(count).ok_or_else(|| {
        "expected a number of counters above 0: write for example 2000000".to_owned()
    })
}

fn parse_positive(count: &str) -> Option<u32> {
    count.parse().ok().filter(|count| *count > 0)
}

pub(super) fn parse_ping_interval(seconds: &str) -> Result<u32, String> {
    let inside = seconds.parse().ok().filter(|seconds| (1..=3_600).contains(seconds));
    inside.ok_or_else(|| "expected whole seconds, from 1 to 3600: write for example 20".to_owned())
}

/// Parses a whole number and its unit: `500ms`, `5s`, `10m`, `7d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let read = UNITS.iter().find_map(|(unit, ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ms).map(Duration::from_millis)
    });
    read.ok_or_else(|| {
        "expected a whole number and ms, s, m, h or d: write for example 10s".to_owned()
    })
}

/// One rule of `--expire`: how long the counters of a prefix live.
#[derive(Clone, Debug)]
pub(crate) struct ExpireRule {
    /// The prefix of their names. Empty for all counters.
    pub(crate) prefix: String,
    /// The time from a counter's creation to its end.
    pub(crate) after: Duration,
}

/// Parses a prefix, `*`, `=` and a duration: `day:*=7d`.
pub(super) fn parse_expire(text: &str) -> Result<ExpireRule, String> {
    // A prefix may contain any character but a comma, even = and *.
    let rule = text.rsplit_once("*=").and_then(|(prefix, after)| {
        let is_prefix = prefix.is_empty() || check_name(prefix).is_ok();
        let after = parse_duration(after).ok().filter(|after| !after.is_zero())?;
        is_prefix.then(|| ExpireRule { prefix: prefix.to_owned(), after })
    });
    rule.ok_or_else(|| {
        "expected a prefix of names, *= and a duration above 0: write for example day:*=7d"
            .to_owned()
    })
}

pub(super) fn parse_demo_port(port: &str) -> Result<u16, String> {
    port.parse()
        .map_err(|_| "expected a port number, 0 to 65535: write for example 4000".to_owned())
}

pub(super) fn parse_port(port: &str) -> Result<u16, String> {
    port.trim().parse().map_err(|_| {
        "the variable PORT must be a port number, 0 to 65535: write for example PORT=8080"
            .to_owned()
    })
}

pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Ok(true),
        "false" | "no" | "off" | "0" | "f" | "n" => Ok(false),
        _ => Err("expected yes or no: write true or false".to_owned()),
    }
}
