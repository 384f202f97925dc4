//! Open waits for copies and versions, between the futures that wait and the driver that answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::protocol::{Input, Waited};

/// The most waits that the driver has not taken yet. A further one is refused.
const NEW_MAX: usize = 65_536;

/// The open waits of one node.
///
/// Each wait is answered at most once, and ends without an answer when the node stops.
#[derive(Default)]
pub(crate) struct OpenWaits {
    table: Mutex<WaitTable>,
}

#[derive(Default)]
struct WaitTable {
    last_id: u64,
    /// Inputs for the driver: at most `NEW_MAX` waits, and one withdrawal per open wait.
    new: Vec<Input>,
    open: HashMap<u64, oneshot::Sender<Waited>>,
    closed: bool,
}

impl OpenWaits {
    fn table(&self) -> MutexGuard<'_, WaitTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a wait. It is refused at once if there is no room, and ends without an answer if the
    /// node has stopped.
    pub(crate) fn begin(
        &self,
        input: impl FnOnce(u64) -> Input,
    ) -> (u64, oneshot::Receiver<Waited>) {
        let (send, answer) = oneshot::channel();
        let mut table = self.table();
        table.last_id += 1;
        let id = table.last_id;
        if table.new.len() >= NEW_MAX {
            let _receiver_is_here = send.send(Waited::TooMany);
        } else if !table.closed {
            table.new.push(input(id));
            table.open.insert(id, send);
        }
        (id, answer)
    }

    /// Drops a wait. Returns true if the driver must hear of it.
    pub(crate) fn withdraw(&self, id: u64) -> bool {
        let mut table = self.table();
        let open = table.open.remove(&id).is_some();
        if open {
            table.new.push(Input::Forget { id });
        }
        open
    }

    /// Takes the inputs for the driver.
    pub(crate) fn take_new(&self) -> Vec<Input> {
        std::mem::take(&mut self.table().new)
    }

    /// Answers a wait.
    pub(crate) fn answer(&self, id: u64, how: Waited) {
        if let Some(send) = self.table().open.remove(&id) {
            // The waiting future may have been dropped.
            let _gone = send.send(how);
        }
    }

    /// Ends every wait, and any later one at once.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.open.clear();
        table.new.clear();
    }
}
