//! Batches of adds, over HTTP and sockets: judged first, then added whole or not at all.

use std::borrow::Cow;
use std::fmt;

use counter_net::{AddOutcome, AddedBatch, BatchAdd};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::access::Caller;
use crate::api::bounds::BATCH_ADDS_MAX;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::{Amount, check_id, check_name, fresh_id, is_generated};
use crate::api::json::{Integer, is_object};
use crate::api::response::{ApiResult, json};
use crate::app::App;

/// One add of a batch, as it was sent. Read first and checked later, for clear errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SentAdd<'a> {
    #[serde(borrow)]
    counter: Option<Text<'a>>,
    amount: Option<serde_json::Value>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

/// A string that borrows from the input where it can.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl SentAdd<'_> {
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|Text(id)| &**id)
    }

    /// The counter that the add names.
    pub(crate) fn counter(&self) -> Option<&str> {
        self.counter.as_ref().map(|Text(counter)| &**counter)
    }

    /// Checks everything that does not depend on the node's state. An add that names no counter is
    /// for `counter`.
    fn check<'a>(&'a self, counter: Option<&'a str>) -> Result<BatchAdd<'a>, ApiError> {
        let counter = self.counter().or(counter).ok_or_else(ApiError::bad_name)?;
        check_name(counter)?;
        let add = BatchAdd::new(counter, Amount::read(self.amount.as_ref())?.get());
        self.id().map_or(Ok(add), |id| check_id(id).map(|()| add.with_id(id)))
    }
}

/// A JSON object. serde alone would also read a struct from an array of its fields in order.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, fields: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }
        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData)).map(Self)
    }
}

/// Returns the index of the first add in `sent` that cannot be read, and its id if it has one.
pub(crate) fn first_unreadable(sent: &serde_json::Value) -> Option<(usize, Option<String>)> {
    let adds = sent.get("adds")?.as_array()?;
    let index = adds.iter().position(|add| Object::<SentAdd<'_>>::deserialize(add).is_err())?;
    let id = adds[index].get("id").and_then(serde_json::Value::as_str);
    Some((index, id.filter(|id| check_id(id).is_ok()).map(str::to_owned)))
}

/// A batch that was added.
pub(crate) struct Added {
    batch: AddedBatch,
    /// For each add, its index in the node's results. `None` for a generated id, which the node
    /// never sees.
    places: Vec<Option<usize>>,
}

impl Added {
    /// The results of the adds, in order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = AddOutcome> {
        let results = self.batch.results();
        self.places.iter().map(|place| place.map_or(AddOutcome::Repeated, |at| results[at].outcome))
    }

    pub(crate) fn durable(&self) -> counter_net::Durable {
        self.batch.durable()
    }
}

/// Adds a whole batch, or nothing. Adds that name no counter are for `counter`.
///
/// # Errors
///
/// With the index of the first add that is refused. Nothing was added, and no counter was created.
pub(crate) fn apply_batch(
    app: &App,
    caller: &Caller,
    sent: &[Object<SentAdd<'_>>],
    counter: Option<&str>,
) -> Result<Added, ApiError> {
    if sent.len() > BATCH_ADDS_MAX {
        return Err(ApiError::too_many_adds());
    }
    let (mut adds, mut places) = (Vec::with_capacity(sent.len()), Vec::with_capacity(sent.len()));
    for (index, Object(add)) in sent.iter().enumerate() {
        let add = add.check(counter).map_err(|error| error.at(index))?;
        if !caller.may_create(add.counter) && !app.node.exists(add.counter) {
            return Err(ApiError::name_not_allowed().at(index));
        }
        let is_new = !add.id.is_some_and(is_generated);
        places.push(is_new.then_some(adds.len()));
        if is_new {
            adds.push(add);
        }
    }
    caller
        .take_adds(sent.len(), &app.limits)
        .inspect_err(|_| app.counts.adds_refused.increment_by(sent.len()))?;
    let batch = app.node.add_many(&adds).map_err(|refused| {
        // A node that takes no adds at all refuses without an index. The first add stands for it.
        let index = refused.index.and_then(|at| places.iter().position(|place| *place == Some(at)));
        let name = refused.index.and_then(|at| adds.get(at)).map_or("", |add| add.counter);
        ApiError::of_add_to(&app.node, name, refused.error).at(index.unwrap_or(0))
    })?;
    let applied =
        adds.iter().zip(batch.results()).filter(|(_, add)| add.outcome == AddOutcome::Applied);
    app.counts.adds.increment_by(applied.clone().count());
    app.topics.added_many(applied.map(|(add, _)| add.counter));
    Ok(Added { batch, places })
}

/// The body of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    adds: Vec<Object<SentAdd<'a>>>,
}

/// One result in the response to a batch.
#[derive(Serialize)]
struct AddResultJson<'a> {
    counter: &'a str,
    total: Integer,
    value: Integer,
    id: Cow<'a, str>,
    outcome: &'static str,
}

#[derive(Serialize)]
struct BatchJson<'a> {
    results: Vec<AddResultJson<'a>>,
}

/// `POST /api/adds`. The route has checked that this caller may send batches.
pub(crate) async fn add_batch(app: &App, caller: &Caller, body: &[u8]) -> ApiResult {
    if !is_object(body) {
        return Err(bad_batch("it is not an object"));
    }
    let BatchBody { adds } =
        serde_json::from_slice(body).map_err(|error| unreadable(body, &error))?;
    let added = apply_batch(app, caller, &adds, None)?;
    added.durable().await.map_err(|error| ApiError::not_durable(&error))?;
    let results = adds.iter().zip(&added.places).map(|(Object(add), place)| {
        let counter = add.counter().unwrap_or_default();
        let (outcome, total, value) = match place.map(|at| added.batch.results()[at]) {
            Some(result) => (result.outcome, result.total, result.value),
            None => {
                let view = app.node.view(counter);
                (AddOutcome::Repeated, view.total, app.value_here(&view))
            }
        };
        AddResultJson {
            counter,
            total: Integer(total),
            value: Integer(value),
            id: add.id().map_or_else(|| fresh_id().into(), Cow::Borrowed),
            outcome: match outcome {
                AddOutcome::Applied => "applied",
                AddOutcome::Repeated => "repeated",
                AddOutcome::CannotTell => "cannot_tell",
            },
        }
    });
    Ok(json(&BatchJson { results: results.collect() }))
}

fn bad_batch(why: &str) -> ApiError {
    let form = "{\"adds\":[{\"counter\":\"clicks\",\"amount\":1,\"id\":\"a:1\"}]}";
    ApiError::bad_request(
        Code::BadJson,
        format!("the body is not the expected JSON: {why}. Write {form}; nothing was added"),
    )
}

fn unreadable(body: &[u8], error: &serde_json::Error) -> ApiError {
    let Ok(sent) = serde_json::from_slice(body) else { return bad_batch("it cannot be parsed") };
    let bad = bad_batch(&crate::api::error::shortened(error));
    first_unreadable(&sent).map_or(bad.clone(), |(index, _)| bad.at(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_objects_with_known_fields() {
        let read = |text| serde_json::from_str::<Object<SentAdd<'_>>>(text);
        let Object(add) = read(r#"{"id":"\u0061:1","amount":-2,"counter":"clicks"}"#).unwrap();
        let checked = add.check(None).unwrap();
        assert_eq!(checked, BatchAdd::new("clicks", -2).with_id("a:1"));
        let Object(bare) = read(r#"{"amount":1}"#).unwrap();
        assert!(bare.check(None).is_err(), "no counter");
        assert_eq!(bare.check(Some("page")).unwrap(), BatchAdd::new("page", 1));
        for bad in [r#"["clicks",1,null]"#, r#"{"amuont":1}"#, r#"{"id":5}"#, "1", "null", "{"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn first_unreadable_member_is_named() {
        let sent = serde_json::json!({"adds": [{"amount": 1}, {"id": "a:2", "x": 1}, 5]});
        assert_eq!(first_unreadable(&sent), Some((1, Some("a:2".to_owned()))));
        let sent = serde_json::json!({"adds": [{"id": 7}]});
        assert_eq!(first_unreadable(&sent), Some((0, None)));
        for readable in [serde_json::json!({"adds": [{}]}), serde_json::json!({"adds": 1})] {
            assert_eq!(first_unreadable(&readable), None);
        }
    }
}
