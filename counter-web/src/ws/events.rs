//! Server-sent events: the same state and changes as on a socket, for clients that only listen.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use warp::sse::Event;

use crate::access::Caller;
use crate::app::App;
use crate::ws::viewers::Watching;

/// How often a quiet stream carries a comment, so that a dead one is noticed and proxies keep a
/// live one.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of one client: the state, then each change that it is quick enough to take. Counts as
/// a viewer while it incarnations.
pub(crate) fn follow(
    app: &Arc<App>,
    caller: Caller,
    watching: Watching,
    counter: &str,
) -> impl Stream<Item = Result<Event, warp::Error>> + Send + 'static + use<> {
    let held = (watching, app.stop.stream(), caller);
    let (state, follower) = app.hub.follow(counter);
    let changes = stream::unfold((follower, held), |(mut follower, held)| async move {
        follower.next().await.map(|frame| (frame, (follower, held)))
    });
    stream::iter([state]).chain(changes).take_until(app.stop.wait()).map(|frame| {
        // With the blank after the colon that every reader drops, and that simple ones wait for.
        Ok(Event::default().data(format!(" {}", frame.text())))
    })
}
