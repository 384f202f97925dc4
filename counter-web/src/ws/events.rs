//! Server-sent events: the states and changes of a socket, for clients that only listen.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use warp::sse::Event;

use crate::access::Caller;
use crate::app::App;
use crate::ws::viewers::ViewerGuard;

/// How often a quiet stream carries a comment. It reveals dead connections, and makes proxies keep
/// live ones.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of one client: the state, then the changes. A slow client skips some. Counts as a
/// viewer until the stream ends.
pub(crate) fn follow(
    app: &Arc<App>,
    caller: Caller,
    viewer: ViewerGuard,
    counter: &str,
) -> impl Stream<Item = Result<Event, warp::Error>> + Send + 'static + use<> {
    let guards = (viewer, app.stop.stream(), caller);
    let (state, follower) = app.topics.follow(counter);
    let changes = stream::unfold((follower, guards), |(mut follower, guards)| async move {
        follower.next().await.map(|frame| (frame, (follower, guards)))
    });
    stream::iter([state]).chain(changes).take_until(app.stop.wait()).map(|frame| {
        // Standard readers drop the space after the colon. Simple ones expect it.
        Ok(Event::default().data(format!(" {}", frame.text())))
    })
}
