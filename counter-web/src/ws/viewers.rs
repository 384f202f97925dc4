//! Viewers of the page. A page that comes back over a new socket stays one viewer, even before the
//! node notices that its old socket is dead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counter_net::{Node, Viewer};

/// The viewer that a page's newest socket counts. Empty once a newer socket took it over.
type ViewerSlot = Arc<Mutex<Option<Viewer>>>;

/// The newest socket of each page, by the id that the page made up. No more entries than sockets.
#[derive(Clone, Default)]
pub(crate) struct Viewers {
    pages: Arc<Mutex<HashMap<String, ViewerSlot>>>,
}

/// Counts one socket as a viewer, or as a part of one, until it is dropped.
pub(crate) struct ViewerGuard {
    slot: ViewerSlot,
    page: Option<(Viewers, String)>,
}

impl Viewers {
    /// Counts a viewer. If the page is counted already, its new socket takes over that viewer. A
    /// client without a page id is one viewer for each socket.
    pub(crate) fn arrive(&self, node: &Node, page: Option<String>) -> ViewerGuard {
        let Some(page) = page else {
            return ViewerGuard { slot: Arc::new(Mutex::new(Some(node.viewer()))), page: None };
        };
        let mut pages = lock(&self.pages);
        let viewer =
            pages.get(&page).and_then(|slot| lock(slot).take()).unwrap_or_else(|| node.viewer());
        let slot = Arc::new(Mutex::new(Some(viewer)));
        pages.insert(page.clone(), Arc::clone(&slot));
        ViewerGuard { slot, page: Some((self.clone(), page)) }
    }
}

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        let Some((viewers, page)) = &self.page else { return };
        let mut pages = lock(&viewers.pages);
        if pages.get(page).is_some_and(|newest| Arc::ptr_eq(newest, &self.slot)) {
            pages.remove(page);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn page_is_one_viewer_over_all_its_sockets() {
        let cluster = format!("viewers-{}", std::process::id());
        let node = Node::builder()
            .cluster(&cluster)
            .region("ord")
            .discover(counter_net::Discovery::None)
            .start()
            .await
            .unwrap();
        let viewers = Viewers::default();
        let arrive = |page: &str| viewers.arrive(&node, Some(page.to_owned()));
        let counted = || node.view("clicks").regions["ord"].connected;
        let (old, other) = (arrive("a"), arrive("b"));
        assert_eq!(counted(), 2);
        let new = arrive("a");
        assert_eq!(counted(), 2, "the old socket is no longer counted");
        drop(old);
        assert_eq!(counted(), 2, "its end changes nothing");
        let newest = arrive("a");
        drop((newest, new));
        assert_eq!(counted(), 1);
        drop(other);
        let unnamed = [viewers.arrive(&node, None), viewers.arrive(&node, None)];
        assert_eq!(counted(), 2, "a client without an id is a viewer for each socket");
        drop(unnamed);
        assert_eq!(counted(), 0);
        assert!(lock(&viewers.pages).is_empty(), "closed sockets leave no entry");
    }
}
