//! Who waits for copies or versions, between the futures that wait and the driver that answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::protocol::{Input, Waited};

/// Waits that the driver has not taken up yet; one above it is refused.
const NEW_MAX: usize = 65_536;

/// What lies between those who wait and the driver.
#[derive(Default)]
pub(crate) struct Waiting {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    /// For the driver to hand on; at most `NEW_MAX` waits, and as many withdrawals as there are
    /// waits open.
    new: Vec<Input>,
    open: HashMap<u64, oneshot::Sender<Waited>>,
    closed: bool,
}

impl Waiting {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a wait; it is answered at once where there is no room, and ends without an answer
    /// where the node has stopped.
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

    /// Nobody waits for this answer any more. True where the driver must hear of it.
    pub(crate) fn withdraw(&self, id: u64) -> bool {
        let mut table = self.table();
        let open = table.open.remove(&id).is_some();
        if open {
            table.new.push(Input::Forget { id });
        }
        open
    }

    /// What the driver is to hand on.
    pub(crate) fn take_new(&self) -> Vec<Input> {
        std::mem::take(&mut self.table().new)
    }

    pub(crate) fn answer(&self, id: u64, how: Waited) {
        if let Some(send) = self.table().open.remove(&id) {
            // Whoever waited may have gone meanwhile.
            let _gone = send.send(how);
        }
    }

    /// Ends every wait, and those begun later at once.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.open.clear();
        table.new.clear();
    }
}
