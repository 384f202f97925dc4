//! The signal to stop, and the streams that are still open.

use tokio::sync::watch;

/// The signal to stop, and the number of streams (sockets and server-sent events) that are still
/// open.
pub(crate) struct Stop {
    stopping: watch::Sender<bool>,
    streams: watch::Sender<usize>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { stopping: watch::Sender::new(false), streams: watch::Sender::new(0) }
    }

    pub(crate) fn start(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the front stops. Borrows nothing, so that a stream can own it.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the sender is gone, which also means stopping.
            let _ended = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Counts one stream until the guard is dropped.
    pub(crate) fn stream(&self) -> StreamGuard {
        self.streams.send_modify(|streams| *streams += 1);
        StreamGuard { streams: self.streams.clone() }
    }

    pub(crate) fn streams(&self) -> usize {
        *self.streams.borrow()
    }

    /// Waits until no stream is open.
    pub(crate) async fn streams_ended(&self) {
        let mut open = self.streams.subscribe();
        // Cannot fail, because `self` holds the sender.
        let _ended = open.wait_for(|streams| *streams == 0).await;
    }
}

/// One open stream; see [`Stop::stream`].
pub(crate) struct StreamGuard {
    streams: watch::Sender<usize>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.send_modify(|streams| *streams = streams.saturating_sub(1));
    }
}
