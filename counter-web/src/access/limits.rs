//! How much one connection and one address may ask for: token buckets for adds, a count of
//! connections, all bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::error::ApiError;

/// Adds a bucket holds when full, whatever the rate.
const BURST: f64 = 1_000.0;

/// Addresses remembered at once; beyond it the idle ones are forgotten first, then every new one
/// shares a bucket.
const ADDRESSES_MAX: usize = 65_536;

/// Stands for all addresses that the table has no room for.
const OVERFLOW: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// How often a full table is looked through for idle addresses: that takes milliseconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What `--rate` and `--connections-per-address` say. Loopback peers are free of a limit that was
/// not given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) rate: f64,
    pub(crate) rate_given: bool,
    pub(crate) connections_per_address: u32,
    pub(crate) connections_given: bool,
}

/// A token bucket: `rate` adds a second, and a burst of [`BURST`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: BURST, filled_at: now }
    }

    fn refill(&mut self, rate: f64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(BURST);
        self.filled_at = now;
    }

    /// Whole seconds until one add is let through again, at least one.
    fn seconds_left(&self, rate: f64) -> u64 {
        // The conversion saturates, so no rate is too small for it.
        ((1.0 - self.tokens).max(0.0) / rate).ceil().max(1.0) as u64
    }
}

/// What one address holds.
struct Address {
    connections: u32,
    bucket: Bucket,
}

/// Shared by every connection; one short lock an add or a connection.
pub(crate) struct Limits {
    rules: Rules,
    addresses: Mutex<Addresses>,
}

impl Limits {
    pub(crate) fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self { rules, addresses: Mutex::default() })
    }

    /// A full bucket for a new connection.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::full(Instant::now())
    }

    /// Takes a token for one add from the connection's bucket and from its address's.
    ///
    /// # Errors
    ///
    /// Where either is empty; nothing was taken from either.
    pub(crate) fn take_add(
        &self,
        connection: &mut Bucket,
        address: IpAddr,
    ) -> Result<(), ApiError> {
        if address.is_loopback() && !self.rules.rate_given {
            return Ok(());
        }
        let (now, rate) = (Instant::now(), self.rules.rate);
        connection.refill(rate, now);
        let mut addresses = self.addresses();
        let key = self.key(&mut addresses, address);
        let shared = &mut Self::entry(&mut addresses, key).bucket;
        shared.refill(rate, now);
        if connection.tokens < 1.0 || shared.tokens < 1.0 {
            return Err(ApiError::rate_limited(
                connection.seconds_left(rate).max(shared.seconds_left(rate)),
            ));
        }
        connection.tokens -= 1.0;
        shared.tokens -= 1.0;
        Ok(())
    }

    /// Counts a connection of `address` until the slot is dropped.
    ///
    /// # Errors
    ///
    /// Where the address has as many as it may.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, ApiError> {
        let mut addresses = self.addresses();
        let key = self.key(&mut addresses, address);
        let entry = Self::entry(&mut addresses, key);
        let free = address.is_loopback() && !self.rules.connections_given;
        if entry.connections >= self.rules.connections_per_address && !free {
            return Err(ApiError::too_many_connections());
        }
        entry.connections += 1;
        Ok(ConnectionSlot { limits: Arc::clone(self), key })
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that an address is counted under. Where the table is full of addresses that are in
    /// use, all new ones share one.
    fn key(&self, addresses: &mut Addresses, address: IpAddr) -> IpAddr {
        let key = group(address);
        if addresses.held.len() < ADDRESSES_MAX || addresses.held.contains_key(&key) {
            return key;
        }
        addresses.sweep(self.rules.rate);
        if addresses.held.len() < ADDRESSES_MAX { key } else { OVERFLOW }
    }

    fn entry(addresses: &mut Addresses, key: IpAddr) -> &mut Address {
        addresses
            .held
            .entry(key)
            .or_insert_with(|| Address { connections: 0, bucket: Bucket::full(Instant::now()) })
    }
}

/// What is remembered of addresses.
#[derive(Default)]
struct Addresses {
    held: HashMap<IpAddr, Address>,
    swept_at: Option<Instant>,
}

impl Addresses {
    /// Forgets the idle ones, at most once in [`SWEEP_EVERY`]. O(addresses).
    fn sweep(&mut self, rate: f64) {
        let now = Instant::now();
        if self.swept_at.is_some_and(|at| now.duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        self.held.retain(|_, held| {
            held.bucket.refill(rate, now);
            held.connections > 0 || held.bucket.tokens < BURST
        });
    }
}

/// One counted connection of an address; dropping it gives the place back.
pub(crate) struct ConnectionSlot {
    limits: Arc<Limits>,
    /// Under which it was counted: by now the address may have another.
    key: IpAddr,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut addresses = self.limits.addresses();
        if let Some(held) = addresses.held.get_mut(&self.key) {
            held.connections = held.connections.saturating_sub(1);
        }
    }
}

/// One household of IPv6 has a /64 and could use each address of it once: they count as one.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limits(rate_given: bool) -> Arc<Limits> {
        Limits::new(Rules {
            rate: 0.001,
            rate_given,
            connections_per_address: 2,
            connections_given: false,
        })
    }

    #[test]
    fn a_burst_is_let_through_and_then_no_more() {
        let limits = limits(false);
        let mut bucket = limits.bucket();
        let taken = (0..2_000).filter(|_| limits.take_add(&mut bucket, FAR).is_ok()).count();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn a_refusal_says_when_the_next_add_is_let_through() {
        let seconds =
            |tokens, rate| Bucket { tokens, filled_at: Instant::now() }.seconds_left(rate);
        assert_eq!(
            [seconds(0.0, 0.01), seconds(0.5, 0.1), seconds(0.9, 100.0), seconds(1.0, 5.0)],
            [100, 5, 1, 1]
        );
    }

    #[test]
    fn many_connections_of_one_address_share_its_bucket() {
        let limits = limits(false);
        let taken =
            (0..2_000).filter(|_| limits.take_add(&mut limits.bucket(), FAR).is_ok()).count();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn loopback_is_free_unless_a_rate_was_given() {
        let mut bucket = limits(false).bucket();
        assert!((0..50).all(|_| limits(false).take_add(&mut bucket, LOOPBACK).is_ok()));
        let given = limits(true);
        assert_eq!(
            (0..2_000).filter(|_| given.take_add(&mut given.bucket(), LOOPBACK).is_ok()).count(),
            1_000
        );
    }

    #[test]
    fn a_closed_connection_gives_its_place_back() {
        let limits = limits(false);
        let (first, _second) =
            (limits.connect(FAR).ok().unwrap(), limits.connect(FAR).ok().unwrap());
        assert!(limits.connect(FAR).is_err());
        drop(first);
        assert!(limits.connect(FAR).is_ok());
        let _many: Vec<_> = (0..9).map(|_| limits.connect(LOOPBACK).ok().unwrap()).collect();
    }

    /// A place that was counted for the overflow is given back to it, although there is room by
    /// then.
    #[test]
    fn full_table_leaks_no_connection() {
        let limits = limits(false);
        let address = |number: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number));
        let fill: Vec<_> = (0..ADDRESSES_MAX as u32)
            .map(|number| limits.connect(address(number)).ok().unwrap())
            .collect();
        let overflow = limits.connect(address(1 << 20)).ok().unwrap();
        drop(fill);
        drop(overflow);
        let held = &limits.addresses().held;
        assert_eq!(held.values().map(|address| u64::from(address.connections)).sum::<u64>(), 0);
    }

    #[test]
    fn a_v6_household_counts_as_one() {
        let (a, b): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(group(a), group(b));
        assert_eq!(group("::ffff:192.0.2.1".parse().unwrap()), FAR);
    }
}
