//! Pages as viewers: one that comes back over a new socket is the same viewer, also while nobody
//! knows yet that its old socket is dead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counter_net::{Node, Viewer};

/// What a page's newest socket holds; empty once a newer one took it over.
type Place = Arc<Mutex<Option<Viewer>>>;

/// The pages that look on, by the id that each made up for itself. No more of them than sockets.
#[derive(Clone, Default)]
pub(crate) struct Viewers {
    pages: Arc<Mutex<HashMap<String, Place>>>,
}

/// One socket's part in the number of viewers, until it is dropped.
pub(crate) struct Watching {
    place: Place,
    page: Option<(Viewers, String)>,
}

impl Viewers {
    /// Counts a viewer, or, where this page is counted already, lets the new socket stand for it. A
    /// client that gives no id is a viewer a socket.
    pub(crate) fn arrive(&self, node: &Node, page: Option<String>) -> Watching {
        let Some(page) = page else {
            return Watching { place: Arc::new(Mutex::new(Some(node.viewer()))), page: None };
        };
        let mut pages = lock(&self.pages);
        let viewer =
            pages.get(&page).and_then(|place| lock(place).take()).unwrap_or_else(|| node.viewer());
        let place = Arc::new(Mutex::new(Some(viewer)));
        pages.insert(page.clone(), Arc::clone(&place));
        Watching { place, page: Some((self.clone(), page)) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let Some((viewers, page)) = &self.page else { return };
        let mut pages = lock(&viewers.pages);
        if pages.get(page).is_some_and(|newest| Arc::ptr_eq(newest, &self.place)) {
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
    async fn a_page_is_one_viewer_over_however_many_sockets_and_none_after_the_last() {
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
        assert_eq!(counted(), 2, "the old socket stands for nobody");
        drop(old);
        assert_eq!(counted(), 2, "its end takes nobody away");
        let newest = arrive("a");
        drop((newest, new));
        assert_eq!(counted(), 1);
        drop(other);
        let unnamed = [viewers.arrive(&node, None), viewers.arrive(&node, None)];
        assert_eq!(counted(), 2, "who gives no id is a viewer a socket");
        drop(unnamed);
        assert_eq!(counted(), 0);
        assert!(lock(&viewers.pages).is_empty(), "nothing is kept of who left");
    }
}
