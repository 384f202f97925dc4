//! The rows of checkpoints and deltas: where the next ones go, and which ones are replaced.

use counter_core::CounterMap;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::open_failure::OpenFailure;
use super::record;
use crate::store::checkpoint::Weight;
use crate::store::load::Loader;
use crate::store::log::Batch;

const PAGES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("pages");
const LOG: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("log");

/// The most replaced rows that one commit removes.
const LEFTOVERS_A_COMMIT: usize = 256;

/// A table of an opened store.
type RowTable = ReadOnlyTable<(u64, u64), &'static [u8]>;

/// Where the next rows go, as of the last commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowPlaces {
    /// The checkpoint in force.
    checkpoint: u64,
    /// The checkpoint that new deltas belong to: the one in force, or the next one in progress.
    writing: u64,
    next_row: u64,
    next_page: u64,
    has_leftovers: bool,
}

impl RowPlaces {
    /// Joins the rows of the checkpoint in force. New rows go behind the last one.
    pub(super) fn load(
        checkpoint: u64,
        (pages, log): &(RowTable, RowTable),
    ) -> Result<(Self, CounterMap, Weight), OpenFailure> {
        let mut loader = Loader::new();
        for row in pages.range((checkpoint, 0)..(checkpoint + 1, 0))? {
            loader.page(row?.1.value()).map_err(OpenFailure::Damaged)?;
        }
        for row in log.range((checkpoint, 0)..)? {
            loader.delta(row?.1.value()).map_err(OpenFailure::Damaged)?;
        }
        let (map, weight) = loader.finish().map_err(OpenFailure::Damaged)?;
        let (writing, next_row) = log
            .last()?
            .map_or((checkpoint, 0), |(key, _)| (key.value().0.max(checkpoint), key.value().1 + 1));
        let places = Self { checkpoint, writing, next_row, next_page: 0, has_leftovers: true };
        Ok((places, map, weight))
    }

    /// Writes the rows of a batch and removes some replaced ones. Returns the places after the
    /// commit.
    ///
    /// Opens only the tables that it writes, because each costs the commit some microseconds.
    pub(super) fn write(
        mut self,
        write: &WriteTransaction,
        batch: &Batch,
    ) -> Result<Self, redb::Error> {
        if batch.begin_checkpoint {
            self.writing += 1;
            self.next_page = 0;
            // Rows that an earlier incarnation left of a checkpoint that never came into force.
            write.open_table(PAGES)?.retain_in((self.writing, 0).., |_, _| false)?;
        }
        if let Some(delta) = &batch.delta {
            write.open_table(LOG)?.insert((self.writing, self.next_row), delta.as_slice())?;
            self.next_row += 1;
        }
        if let Some(page) = &batch.page {
            write.open_table(PAGES)?.insert((self.writing, self.next_page), page.as_slice())?;
            self.next_page += 1;
        }
        if batch.end_checkpoint {
            self.checkpoint = self.writing;
            record::set_checkpoint(write, self.checkpoint)?;
        }
        self.has_leftovers =
            batch.end_checkpoint || self.has_leftovers && self.remove_leftovers(write)?;
        Ok(self)
    }

    /// Returns true if rows of earlier checkpoints remain.
    pub(super) fn has_leftovers(&self) -> bool {
        self.has_leftovers
    }

    /// Removes some replaced rows. Returns true if more remain.
    fn remove_leftovers(&self, write: &WriteTransaction) -> Result<bool, redb::Error> {
        let (mut pages, mut log) = (write.open_table(PAGES)?, write.open_table(LOG)?);
        for _ in 0..LEFTOVERS_A_COMMIT {
            if !self.remove_first(&mut log)? && !self.remove_first(&mut pages)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the first row if it belongs to a checkpoint before the one in force.
    fn remove_first(
        &self,
        table: &mut redb::Table<'_, (u64, u64), &'static [u8]>,
    ) -> Result<bool, redb::Error> {
        let replaced = table.first()?.is_some_and(|(key, _)| key.value().0 < self.checkpoint);
        if replaced {
            table.pop_first()?;
        }
        Ok(replaced)
    }

    /// Rows of checkpoints before the one in force, and the others.
    #[cfg(test)]
    pub(super) fn count(&self, read: &ReadTransaction) -> (usize, usize) {
        let rows = [PAGES, LOG].map(|table| {
            let table = read.open_table(table).unwrap();
            let keys: Vec<(u64, u64)> =
                table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
            keys
        });
        let (replaced, kept): (Vec<_>, Vec<_>) =
            rows.concat().into_iter().partition(|key| key.0 < self.checkpoint);
        (replaced.len(), kept.len())
    }
}

/// Creates the empty tables of a new store.
pub(super) fn make(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(PAGES)?;
    write.open_table(LOG)?;
    Ok(())
}

/// Opens both tables, for [`RowPlaces::load`].
pub(super) fn open(read: &ReadTransaction) -> Result<(RowTable, RowTable), OpenFailure> {
    Ok((read.open_table(PAGES)?, read.open_table(LOG)?))
}
