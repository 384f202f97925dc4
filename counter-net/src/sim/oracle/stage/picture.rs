//! The nodes of a story in text, for a printed story and for the message of a failure.

use counter_core::ReplicaId;

use super::{Actor, Stage};

impl Stage<'_> {
    /// Draws the state that each node holds and the values that it shows. A writer is given as
    /// node, incarnation and version, in brackets if it has ended. Values are hexadecimal.
    pub(in crate::sim::oracle) fn picture(&self) -> String {
        let lines = self.actors.iter().filter_map(|actor| self.line(actor));
        lines.collect::<Vec<_>>().join("\n     ")
    }

    fn line(&self, actor: &Actor) -> Option<String> {
        let map = self.sim.map(actor.host)?;
        let writer = |id: ReplicaId| {
            let node = self
                .actors
                .iter()
                .find(|actor| self.sim.writer_of(actor.host).node == id.node)
                .map_or(usize::MAX, |actor| actor.number);
            let held = format!("{node}.{}@{}", id.incarnation >> 32, map.seen_of(id));
            if map.is_ended(id) { format!("[{held}]") } else { held }
        };
        let signed = |value: i128| {
            if value < 0 { format!("-{:x}", -value) } else { format!("{value:x}") }
        };
        let values = map.counters().flat_map(|counter| {
            map.regions(counter).map(move |(region, value)| (counter, region, value))
        });
        let mut values: Vec<String> = values
            .map(|(counter, region, value)| format!("{counter}/{region} {}", signed(value)))
            .collect();
        values.sort();
        let writers: Vec<String> = map.replicas().map(writer).collect();
        Some(format!("{:2} holds {} shows {}", actor.number, writers.join(" "), values.join(", ")))
    }
}
