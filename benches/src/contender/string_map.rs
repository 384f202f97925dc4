//! The fair bound: a hash map by string with foldhash, and one array of running totals for each
//! region. No versions, no deltas, no checks.

use std::collections::HashMap;

use counter_core::Amounts;
use foldhash::fast::FixedState;

use super::Contender;
use crate::work::{Adder, Changer};

/// A hash map of the totals of `W` writers for each region. A join takes the maximum of each part.
#[derive(Clone, Debug)]
pub struct StringMap<const W: usize> {
    map: HashMap<String, [Amounts; W], FixedState>,
    actor: usize,
}

impl<const W: usize> StringMap<W> {
    /// A replica that writes as `actor`.
    pub fn new(actor: usize) -> Self {
        Self { map: HashMap::default(), actor }
    }

    fn amounts(&mut self, region: &str) -> &mut [Amounts; W] {
        if !self.map.contains_key(region) {
            self.map.insert(region.to_owned(), [Amounts::default(); W]);
        }
        self.map.get_mut(region).expect("it was just put there")
    }
}

fn join_amounts(into: &mut [Amounts], from: &[Amounts]) {
    into.iter_mut().zip(from).for_each(|(mine, theirs)| *mine = mine.join(*theirs));
}

fn net(amounts: &[Amounts]) -> i128 {
    amounts.iter().map(|amounts| amounts.net()).sum()
}

impl<const W: usize> Contender for StringMap<W> {
    const NAME: &'static str = "bound: string map";
    type State = Self;

    fn empty(replica: usize) -> Self {
        Self::new(replica)
    }

    fn copy(state: &Self) -> Self {
        state.clone()
    }

    fn change(state: &mut Self, writer: usize, region: &str, by: Amounts) {
        let amounts = &mut state.amounts(region)[writer];
        amounts.increments += by.increments;
        amounts.decrements += by.decrements;
    }

    fn join(into: &mut Self, from: &mut Self) {
        for (region, theirs) in &from.map {
            match into.map.get_mut(region) {
                Some(mine) => join_amounts(mine, theirs),
                None => drop(into.map.insert(region.clone(), *theirs)),
            }
        }
    }

    fn encode(state: &Self) -> Vec<u8> {
        let mut out = Vec::with_capacity(state.map.len() * (9 + 4 * W));
        for (region, amounts) in &state.map {
            out.push(region.len() as u8);
            out.extend_from_slice(region.as_bytes());
            for part in amounts.iter().flat_map(|amounts| [amounts.increments, amounts.decrements])
            {
                write_varint(&mut out, part);
            }
        }
        out
    }

    fn receive(into: &mut Self, mut bytes: &[u8]) {
        while let Some((&length, rest)) = bytes.split_first() {
            let (region, rest) = rest.split_at(usize::from(length));
            bytes = rest;
            let region = std::str::from_utf8(region).expect("own bytes");
            let mut theirs = [Amounts::default(); W];
            for amounts in &mut theirs {
                *amounts = Amounts {
                    increments: read_varint(&mut bytes),
                    decrements: read_varint(&mut bytes),
                };
            }
            match into.map.get_mut(region) {
                Some(mine) => join_amounts(mine, &theirs),
                None => drop(into.map.insert(region.to_owned(), theirs)),
            }
        }
    }

    fn value(state: &Self, region: &str) -> i128 {
        state.map.get(region).map_or(0, |amounts| net(amounts))
    }

    fn sum(state: &Self) -> i128 {
        state.map.values().map(|amounts| net(amounts)).sum()
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first().expect("own bytes");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

impl<const W: usize> Adder for StringMap<W> {
    fn add_one(&mut self, counter: &str) {
        let actor = self.actor;
        match self.map.get_mut(counter) {
            Some(amounts) => amounts[actor].increments += 1,
            None => self.amounts(counter)[actor].increments += 1,
        }
    }

    fn finish(&mut self) {}

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }
}

impl<const W: usize> Changer for StringMap<W> {
    fn produce(&mut self, counter: &str) -> Vec<u8> {
        let actor = self.actor;
        let amounts = &mut self.amounts(counter)[actor];
        amounts.increments += 1;
        let mut out = Vec::with_capacity(16);
        out.push(counter.len() as u8);
        out.extend_from_slice(counter.as_bytes());
        out.push(actor as u8);
        write_varint(&mut out, amounts.increments);
        out
    }

    fn apply(&mut self, bytes: &[u8]) {
        let (counter, rest) = bytes[1..].split_at(usize::from(bytes[0]));
        let counter = std::str::from_utf8(counter).expect("own bytes");
        let (actor, mut rest) = (usize::from(rest[0]), &rest[1..]);
        let amounts = &mut self.amounts(counter)[actor];
        amounts.increments = amounts.increments.max(read_varint(&mut rest));
    }

    fn value(&self, counter: &str) -> i128 {
        <Self as Contender>::value(self, counter)
    }

    fn clone_from_node(&mut self, other: &Self) {
        self.map.clone_from(&other.map);
    }
}
