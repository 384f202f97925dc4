//! `GET /api/counters`: the counters of this node by name, a page at a time, or the largest totals.

use counter_net::{CounterTotal, Node};
use serde::Serialize;

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::form_value;
use crate::api::json::Integer;
use crate::api::response::{ApiResult, json};
use crate::app::App;

/// The number of counters in one response, unless `limit` sets another.
const LIMIT_DEFAULT: usize = 100;
/// The most counters in one response.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// A list of counters.
#[derive(Serialize)]
pub(crate) struct CountersJson {
    counters: Vec<CounterTotalJson>,
    /// The name after which the next page starts. Null after the last page.
    next: Option<String>,
}

#[derive(Serialize)]
struct CounterTotalJson {
    name: String,
    total: Integer,
}

impl From<CounterTotal> for CounterTotalJson {
    fn from(counter: CounterTotal) -> Self {
        Self { name: counter.name, total: Integer(counter.total) }
    }
}

impl CountersJson {
    /// Up to `limit` counters by name. The first one comes after `after`.
    pub(crate) fn by_name(node: &Node, prefix: &str, after: &str, limit: usize) -> Self {
        let mut following = node.counters(prefix).after(after);
        let counters: Vec<CounterTotalJson> =
            following.by_ref().take(limit).map(Into::into).collect();
        let has_more = counters.len() == limit && following.next().is_some();
        let next = counters.last().filter(|_| has_more).map(|counter| counter.name.clone());
        Self { counters, next }
    }

    /// The `limit` counters with the largest totals.
    fn by_total(node: &Node, prefix: &str, limit: usize) -> Self {
        let counters = node.top(prefix, limit).into_iter().map(Into::into).collect();
        Self { counters, next: None }
    }
}

/// The query of a list, checked.
#[derive(Debug, PartialEq, Eq)]
struct ListQuery {
    prefix: String,
    after: String,
    limit: usize,
    by_total: bool,
}

impl ListQuery {
    /// # Errors
    ///
    /// 400 if a value is wrong. Keys that are not known are ignored.
    fn read(query: &str) -> Result<Self, ApiError> {
        let bad = |message: &str| ApiError::bad_request(Code::BadRequest, message);
        let text = |key: &str| {
            let value = form_value(query, key).transpose();
            value.map_err(|()| {
                bad(&format!("{key} is not percent-encoded UTF-8: write é as %C3%A9"))
            })
        };
        let limit = match text("limit")?.as_deref().map(str::parse) {
            None => LIMIT_DEFAULT,
            Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
            Some(_) => return Err(bad(&format!("limit is not an integer from 1 to {LIMIT_MAX}"))),
        };
        let by_total = match text("order")?.as_deref() {
            None | Some("name") => false,
            Some("total") => true,
            Some(_) => return Err(bad("order is neither name nor total")),
        };
        let after = text("after")?;
        if by_total && after.is_some() {
            return Err(bad("order=total has no pages: leave out after, or list by name"));
        }
        let prefix = text("prefix")?.unwrap_or_default();
        Ok(Self { prefix, after: after.unwrap_or_default(), limit, by_total })
    }
}

/// `GET /api/counters`.
pub(crate) async fn list_counters(app: &App, caller: &Caller, query: &str) -> ApiResult {
    caller.check_service()?;
    let ListQuery { prefix, after, limit, by_total } = ListQuery::read(query)?;
    let node = app.node.clone();
    // With many counters this takes a while: the largest are found among all, and a list by name
    // first sorts the new ones.
    let listed = tokio::task::spawn_blocking(move || match by_total {
        true => CountersJson::by_total(&node, &prefix, limit),
        false => CountersJson::by_name(&node, &prefix, &after, limit),
    });
    listed.await.map(|counters| json(&counters)).map_err(|_| ApiError::stopping())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        let read = |prefix: &str, after: &str, limit, by_total| {
            Ok(ListQuery { prefix: prefix.into(), after: after.into(), limit, by_total })
        };
        assert_eq!(ListQuery::read(""), read("", "", 100, false));
        assert_eq!(
            ListQuery::read("prefix=caf%C3%A9%26&after=a+b&limit=1000&order=name&x=1"),
            read("café&", "a b", 1_000, false)
        );
        assert_eq!(ListQuery::read("order=total&limit=1"), read("", "", 1, true));
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=",
            "limit=1e2",
            "limit=99999999999999999999",
            "order=",
            "order=size",
            "order=total&after=a",
            "prefix=%FF",
            "after=%4",
        ] {
            let error = ListQuery::read(bad).expect_err(bad);
            assert_eq!(error.code, Code::BadRequest, "{bad}");
        }
    }
}
